"""What a person sees of the system in a terminal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rich.console import Console

from trader.commands.watch_screen import NEXT_JOBS, Picture, ProgramFigures, shown


def a_job(number: int, last: str | None = "DONE", missed: int = 0, *, due: bool = True) -> Any:
    at = f"2026-01-05T{10 + number:02}:00:00+00:00"
    return {"job_id": f"job_{number}", "last": last, "next_due_at": at if due else None, "missed": missed}  # fmt: skip


PICTURE = Picture(
    runtime="local",
    programs=[ProgramFigures("risk_manager", "RUNNING", 3725, 0.02, 100 * 2**20)],
    trading={
        "equity": "100237.46",
        "cash": "90405.89",
        "drawdown": 0.01,
        "gross_exposure": 0.5,
        "mode": "ACTIVE",
        "reason": "first start",
        "phase": "open",
        "clock": "replay",
        "positions": 2,
        "differences": 0,
        "executor": "READY",
    },
    limits=[
        {"code": "DAILY_TRADES", "usage": 45, "limit": 50},
        {"code": "DRAWDOWN", "usage": 0.01, "limit": 0.15},
    ],
    orders=[],
    budgets=[],
    jobs=[a_job(number) for number in range(9)],
    disk={"logs": 2**20},
    silent={},
)


def seen(picture: Picture, width: int = 100, *, is_live: bool = False) -> str:
    console = Console(width=width, no_color=True)
    with console.capture() as captured:
        console.print(shown(picture, is_live=is_live))
    return captured.get()


def test_the_fullest_limits_come_first_with_how_full_they_are() -> None:
    lines = seen(PICTURE).partition("fullest limits")[2].splitlines()
    limits = [line for line in lines if line.startswith(("daily trades", "drawdown "))]

    assert [line.split()[-1] for line in limits] == ["90%", "7%"]


def test_the_accounts_figures_are_whole_also_in_half_of_a_wide_terminal() -> None:
    rich = {**PICTURE.trading, "equity": "123456789.01", "cash": "-23456789.01"}

    for width in (80, 120):
        words = seen(replace(PICTURE, trading=rich), width).split()
        assert {"123,456,789.01", "-23,456,789.01", "READY"} <= {*words}
        assert words[words.index("drawdown") + 1] == "1.00"
        assert words[words.index("exposure") + 1] == "50.00"


def test_a_job_that_beats_on_the_machine_says_how_long_it_still_takes() -> None:
    beats = [
        {"job_id": f"job_{n}", "last": "DONE", "next_due_at": None, "next_in_s": s, "missed": 0}
        for n, s in enumerate((12.4, 899.0, None))
    ]

    lines = [line.split() for line in seen(replace(PICTURE, jobs=beats)).splitlines()]

    assert [line[2:-1] for line in lines if line[:1] and line[0].startswith("job_")] == [
        ["in", "12", "s"],
        ["in", "14", "min"],
        ["-"],
    ]


def test_a_halt_is_named_with_its_reason() -> None:
    halted = replace(PICTURE, trading={**PICTURE.trading, "mode": "HALTED", "reason": "earnings"})

    assert "trading is HALTED (earnings)" in seen(halted)
    assert "trading is ACTIVE   market open, replay" in seen(PICTURE)


def test_the_live_view_shows_what_failed_and_what_is_due_next_and_stats_all_jobs() -> None:
    picture = replace(PICTURE, jobs=[*PICTURE.jobs, a_job(20 - 10, "FAILED", due=False)])

    def jobs(text: str) -> list[str]:
        return [line.split()[0] for line in text.splitlines() if line.startswith("job_")]

    assert jobs(seen(picture, is_live=True)) == ["job_10", *(f"job_{n}" for n in range(NEXT_JOBS))]
    assert len(jobs(seen(picture))) == 10


def test_a_wide_terminal_has_account_and_programs_beside_each_other() -> None:
    def is_beside(width: int) -> bool:
        return any("trading is" in line and "programs" in line for line in seen(PICTURE, width).splitlines())  # fmt: skip

    assert (is_beside(140), is_beside(100)) == (True, False)


def test_what_does_not_answer_stands_first_and_what_it_would_have_told_is_left_out() -> None:
    silent = {"risk_manager": "the risk manager does not run"}
    picture = replace(PICTURE, trading={}, limits=[], silent=silent)

    text = seen(picture)

    assert text.splitlines()[0] == "risk_manager: the risk manager does not run"
    assert "trading is -" in text
    assert "fullest limits" not in text


def test_text_of_a_service_is_shown_as_the_text_that_it_is() -> None:
    hostile = {**PICTURE.trading, "mode": "HALTED", "reason": "[red]\x1b[31mx"}

    assert "[red]" in seen(replace(PICTURE, trading=hostile))
    assert "\x1b" not in seen(replace(PICTURE, trading=hostile))
