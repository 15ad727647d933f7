"""The reads on real PostgreSQL, as the role that may only look."""

from __future__ import annotations

import asyncio
import inspect
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from dashboard.store import PostgresReads
from shared.adapters.clocks import MonotonicTimer
from shared.adapters.postgres import open_database
from trader.testing.servers import SettingsFor

MIDNIGHT = datetime(2026, 1, 5, 5, tzinfo=UTC)
READS = sorted(
    name
    for name, method in inspect.getmembers(PostgresReads, inspect.iscoroutinefunction)
    if not name.startswith("_")
)
ARGUMENTS: dict[str, Any] = {
    "midnight": MIDNIGHT,
    "since": MIDNIGHT,
    "end_at": MIDNIGHT,
    "instants": 390,
}


@pytest.mark.parametrize("name", READS)
def test_every_read_works_on_an_account_that_has_nothing_yet(
    settings_for: SettingsFor, account: str, name: str
) -> None:
    settings = settings_for("dashboard")

    async def main() -> Any:
        async with open_database(settings, MonotonicTimer(), application="test") as database:
            read = getattr(PostgresReads(database, account), name)
            wanted = [
                ARGUMENTS.get(parameter.name, "x")
                for parameter in inspect.signature(read).parameters.values()
                if parameter.default is inspect.Parameter.empty
            ]
            return await read(*wanted)

    found = asyncio.run(main())

    if name == "counts":
        assert set(found.values()) == {0}
    elif name == "lags":
        assert {row["waiting"] for row in found} == {0}
    else:
        assert found in ([], None)


def test_the_dashboards_role_can_write_nothing(settings_for: SettingsFor) -> None:
    settings = settings_for("dashboard")

    async def main() -> str:
        async with open_database(settings, MonotonicTimer(), application="test") as database:

            async def write(connection: Any) -> None:
                await connection.execute(text("DELETE FROM risk_manager.modes"))

            with pytest.raises(DBAPIError) as refused:
                await database.run(write)
            return str(refused.value.orig)

    assert "permission denied" in asyncio.run(main())


@pytest.mark.parametrize(
    ("paid_before", "began"), [(Decimal(500), Decimal(80_000)), (None, Decimal(100_000))]
)
def test_the_day_begins_with_what_was_paid_in_since(
    settings_for: SettingsFor, account: str, paid_before: Decimal | None, began: Decimal
) -> None:
    marks = [
        (MIDNIGHT - timedelta(hours=8), 100_000, paid_before),
        (MIDNIGHT + timedelta(hours=9), 90_000, paid_before),
        (MIDNIGHT + timedelta(hours=10), 79_000, Decimal(-19_500)),
    ]

    async def main() -> Any:
        owner, reader = settings_for("risk_manager"), settings_for("dashboard")
        async with open_database(owner, MonotonicTimer(), application="test") as database:

            async def keep(connection: Any) -> None:
                for number, (at, equity, paid_in) in enumerate(marks):
                    await connection.execute(
                        text(
                            "INSERT INTO risk_manager.equity_points (account, source, instant_at, cash, equity, "
                            "peak_equity, drawdown, gross_exposure, net_exposure, mode_version, paid_in) VALUES "
                            "(:account, :source, :at, 0, :equity, 200000, 0, 0, 0, 1, :paid_in)"
                        ),
                        {
                            "account": account, "source": str(number), "at": at, "equity": equity,
                            "paid_in": paid_in,
                        },
                    )  # fmt: skip

            await database.run(keep)
        async with open_database(reader, MonotonicTimer(), application="test") as database:
            return await PostgresReads(database, account).day_start(MIDNIGHT)

    assert asyncio.run(main()) == began
