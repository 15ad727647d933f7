"""Is this machine, and are these settings, fit for trading? `trader doctor` looks and says what to mend.

It asks the broker with the configured keys, compares clocks and calendar, and looks at disk, ports,
permissions and versions. It changes nothing and sends no order.
"""

from __future__ import annotations

import json
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.table import Table

from shared.adapters.clocks import WallClock, clock_for
from shared.adapters.exchange_calendar import load_calendar
from shared.config import Settings, load_settings
from shared.domain.errors import TradingError
from shared.ports import Clock
from trader.commands.listing import cell
from trader.exits import ExitCode
from trader.halted import sentence_of_halt
from trader.runtime.instance import SIMULATOR, Instance
from trader.runtime.interface import RuntimeName
from trader.runtime.places import settings_file_of
from trader.runtime.ports import is_free
from trader.runtime.postgres import MAJOR_VERSION, data_folder
from trader.runtime.runtimes import name_in_force, runtime_of
from trader.runtime.stack import SERVERS

app = typer.Typer()

ASK_WITHIN_S = 10.0
# A signal's age and the market's phase are judged by this machine's clock.
MOST_CLOCK_DIFFERENCE_S = 2.0
LEAST_FREE_BYTES = 2 * 2**30
CALENDAR_AHEAD = timedelta(days=14)
OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class Finding:
    """One look: what was looked at, whether it is well, and in one sentence what was seen."""

    about: str
    well: bool
    said: str


class BrokenError(TradingError):
    """A look that did not find what must be there; its text says what to mend."""


@app.command()
def doctor(
    offline: Annotated[
        bool, typer.Option("--offline", help="Leave out what asks the broker.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Look whether keys, clocks, calendar, disk, ports, permissions and versions are fit for trading.

    Example: trader doctor --offline
    """
    findings = examine(Instance.of_project(), offline=offline)
    if as_json:
        well = all(each.well for each in findings)
        print(json.dumps({"well": well, "findings": [asdict(each) for each in findings]}))
    else:
        table = Table("about", "well", "what was seen", box=None, padding=(0, 2, 0, 0))
        for each in findings:
            table.add_row(each.about, "yes" if each.well else "NO", cell(each.said))
        Console().print(table)
    if not all(each.well for each in findings):
        raise typer.Exit(ExitCode.ERROR)


def examine(instance: Instance, *, offline: bool) -> list[Finding]:
    """Take every look; one that fails hides no other."""
    findings: list[Finding] = []

    def look(about: str, what: Callable[[], str]) -> None:
        try:
            findings.append(Finding(about, True, what()))
        except (TradingError, OSError) as error:
            findings.append(Finding(about, False, str(error)))

    look("python", _python)
    look("settings", lambda: _settings(instance))
    look("permissions", lambda: _permissions(instance))
    look("disk", lambda: _disk(instance))
    look("database", lambda: _database(instance))
    look("ports", lambda: _ports(instance))
    look("calendar", lambda: _calendar(instance))
    # Not unwell: a halt is somebody's wish, and to end it the system has to be started.
    look("halt", lambda: sentence_of_halt(instance.halt_file) or "no halt file")
    if not offline:
        settings = _usable(instance)
        if settings is not None:
            with _broker(settings) as http:
                look("broker's keys", lambda: _keys(http))
                look("clock", lambda: _clock(http, clock_for(settings.clock_file)))
    return findings


def _python() -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        raise BrokenError(f"Python {version} is too old; install 3.12 and run make setup")
    return version


def _settings(instance: Instance) -> str:
    load_settings(instance.settings).require("alpaca_api_key", "alpaca_secret_key")
    return "complete, and they agree with each other"


def _usable(instance: Instance) -> Settings | None:
    try:
        settings = load_settings(instance.settings)
        settings.require("alpaca_api_key", "alpaca_secret_key")
    except TradingError:
        return None  # the look at the settings has said so
    return settings


def _permissions(instance: Instance) -> str:
    file = settings_file_of(instance.project, instance.home)
    if file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise BrokenError(f"others may read {file}; run chmod 600 {file}")
    probe = instance.home / ".writable"
    probe.write_text("")
    probe.unlink()
    return "the settings are readable by you alone, data/ is writable"


def _disk(instance: Instance) -> str:
    # Market history and the database may be on disks of their own.
    folders = [instance.home, instance.parquet, data_folder(instance)]
    free = {there: shutil.disk_usage(there).free for there in folders if there.exists()}
    folder = min(free, key=free.__getitem__)
    if free[folder] < LEAST_FREE_BYTES:
        raise BrokenError(
            f"only {free[folder] / 2**30:.1f} GiB are free for {folder}; make room, or run "
            "make clean-data"
        )
    return f"{free[folder] / 2**30:.1f} GiB free"


def _database(instance: Instance) -> str:
    if name_in_force(instance) is RuntimeName.COMPOSE:
        return "in a volume of Docker"
    version = data_folder(instance) / "PG_VERSION"
    if not version.exists():
        return "none yet; the first start makes it"
    found = version.read_text().strip()
    if found != MAJOR_VERSION:
        raise BrokenError(
            f"{version.parent} was made by PostgreSQL {found}, this system runs {MAJOR_VERSION}; "
            "restore a backup into a new folder, or move the old one away"
        )
    return f"PostgreSQL {found}"


def _ports(instance: Instance) -> str:
    runtime = runtime_of(instance)
    if runtime.runs:
        return "held by the system that runs"
    # The simulator's is needed by the demo, which looks for itself; containers publish no server.
    left_out = {SIMULATOR, *(SERVERS if runtime.name is RuntimeName.COMPOSE else ())}
    taken = [
        f"{port} ({program})"
        for program, port in instance.ports.as_mapping().items()
        if program not in left_out and not is_free(port)
    ]
    if taken:
        raise BrokenError(
            f"in use: {', '.join(taken)}; stop what listens there, or set other ports in .env"
        )
    return "free"


def _calendar(instance: Instance) -> str:
    calendar = load_calendar(instance.parquet)
    if calendar.last_on < (WallClock().now() + CALENDAR_AHEAD).date():
        raise BrokenError(f"the exchange calendar ends on {calendar.last_on}; run make update")
    return f"known until {calendar.last_on}"


def clock_complaint(instance: Instance) -> str | None:
    """What the broker's clock says of this machine's, where they differ or it does not answer; None: all is well."""
    settings = _usable(instance)
    if settings is None or settings.clock_file is not None:
        return None
    with _broker(settings) as http:
        try:
            _clock(http, WallClock())
        except BrokenError as error:
            return str(error)
    return None


@contextmanager
def _broker(settings: Settings) -> Iterator[httpx.Client]:
    assert settings.alpaca_api_key is not None  # asked for before
    assert settings.alpaca_secret_key is not None
    headers = {
        "APCA-API-KEY-ID": settings.alpaca_api_key.get_secret_value(),
        "APCA-API-SECRET-KEY": settings.alpaca_secret_key.get_secret_value(),
    }
    with httpx.Client(
        base_url=settings.alpaca_base_url, headers=headers, timeout=ASK_WITHIN_S
    ) as http:
        yield http


def _answer(http: httpx.Client, path: str) -> httpx.Response:
    try:
        answer = http.get(path)
    except httpx.HTTPError as error:
        raise BrokenError(
            f"{http.base_url.host} does not answer ({type(error).__name__}); is the network up?"
        ) from None
    if answer.status_code in (401, 403):
        raise BrokenError(
            f"{http.base_url.host} refuses the keys; put those of this account into .env, paper "
            "keys for the paper address"
        )
    if not answer.is_success:
        raise BrokenError(f"{http.base_url.host} answered {answer.status_code}; try again later")
    return answer


def _keys(http: httpx.Client) -> str:
    try:
        said = dict(_answer(http, "/v2/account").json())
    except (ValueError, TypeError):
        raise BrokenError("the broker's account cannot be read; try again later") from None
    if said.get("trading_blocked") or said.get("account_blocked"):
        raise BrokenError("the broker has blocked this account; look at its own page")
    return f"they open the account at {http.base_url.host}"


def _clock(http: httpx.Client, clock: Clock) -> str:
    before = clock.now()
    answer = _answer(http, "/v2/clock")
    after = clock.now()
    try:
        said = answer.json()
        theirs = datetime.fromisoformat(str(said["timestamp"]))
        seconds = ((before + (after - before) / 2) - theirs).total_seconds()
    except (KeyError, ValueError, TypeError):
        raise BrokenError("the broker's clock cannot be read; try again later") from None
    away = abs(seconds) - (after - before).total_seconds() / 2
    if away > MOST_CLOCK_DIFFERENCE_S:
        raise BrokenError(
            f"this machine's clock is {seconds:+.1f} s from the broker's, and no entry is sent while it is (exits "
            "are); set it by the network (for example: timedatectl set-ntp true)"
        )
    return f"{seconds:+.1f} s from the broker's"
