"""Snapshots and reports read the views of a real database, as each owner fills it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.adapters.views import PostgresViews
from scheduler.ports import DayCounts, Portfolio
from scheduler.testing import a_week_in_march
from shared.adapters.clocks import MonotonicTimer
from shared.adapters.postgres import open_database
from trader.testing.servers import SettingsFor

DAY = datetime(2026, 3, 3, 16, 0, tzinfo=UTC)
EVENING = datetime(2026, 3, 3, 21, 0, tzinfo=UTC)
DAY_BEFORE = datetime(2026, 3, 2, 21, 0, tzinfo=UTC)
DAY_AFTER = datetime(2026, 3, 5, 21, 0, tzinfo=UTC)
T = TypeVar("T")
Rows = list[tuple[str, Mapping[str, Any]]]


async def insert(settings_for: SettingsFor, owner: str, rows: Rows) -> None:
    async with open_database(settings_for(owner), MonotonicTimer(), application="t") as database:

        async def work(connection: AsyncConnection) -> None:
            for table, values in rows:
                names = ", ".join(values)
                places = ", ".join(f":{name}" for name in values)
                await connection.execute(
                    text(f"INSERT INTO {owner}.{table} ({names}) VALUES ({places})"), values
                )

        await database.run(work)


def ask(
    settings_for: SettingsFor, account: str, work: Callable[[PostgresViews], Awaitable[T]]
) -> T:
    async def main() -> T:
        timer = MonotonicTimer()
        async with open_database(settings_for("scheduler"), timer, application="t") as database:
            return await work(PostgresViews(database, account))

    return asyncio.run(main())


def an_equity_point(
    account: str, source: str, at: datetime, equity: int, paid_in: int | None = None
) -> tuple[str, Mapping[str, Any]]:
    return "equity_points", {
        "paid_in": None if paid_in is None else Decimal(paid_in),
        "account": account,
        "source": source,
        "instant_at": at,
        "cash": Decimal(90_000),
        "equity": Decimal(equity),
        "peak_equity": Decimal(120_000),
        "drawdown": 0.125,
        "gross_exposure": Decimal("9999.5"),
        "net_exposure": Decimal("9999.5"),
        "mode_version": 1,
    }


def an_order(
    account: str, order_id: str, at: datetime, parent: str | None = None
) -> tuple[str, Mapping[str, Any]]:
    return "orders", {
        "account": account,
        "broker_order_id": order_id,
        "client_order_id": f"c-{order_id}",
        "parent_order_id": parent,
        "symbol": "GOOG",
        "side": "buy",
        "type": "market",
        "order_class": "bracket",
        "status": "filled",
        "quantity": Decimal(10),
        "filled_quantity": Decimal(10),
        "booked_quantity": Decimal(10),
        "submitted_at": at,
        "updated_at": at,
        "first_seen_at": at,
    }


def a_fill(
    account: str, order_id: str, at: datetime, quantity: int
) -> tuple[str, Mapping[str, Any]]:
    return "fills", {
        "account": account,
        "execution_id": f"{order_id}-{quantity}",
        "broker_order_id": order_id,
        "symbol": "GOOG",
        "side": "buy",
        "quantity": Decimal(quantity),
        "price": Decimal("100.25"),
        "fee": Decimal("0.5"),
        "executed_at": at,
        "booked_at": at,
    }


def a_decision(account: str, name: str, at: datetime, code: str | None) -> str:
    """As SQL, since it points at the outbox row that announced it."""
    outcome = "approved" if code is None else "refused"
    quoted = "NULL" if code is None else f"'{code}'"
    return f"""
        WITH said AS (
            INSERT INTO risk_manager.outbox (account, topic, key, payload, created_at)
            VALUES ('{account}', 'reviews', '{name}', '{{}}', '{at.isoformat()}') RETURNING id)
        INSERT INTO risk_manager.decisions (account, decision_id, signal_id, source, review_id,
            instant_at, decided_at, outcome, strategy, symbol, side, purpose, quantity, type,
            time_in_force, reference_price, act_from, act_until, trade_on, reason_code, checks, figures)
        SELECT '{account}', '{name}', '{name}', 'x', id, '{at.isoformat()}', '{at.isoformat()}',
            '{outcome}', 'manual', 'GOOG', 'buy', 'entry', 10, 'market', 'gtc', 100,
            '{at.isoformat()}', '{at.isoformat()}', '2026-03-03', {quoted}, '[]', '{{}}' FROM said"""


def test_a_days_report_counts_what_belongs_to_the_exchange_day_and_to_the_account(
    settings_for: SettingsFor, account: str
) -> None:
    async def fill_in(label: str) -> None:
        executor: Rows = [
            an_order(label, "before", DAY_BEFORE),
            an_order(label, "entry", DAY),
            an_order(label, "leg", DAY, parent="entry"),
            an_order(label, "after", DAY_AFTER),
            a_fill(label, "before", DAY_BEFORE, 10),
            a_fill(label, "entry", DAY, 4),
            a_fill(label, "entry", EVENING, 6),
        ]
        await insert(settings_for, "trade_executor", executor)
        points: Rows = [
            an_equity_point(label, "1", DAY_BEFORE, 100_000),
            an_equity_point(label, "2", DAY, 99_000),
            an_equity_point(label, "3", EVENING, 101_500),
            an_equity_point(label, "4", DAY_AFTER, 105_000),
        ]
        await insert(settings_for, "risk_manager", points)
        decided = [
            a_decision(label, "s1", DAY_BEFORE, None),
            a_decision(label, "s2", DAY, None),
            a_decision(label, "s3", DAY, "DRAWDOWN"),
            a_decision(label, "s4", EVENING, "DRAWDOWN"),
            a_decision(label, "s5", EVENING, "MODE"),
        ]
        settings = settings_for("risk_manager")
        async with open_database(settings, MonotonicTimer(), application="t") as database:
            for statement in decided:
                await database.run(partial(AsyncConnection.execute, statement=text(statement)))
        signal = {
            "account": label,
            "batch_id": 1,
            "strategy": "moving_average",
            "symbol": "GOOG",
            "timeframe": "1Min",
            "direction": "LONG",
            "conviction": 0.5,
            "reason": "r",
            "reference_price": Decimal(100),
            "figures": "{}",
        }
        signals: Rows = [
            (
                "signals",
                {
                    **signal,
                    "signal_id": f"{label}-{at.day}",
                    "bar_start_at": at.replace(minute=0, hour=at.hour - 1),
                    "bar_end_at": at,
                    "created_at": at,
                },
            )
            for at in (DAY_BEFORE, EVENING, DAY_AFTER)
        ]
        await insert(settings_for, "strategy_engine", signals)

    asyncio.run(fill_in(account))
    asyncio.run(fill_in(f"{account}-b"))
    session = a_week_in_march().session_at(DAY)
    assert session is not None

    found = ask(settings_for, account, lambda views: views.day(session))

    assert found == DayCounts(
        signals=1,
        approved=1,
        refused=3,
        refused_by_code={"DRAWDOWN": 2, "MODE": 1},
        orders=1,
        fills=2,
        fees=Decimal("1.0"),
        equity_before=Decimal(100_000),
        equity_after=Decimal(101_500),
    )


def test_an_accounts_first_day_begins_with_its_own_first_valuation(
    settings_for: SettingsFor, account: str
) -> None:
    points: Rows = [
        an_equity_point(account, "1", DAY, 99_000),
        an_equity_point(account, "2", EVENING, 101_500),
    ]
    asyncio.run(insert(settings_for, "risk_manager", points))
    session = a_week_in_march().session_at(DAY)
    assert session is not None

    found = ask(settings_for, account, lambda views: views.day(session))

    assert (found.equity_before, found.equity_after) == (Decimal(99_000), Decimal(101_500))
    assert (found.orders, found.signals, found.refused_by_code) == (0, 0, {})


def test_what_is_paid_in_during_the_day_is_counted_from_the_mark_that_it_began_with(
    settings_for: SettingsFor, account: str
) -> None:
    before = DAY - timedelta(days=1)
    points: Rows = [
        an_equity_point(account, "1", before, 99_000, 500),
        an_equity_point(account, "2", EVENING, 101_500, 3_000),
    ]
    asyncio.run(insert(settings_for, "risk_manager", points))
    session = a_week_in_march().session_at(DAY)
    assert session is not None

    found = ask(settings_for, account, lambda views: views.day(session))

    assert (found.equity_before, found.paid_in) == (Decimal(99_000), Decimal(2_500))


def test_a_snapshot_is_none_before_the_account_is_there_and_the_folds_afterwards(
    settings_for: SettingsFor, account: str
) -> None:
    assert ask(settings_for, account, lambda views: views.portfolio()) is None
    opening = {
        "account": account,
        "key": "opening",
        "amount": Decimal(100_000),
        "reason": "r",
        "evidence": "{}",
        "entered_at": DAY,
    }
    adopted = {"account": account, "broker_account_id": "b", "adopted_at": DAY, "ledger_from": DAY}
    rows: Rows = [
        ("accounts", adopted),
        ("cash_entries", opening),
        an_order(account, "entry", DAY),
        a_fill(account, "entry", DAY, 10),
    ]
    asyncio.run(insert(settings_for, "trade_executor", rows))

    bare = ask(settings_for, account, lambda views: views.portfolio())
    assert bare == Portfolio(
        Decimal("98997.00"), {"GOOG": Decimal(10)}, None, None, None, None, None, None
    )

    marked: Rows = [
        an_equity_point(account, "1", DAY, 99_000),
        an_equity_point(account, "2", EVENING, 101_500),
        (
            "modes",
            {
                "account": account,
                "version": 1,
                "mode": "ACTIVE",
                "reason": "r",
                "actor": "a",
                "restarts_peak": False,
                "changed_at": DAY,
            },
        ),
    ]
    asyncio.run(insert(settings_for, "risk_manager", marked))

    held = ask(settings_for, account, lambda views: views.portfolio())
    assert held is not None
    assert (held.equity, held.marked_at, held.mode) == (Decimal(101_500), EVENING, "ACTIVE")
    assert (held.drawdown, held.gross_exposure) == (0.125, Decimal("9999.5"))
