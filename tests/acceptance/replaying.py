"""Whole stacks for acceptance tests: start one, replay something, compare what came of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from shared.adapters.clocks import MonotonicTimer
from shared.adapters.executions import executions_of
from shared.adapters.parquet import ParquetBars
from shared.adapters.postgres import open_database
from shared.config import load_settings
from shared.domain.lots import ZERO, match
from shared.testing.goog import goog
from trader.audit import Audit, verify
from trader.explain import Explainer
from trader.replay.rest import Phase, Step
from trader.replay.session import Replay, ReplayPlan, open_replay
from trader.runtime.instance import SIMULATOR, Instance
from trader.runtime.stack import LocalStack

# Orders, then fills, each as the tuple of what must be the same in every run.
Outcome = tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]

GOOG = goog()
# Ids name the account, which differs from run to run; everything else must not.
_SAME_IN_EVERY_RUN = (
    "symbol",
    "side",
    "type",
    "order_class",
    "role",
    "status",
    "quantity",
    "limit_price",
    "stop_price",
    "filled_quantity",
    "filled_average_price",
    "submitted_at",
    "updated_at",
)


@asynccontextmanager
async def replaying(
    home: Path, plan: ReplayPlan, settings: dict[str, str] | None = None
) -> AsyncIterator[Replay]:
    """A running stack of its own in `home`, ready to step through `plan`; removed afterwards."""
    instance = Instance.create(home)
    try:
        async with open_replay(instance, plan, settings=settings) as replay:
            yield replay
    finally:
        LocalStack(instance).remove()


def at_the_venue(replay: Replay, **fault: object) -> None:
    """Let something go wrong at the venue; what, says `simulator.faults`."""
    instance = replay.stack.instance
    told = instance.settings["SIMULATOR_ADMIN_TOKEN"]
    httpx.post(
        f"{instance.url_of(SIMULATOR)}/admin/faults",
        json=fault,
        headers={"Authorization": f"Bearer {told}"},
        timeout=60,
        trust_env=False,
    ).raise_for_status()


async def screens_of(replay: Replay) -> Counter[str]:
    """How many screens were taken, and how many failed."""
    rows = await replay.truth.latest(
        "SELECT outcome FROM data_collector.v_screen_runs WHERE account = :account"
    )
    return Counter(row[0] for row in rows)


def after_instants(count: int) -> Any:
    """Stop a run when `count` instants have been played."""
    seen = 0

    def until(step: Step) -> bool:
        nonlocal seen
        seen += step.phase is Phase.CLOSE
        return seen >= count

    return until


def outcome(book: dict[str, Any]) -> Outcome:
    """Orders and fills of the venue's book without what names the account."""
    orders = [tuple(order[name] for name in _SAME_IN_EVERY_RUN) for order in book["orders"]]
    fills = [
        (fill["symbol"], fill["side"], fill["quantity"], fill["price"], fill["at"])
        for fill in book["executions"]
    ]
    return orders, fills


def assert_one_search_finds_the_way(home: Path) -> None:
    """The log lines that bear the name of one fill's instant tell its whole way, whichever service wrote them."""
    lines = [
        json.loads(line) for line in (home / "logs" / "trading_system.log").read_text().splitlines()
    ]
    filled = next(line for line in lines if line["event"] == "fill booked")
    assert filled["correlation_id"].startswith("evaluation:")
    way = [line for line in lines if line.get("correlation_id") == filled["correlation_id"]]
    told = [(line["service"], line["event"]) for line in way]
    steps = [
        ("data_collector", "batch"),
        ("strategy_engine", "evaluated"),
        ("strategy_engine", "signal"),
        ("risk_manager", "approved"),
        ("trade_executor", "order sent"),
        ("trade_executor", "fill booked"),
    ]
    assert [step for step in dict.fromkeys(told) if step in steps] == steps
    sent = next(line for line in way if line.get("order") == filled["order"])
    assert {line["signal_id"] for line in way if line["event"] == "approved"} >= {sent["signal_id"]}


async def assert_ledger_is_the_venues_book(replay: Replay) -> None:
    """Nothing doubled, lost or invented: what we stored is what the venue booked."""
    book = await replay.venue.book()
    by_name = Counter(order["client_order_id"] for order in book["orders"])
    assert max(by_name.values(), default=0) <= 1, "an order was doubled at the venue"

    rows = await replay.truth.latest(
        "SELECT broker_order_id, status, filled_quantity FROM trade_executor.v_orders "
        "WHERE account = :account"
    )
    assert {row[0]: (row[1], Decimal(row[2])) for row in rows} == {
        order["id"]: (order["status"], Decimal(order["filled_quantity"]))
        for order in book["orders"]
    }
    rows = await replay.truth.latest(
        "SELECT broker_order_id, symbol, side, quantity, price FROM trade_executor.v_fills "
        "WHERE account = :account"
    )
    assert Counter((r[0], r[1], r[2], Decimal(r[3]), Decimal(r[4])) for r in rows) == Counter(
        (f["order_id"], f["symbol"], f["side"], Decimal(f["quantity"]), Decimal(f["price"]))
        for f in book["executions"]
    )
    rows = await replay.truth.latest(
        "SELECT symbol, quantity FROM trade_executor.v_positions "
        "WHERE account = :account AND quantity <> 0"
    )
    assert {row[0]: Decimal(row[1]) for row in rows} == {
        symbol: Decimal(position["quantity"]) for symbol, position in book["positions"].items()
    }
    rows = await replay.truth.latest(
        "SELECT cash FROM trade_executor.v_cash WHERE account = :account"
    )
    assert Decimal(rows[0][0]) == Decimal(book["cash"])
    rows = await replay.truth.latest(
        "SELECT count(*) FROM trade_executor.v_intents i WHERE account = :account "
        "AND broker_order_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM risk_manager.v_decisions d "
        "WHERE d.account = i.account AND d.decision_id = i.decision_id AND d.outcome = 'approved')"
    )
    assert rows[0][0] == 0, "an order was sent without a stored approval"


async def assert_books_can_be_taken_out(replay: Replay) -> None:
    """What exports write adds up to the ledger, and the audit chain holds every booked row."""
    settings = load_settings(replay.stack.instance.operator_environment())
    async with open_database(
        settings, MonotonicTimer(), pool_size=1, application="test"
    ) as database:
        heads = await verify(Audit(database, replay.account), {})
        executions = await database.read(
            lambda connection: executions_of(connection, replay.account)
        )
    book = await replay.venue.book()
    lengths = {head.chain: head.length for head in heads}
    assert lengths["trade_executor.fills"] == len(book["executions"]) == len(executions)
    assert lengths["risk_manager.decisions"] > 0

    matching = match(executions)
    gains = sum((closing.gain or ZERO for closing in matching.closings), ZERO)
    tied = sum((lot.amount or ZERO for lot in matching.open_lots), ZERO)
    rows = await replay.truth.latest(
        "SELECT amount FROM trade_executor.v_cash_entries WHERE account = :account"
    )
    assert Decimal(book["cash"]) == sum(row[0] for row in rows) + gains - tied


async def assert_all_is_explained(replay: Replay) -> None:
    """Every order, leg and refusal leads back to the bar it was decided on, with nothing missing on the way."""
    bars = ParquetBars(replay.stack.instance.home / "parquet" / replay.account)
    explainer = Explainer(replay.truth, bars)
    rows = await replay.truth.latest(
        "SELECT broker_order_id AS id FROM trade_executor.v_orders WHERE account = :account "
        "UNION ALL SELECT decision_id FROM risk_manager.v_decisions WHERE account = :account"
    )
    assert rows, "a run without orders explains nothing"
    for row in rows:
        chain = await explainer.why(row[0])
        assert chain.missing == [], f"{row[0]}: {chain.missing}"
        assert chain.bar is not None
        assert chain.bar["digest"]
        assert chain.wish is not None
        assert chain.decision["checks"]
        assert chain.decision["outcome"] == "refused" or chain.intents
    signals = await replay.truth.latest(
        "SELECT symbol, bar_end_at FROM strategy_engine.v_signals WHERE account = :account "
        "ORDER BY id LIMIT 5"
    )
    for symbol, at in signals:
        answer = await explainer.why_not(symbol, at)
        assert answer["instant_at"] == at
        assert answer["chains"], f"{symbol} at {at}: {answer['answer']}"
