"""The report's rows on real PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.adapters.day_reads import PostgresDays
from scheduler.daily_report import Day, as_text
from shared.adapters.clocks import MonotonicTimer
from shared.adapters.postgres import open_database
from shared.domain.calendar import Session
from shared.domain.lots import match
from trader.testing.servers import SettingsFor

OPEN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
NEXT_DAY = OPEN + timedelta(days=1)
AN_ACCOUNT = """
    INSERT INTO trade_executor.accounts (account, broker_account_id, adopted_at, ledger_from)
    VALUES (:account, :account, :at, :at)
"""
AN_ORDER = """
    INSERT INTO trade_executor.orders
        (account, broker_order_id, client_order_id, symbol, side, type, order_class, status, quantity, filled_quantity,
         booked_quantity, updated_at, first_seen_at)
    VALUES (:account, :id, :id, :symbol, :side, 'market', 'simple', 'filled', :quantity, :quantity, :quantity, :at, :at)
"""
A_FILL = """
    INSERT INTO trade_executor.fills
        (account, execution_id, broker_order_id, symbol, side, quantity, price, executed_at, booked_at)
    VALUES (:account, :id, :id, :symbol, :side, :quantity, 100, :at, :at)
"""
A_SPLIT = """
    INSERT INTO trade_executor.adjustments (account, key, symbol, quantity, reason, evidence, entered_at)
    VALUES (:account, :key, 'AAPL', :quantity, 'SPLIT', '{}', :at)
"""
A_MARK = """
    INSERT INTO risk_manager.equity_points (account, source, instant_at, cash, equity, peak_equity, drawdown,
        gross_exposure, net_exposure, mode_version, paid_in)
    VALUES (:account, :source, :at, 0, :equity, 200000, 0, 0, 0, 1, :paid_in)
"""
SESSION = Session(OPEN.date(), OPEN, OPEN.replace(hour=21, minute=0))


def test_a_day_without_anything_is_read_and_told(settings_for: SettingsFor, account: str) -> None:
    async def main() -> Day:
        settings = settings_for("scheduler")
        async with open_database(settings, MonotonicTimer(), application="test") as database:
            return await PostgresDays(database, account).day(SESSION, "Tuesday")

    day = asyncio.run(main())

    assert (day.fills, day.exceptions, day.equity_after, day.signals) == ([], [], None, 0)
    assert "Nothing was filled." in as_text(day)


def test_what_was_held_after_a_day_does_not_change_with_what_is_done_later(
    settings_for: SettingsFor, account: str
) -> None:
    fills = [
        ("a", "AAPL", "buy", 10, OPEN),
        ("b", "MSFT", "buy", 5, OPEN),
        ("c", "AAPL", "sell", 10, NEXT_DAY),
        ("d", "TSLA", "buy", 7, NEXT_DAY),
    ]

    async def main() -> tuple[Day, Day]:
        owner, reader = settings_for("trade_executor"), settings_for("scheduler")
        async with open_database(owner, MonotonicTimer(), application="test") as database:

            async def book(connection: AsyncConnection) -> None:
                await connection.execute(text(AN_ACCOUNT), {"account": account, "at": OPEN})
                for name, symbol, side, quantity, at in fills:
                    values: dict[str, Any] = {
                        "account": account,
                        "id": f"{account}-{name}",
                        "symbol": symbol,
                    }
                    values |= {"side": side, "quantity": quantity, "at": at}
                    for statement in (AN_ORDER, A_FILL):
                        await connection.execute(text(statement), values)

            await database.run(book)
        async with open_database(reader, MonotonicTimer(), application="test") as database:
            days = PostgresDays(database, account)
            later = Session(NEXT_DAY.date(), NEXT_DAY, NEXT_DAY.replace(hour=21, minute=0))
            return await days.day(SESSION, "Tuesday"), await days.day(later, "Wednesday")

    monday, tuesday = asyncio.run(main())

    def held(day: Day) -> dict[str, Decimal]:
        return {row["symbol"]: row["quantity"] for row in day.positions}

    assert held(monday) == {"AAPL": 10, "MSFT": 5}
    assert held(tuesday) == {"MSFT": 5, "TSLA": 7}


def test_what_was_bought_before_a_split_is_closed_in_the_shares_of_the_day(
    settings_for: SettingsFor, account: str
) -> None:
    async def main() -> Day:
        owner, reader = settings_for("trade_executor"), settings_for("scheduler")
        async with open_database(owner, MonotonicTimer(), application="test") as database:

            async def book(connection: AsyncConnection) -> None:
                for side, quantity, at in (("buy", 10, OPEN), ("sell", 20, NEXT_DAY)):
                    values: dict[str, Any] = {
                        "account": account,
                        "id": f"{account}-{side}",
                        "symbol": "AAPL",
                    }
                    values |= {"side": side, "quantity": quantity, "at": at}
                    for statement in (AN_ORDER, A_FILL):
                        await connection.execute(text(statement), values)
                for leg, shares in (("old", -10), ("new", 20)):
                    await connection.execute(
                        text(A_SPLIT),
                        {
                            "account": account,
                            "key": leg,
                            "quantity": shares,
                            "at": OPEN + timedelta(hours=12),
                        },
                    )

            await database.run(book)
        async with open_database(reader, MonotonicTimer(), application="test") as database:
            later = Session(NEXT_DAY.date(), NEXT_DAY, NEXT_DAY.replace(hour=21, minute=0))
            return await PostgresDays(database, account).day(later, "Wednesday")

    [closing] = match(asyncio.run(main()).executions).closings

    assert (closing.quantity, closing.cost, closing.proceeds) == (
        Decimal(20), Decimal(1000), Decimal(2000),
    )  # fmt: skip


def test_what_was_paid_in_during_the_day_is_no_result_of_it(
    settings_for: SettingsFor, account: str
) -> None:
    marks = [
        (OPEN - timedelta(days=1), 100_000, 500),
        (OPEN, 100_000, 500),
        (OPEN + timedelta(hours=1), 125_100, 25_500),
    ]

    async def main() -> tuple[Day, Day]:
        owner, reader = settings_for("risk_manager"), settings_for("scheduler")
        async with open_database(owner, MonotonicTimer(), application="test") as database:

            async def keep(connection: AsyncConnection) -> None:
                for at, equity, paid_in in marks:
                    values = {"account": account, "at": at, "equity": equity, "paid_in": paid_in}
                    values["source"] = at.isoformat()
                    await connection.execute(text(A_MARK), values)

            await database.run(keep)
        async with open_database(reader, MonotonicTimer(), application="test") as database:
            days = PostgresDays(database, account)
            before = Session(marks[0][0].date(), marks[0][0], OPEN - timedelta(hours=12))
            return await days.day(before, "Monday"), await days.day(SESSION, "Tuesday")

    first, day = asyncio.run(main())

    assert (first.paid_in, day.paid_in) == (Decimal(0), Decimal(25_000))
    assert "+100.00 USD" in as_text(day)
