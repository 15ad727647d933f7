"""A backtest of a strategy that reads fundamentals knows those that had been taken by then, and says where there were none."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from dashboard.adapters.backtests import Backtests
from data_collector.adapters.universe import PostgresUniverse
from data_collector.screens import Taken
from shared.adapters.clocks import MonotonicTimer
from shared.adapters.postgres import open_database
from shared.config import load_settings
from shared.domain.symbols import Symbol
from trader.cli import main
from trader.exits import ExitCode
from trader.runtime.instance import Instance
from trader.testing.projects import act_on
from trader.testing.servers import Servers, SettingsFor

PROJECT = Path(__file__).resolve().parents[3]
# By then every figure of the strategy is known.
TAKEN_ON = date(2023, 9, 20)
# With nothing but fundamentals in its score it is long from the first good figures on.
PARAMETERS = [
    "--param", "fundamental_weight=1.0", "--param", "short_window=5", "--param", "long_window=20",
    "--param", "volatile_from=20",
]  # fmt: skip
POOR = {"pe": None, "pb": 9.0}
GOOD = {
    "pe": 8.0, "pb": 0.9, "eps_growth_quarter": 0.3, "sales_growth_quarter": 0.3, "return_on_equity": 0.3,
    "operating_margin": 0.3, "debt_to_equity": 0.1,
}  # fmt: skip
Figures = Mapping[str, float | None]


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


def note(settings_for: SettingsFor, account: str, seen: dict[datetime, Figures]) -> list[datetime]:
    """Let the collector keep what a screen showed of AAPL, and return when it kept its figures."""
    symbol = Symbol("AAPL")

    async def kept(connection: AsyncConnection) -> list[datetime]:
        found = await connection.execute(
            text(
                "SELECT taken_at FROM data_collector.fundamentals WHERE account = :account ORDER BY id"
            ),
            {"account": account},
        )
        return [row.taken_at for row in found]

    async def main_() -> list[datetime]:
        settings = settings_for("data_collector")
        async with open_database(settings, MonotonicTimer(), application="test") as database:
            universe = PostgresUniverse(database, account)
            for at, figures in seen.items():
                taken = Taken("cheap", ("fa_pe_low",), at, (symbol,))
                # The same again, as after an answer that was lost.
                for _ in range(2):
                    await universe.note(taken, {symbol: figures})
            return await database.run(kept)

    return asyncio.run(main_())


def ran(bars: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert (
        main(
            [
                "backtest",
                "run",
                "--strategy",
                "hybrid",
                "--json",
                "-",
                *PARAMETERS,
                "--data",
                str(bars),
            ]
        )
        == ExitCode.OK
    )
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_fundamentals_count_from_the_bar_that_could_know_them(
    servers: Servers,
    account: str,
    settings_for: SettingsFor,
    bars: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    act_on(monkeypatch, servers.instance)
    monkeypatch.setenv("DATA_DIR", str(PROJECT / "data" / "parquet"))
    monkeypatch.setenv("TRADING_ACCOUNT", account)
    without = ran(bars, capsys)
    afternoon = datetime.combine(TAKEN_ON, datetime.min.time(), UTC) + timedelta(hours=18)
    days = [afternoon + timedelta(days=n) for n in range(-3, 6)]
    kept = note(settings_for, account, {at: POOR if at < afternoon else GOOD for at in days})

    known = ran(bars, capsys)

    assert kept == days
    assert without["trades"] == without["open_positions"] == []
    assert any("no fundamentals are known for these bars" in said for said in without["warnings"])
    # Taken before the close, they count at that close, and the entry meets the next open.
    held = [*known["trades"], *known["open_positions"]]
    assert held[0]["entry_at"].startswith(str(TAKEN_ON + timedelta(days=1)))
    assert held[0]["entry_reason"] == "the score passed what its regime asks for"
    assert any(said.startswith("fundamentals are known for ") for said in known["warnings"])
    assert known["manifest"]["data_hash"] != without["manifest"]["data_hash"]
    assert main(["backtest", "verify", known["manifest"]["id"]]) == ExitCode.OK
    capsys.readouterr()
    words = ["check", "lookahead", "hybrid", "--data", str(bars), *PARAMETERS]
    assert main(words) == ExitCode.OK
    assert "no difference found at 40 instants with 2 wishes" in capsys.readouterr().out


def test_figures_of_a_symbol_are_kept_once_an_hour(account: str, settings_for: SettingsFor) -> None:
    first = datetime(2026, 1, 14, 15, 0, tzinfo=UTC)
    minutes = [0, 5, 55, 60, 65, 120]

    kept = note(settings_for, account, {first + timedelta(minutes=n): GOOD for n in minutes})

    assert kept == [first, first + timedelta(minutes=60), first + timedelta(minutes=120)]


def test_a_backtest_from_the_dashboard_knows_them_by_what_its_container_was_told(
    servers: Servers,
    account: str,
    settings_for: SettingsFor,
    bars: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    afternoon = datetime.combine(TAKEN_ON, datetime.min.time(), UTC) + timedelta(hours=18)
    note(settings_for, account, {afternoon + timedelta(days=n): GOOD for n in range(6)})
    home = tmp_path / "home"
    told = {
        name: value
        for name, value in servers.instance.environment("dashboard").items()
        if name not in {*os.environ, "HOME", "TZ"}
    } | {"TRADING_HOME": str(home), "TRADING_ACCOUNT": account}
    (tmp_path / "told").write_text("\n".join(f"{name}={value}" for name, value in told.items()))
    monkeypatch.setenv("SETTINGS_FILE", str(tmp_path / "told"))
    values = ",".join(word for word in PARAMETERS if word != "--param")

    async def ran_there() -> dict[str, Any]:
        desk = Backtests(load_settings(), MonotonicTimer())
        desk.start({"strategy": "hybrid", "data": str(bars), "param": values})
        assert desk._task is not None
        assert desk.latest is not None
        await desk._task
        assert desk.latest.failed is None
        return await desk.run(desk.latest.run_id or "")

    found = asyncio.run(ran_there())

    assert any(said.startswith("fundamentals are known for ") for said in found["warnings"])
    # Where a container may write nothing, nothing needs to be written: no secrets of its own.
    assert not (home / ".env").exists()


def test_why_nothing_is_known_is_said_in_the_databases_own_sentence(
    servers: Servers,
    account: str,
    bars: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of_nobody = Instance.create(tmp_path / "stack", settings={"TRADING_ACCOUNT": account})
    monkeypatch.setenv("TRADING_HOME", str(of_nobody.home))
    for name, value in of_nobody.addresses().items():
        if name.endswith("_PORT"):
            monkeypatch.setenv(name, value)

    found = ran(bars, capsys)

    said = "what was kept of screens and companies could not be read: PostgreSQL does not answer"
    assert any(each.startswith(said) for each in found["warnings"])


def test_a_wrong_setting_ends_the_run_in_place_of_a_run_that_knows_nothing(
    bars: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRADING_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRADING_SYMBOLS", "AAPL,not a symbol")

    words = ["backtest", "run", "--strategy", "hybrid", "--json", "-", "--data", str(bars)]
    assert main(words) == ExitCode.USAGE
    assert "TRADING_SYMBOLS" in capsys.readouterr().err


def test_what_was_cut_off_is_said_and_the_newest_are_known(
    servers: Servers,
    account: str,
    settings_for: SettingsFor,
    bars: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    act_on(monkeypatch, servers.instance)
    monkeypatch.setenv("TRADING_ACCOUNT", account)
    afternoon = datetime.combine(TAKEN_ON, datetime.min.time(), UTC) + timedelta(hours=18)
    note(settings_for, account, {afternoon + timedelta(days=n): GOOD for n in range(6)})
    # As if a run of all that is kept were as large as one of thousands of symbols.
    monkeypatch.setattr("trader.universe.MOST_SNAPSHOTS", 4)
    monkeypatch.setattr("trader.universe._ROWS_AT_ONCE", 2)

    found = ran(bars, capsys)

    (cut,) = [said for said in found["warnings"] if said.startswith("only the newest")]
    assert cut == (
        "only the newest 4 snapshots of companies were read, those after 2023-09-21 18:00 UTC; "
        "test fewer symbols or a shorter time"
    )
    assert any(said.startswith("fundamentals are known for ") for said in found["warnings"])
