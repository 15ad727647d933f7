"""Which sessions has the New York Stock Exchange had, and which will it have?

From the package exchange_calendars, half days included. Building its calendar costs seconds of imports, so
the sessions are kept in a small cache file beside the data, named after the package's version.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import tempfile
import warnings
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path

from shared.adapters.clocks import WallClock
from shared.domain.bar_blocks import from_epoch_us, to_epoch_us
from shared.domain.calendar import Session, TradingCalendar

_FIRST = "1990-01-01"
# The package knows holidays about a year ahead; it is asked for no more than it is sure of.
_EXCHANGE = "XNYS"


def load_calendar(cache_dir: Path) -> TradingCalendar:
    """The exchange's sessions since 1990; writes and reads a cache file in `cache_dir`."""
    version = importlib.metadata.version("exchange_calendars")
    # The package looks a year ahead of today, so what it says changes with the months.
    month = f"{WallClock().now():%Y%m}"
    path = cache_dir / f"sessions-{_EXCHANGE}-{version}-{month}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        rows = json.loads(path.read_text())
        return TradingCalendar([_session(day, opens, closes) for day, opens, closes in rows])
    rows = _build()
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=cache_dir, delete=False, suffix=".tmp") as file:
            try:
                json.dump(rows, file)
                file.flush()
                os.replace(file.name, path)
            except OSError:
                # On a full disk each process would leave another part of a file.
                Path(file.name).unlink()
                raise
    except OSError as error:
        # Imported here: a command that reads the cache logs nothing, and logging takes longer to import than that.
        import structlog

        structlog.get_logger(__name__).warning(
            "sessions not cached", path=str(path), error=str(error)
        )
    return TradingCalendar([_session(day, opens, closes) for day, opens, closes in rows])


def _session(day: str, opens: int, closes: int) -> Session:
    return Session(date.fromisoformat(day), from_epoch_us(opens), from_epoch_us(closes))


def _build() -> list[tuple[str, int, int]]:
    # Imported here: it brings pandas along, which the cached path never needs.
    import exchange_calendars

    with warnings.catch_warnings():
        # The package still uses what the newest pandas calls deprecated; nothing of ours can mend it.
        warnings.simplefilter("ignore", DeprecationWarning)
        calendar = exchange_calendars.get_calendar(_EXCHANGE, start=_FIRST)
    table = calendar.schedule[["open", "close"]]
    return [
        (day.date().isoformat(), _us(opens.to_pydatetime()), _us(closes.to_pydatetime()))
        for day, opens, closes in table.itertuples(name=None)
    ]


def _us(at: datetime) -> int:
    return to_epoch_us(at)
