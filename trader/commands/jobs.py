"""What does the scheduler do, and how do bars go through the pipeline? `trader jobs` and `trader pipeline`."""

import json
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table

from trader.commands.listing import cell, field, figure, listing, next_time, time_of
from trader.commands.service_api import ServiceApi, Token, items
from trader.runtime.instance import Instance

app = typer.Typer()
jobs_app = typer.Typer(
    help="List, run, pause and resume the scheduler's jobs.\n\nExample: trader jobs list",
    no_args_is_help=True,
)
app.add_typer(jobs_app, name="jobs")

SCHEDULER = "scheduler"
NEWEST = 20
MOST = 500
# Of each stage the word that stands above its seconds.
STAGES = {
    "screener": "screen",
    "collection": "collect",
    "strategies": "decide",
    "risk": "review",
    "execution": "send",
    "fill": "fill",
}
COUNTS = ("signals", "approved", "orders", "fills")
RUNS = (
    time_of("due_at", "due"),
    field("state", "state"),
    field("by", "actor"),
    figure("seconds", "duration_s"),
    field("detail", "detail"),
)

JobArgument = Annotated[str, typer.Argument(help="Which job, e.g. reconcile.")]
LimitOption = Annotated[int, typer.Option(min=1, max=MOST, help="At most so many, newest first.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@jobs_app.command("list")
def list_jobs(as_json: JsonOption = False) -> None:
    """List every job with its schedule, its last outcome and its next time.

    Example: trader jobs list
    """
    said = ServiceApi(Instance.of_project()).get(SCHEDULER, "/jobs")
    if as_json:
        _print(said)
        return
    columns = (
        field("job", "job_id"),
        field("last", "state"),
        next_time(),
        figure("missed", "missed"),
        field("detail", "detail"),
    )
    Console().print(listing([_row(job) for job in items(said, SCHEDULER)], columns))


@jobs_app.command("runs")
def runs(job: JobArgument, limit: LimitOption = NEWEST, as_json: JsonOption = False) -> None:
    """Show the newest runs of a job, with how long each took and what became of it.

    Example: trader jobs runs reconcile
    """
    api = ServiceApi(Instance.of_project())
    said = api.get(SCHEDULER, f"{_path(job)}/runs", {"limit": limit})
    if as_json:
        _print(said)
        return
    rows = [
        {**run, "duration_s": _seconds(run.get("duration_s"))} for run in items(said, SCHEDULER)
    ]
    Console().print(listing(rows, RUNS))


@jobs_app.command("trigger")
def trigger(job: JobArgument, as_json: JsonOption = False) -> None:
    """Run a job now; it is queued, and its outcome is among its runs.

    Example: trader jobs trigger vacuum
    """
    _change(f"{_path(job)}/trigger", {}, as_json, f"queued {job}; see trader jobs runs {job}")


@jobs_app.command("pause")
def pause(
    job: JobArgument,
    reason: Annotated[str, typer.Option(help="Why it is to rest.")],
    as_json: JsonOption = False,
) -> None:
    """Let a job rest until it is resumed; what comes due meanwhile is missed, and said to be.

    Example: trader jobs pause vacuum --reason "migrating tonight"
    """
    _change(f"{_path(job)}/pause", {"reason": reason}, as_json, f"{job} rests")


@jobs_app.command("resume")
def resume(job: JobArgument, as_json: JsonOption = False) -> None:
    """Let a paused job run again from its next time on.

    Example: trader jobs resume vacuum
    """
    _change(f"{_path(job)}/resume", {}, as_json, f"{job} runs again from its next time on")


@app.command("pipeline")
def pipeline(limit: LimitOption = NEWEST, as_json: JsonOption = False) -> None:
    """Show the newest batches of bars: seconds of each stage; signals, approvals, orders and fills that came of it.

    Seconds are the venue's, whose clock stands still within a step of a replay; only the screen's are the machine's there.

    Example: trader pipeline --limit 5
    """
    said = ServiceApi(Instance.of_project()).get(SCHEDULER, "/pipeline/runs", {"limit": limit})
    if as_json:
        _print(said)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("bars until", "symbols"):
        table.add_column(title, no_wrap=True)
    for title in (*STAGES.values(), "signals>fills"):
        table.add_column(title, justify="right", no_wrap=True)
    until = time_of("end_at")
    for run in items(said, SCHEDULER):
        stages = run.get("stages")
        took = {
            each.get("stage"): each.get("took_s")
            for each in (stages if isinstance(stages, list) else [])
            if isinstance(each, dict)
        }
        counts = ">".join(str(run.get(name)) for name in COUNTS)
        table.add_row(
            until.cell(run),
            cell(run.get("symbols")),
            *(cell(_seconds(took.get(stage, _instead(run, stage)))) for stage in STAGES),
            cell(counts),
        )
    Console().print(table)


def _instead(run: Mapping[str, Any], stage: str) -> object:
    """What stands for the seconds of a screen that was not taken: failed, or off."""
    screening = run.get("screening")
    if stage != "screener" or not isinstance(screening, dict):
        return None
    return screening.get("outcome")


def _path(job: str) -> str:
    # What holds a slash names no job, and must not become another path.
    return f"/jobs/{quote(job, safe='')}"


def _change(path: str, body: Mapping[str, Any], as_json: bool, words: str) -> None:
    said = ServiceApi(Instance.of_project()).post(SCHEDULER, path, body, Token.OPERATE)
    if as_json:
        _print(said)
    else:
        print(words)


def _row(job: Mapping[str, Any]) -> dict[str, Any]:
    last, paused = job.get("last_run"), job.get("paused")
    outcome = last if isinstance(last, dict) else {}
    state = "paused" if isinstance(paused, dict) else outcome.get("state")
    detail = paused.get("reason") if isinstance(paused, dict) else outcome.get("detail")
    return {**job, "state": state, "detail": detail or job.get("schedule")}


def _seconds(value: object) -> object:
    return f"{value:.3f}" if isinstance(value, float | int) else value


def _print(said: Mapping[str, Any]) -> None:
    print(json.dumps(said, sort_keys=True))
