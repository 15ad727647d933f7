"""The command line is asked for backtests, and its refusals are told as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from dashboard.adapters.backtests import Backtests
from shared.adapters.clocks import MonotonicTimer
from shared.config import load_settings
from shared.domain.errors import Rejected

SECRET = "canary-token-000000000000"


def at(
    home: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[Backtests], Awaitable[Any]]
) -> Any:
    monkeypatch.setenv("TRADING_HOME", str(home))
    monkeypatch.setenv("API_TOKEN_READ", SECRET)
    settings = load_settings({"API_TOKEN_READ": SECRET})

    async def main() -> Any:
        desk = Backtests(settings, MonotonicTimer())
        try:
            return await work(desk)
        finally:
            await desk.close()

    return asyncio.run(main())


def test_a_home_without_runs_has_an_empty_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert at(tmp_path, monkeypatch, lambda desk: desk.runs()) == []


def test_an_unknown_run_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Rejected, match="zzzz"):
        at(tmp_path, monkeypatch, lambda desk: desk.run("zzzz"))


def test_a_report_of_an_unknown_run_is_refused_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))

    with pytest.raises(Rejected, match="zzzz"):
        at(tmp_path, monkeypatch, lambda desk: desk.report("zzzz"))

    assert not list(scratch.iterdir())


def test_what_looks_like_an_option_is_not_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Rejected):
        at(tmp_path, monkeypatch, lambda desk: desk.run("--help"))


def test_a_second_run_waits_for_the_first_and_no_secret_is_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(desk: Backtests) -> Any:
        desk.start({"strategy": "moving_average", "symbols": "AAPL"})
        with pytest.raises(Rejected, match="under way"):
            desk.start({"strategy": "moving_average"})
        return SECRET in str(desk._environment)

    assert at(tmp_path, monkeypatch, work) is False


def test_a_containers_settings_file_is_what_backtests_are_told_without_its_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "told"
    file.write_text(f"RISK_MAX_POSITION_SIZE=0.03\nAPI_TOKEN_READ={SECRET}\n")
    monkeypatch.setenv("SETTINGS_FILE", str(file))

    async def told(desk: Backtests) -> Any:
        return desk._environment

    found = at(tmp_path, monkeypatch, told)

    assert found["RISK_MAX_POSITION_SIZE"] == "0.03"
    assert "SETTINGS_FILE" not in found
    assert SECRET not in str(found)


def test_what_history_is_read_with_is_handed_on_and_nothing_that_acts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "told"
    reading = ("DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    acting = ("API_TOKEN_KILL", "REDIS_PASSWORD", "ALPACA_SECRET_KEY", "GOTIFY_TOKEN")
    file.write_text("".join(f"{name}={name.lower()}-{SECRET}\n" for name in (*reading, *acting)))
    monkeypatch.setenv("SETTINGS_FILE", str(file))

    found = Backtests(load_settings(), MonotonicTimer())._environment

    assert [name for name in (*reading, *acting) if name in found] == list(reading)
    assert str(found).count(SECRET) == len(reading)
