"""How does the system's picture look in a terminal?

What a person must act on comes first and in colour: mode, limits, what does not run or does not answer. Two columns
where the terminal is wide, one where it is not; the live view leaves out jobs that only wait, so that it fits a screen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from trader.commands.listing import (
    cell,
    field,
    listing,
    money,
    next_time,
    order_phrase,
    percent,
    progress,
    time_of,
)

MEBIBYTE = 2**20
WIDE_FROM = 120
NEXT_JOBS = 5
FULLEST_LIMITS = 6
NEAR = 0.8
_GOOD, _WARN, _BAD, _QUIET = "green", "yellow", "bold red", "dim"
_STATES = {
    "RUNNING": _GOOD, "STARTING": _WARN, "ACTIVE": _GOOD, "REDUCING": _WARN, "HALTED": _BAD,
    "FAILED": _BAD, "MISSED": _WARN, "READY": _GOOD,
}  # fmt: skip
ORDERS = (time_of("created_at"), field("symbol", "symbol"), order_phrase(), progress("state"))
BUDGETS = (field("provider", "provider"), field("used", "used"), field("of", "limit"))
FIGURES = (
    money("equity", "equity"),
    money("cash", "cash"),
    percent("drawdown", "drawdown"),
    percent("exposure", "gross_exposure"),
    field("positions", "positions"),
    field("differences", "differences"),
    field("executor", "executor"),
)


@dataclass(frozen=True, slots=True)
class ProgramFigures:
    """What one program is and uses; a share of 1.0 is one whole processor."""

    name: str
    state: str
    up_s: int
    cpu_share: float | None
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Picture:
    """All that is shown; `silent` names what gave no answer, with the reason."""

    runtime: str
    programs: list[ProgramFigures]
    trading: dict[str, Any]
    limits: list[dict[str, Any]]
    orders: list[dict[str, Any]]
    budgets: list[dict[str, Any]]
    jobs: list[dict[str, Any]]
    disk: dict[str, int]
    silent: dict[str, str]


def shown(picture: Picture, *, is_live: bool = False) -> RenderableType:
    """The picture for a terminal; with `is_live` no more than a screen of it."""
    trading: list[RenderableType] = [_headline(picture), ""]
    trading += [_titled("account", _account(picture.trading)), ""]
    if picture.limits:
        trading += [_titled("fullest limits", _limits(picture.limits)), ""]
    if picture.orders:
        trading += [_titled("newest orders", listing(picture.orders, ORDERS)), ""]
    machine: list[RenderableType] = [_titled("programs", _programs(picture.programs)), ""]
    if picture.budgets:
        machine += [_titled("requests of providers", listing(picture.budgets, BUDGETS)), ""]
    jobs = _urgent(picture.jobs) if is_live else picture.jobs
    if jobs:
        machine += [_titled("jobs", _jobs(jobs)), ""]
    machine.append(_disk(picture.disk))
    silent = [cell(f"{service}: {why}") for service, why in picture.silent.items()]
    for line in silent:
        line.stylize(_BAD)
    return Group(*silent, _Columns(Group(*trading), Group(*machine)))


@dataclass(frozen=True, slots=True)
class _Columns:
    """Two parts beside each other where the terminal is wide enough, else below each other."""

    left: RenderableType
    right: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if options.max_width < WIDE_FROM:
            yield self.left
            yield self.right
            return
        beside = Table.grid(padding=(0, 4, 0, 0), expand=True)
        beside.add_column(ratio=1)
        beside.add_column(ratio=1)
        beside.add_row(self.left, self.right)
        yield beside


def _headline(picture: Picture) -> Text:
    trading = picture.trading
    mode = cell(trading.get("mode"))
    line = Text("trading is ").append(mode.plain, style=_STATES.get(mode.plain, _WARN))
    if mode.plain not in ("ACTIVE", "-"):
        line.append(f" ({cell(trading.get('reason')).plain})")
    market = cell(trading.get("phase")).plain
    replay = ", replay" if trading.get("clock") == "replay" else ""
    return line.append(f"   market {market}{replay}   runtime {picture.runtime}", style=_QUIET)


def _titled(title: str, table: Table) -> Group:
    return Group(Text(title, style="bold"), table)


def _programs(programs: Sequence[ProgramFigures]) -> Table:
    table = Table("program", "state", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("up", "cpu", "memory"):
        table.add_column(title, justify="right")
    for each in programs:
        table.add_row(
            each.name,
            _state(each.state),
            _duration(each.up_s),
            "-" if each.cpu_share is None else f"{each.cpu_share:.0%}",
            "-" if each.memory_bytes is None else f"{each.memory_bytes / MEBIBYTE:,.0f} MiB",
        )
    return table


def _account(trading: Mapping[str, Any]) -> Table:
    """The account's figures, two beside each other: in one row no half of a screen holds them, and money is never cut."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for _ in range(2):
        table.add_column(style=_QUIET)
        table.add_column(justify="right", no_wrap=True)
    said = [(each.title, each.cell(trading)) for each in FIGURES]
    half = -(-len(said) // 2)
    for left, right in zip_longest(said[:half], said[half:], fillvalue=("", Text())):
        table.add_row(*left, *right)
    return table


def _limits(limits: Sequence[Mapping[str, Any]]) -> Table:
    used = sorted(((_share(each), each) for each in limits), key=lambda pair: -pair[0])
    table = Table("limit", "", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("in use", justify="right")
    for share, each in used[:FULLEST_LIMITS]:
        style = _BAD if share >= 1 else _WARN if share >= NEAR else _GOOD
        bar = ProgressBar(
            total=1, completed=min(share, 1), width=24, complete_style=style, finished_style=style
        )
        name = cell(each.get("code")).plain.replace("_", " ").lower()
        table.add_row(name, bar, Text(f"{share:.0%}", style=style))
    return table


def _share(limit: Mapping[str, Any]) -> float:
    usage, allowed = limit.get("usage"), limit.get("limit")
    if not isinstance(usage, int | float) or not isinstance(allowed, int | float) or allowed <= 0:
        return 0.0
    return max(0.0, usage / allowed)


def _jobs(jobs: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("job", "last run", "next", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("missed", justify="right")
    due = next_time()
    for each in jobs:
        missed = cell(each.get("missed"))
        if missed.plain not in ("0", "-"):
            missed.stylize(_WARN)
        table.add_row(
            cell(each.get("job_id")),
            _state(each.get("last")),
            due.cell(each),
            missed,
        )
    return table


def _urgent(jobs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What failed or was missed, then what is due next."""
    unwell = [
        each for each in jobs if each.get("last") in ("FAILED", "MISSED") or each.get("missed")
    ]
    due = sorted(
        (each for each in jobs if each.get("next_due_at") and each not in unwell),
        key=lambda each: str(each["next_due_at"]),
    )
    return [*unwell, *due[:NEXT_JOBS]]


def _state(value: object) -> Text:
    said = cell(value)
    said.stylize(_STATES.get(said.plain, ""))
    return said


def _disk(disk: Mapping[str, int]) -> str:
    return "disk: " + ", ".join(f"{name} {size / MEBIBYTE:,.0f} MiB" for name, size in disk.items())


def _duration(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
