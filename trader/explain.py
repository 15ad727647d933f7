"""Why did an order come about, and why did one not?

Follows what the services have stored, from the bar to the result: bar (provider, hash) -> figures of the strategy ->
signal -> sizing arithmetic -> every check with limit and usage -> order -> fills -> profit and loss. A link that should be
there and is not is named in `missing`. Reads views and bars, writes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from risk_manager.positions import Kind
from shared.adapters.parquet import ParquetBars
from shared.domain.decisions import TradingMode
from shared.domain.ids import wish_of
from shared.domain.lots import ZERO, match
from shared.domain.money import plain
from shared.domain.orders import Side, deed
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe, parse_timeframe
from trader.replay.truth import Truth
from trader.runtime.errors import NotFound

Row = dict[str, Any]
_FOR_EVER = datetime(9999, 1, 1, tzinfo=UTC)

_DECISION_OF = """
    SELECT d.* FROM risk_manager.v_decisions d
    WHERE d.account = :account AND (d.decision_id = :id OR d.signal_id = :id OR d.decision_id IN (
        SELECT i.decision_id FROM trade_executor.v_intents i
        WHERE i.account = :account AND (i.client_order_id = :id OR i.client_order_id IN (
            SELECT o.intent_id FROM trade_executor.v_orders o
            WHERE o.account = :account AND (o.broker_order_id = :id OR o.client_order_id = :id)))))
    ORDER BY d.id DESC LIMIT 1
"""
_SIGNAL = "SELECT * FROM strategy_engine.v_signals WHERE account = :account AND signal_id = :id"
_MANUAL = """
    SELECT payload FROM trade_executor.v_outbox
    WHERE account = :account AND topic = 'manual_orders' AND key = :id
"""
_BATCH = """
    SELECT id, timeframe, start_at, end_at, digest, decidable, announced_at, :symbol = ANY(composition) AS has_symbol
    FROM data_collector.v_bar_batches
    WHERE account = :account AND timeframe = :timeframe AND end_at = :at
"""
_INTENTS = """
    SELECT client_order_id, purpose, side, type, order_class, quantity, filled_quantity, state, reason, act_from,
           act_until, created_at, sent_at, ended_at, broker_order_id
    FROM trade_executor.v_intents WHERE account = :account AND decision_id = :id ORDER BY sequence
"""
_ORDERS = """
    SELECT broker_order_id, client_order_id, parent_order_id, side, type, status, quantity, filled_quantity,
           filled_average_price, limit_price, stop_price, submitted_at
    FROM trade_executor.v_orders
    WHERE account = :account AND intent_id = ANY(:ids) ORDER BY sequence
"""
_STOP_MOVES = """
    SELECT previous, stop_loss, reason, decided_at FROM risk_manager.v_stop_moves
    WHERE account = :account AND decision_id = :id ORDER BY id
"""
_FILLS = """
    SELECT execution_id, broker_order_id, side, quantity, price, fee, executed_at
    FROM trade_executor.v_fills WHERE account = :account AND client_order_id = ANY(:ids) ORDER BY id
"""
_SPLITS = """
    SELECT held_before, quantity, ratio, told_on, booked_at FROM trade_executor.v_splits
    WHERE account = :account AND symbol = :symbol AND booked_at > :since ORDER BY booked_at
"""
# A refusal that is repeated keeps the check that failed; the first of its row has all of them.
_FIRST_REFUSAL = """
    SELECT decision_id, decided_at, figures, checks FROM risk_manager.v_decisions
    WHERE account = :account AND symbol = :symbol AND strategy = :strategy AND purpose = :purpose
      AND reason_code = :code AND id < :before AND NOT figures ? 'repeats'
    ORDER BY id DESC LIMIT 1
"""
# What keeps a symbol from being bought whoever wishes for it, as it stood at an instant.
_MODE_THEN = """
    SELECT mode, reason, changed_at FROM risk_manager.v_modes
    WHERE account = :account AND changed_at <= :at ORDER BY version DESC LIMIT 1
"""
_STOPPED_THEN = """
    SELECT strategy, reason, changed_at FROM (
        SELECT DISTINCT ON (strategy) strategy, is_stopped, reason, changed_at
        FROM risk_manager.v_throttle_changes
        WHERE account = :account AND symbol = :symbol AND changed_at <= :at
        ORDER BY strategy, version DESC) AS newest
    WHERE is_stopped ORDER BY strategy LIMIT 20
"""
_HELD_THEN = """
    SELECT reason, since_at FROM data_collector.v_symbol_holds
    WHERE account = :account AND symbol = :symbol AND since_at <= :at AND (ended_at IS NULL OR ended_at > :at)
    ORDER BY since_at, reason LIMIT 20
"""
_DIFFERING_THEN = """
    SELECT kind, ours, theirs, opened_at FROM trade_executor.v_differences
    WHERE account = :account AND symbol = :symbol AND opened_at <= :at AND (closed_at IS NULL OR closed_at > :at)
    ORDER BY opened_at, kind LIMIT 20
"""
# The newest batch that could have been decided on, and the newest of any kind.
_BATCH_BEFORE = """
    SELECT id, timeframe, start_at, end_at, digest, decidable, :symbol = ANY(composition) AS has_symbol
    FROM data_collector.v_bar_batches
    WHERE account = :account AND (CAST(:at AS timestamptz) IS NULL OR end_at <= :at)
    ORDER BY end_at DESC, id DESC LIMIT 1
"""
_REFUSED_BAR = """
    SELECT reason, seen_at FROM data_collector.v_quarantine
    WHERE account = :account AND symbol = :symbol AND seen_at >= :start
    ORDER BY id DESC LIMIT 1
"""
_EVALUATION = """
    SELECT 1 FROM strategy_engine.v_outbox
    WHERE account = :account AND topic = 'evaluations' AND key = :key
"""
_DECISIONS_AT = """
    SELECT d.signal_id FROM risk_manager.v_decisions d
    WHERE d.account = :account AND d.symbol = :symbol AND d.instant_at = :at ORDER BY d.id
"""
_SIGNALS_AT = """
    SELECT signal_id FROM strategy_engine.v_signals
    WHERE account = :account AND symbol = :symbol AND bar_end_at = :at ORDER BY id
"""


@dataclass
class Chain:
    """One wish from its data to its result. What does not apply is None or empty; what is lost is `missing`."""

    bar: Row | None
    wish: Row | None
    decision: Row
    # Of a refusal that was given before: the one that was told whole.
    first_refusal: Row | None = None
    stop_moves: list[Row] = field(default_factory=list)
    # By which the shares were counted anew since.
    splits: list[Row] = field(default_factory=list)
    intents: list[Row] = field(default_factory=list)
    orders: list[Row] = field(default_factory=list)
    fills: list[Row] = field(default_factory=list)
    result: Row = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def document(self) -> Row:
        """All of it as plain values, ready for JSON."""
        return {
            "bar": self.bar,
            "wish": self.wish,
            "decision": self.decision,
            "first_refusal": self.first_refusal,
            "stop_moves": self.stop_moves,
            "splits": self.splits,
            "intents": self.intents,
            "orders": self.orders,
            "fills": self.fills,
            "result": self.result,
            "missing": self.missing,
        }


class Explainer:
    """Answers for one account."""

    def __init__(self, truth: Truth, bars: ParquetBars) -> None:
        self._truth = truth
        self._bars = bars

    async def why(self, any_id: str) -> Chain:
        """The chain behind an order, a decision or a signal, by any of its ids.

        Raises:
            NotFound: nothing of that id came through the risk manager.
        """
        rows = await self._rows(_DECISION_OF, id=any_id)
        if not rows:
            raise NotFound(
                f"no decision belongs to {any_id!r}; give an order id, a decision's or a signal's"
            )
        decision = rows[0]
        missing: list[str] = []
        wish, bar = await self._origin(decision, missing)
        chain = Chain(bar, wish, decision, missing=missing)
        if not decision["checks"]:
            missing.append("checks")
        if decision["outcome"] == "approved":
            await self._follow(chain)
        elif "repeats" in decision["figures"]:
            await self._find_first(chain)
        return chain

    async def why_not(self, symbol: Symbol, at: datetime | None) -> Row:
        """What became of `symbol` at the newest instant by `at` (default: of all): a sentence, chains, and what stands in its way."""
        standing = await self._standing(symbol, at)
        batches = await self._rows(_BATCH_BEFORE, symbol=symbol, at=at)
        if not batches:
            return _answer(symbol, None, "no bar of any symbol had come by then", [], standing)
        batch = batches[0]
        instant = batch["end_at"]
        decided = await self._rows(_DECISIONS_AT, symbol=symbol, at=instant)
        chains = [await self.why(row["signal_id"]) for row in decided]
        if chains:
            told = "; ".join(_sentence(chain.decision) for chain in chains)
        elif not batch["has_symbol"]:
            refused = await self._rows(_REFUSED_BAR, symbol=symbol, start=batch["start_at"])
            told = (
                f"its bar was refused: {refused[0]['reason']}"
                if refused
                else "no bar of it had come when the others were decided on; "
                + await self._newest_bar(symbol, batch)
            )
        elif not batch["decidable"]:
            told = "its bar came too late to be decided on"
        elif not await self._rows(_EVALUATION, key=f"{batch['timeframe']}:{instant.isoformat()}"):
            told = "the strategies have not looked at that instant yet"
        elif await self._rows(_SIGNALS_AT, symbol=symbol, at=instant):
            told = "a strategy wished for it, and the risk manager has not answered yet"
        else:
            told = "no strategy wished for anything"
        return _answer(symbol, instant, told, chains, standing)

    async def _standing(self, symbol: Symbol, at: datetime | None) -> list[str]:
        then = at or _FOR_EVER
        modes = await self._rows(_MODE_THEN, at=then)
        stops = await self._rows(_STOPPED_THEN, symbol=symbol, at=then)
        holds = await self._rows(_HELD_THEN, symbol=symbol, at=then)
        differences = await self._rows(_DIFFERING_THEN, symbol=symbol, at=then)
        return [
            *(
                f"trading is {row['mode']} since {row['changed_at'].isoformat()}: {row['reason']}"
                for row in modes
                if row["mode"] != TradingMode.ACTIVE
            ),
            *(
                f"{row['strategy']} is stopped in it since {row['changed_at'].isoformat()}, until a person "
                f"enables it: {row['reason']}"
                for row in stops
            ),
            *(f"it is held since {row['since_at'].isoformat()}: {row['reason']}" for row in holds),
            *(
                f"it waits for a person since {row['opened_at'].isoformat()}, {row['kind']}: ours "
                f"{row['ours']}, the broker's {row['theirs']}"
                for row in differences
            ),
        ]

    async def _newest_bar(self, symbol: Symbol, batch: Row) -> str:
        timeframe: Timeframe = parse_timeframe(batch["timeframe"])
        found = await asyncio.to_thread(self._bars.newest, timeframe, symbol, batch["end_at"])
        if found is None:
            return "none of it is stored at all"
        return f"its newest ended at {found.bar.end_at.isoformat()}"

    async def _find_first(self, chain: Chain) -> None:
        decision = chain.decision
        rows = await self._rows(
            _FIRST_REFUSAL,
            symbol=decision["symbol"],
            strategy=decision["strategy"],
            purpose=decision["purpose"],
            code=decision["reason_code"],
            before=decision["id"],
        )
        if not rows:
            chain.missing.append("first refusal of its row")
            return
        chain.first_refusal = rows[0]

    async def _origin(self, decision: Row, missing: list[str]) -> tuple[Row | None, Row | None]:
        """Who wished for it, and the bar that a strategy decided on."""
        signals = await self._rows(_SIGNAL, id=wish_of(decision["signal_id"]))
        if signals:
            signal = signals[0]
            bar = await self._bar(signal, missing)
            return {"kind": "signal", **signal}, bar
        if decision["strategy"] == "manual":
            orders = await self._rows(_MANUAL, id=decision["signal_id"])
            if not orders:
                missing.append("manual order")
                return None, None
            return {"kind": "manual", **orders[0]["payload"]["body"]}, None
        if decision["strategy"] in ("flatten", *Kind):
            figures = decision["figures"]
            asked = {name: figures.get(name) for name in ("reason", "actor")}
            if None in asked.values():
                missing.append("reason of the sale")
            return {"kind": decision["strategy"], **asked}, await self._closing_bar(decision)
        missing.append("signal")
        return None, None

    async def _closing_bar(self, decision: Row) -> Row | None:
        """The bar at whose close a position was managed, where its symbol had one; a flatten has none."""
        kind, _, rest = decision["source"].partition(":")
        if kind != "evaluation":
            return None
        closed = {
            "symbol": decision["symbol"],
            "timeframe": rest.partition(":")[0],
            "bar_end_at": decision["instant_at"],
        }
        return await self._bar(closed, [])

    async def _bar(self, signal: Row, missing: list[str]) -> Row | None:
        batches = await self._rows(
            _BATCH,
            symbol=signal["symbol"],
            timeframe=signal["timeframe"],
            at=signal["bar_end_at"],
        )
        if not batches or not batches[0]["has_symbol"]:
            missing.append("batch of bars")
            return None
        timeframe: Timeframe = parse_timeframe(signal["timeframe"])
        stored = await asyncio.to_thread(
            self._bars.newest, timeframe, signal["symbol"], signal["bar_end_at"]
        )
        if stored is None or stored.bar.end_at != signal["bar_end_at"]:
            missing.append("bar")
            return None
        bar = stored.bar
        return {
            "provider": stored.provider,
            "batch": batches[0]["id"],
            "digest": batches[0]["digest"],
            "start_at": bar.start_at,
            "end_at": bar.end_at,
            "open": bar.open,
            "high": bar.high,
            "low": bar.low,
            "close": bar.close,
            "volume": bar.volume,
        }

    async def _follow(self, chain: Chain) -> None:
        decision = chain.decision
        chain.stop_moves = await self._rows(_STOP_MOVES, id=decision["decision_id"])
        chain.intents = await self._rows(_INTENTS, id=decision["decision_id"])
        if not chain.intents:
            # The executor takes reviews a moment later; nothing is lost before it has.
            if await self._is_read(decision):
                chain.missing.append("intent")
            return
        ids = [row["client_order_id"] for row in chain.intents]
        chain.orders = await self._rows(_ORDERS, ids=ids)
        chain.fills = await self._rows(_FILLS, ids=ids)
        if chain.fills:
            chain.splits = await self._rows(
                _SPLITS, symbol=decision["symbol"], since=chain.fills[0]["executed_at"]
            )
        known = {row["broker_order_id"] for row in chain.orders}
        chain.missing += [
            f"order of {row['client_order_id']}"
            for row in chain.intents
            if row["broker_order_id"] is not None and row["broker_order_id"] not in known
        ]
        chain.missing += [
            f"fills of {row['broker_order_id']}"
            for row in chain.orders
            if row["filled_quantity"]
            != sum(
                fill["quantity"]
                for fill in chain.fills
                if fill["broker_order_id"] == row["broker_order_id"]
            )
        ]
        chain.result = await self._result(chain)

    async def _is_read(self, decision: Row) -> bool:
        rows = await self._rows(
            "SELECT position FROM trade_executor.v_cursors "
            "WHERE account = :account AND source = 'risk_manager'"
        )
        return bool(rows) and rows[0]["position"] >= decision["review_id"]

    async def _result(self, chain: Chain) -> Row:
        """Dollars that these orders' shares earned, first in first out, and shares they still hold (or owe, below zero)."""
        executions = await self._truth.executions(Symbol(chain.decision["symbol"]))
        found = match(executions)
        mine = {row["execution_id"] for row in chain.fills}
        opening = chain.decision["side"] if chain.decision["purpose"] == "entry" else None
        orders = {row["broker_order_id"] for row in chain.fills if row["side"] == opening}
        brought = [c for c in found.closings if c.opened.execution.order_id in orders]
        # Of an entry: what its shares brought, whoever closed them. Of an exit: what it did itself.
        closings = brought or [c for c in found.closings if c.closed.execution.execution_id in mine]
        held = (
            lot.quantity * lot.execution.side.sign
            for lot in found.open_lots
            if lot.execution.order_id in orders
        )
        return {
            "realised_pnl": sum((c.gain for c in closings if c.gain is not None), ZERO),
            "shares_still_held": sum(held, ZERO),
        }

    async def _rows(self, query: str, **values: Any) -> list[Row]:
        return [dict(row._mapping) for row in await self._truth.latest(query, **values)]


def _sentence(decision: Mapping[str, Any]) -> str:
    what = f"{decision['strategy']} wished for an {decision['purpose']}"
    side = decision["side"]
    if side is not None:
        does = deed(Side(side), opens=decision["purpose"] == "entry")
        what += "" if does == side else f" (to {does})"
    if decision["outcome"] == "approved":
        return f"{what}, and {plain(decision['quantity'])} shares were approved"
    repeats = decision["figures"].get("repeats")
    again = "" if repeats is None else f" (for the {repeats}. time in a row)"
    return f"{what}, refused as {decision['reason_code']}: {decision['reason']}{again}"


def _answer(
    symbol: Symbol, at: datetime | None, told: str, chains: list[Chain], standing: list[str]
) -> Row:
    return {
        "symbol": symbol,
        "instant_at": at,
        "answer": told,
        "standing": standing,
        "chains": [chain.document() for chain in chains],
    }
