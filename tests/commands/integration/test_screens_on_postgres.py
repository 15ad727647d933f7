"""A backtest of a strategy that reads screens knows those that had been taken by then, and says where there were none."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from trader.cli import main
from trader.exits import ExitCode
from trader.runtime.instance import Instance
from trader.testing.servers import Servers

PROJECT = Path(__file__).resolve().parents[3]
# By then every figure of the strategy is known.
TAKEN_ON = date(2023, 9, 20)
# With nothing but the screen in its score it is long from the first screen that lets the symbol through.
RUN = [
    "backtest", "run", "--strategy", "hybrid", "--param", "fundamental_weight=1.0", "--json", "-",
    "--param", "short_window=5", "--param", "long_window=20", "--param", "volatile_from=20",
]  # fmt: skip


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    """Two years of weekdays that go up and down."""
    days = [date(2022, 1, 3) + timedelta(days=n) for n in range(730)]
    lines = ["date,open,high,low,close,volume"]
    for n, day in enumerate(day for day in days if day.weekday() < 5):
        price = 100 + n % 7
        lines.append(f"{day},{price},{price + 1},{price - 1},{price},1000000")
    (tmp_path / "AAPL.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "AAPL.csv"


def screens(servers: Servers, account: str, taken: dict[datetime, list[str]]) -> None:
    """What the data collector has kept."""

    async def insert() -> None:
        connection = await asyncpg.connect(
            host="127.0.0.1",
            port=servers.instance.ports.postgres,
            user="data_collector",
            password=servers.instance.database_password("data_collector"),
            database="trading",
        )
        try:
            for at, symbols in taken.items():
                await connection.execute(
                    "INSERT INTO data_collector.screens (account, screen, filters, taken_at, symbols) "
                    "VALUES ($1, 'cheap', '{fa_pe_low}', $2, $3)",
                    account,
                    at,
                    symbols,
                )
        finally:
            await connection.close()

    asyncio.run(insert())


def ran(bars: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main([*RUN, "--data", str(bars)]) == ExitCode.OK
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_screens_count_from_the_bar_that_could_know_them(
    servers: Servers,
    account: str,
    bars: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Instance, "of_project", lambda: servers.instance)
    monkeypatch.setenv("TRADING_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DATA_DIR", str(PROJECT / "data" / "parquet"))
    monkeypatch.setenv("TRADING_ACCOUNT", account)
    without = ran(bars, capsys)
    afternoon = datetime.combine(TAKEN_ON, datetime.min.time(), UTC) + timedelta(hours=18)
    days = [afternoon + timedelta(days=n) for n in range(-3, 6)]
    screens(servers, account, {at: ["MSFT"] if at < afternoon else ["AAPL", "MSFT"] for at in days})

    known = ran(bars, capsys)

    assert without["trades"] == without["open_positions"] == []
    assert any("no screen is known for these bars" in said for said in without["warnings"])
    # Taken before the close, it counts at that close, and the entry meets the next open.
    held = [*known["trades"], *known["open_positions"]]
    assert held[0]["entry_at"].startswith(str(TAKEN_ON + timedelta(days=1)))
    assert held[0]["entry_reason"] == "the score passed what its regime asks for"
    assert any(said.startswith("screens are known for ") for said in known["warnings"])
    assert known["manifest"]["data_hash"] != without["manifest"]["data_hash"]
    assert main(["backtest", "verify", known["manifest"]["id"]]) == ExitCode.OK
