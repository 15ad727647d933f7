"""Which symbols had passed the screen when, for a backtest of a strategy that reads screens?

The data collector keeps every screen with the instant at which it was taken, so the past is known as it was then and not as
it is now. Read from the views, under the operator's role; where the database does not answer nothing is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from backtester.history import History
from shared.domain.bar_blocks import from_epoch_us, to_epoch_us
from shared.domain.errors import Misconfigured
from shared.domain.symbols import Symbol
from strategy_engine.universe import OLDEST, Screen, with_screens
from trader.commands.stored import Stored, ask_stored
from trader.runtime.errors import StackError

# A year of screens, one every five minutes of open market.
MOST_SCREENS = 20_000
# Of a screen's symbols only those that are traded here; one that was dropped must be told from one that was never asked.
_SCREENS = text("""
    SELECT taken_at, ARRAY(SELECT unnest(symbols) INTERSECT SELECT unnest(CAST(:symbols AS text[]))) AS symbols
    FROM data_collector.v_screens
    WHERE account = :account AND taken_at > :after AND taken_at <= :until
    ORDER BY taken_at DESC LIMIT :most
""")


def with_kept_screens(history: History, account: str) -> History:
    """`history` with what the screens of `account` said by the end of each bar; as it is where none is known."""
    first, last = (from_epoch_us(int(history.end_us[row])) for row in (0, -1))
    try:
        screens = kept_screens(account, history.panel.symbols, first - OLDEST, last)
    except (StackError, Misconfigured):
        # A run without a database must be possible; its warnings say what was not known.
        return history
    if not screens:
        return history
    return replace(history, panel=with_screens(history.panel, screens))


def kept_screens(
    account: str, symbols: Sequence[Symbol], after: datetime, until: datetime
) -> list[Screen]:
    """The newest screens taken after `after` and by `until`, each with those of `symbols` that were in it.

    Raises:
        NotRunning: the database does not answer.
    """

    async def ask(stored: Stored) -> list[Screen]:
        async def read(connection: AsyncConnection) -> list[Screen]:
            found = await connection.execute(
                _SCREENS,
                {
                    "account": stored.account,
                    "symbols": list(symbols),
                    "after": after,
                    "until": until,
                    "most": MOST_SCREENS,
                },
            )
            return [Screen(to_epoch_us(row.taken_at), frozenset(row.symbols)) for row in found]

        return await stored.database.read(read)

    return ask_stored(account, ask)
