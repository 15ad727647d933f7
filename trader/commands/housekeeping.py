"""Make the system ready, and remove what has grown old: `trader build`, `trader update`, `trader prune`.

Nothing here ever touches the ledger: market data can be fetched again, logs are only read by people.
"""

import json
import sys
from datetime import timedelta
from typing import Annotated, Any

import typer

from shared.adapters.clocks import WallClock
from shared.adapters.folders import open_folder
from shared.adapters.logs import old_logs
from shared.adapters.parquet import ParquetBars
from shared.config import Settings, load_settings
from shared.domain.timeframes import Timeframe
from trader.commands.asking import YesOption, confirm
from trader.runtime.instance import Instance
from trader.runtime.runtimes import name_to_build, remember, runtime_named, runtime_of

app = typer.Typer()

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, do nothing.")
]


@app.command()
def build(as_json: JsonOption = False) -> None:
    """Make ready what is run: container images where Docker answers, else this machine's servers.

    Example: trader build
    """
    instance = Instance.of_project()
    name = name_to_build(instance)
    runtime_named(name, instance).build(_say)
    remember(instance, name)
    _result({"runtime": name.value}, as_json, f"ready for the {name.value} runtime: make start")


@app.command()
def update(as_json: JsonOption = False) -> None:
    """Install the pinned packages anew, or fetch base images and build on them. Stop the system first.

    Example: trader update
    """
    instance = Instance.of_project()
    runtime = runtime_of(instance)
    runtime.update(_say)
    words = "up to date; make restart lets running services use it"
    _result({"runtime": runtime.name.value}, as_json, words)


@app.command()
def prune(
    yes: YesOption = False, dry_run: DryRunOption = False, as_json: JsonOption = False
) -> None:
    """Remove logs and intraday bars that are older than the RETENTION_ settings; never the ledger.

    Example: trader prune --dry-run
    """
    instance = Instance.of_project()
    settings = load_settings(instance.settings)
    oldest_at = WallClock().now() - timedelta(days=settings.retention_logs_days)
    logs = old_logs(instance.logs, oldest_at)
    nothing = not logs and settings.retention_bars_days == 0
    if not dry_run and not nothing:
        confirm(f"{len(logs)} old log files and {_bars_in_words(settings)} are removed", yes)
        for log in logs:
            log.unlink(missing_ok=True)
    bars = 0 if dry_run else _forget_bars(instance, settings)
    document = {"logs": [log.name for log in logs], "bars": bars, "dry_run": dry_run}
    verb = "would remove" if dry_run else "removed"
    what = _bars_in_words(settings) if dry_run else f"{bars} bars"
    _result(document, as_json, f"{verb} {len(logs)} log files, {what}")


def _forget_bars(instance: Instance, settings: Settings) -> int:
    if settings.retention_bars_days == 0:
        return 0
    before_at = WallClock().now() - timedelta(days=settings.retention_bars_days)
    history = instance.history
    return sum(
        ParquetBars(history / account).forget(timeframe, before_at)
        for account in open_folder(history).folders()
        for timeframe in Timeframe
        if timeframe.is_intraday
    )


def _bars_in_words(settings: Settings) -> str:
    days = settings.retention_bars_days
    return f"intraday bars older than {days} days" if days else "no bars (RETENTION_BARS_DAYS is 0)"


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _result(document: dict[str, Any], as_json: bool, words: str) -> None:
    print(json.dumps(document, sort_keys=True) if as_json else words)
