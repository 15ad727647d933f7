"""Which symbols had passed the screen when, and what was known of their companies, for a backtest of a strategy that reads it?

The data collector keeps screens and figures with the instant at which they were taken, so the past is known as it was then and
not as it is now. Read from the views, under the operator's role; where the database does not answer nothing is known, and that
is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from backtester.history import History
from shared.domain.bar_blocks import from_epoch_us, to_epoch_us
from shared.domain.fundamentals import FUNDAMENTALS
from shared.domain.symbols import Symbol
from strategy_engine.fundamentals import NO_SNAPSHOTS, Snapshots, joined, read_snapshots
from strategy_engine.strategy import Strategy
from strategy_engine.universe import OLDEST, Screen, with_fundamentals, with_screens
from trader.commands.stored import Stored, ask_stored
from trader.runtime.errors import NotRunning

# A year of screens, one every five minutes of open market.
MOST_SCREENS = 20_000
# A year of 500 symbols, one every hour of open market: 20 s to read, and 800 MB meanwhile.
MOST_SNAPSHOTS = 1_000_000
_ROWS_AT_ONCE = 20_000
# Of a screen's symbols only those that are traded here; one that was dropped must be told from one that was never asked.
_SCREENS = text("""
    SELECT taken_at, ARRAY(SELECT unnest(symbols) INTERSECT SELECT unnest(CAST(:symbols AS text[]))) AS symbols
    FROM data_collector.v_screens
    WHERE account = :account AND taken_at > :after AND taken_at <= :until
    ORDER BY taken_at DESC LIMIT :most
""")
_SNAPSHOTS = text(f"""
    SELECT symbol, taken_at, {", ".join(FUNDAMENTALS)}
    FROM data_collector.v_fundamentals
    WHERE account = :account AND symbol = ANY(:symbols) AND taken_at > :after AND taken_at <= :until
    ORDER BY taken_at DESC LIMIT :most
""")  # noqa: S608  # names of our own


def with_kept_universe(history: History, account: str, strategy: Strategy) -> History:
    """`history` with what `strategy` reads: screens of `account`, and what they showed of companies, as known at each bar.

    Where no database answers nothing is known: such a run must be possible, and the history's notes say why.

    Raises:
        Misconfigured: a setting is wrong.
    """
    first, last = (from_epoch_us(int(history.end_us[row])) for row in (0, -1))
    panel, notes = history.panel, list(history.notes)
    screens: list[Screen] = []
    snapshots = NO_SNAPSHOTS
    try:
        if strategy.uses_screens:
            screens = kept_screens(account, panel.symbols, first - OLDEST, last)
        if strategy.uses_fundamentals:
            snapshots = kept_snapshots(account, panel.symbols, first - OLDEST, last)
    except NotRunning as error:
        screens, snapshots = [], NO_SNAPSHOTS
        notes.append(f"what was kept of screens and companies could not be read: {error}")
    if len(screens) > MOST_SCREENS:
        notes.append(_cut(MOST_SCREENS, "screens", screens[MOST_SCREENS].taken_us))
        screens = screens[:MOST_SCREENS]
    if len(snapshots) > MOST_SNAPSHOTS:
        # Those of one screen share their instant: what was read of the oldest may lack some.
        oldest_us = int(snapshots.taken_us.min())
        snapshots = joined([snapshots], since_us=oldest_us + 1)
        notes.append(_cut(len(snapshots), "snapshots of companies", oldest_us))
    if screens:
        panel = with_screens(panel, screens)
    if strategy.uses_fundamentals:
        panel = with_fundamentals(panel, snapshots)
    return replace(history, panel=panel, notes=tuple(notes))


def _cut(kept: int, what: str, after_us: int) -> str:
    return (
        f"only the newest {kept:,} {what} were read, those after {from_epoch_us(after_us):%Y-%m-%d %H:%M} UTC; "
        "test fewer symbols or a shorter time"
    )


def kept_screens(
    account: str, symbols: Sequence[Symbol], after: datetime, until: datetime
) -> list[Screen]:
    """The newest screens taken after `after` and by `until`, newest first, each with those of `symbols` that were in it.

    One more than MOST_SCREENS says that there are others.

    Raises:
        NotRunning: the database does not answer.
    """

    async def ask(stored: Stored) -> list[Screen]:
        async def read(connection: AsyncConnection) -> list[Screen]:
            found = await connection.execute(
                _SCREENS, _span(stored, symbols, after, until, MOST_SCREENS)
            )
            return [Screen(to_epoch_us(row.taken_at), frozenset(row.symbols)) for row in found]

        return await stored.database.read(read)

    return ask_stored(account, ask)


def kept_snapshots(
    account: str, symbols: Sequence[Symbol], after: datetime, until: datetime
) -> Snapshots:
    """The newest snapshots of the companies of `symbols` taken after `after` and by `until`.

    One more than MOST_SNAPSHOTS says that there are others.

    Raises:
        NotRunning: the database does not answer.
    """

    async def ask(stored: Stored) -> Snapshots:
        async def read(connection: AsyncConnection) -> Snapshots:
            # In parts, since a row of Python's numbers takes five times the memory of an array's.
            span = _span(stored, symbols, after, until, MOST_SNAPSHOTS)
            async with connection.stream(_SNAPSHOTS, span) as found:
                parts = [read_snapshots(rows) async for rows in found.partitions(_ROWS_AT_ONCE)]
            return joined(parts, since_us=to_epoch_us(after))

        return await stored.database.run(read)

    return ask_stored(account, ask)


def _span(
    stored: Stored, symbols: Sequence[Symbol], after: datetime, until: datetime, most: int
) -> dict[str, object]:
    return {
        "account": stored.account,
        "symbols": list(symbols),
        "after": after,
        "until": until,
        "most": most + 1,
    }
