"""What does the account look like, in one statement?

One statement is one snapshot: read in several, an approval that the executor turns into an intent between two of them
would be counted nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from risk_manager.attribution import matched, records_of
from risk_manager.limits import LONGEST_WINDOW_S, MOST_RECENT
from risk_manager.modes import first_mode
from risk_manager.share_counts import BookedSplit, growth
from risk_manager.snapshot import (
    Book,
    Holding,
    Lending,
    LimitChange,
    OpenOrder,
    Protection,
    Recent,
    RecentEntry,
    StopHit,
    Throttle,
    Turn,
    Word,
    Working,
)
from risk_manager.store.rows import Made, decimal_of, mark_of, mode_of, unjson
from risk_manager.store.tables import Tables, listed
from shared.adapters.executions import newest_executions
from shared.adapters.postgres import Database
from shared.domain.calendar import NEW_YORK
from shared.domain.corporate_actions import exchange_day
from shared.domain.decisions import Purpose
from shared.domain.errors import Unavailable
from shared.domain.ids import SIGNAL_PREFIX, TURN_PREFIX, turn_signal_id
from shared.domain.lots import Execution
from shared.domain.orders import FINAL_STATUSES, IntentState, OrderType, Side
from shared.domain.signals import Direction, Signal
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.messages import REVIEWS

# Enough entries to explain any position; what they do not cover counts as unprotected.
_LATEST_ENTRIES = 20
# Mostly the newest one brought all that is held, or few did; more are looked at where these do not cover it.
_FIRST_ENTRIES = (1, 4)
_LIVE = listed(state for state in IntentState if not state.is_final)
_FINAL = listed(FINAL_STATUSES)
# As the indexes over them say it.
_SCALED_OUT = "outcome = 'approved' AND purpose = 'exit' AND strategy = 'scale_out'"
_TURNED = "outcome = 'approved' AND purpose = 'exit' AND figures ->> 'turns_to' IS NOT NULL"
# More symbols than are turned around at a time, and more turns than come while one waits.
_MOST_TURNS = 200
_NEWEST_TURNS = 1_000
# How far the executor has read our reviews.
_READ = """coalesce((SELECT position FROM trade_executor.v_cursors
                    WHERE account = :account AND source = 'risk_manager'), 0)"""
# Asked once for all positions: mostly there are none to be looked for. Newer moves are of newer reviews.
_HAS_UNREAD_MOVES = f"""
    (SELECT s.review_id FROM risk_manager.stop_moves s WHERE s.account = :account ORDER BY s.id DESC LIMIT 1) > {_READ}"""
_TURNS = f"""
WITH turns AS (
    -- Exits that turn a position around, and whose entry has had no answer yet.
    SELECT d.id AS number, s.*, s.reference_price::text AS price,
           EXISTS (SELECT FROM risk_manager.decisions n
                   WHERE n.account = :account AND n.symbol = d.symbol AND n.review_id > d.review_id
                     -- Said beside it for the index: no review that is newer has older decisions.
                     AND n.id > d.id)
           -- A flatten means everything, also what is about to be opened.
           OR EXISTS (SELECT FROM risk_manager.outbox o
                      WHERE o.account = :account AND o.id > d.review_id AND o.topic = '{REVIEWS}'
                        AND o.key LIKE 'flatten:%')
           -- Who stops trading means what waits too: to resume it is no word for a wish from before.
           OR EXISTS (SELECT FROM risk_manager.modes m
                      WHERE m.account = :account AND m.version > coalesce(d.mode_version, 0)) AS is_superseded
    FROM (SELECT * FROM (
              SELECT id, signal_id, symbol, review_id, (figures ->> 'mode_version')::integer AS mode_version
              FROM risk_manager.decisions
              WHERE account = :account AND {_TURNED}
              ORDER BY id DESC LIMIT {_NEWEST_TURNS}) newest
          -- Asked one by one: a join would read all decisions.
          WHERE (SELECT a.id FROM risk_manager.decisions a
                 WHERE a.account = :account
                   AND a.decision_id = 'dec-{TURN_PREFIX}' || substr(newest.signal_id, {len(SIGNAL_PREFIX) + 1})
                ) IS NULL
          ORDER BY id DESC LIMIT {_MOST_TURNS}) d
    JOIN strategy_engine.v_signals s ON s.account = :account AND s.signal_id = d.signal_id)
"""


def _entries(most: int) -> str:
    """The newest entries of the position `p` and the shares that they brought, as SQL; `most` are looked at."""
    return f"""(
       SELECT sum(e.filled) AS shares,
         -- Where a stop stands is what the executor keeps, in its present shares, or a move that it has not read yet.
         -- Stops only ever tighten, those of what is owed downwards.
         json_agg(json_build_array(e.filled::text, CASE WHEN {_HAS_UNREAD_MOVES} THEN (
           SELECT CASE WHEN p.quantity < 0 THEN least(e.stop_loss, m.stop_loss) ELSE greatest(e.stop_loss, m.stop_loss) END
           FROM (SELECT 1) one LEFT JOIN LATERAL (
           SELECT s.stop_loss FROM risk_manager.stop_moves s
           WHERE s.account = :account AND s.decision_id = e.decision_id AND s.review_id > {_READ}
             -- As the executor will find: one from before a split is void, and one may follow another that it has not read.
             AND s.id >= (SELECT min(f.id) FROM risk_manager.stop_moves f
                          WHERE f.account = :account AND f.decision_id = e.decision_id
                            AND f.review_id > {_READ}
                            AND CASE WHEN p.quantity < 0 THEN f.previous >= e.stop_loss ELSE f.previous <= e.stop_loss END)
           ORDER BY s.id DESC LIMIT 1) m ON true) ELSE e.stop_loss END::text,
         e.strategy, e.decision_id, e.reference_price::text, e.since_at) ORDER BY e.id DESC) AS entries
       FROM (SELECT d.id, d.decision_id, d.strategy, d.reference_price, i.filled, i.stop_loss, i.since_at
             FROM risk_manager.decisions d, LATERAL (
               SELECT sum(filled_quantity) AS filled, max(stop_loss) AS stop_loss,
                      max(coalesce(ended_at, sent_at, created_at)) AS since_at
               FROM trade_executor.v_intents
               WHERE account = :account AND decision_id = d.decision_id AND purpose = 'entry') i
             WHERE d.account = :account AND d.symbol = p.symbol
               AND d.outcome = 'approved' AND d.purpose = 'entry'
               -- An entry of the other side brought none of what is held now.
               AND d.side = CASE WHEN p.quantity < 0 THEN 'sell' ELSE 'buy' END
             ORDER BY d.id DESC LIMIT {most}) e
       WHERE e.filled > 0)"""


def _explained(first: int, *more: int) -> str:
    """The entries of the position `p` as SQL: the newest `first`, or where these did not bring all of it, of `more`."""
    found = f"(SELECT {{}} FROM {_entries(first)} found)"
    if not more:
        return found.format("found.entries")
    # After a split the shares that entries brought are not those that are held.
    return found.format(f"""
        CASE WHEN found.shares >= abs(p.quantity) AND p.symbol NOT IN (
                SELECT s.symbol FROM trade_executor.v_adjustments s
                WHERE s.account = :account AND s.reason IN ('SPLIT', 'SSP'))
            THEN found.entries ELSE {_explained(*more)} END""")


_BOOK = text(f"""
{_TURNS}
SELECT
  (SELECT adopted_at FROM trade_executor.v_accounts WHERE account = :account) AS adopted_at,
  EXISTS (SELECT 1 FROM risk_manager.outbox
          WHERE account = :account AND topic = '{REVIEWS}' AND key = :source) AS is_reviewed,
  (SELECT cash::text FROM trade_executor.v_cash WHERE account = :account) AS cash,
  (SELECT sum(amount)::text FROM trade_executor.v_transfers WHERE account = :account) AS paid_in,
  (SELECT array_agg(json_build_array(
      p.symbol, p.quantity::text,
      (SELECT json_build_array(f.price::text, f.executed_at) FROM trade_executor.v_fills f
       WHERE f.account = :account AND f.symbol = p.symbol
       ORDER BY f.executed_at DESC, f.execution_id DESC LIMIT 1),
      {_explained(*_FIRST_ENTRIES, _LATEST_ENTRIES)},
      (SELECT string_agg(n.targets, ' ')
       FROM (SELECT d.figures ->> 'targets' AS targets FROM risk_manager.decisions d
             WHERE d.account = :account AND d.symbol = p.symbol AND {_SCALED_OUT}
             ORDER BY d.id DESC LIMIT {_LATEST_ENTRIES}) n))::text ORDER BY p.symbol)
   FROM trade_executor.v_positions p
   WHERE p.account = :account AND p.quantity <> 0) AS holdings,
  (SELECT json_agg(json_build_array(s.symbol, s.ratio::text, s.told_on, s.booked_at) ORDER BY s.booked_at)
   FROM trade_executor.v_splits s WHERE s.account = :account) AS splits,
  (SELECT json_agg(json_build_array(
      w.symbol, w.side, w.purpose, w.quantity::text, w.type, w.limit_price::text, w.stop_price::text,
      w.stop_loss::text, w.reference_price::text, w.strategy, w.is_foreign) ORDER BY w.symbol, w.key)
   FROM (
      SELECT client_order_id AS key, symbol, side, purpose,
             CASE state WHEN 'UNKNOWN' THEN quantity ELSE quantity - filled_quantity END AS quantity,
             type, limit_price, stop_price, stop_loss, reference_price,
             coalesce((SELECT d.strategy FROM risk_manager.decisions d
                       WHERE d.account = :account AND d.decision_id = i.decision_id), '') AS strategy,
             false AS is_foreign
      FROM trade_executor.v_intents i
      WHERE account = :account AND state IN ({_LIVE}) AND purpose <> 'protect'
      UNION ALL
      -- Buys that somebody else gave at the broker bind cash and will be held, like our own; so do sales of nothing held.
      SELECT broker_order_id, symbol, side, 'entry', quantity - filled_quantity,
             type, limit_price, stop_price, NULL, coalesce(limit_price, stop_price, 0), '', true
      FROM trade_executor.v_orders
      WHERE account = :account AND intent_id IS NULL AND parent_order_id IS NULL
        AND status NOT IN ({_FINAL})
        AND (side = 'buy' OR NOT EXISTS (
            SELECT FROM trade_executor.v_positions h
            WHERE h.account = :account AND h.symbol = v_orders.symbol AND h.quantity > 0))
      UNION ALL
      SELECT decision_id, symbol, side, purpose, quantity,
             type, limit_price, stop_price, stop_loss, reference_price, strategy, false
      FROM risk_manager.decisions
      WHERE account = :account AND outcome = 'approved' AND review_id > {_READ}
   ) w WHERE w.quantity > 0) AS working,
  (SELECT json_object_agg(u.symbol, u.orders) FROM (
      SELECT symbol, count(*) AS orders FROM trade_executor.v_intents
      WHERE account = :account AND state = 'UNKNOWN' GROUP BY symbol) u) AS unknown,
  (SELECT json_object_agg(t.trade_on, t.entries) FROM (
      SELECT trade_on, count(*) AS entries FROM risk_manager.decisions
      WHERE account = :account AND outcome = 'approved' AND purpose = 'entry' AND trade_on >= :today
      GROUP BY trade_on) t) AS entries_by_day,
  (SELECT array_agg(json_build_array(r.strategy, r.symbol, r.decided_at)::text ORDER BY r.id) FROM (
      SELECT id, strategy, symbol, decided_at FROM risk_manager.decisions
      WHERE account = :account AND outcome = 'approved' AND purpose = 'entry'
        AND decided_at > :recent_from
      ORDER BY decided_at DESC LIMIT :most) r) AS recent_entries,
  (SELECT array_agg(json_build_array(s.symbol, s.at)::text) FROM (
      SELECT o.symbol, max(f.executed_at) AS at
      FROM (SELECT broker_order_id, executed_at, side FROM trade_executor.v_fills
            WHERE account = :account ORDER BY id DESC LIMIT :most) f
      JOIN trade_executor.v_orders o
        ON o.account = :account AND o.broker_order_id = f.broker_order_id
      -- A purchase by a stop is an exit where it is a leg: what is owed is bought back by one.
      WHERE (f.side = 'sell' AND o.side = 'sell' OR o.parent_order_id IS NOT NULL)
        -- As the index over them says it.
        AND o.type IN ('stop', 'trailing_stop', 'stop_limit') AND o.filled_quantity > 0
      GROUP BY o.broker_order_id, o.symbol) s) AS stops,
  (SELECT json_object_agg(t.day, t.trades) FROM (
      SELECT day, count(*) AS trades FROM (
          SELECT symbol, (executed_at AT TIME ZONE 'America/New_York')::date AS day
          FROM (SELECT symbol, side, executed_at FROM trade_executor.v_fills
                WHERE account = :account AND CAST(:reads_day_trades AS boolean) ORDER BY id DESC LIMIT :most) f
          GROUP BY 1, 2 HAVING min(side) <> max(side)) d
      GROUP BY day) t) AS day_trades,
  (SELECT json_agg(json_build_array(o.symbol, o.side, CASE WHEN o.type = 'limit' THEN o.limit_price::text END))
   FROM trade_executor.v_orders o
   WHERE o.account = :account AND o.intent_id IS NULL AND o.parent_order_id IS NULL
     AND o.status NOT IN ({_FINAL})) AS open_orders,
  (SELECT json_agg(to_json(t) ORDER BY t.number) FROM turns t) AS turns,
  (SELECT json_build_array(may_short, lending_seen_at) FROM trade_executor.v_accounts
   WHERE account = :account) AS may_short,
  (SELECT json_agg(json_build_array(l.symbol, l.is_lent, l.seen_at)) FROM trade_executor.v_lending l
   WHERE l.account = :account AND l.symbol IN (
       SELECT unnest(CAST(:shorts AS text[])) UNION SELECT t.symbol FROM turns t)) AS lent,
  (SELECT json_agg(DISTINCT symbol) FROM trade_executor.v_differences
   WHERE account = :account AND closed_at IS NULL AND symbol IS NOT NULL) AS paused,
  (SELECT json_object_agg(q.symbol, q.at) FROM (
      SELECT symbol, max(seen_at) AS at FROM (
          SELECT symbol, seen_at FROM data_collector.v_quarantine
          -- What a person has let in is no reason for doubt any more.
          WHERE account = :account AND released_at IS NULL ORDER BY id DESC LIMIT :most) n
      GROUP BY symbol) q) AS refused_bars,
  (SELECT json_object_agg(symbol, json_build_array(reasons, is_stepped)) FROM (
      SELECT symbol, string_agg(reason, '; ' ORDER BY id) AS reasons, bool_or(kind = 'split') AS is_stepped
      FROM data_collector.v_symbol_holds
      WHERE account = :account AND ended_at IS NULL GROUP BY symbol) h) AS held,
  (SELECT json_agg(to_json(t)) FROM risk_manager.v_throttles t WHERE t.account = :account) AS throttles,
  m.mode, m.version, m.reason, m.actor, m.changed_at, m.restarts_peak, m.restarts_day,
  e.instant_at, e.cash AS mark_cash, e.equity, e.peak_equity, e.drawdown, e.gross_exposure,
  e.net_exposure, e.mode_version, e.day_equity, e.paid_in AS mark_paid_in,
  l.version AS limits_version, l.after, l.reason AS limits_reason, l.actor AS limits_actor,
  l.changed_at AS limits_changed_at
FROM (SELECT 1) one
LEFT JOIN LATERAL (
    SELECT * FROM risk_manager.modes WHERE account = :account ORDER BY version DESC LIMIT 1) m ON true
LEFT JOIN LATERAL (
    SELECT * FROM risk_manager.equity_points WHERE account = :account ORDER BY id DESC LIMIT 1
) e ON true
LEFT JOIN LATERAL (
    SELECT * FROM risk_manager.limit_changes WHERE account = :account ORDER BY version DESC LIMIT 1
) l ON true
""")


class Books(Tables):
    """The account as it is."""

    def __init__(self, database: Database, account: str, **reads: bool) -> None:
        """See `Tables`."""
        super().__init__(database, account, **reads)
        self._made_holdings = Made[Holding]()
        self._made_entries = Made[RecentEntry]()
        self._made_stops = Made[StopHit]()

    async def book(self, at: datetime) -> Book:
        """See `ports.Store`."""

        async def read(connection: AsyncConnection) -> Book:
            row = await self._book_row(connection, at, "", ())
            return await self._book_of(connection, row, at)

        return await self._db.run(read)

    async def _executions(self, connection: AsyncConnection) -> list[Execution]:
        return await newest_executions(connection, self._account, MOST_RECENT)

    async def _book_row(
        self, connection: AsyncConnection, at: datetime, source: str, shorts: Sequence[Symbol]
    ) -> Row[Any]:
        """All of the account in one row, whether `source` was reviewed before, and which of `shorts` are lent."""
        found = await connection.execute(
            _BOOK,
            {
                "account": self._account,
                "source": source,
                "today": at.astimezone(NEW_YORK).date(),
                "recent_from": at - timedelta(seconds=LONGEST_WINDOW_S),
                "most": MOST_RECENT,
                "reads_day_trades": self._reads_day_trades,
                "shorts": list(shorts),
            },
        )
        return found.one()

    async def _book_of(self, connection: AsyncConnection, row: Row[Any], at: datetime) -> Book:
        if row.adopted_at is None or row.cash is None:
            raise Unavailable(
                f"account {self._account} is not known yet: the trade executor has not adopted it"
            )
        book = Book(
            account=self._account,
            cash=Decimal(row.cash),
            holdings=self._holdings(row.holdings or (), unjson(row.splits) or []),
            working=tuple(_working(entry) for entry in unjson(row.working) or []),
            unknown={Symbol(s): int(n) for s, n in (unjson(row.unknown) or {}).items()},
            # That of an account which has none yet began at `at`.
            mode=first_mode(at) if row.version is None else mode_of(row),
            last_mark=None if row.equity is None else mark_of(row, row.mark_cash, row.mark_paid_in),
            entries_by_day={
                date.fromisoformat(day): int(n)
                for day, n in (unjson(row.entries_by_day) or {}).items()
            },
            recent=_recent(
                row,
                self._made_entries.of(row.recent_entries or (), _entry),
                self._made_stops.of(row.stops or (), _stop),
            ),
            limit_change=None
            if row.limits_version is None
            else LimitChange(
                row.limits_version,
                unjson(row.after),
                row.limits_reason,
                row.limits_actor,
                row.limits_changed_at,
            ),
            adopted_at=row.adopted_at,
            turns=tuple(_turn(each) for each in unjson(row.turns) or []),
            lending=Lending(
                _word(*(unjson(row.may_short) or (None, None))),
                {
                    Symbol(s): Word(lent, datetime.fromisoformat(at))
                    for s, lent, at in unjson(row.lent) or []
                },
            ),
            paid_in=Decimal(row.paid_in or 0),
        )
        if self._reads_records:
            held = {h.symbol: h.quantity for h in book.holdings}
            found_trades = matched(await self._executions(connection), held).trades
            book = replace(book, recent=replace(book.recent, records=records_of(found_trades)))
        return book

    def _holdings(self, texts: Sequence[str], told: Sequence[Sequence[Any]]) -> tuple[Holding, ...]:
        splits: dict[str, tuple[BookedSplit, ...]] = {}
        for symbol, *each in told:
            splits[symbol] = (*splits.get(symbol, ()), _split(*each))
        # Another split may count shares anew that are written as before.
        return self._made_holdings.of(texts, lambda text: _holding(text, splits), beside=splits)


def _turn(entry: Mapping[str, Any]) -> Turn:
    """A turn from the signal that it stands for, under the id of its own answer."""
    signal = Signal(
        turn_signal_id(entry["signal_id"]),
        entry["account"],
        entry["strategy"],
        Symbol(entry["symbol"]),
        Timeframe(entry["timeframe"]),
        datetime.fromisoformat(entry["bar_start_at"]),
        datetime.fromisoformat(entry["bar_end_at"]),
        Direction(entry["direction"]),
        float(entry["conviction"]),
        entry["reason"],
        Decimal(entry["price"]),
        entry["figures"],
    )
    return Turn(signal, entry["signal_id"], entry["is_superseded"])


def _word(is_yes: bool | None, seen_at: str | None) -> Word | None:
    if is_yes is None or seen_at is None:
        return None
    return Word(is_yes, datetime.fromisoformat(seen_at))


def _holding(text: str, all_splits: Mapping[str, tuple[BookedSplit, ...]]) -> Holding:
    symbol, quantity, last_fill, entries, targets = orjson.loads(text)
    splits = all_splits.get(symbol, ())
    return Holding(
        Symbol(symbol),
        Decimal(quantity),
        None if last_fill is None else _filled_at(splits, *last_fill),
        tuple(_protection(splits, *each) for each in entries or []),
        frozenset((targets or "").split()),
        splits,
    )


def _filled_at(splits: Sequence[BookedSplit], price: str, executed_at: str) -> Decimal:
    return Decimal(price) / growth(splits, datetime.fromisoformat(executed_at))


def _split(ratio: str, told_on: str | None, booked_at: str) -> BookedSplit:
    booked = datetime.fromisoformat(booked_at)
    try:
        on = date.fromisoformat(told_on or "")
    except ValueError:
        # The broker named no day: it was the one on which it told.
        on = exchange_day(booked)
    return BookedSplit(Decimal(ratio), on, booked)


def _protection(
    splits: Sequence[BookedSplit],
    filled: str,
    stop: str | None,
    strategy: str,
    decision_id: str,
    reference: str,
    since: str,
) -> Protection:
    """An entry's shares and price in the present shares; its stop is kept in them."""
    since_at = datetime.fromisoformat(since)
    ratio = growth(splits, since_at)
    return Protection(
        Decimal(filled) * ratio,
        decimal_of(stop),
        strategy,
        decision_id,
        Decimal(reference) / ratio,
        since_at,
    )


def _working(entry: Sequence[Any]) -> Working:
    symbol, side, purpose, quantity, kind, limit, stop, stop_loss, reference, *whose = entry
    strategy, is_foreign = whose
    return Working(
        Symbol(symbol),
        Side(side),
        Purpose(purpose),
        Decimal(quantity),
        # An order that somebody else gave may be of a kind we do not give: it is met at the market.
        OrderType(kind) if kind in set(OrderType) else OrderType.MARKET,
        decimal_of(limit),
        decimal_of(stop),
        decimal_of(stop_loss),
        Decimal(reference),
        strategy,
        is_foreign,
    )


def _entry(text: str) -> RecentEntry:
    strategy, symbol, at = orjson.loads(text)
    return RecentEntry(strategy, Symbol(symbol), datetime.fromisoformat(at))


def _stop(text: str) -> StopHit:
    symbol, at = orjson.loads(text)
    return StopHit(Symbol(symbol), datetime.fromisoformat(at))


def _recent(row: Row[Any], entries: tuple[RecentEntry, ...], stops: tuple[StopHit, ...]) -> Recent:
    return Recent(
        entries=entries,
        stops=stops,
        day_trades={
            date.fromisoformat(day): int(trades)
            for day, trades in (unjson(row.day_trades) or {}).items()
        },
        open_orders=tuple(
            OpenOrder(Symbol(symbol), Side(side), decimal_of(limit))
            for symbol, side, limit in unjson(row.open_orders) or []
        ),
        paused=frozenset(Symbol(symbol) for symbol in unjson(row.paused) or []),
        refused_bars={
            Symbol(symbol): datetime.fromisoformat(at)
            for symbol, at in (unjson(row.refused_bars) or {}).items()
        },
        held={Symbol(symbol): why for symbol, (why, _) in (unjson(row.held) or {}).items()},
        stepped=frozenset(
            Symbol(symbol)
            for symbol, (_, is_stepped) in (unjson(row.held) or {}).items()
            if is_stepped
        ),
        throttles={
            (each["strategy"], Symbol(each["symbol"])): Throttle(
                each["strategy"],
                Symbol(each["symbol"]),
                each["version"],
                each["is_stopped"],
                each["reason"],
                each["actor"],
                datetime.fromisoformat(each["changed_at"]),
            )
            for each in unjson(row.throttles) or []
        },
    )
