"""Fetch, bring in, list and check market history: data fetch, import, list, check, generate, compact.

Thin: the collector fetches, `shared.adapters` reads and stores, `shared.domain.quality` judges. Progress goes to
standard error with rate and time left; with `--json` standard output holds one JSON document and nothing else.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from shared.adapters.bar_files import find_files, read_bars, series_of, timeframe_of
from shared.adapters.clocks import WallClock
from shared.adapters.exchange_calendar import load_calendar
from shared.adapters.importing import Imported, import_table
from shared.adapters.parquet import ParquetBars
from shared.config import load_settings
from shared.domain.bar_blocks import BarBlock
from shared.domain.corporate_actions import Split
from shared.domain.errors import InvalidInput
from shared.domain.money import MICROS
from shared.domain.quality import Finding, Kind, Series, Severity, check
from shared.domain.symbols import parse_symbol
from shared.domain.timeframes import Timeframe, parse_timeframe
from trader.commands.listing import cell
from trader.commands.service_api import ServiceApi, Token
from trader.exits import ExitCode
from trader.replay.bars_file import write_made_up_bars
from trader.runtime.errors import StackError
from trader.runtime.instance import Instance

app = typer.Typer()
data_app = typer.Typer(
    help="Fetch, import, list and check market history.\n\nExample: trader data check bars.csv",
    no_args_is_help=True,
)
app.add_typer(data_app, name="data")

COLLECTOR = "data_collector"
# So many symbols are read from the store at a time, so that checking it needs bounded memory.
_AT_ONCE = 50
_ASK_EVERY_S = 0.5
_SHOWN = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
TimeframeOption = Annotated[
    str | None, typer.Option("--timeframe", "-t", help="1Min, 5Min, 15Min, 1Hour or 1Day.")
]
AccountOption = Annotated[
    str | None, typer.Option(help="Whose store; the setting TRADING_ACCOUNT if left out.")
]


@data_app.command("check")
def check_bars(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="CSV or Parquet files or folders; the store if left out."),
    ] = None,
    timeframe: TimeframeOption = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> int:
    """Look for gaps, duplicates, bad prints, unadjusted splits and feeds that stand still.

    Ends with 1 when there are errors, so that a script can rely on it.

    Example: trader data check AAPL-20140609.parquet --json
    """
    instance = Instance.of_project()
    calendar = load_calendar(instance.parquet)
    wanted = None if timeframe is None else parse_timeframe(timeframe)
    now = WallClock().now()
    findings: list[Finding] = []
    checked: list[dict[str, Any]] = []
    store = stored_bars(instance, account)
    source = _series_of_files(files, wanted) if files else _series_of_store(store, wanted, now)
    explained = _days_of_splits(store)
    for series in source:
        if len(series):
            found = check(
                series,
                calendar,
                now=now,
                explained_splits=explained[series.symbol],
                is_live=not files,
            )
            findings += found
            checked.append(_summary(series, found))
    if as_json:
        print(json.dumps({"checked": checked, "findings": [_plain(f) for f in findings]}))
    else:
        _show(checked, findings)
    is_bad = any(finding.severity is Severity.ERROR for finding in findings)
    return ExitCode.ERROR if is_bad else ExitCode.OK


def _days_of_splits(store: ParquetBars) -> Mapping[str, list[date]]:
    """The ex-dates of the splits that are known of each symbol."""
    days: dict[str, list[date]] = defaultdict(list)
    for action in store.actions.actions():
        if isinstance(action, Split):
            days[action.symbol].append(action.ex_on)
    return days


def _series_of_files(files: Sequence[Path], wanted: Timeframe | None) -> Iterator[Series]:
    """One series per symbol and length over all files, since a split shows between two of them."""
    tables: dict[Timeframe, list[pl.DataFrame]] = defaultdict(list)
    for table, length in _tables(files, find_files(files), wanted):
        tables[length].append(table)
    for length, some in tables.items():
        yield from series_of(pl.concat(some), length)


def _tables(
    named: Sequence[Path],
    paths: Sequence[Path],
    wanted: Timeframe | None,
    done: Callable[[], None] = lambda: None,
) -> Iterator[tuple[pl.DataFrame, Timeframe]]:
    """The bars of each of `paths` and their length; `done` hears of each file.

    Raises:
        InvalidInput: a file that was `named` holds no bars, or none does. A folder may hold other tables as well: these
            are told and left out.
    """
    found, refused = 0, []
    for path in paths:
        try:
            table = read_bars(path)
            length = wanted or timeframe_of(table, path)
        except InvalidInput as error:
            if path in named:
                raise
            refused.append(str(error))
        else:
            found += 1
            yield table, length
        done()
    for sentence in refused:
        print(f"left out: {sentence}", file=sys.stderr)
    if not found:
        raise InvalidInput("none of the files holds bars")


def _series_of_store(
    store: ParquetBars, wanted: Timeframe | None, now: datetime
) -> Iterator[Series]:
    for length in Timeframe if wanted is None else [wanted]:
        contents = store.contents(length)
        for at in range(0, len(contents), _AT_ONCE):
            some = contents[at : at + _AT_ONCE]
            first_at = min(each.first_at for each in some)
            yield from _series_of_block(
                store.between(length, [each.symbol for each in some], first_at, now)
            )


def _series_of_block(block: BarBlock) -> Iterator[Series]:
    names = np.array(block.symbols)
    for name in dict.fromkeys(block.symbols):
        rows = slice(np.searchsorted(names, name), np.searchsorted(names, name, side="right"))
        yield Series(
            name,
            block.timeframe,
            block.start_us[rows],
            block.open[rows] / MICROS,
            block.high[rows] / MICROS,
            block.low[rows] / MICROS,
            block.close[rows] / MICROS,
            block.volume[rows],
        )


def _summary(series: Series, found: Sequence[Finding]) -> dict[str, Any]:
    counts = {severity.value: sum(f.severity is severity for f in found) for severity in Severity}
    return {
        "symbol": series.symbol,
        "timeframe": series.timeframe.value,
        "bars": len(series),
        **counts,
    }


def _plain(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind.value,
        "severity": finding.severity.value,
        "symbol": finding.symbol,
        "timeframe": finding.timeframe.value,
        "first_at": finding.first_at.isoformat(),
        "last_at": finding.last_at.isoformat(),
        "count": finding.count,
        "detail": finding.detail,
    }


def _show(checked: Sequence[Mapping[str, Any]], findings: Iterable[Finding]) -> None:
    if not checked:
        print("there are no bars to check")
        return
    console = Console()
    table = Table("symbol", "bars of", "bars", "errors", "warnings", "notes")
    for row in checked:
        table.add_row(*(cell(row[name]) for name in row))
    console.print(table)
    worst_first = sorted(findings, key=lambda f: (list(Severity).index(f.severity), f.symbol))
    for finding in worst_first:
        when = f"{finding.first_at:%Y-%m-%d %H:%M}"
        if finding.kind is Kind.GAP or finding.count > 1:
            when += f" to {finding.last_at:%Y-%m-%d %H:%M}"
        console.print(
            f"[{_SHOWN[finding.severity]}]{finding.severity}[/] {finding.kind} {finding.symbol} "
            f"{finding.timeframe} {when}: ({finding.count}) {finding.detail}",
            highlight=False,
            soft_wrap=True,
        )


@data_app.command("import")
def import_bars(
    files: Annotated[list[Path], typer.Argument(help="CSV or Parquet files or folders.")],
    timeframe: TimeframeOption = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> int:
    """Bring bars of files into the store. Doing it again stores nothing twice.

    Prices must be raw, as traded: splits are applied on read. What cannot be right stays out and is counted; where
    nothing is left it ends with 1. A step that looks like a split which nobody told is let in and named.

    Example: trader data import bars.csv --timeframe 1Day
    """
    instance = Instance.of_project()
    calendar = load_calendar(instance.parquet)
    store = stored_bars(instance, account)
    wanted = None if timeframe is None else parse_timeframe(timeframe)
    paths = find_files(files)
    total = Imported()
    with _progress("files") as progress:
        task = progress.add_task("importing", total=len(paths))
        for table, length in _tables(files, paths, wanted, lambda: progress.advance(task)):
            total.add(
                import_table(table, length, calendar, store, provider="file", now=WallClock().now())
            )
    explained = _days_of_splits(store)
    steps = [step for step in total.steps if step.on not in explained[step.symbol]]
    if as_json:
        document = {
            "rows": total.rows,
            "stored": total.stored,
            "left_out": total.left_out,
            "rounded": total.rounded,
            "steps": [f"{step.symbol}: {step.reason}" for step in steps],
        }
        print(json.dumps(document))
    else:
        print(f"{total.rows} rows, {total.stored} bars new or revised")
        for why, count in sorted(total.left_out.items()):
            print(f"left out: {count} ({why})")
        if total.rounded:
            print(f"rounded down to whole shares: {total.rounded} volumes")
        for step in steps:
            print(f"{step.symbol}: {step.reason}; bring it in with `trader actions import`")
    came_in = total.rows - sum(total.left_out.values())
    return ExitCode.OK if came_in else ExitCode.ERROR


@data_app.command("list")
def list_bars(
    timeframe: TimeframeOption = None, account: AccountOption = None, as_json: JsonOption = False
) -> None:
    """List what the store holds of each symbol, and who gave it.

    Example: trader data list --timeframe 1Day
    """
    store = stored_bars(Instance.of_project(), account)
    rows: list[dict[str, Any]] = [
        {
            "symbol": found.symbol,
            "timeframe": length.value,
            "bars": found.bars,
            "first_at": found.first_at.isoformat(),
            "last_at": found.last_at.isoformat(),
            "providers": list(found.providers),
        }
        for length in (Timeframe if timeframe is None else [parse_timeframe(timeframe)])
        for found in store.contents(length)
    ]
    if as_json:
        print(json.dumps({"items": rows}))
    elif not rows:
        print("the store is empty; bring bars in with `trader data import` or `trader data fetch`")
    else:
        table = Table("symbol", "bars of", "bars", "first", "last", "providers")
        for row in rows:
            values = [*list(row.values())[:-1], ", ".join(row["providers"])]
            table.add_row(*(cell(value) for value in values))
        Console().print(table)


@data_app.command("compact")
def compact(account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Merge the store's small files into large ones. Nothing is lost, and readers need not stop.

    Example: trader data compact
    """
    store = stored_bars(Instance.of_project(), account)
    counts = {length.value: store.compact(length) for length in Timeframe}
    done = {name: {"before": b, "after": a} for name, (b, a) in counts.items() if b}
    if as_json:
        print(json.dumps(done))
        return
    for name, (before, after) in counts.items():
        if before:
            print(f"{name}: {before} files became {after}")


@data_app.command("generate")
def generate(
    file: Annotated[Path, typer.Argument(help="Where to write, .csv or .parquet.")],
    symbols: Annotated[str, typer.Option(help="Separated by commas.")] = "AAPL,MSFT,SPY",
    sessions: Annotated[int, typer.Option(min=1, max=1_000, help="How many trading days.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same bars.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Make up minute bars for trying things out. Their prices mean nothing.

    Example: trader data generate bars.parquet --sessions 5 --seed 7
    """
    if file.exists():
        # It may hold real bars, which nobody could tell from these afterwards.
        raise InvalidInput(f"{file} is there already; choose another name, or remove it first")
    bars = write_made_up_bars(file, symbols=symbols, sessions=sessions, seed=seed)
    if as_json:
        print(json.dumps({"file": str(file), "bars": bars, "seed": seed, "synthetic": True}))
    else:
        print(f"{bars} SYNTHETIC bars in {file}")


@data_app.command("fetch")
def fetch(
    symbols: Annotated[
        list[str] | None, typer.Argument(help="Symbols, e.g. AAPL MSFT; all tracked if left out.")
    ] = None,
    timeframe: TimeframeOption = None,
    start: Annotated[str | None, typer.Option(help="First day, e.g. 2024-01-02.")] = None,
    end: Annotated[str | None, typer.Option(help="Last day; now if left out.")] = None,
    job: Annotated[str | None, typer.Option(help="Follow this job that runs already.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Let the collector fetch history, and watch it. Ctrl-C ends the watching, not the fetching.

    Example: trader data fetch AAPL MSFT --timeframe 1Min --start 2024-01-02
    """
    api = ServiceApi(Instance.of_project())
    if job is None:
        wanted: dict[str, Any] = {"timeframe": timeframe, "start": start, "end": end}
        body = {name: value for name, value in wanted.items() if value is not None}
        if symbols:
            body["symbols"] = [parse_symbol(name.upper()) for name in symbols]
        said = api.post(COLLECTOR, "/collect/market-data", body, Token.OPERATE)
        job = str(said.get("job_id"))
    elif symbols or timeframe or start or end:
        raise InvalidInput("--job names work that was asked for already; leave the rest out")
    if not job.isalnum():
        raise InvalidInput(f"{job[:60]!r} is no job id")
    try:
        done = _follow(api, job)
    except KeyboardInterrupt:
        print(f"\nit goes on; watch it with `trader data fetch --job {job}`", file=sys.stderr)
        return ExitCode.ERROR
    if as_json:
        print(json.dumps(done))
    else:
        print(
            f"{done.get('state')}: {done.get('bars_read')} bars read, {done.get('bars_new')} new, "
            f"{done.get('bars_refused')} refused, from {', '.join(done.get('providers') or ['nobody'])}"
        )
        for name in ("note", "error"):
            if done.get(name):
                print(f"{name}: {cell(done[name]).plain}")
    return ExitCode.OK if done.get("state") == "DONE" else ExitCode.ERROR


def _follow(api: ServiceApi, job: str) -> Mapping[str, Any]:
    """The job once it has ended, shown while it runs."""
    with _progress("requests") as progress:
        task = progress.add_task("fetching", total=None)
        while True:
            said = api.get(COLLECTOR, f"/collect/market-data/{job}")
            _update(progress, task, said)
            if said.get("state") in ("DONE", "FAILED"):
                return said
            if "state" not in said:
                raise StackError("the collector says nothing of the job; is it another version?")
            time.sleep(_ASK_EVERY_S)  # noqa: TID251  # a person's terminal; no venue is involved


def _update(progress: Progress, task: TaskID, said: Mapping[str, Any]) -> None:
    waits = said.get("waits_for")
    words = "fetching" if waits is None else f"waiting until {said.get('waits_until_at')}: {waits}"
    progress.update(
        task,
        description=cell(words).plain[:100],
        completed=int(said.get("pieces_done") or 0),
        total=int(said.get("pieces_total") or 0) or None,
    )


class _Rate(ProgressColumn):
    """How many in a second."""

    def render(self, task: Task) -> Text:
        """See `ProgressColumn`."""
        return Text("" if task.speed is None else f"{task.speed:.1f}/s", style="dim")


def _progress(unit: str) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        _Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(stderr=True),
        transient=not sys.stderr.isatty(),
    )


def stored_bars(instance: Instance, account: str | None) -> ParquetBars:
    """The store of an account's bars; its name is checked, since it becomes a folder's."""
    name = account or instance.settings.get("TRADING_ACCOUNT") or "paper"
    settings = load_settings({"TRADING_ACCOUNT": name})
    return ParquetBars(instance.history / settings.trading_account)
