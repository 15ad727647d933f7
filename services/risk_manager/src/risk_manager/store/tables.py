"""What do all parts of the store lean on?"""

from __future__ import annotations

from collections.abc import Iterable

from shared.adapters.postgres import Cursor, Database, Outbox

SCHEMA = "risk_manager"
STRATEGIES = "strategy_engine"
EXECUTOR = "trade_executor"


class Tables:
    """The tables of one account; each part of the store adds what it keeps there."""

    def __init__(
        self,
        database: Database,
        account: str,
        *,
        reads_records: bool = False,
        reads_day_trades: bool = False,
    ) -> None:
        """What few accounts ask for is read for those alone, since it takes its time of each decision.

        `reads_records`: whether books say how each strategy's trades went, which Kelly's sizes ask for; `reads_day_trades`:
        whether they count day trades, which the old rule about them asks for.
        """
        self._reads_records = reads_records
        self._reads_day_trades = reads_day_trades
        self._db = database
        self._account = account
        self._outbox = Outbox(SCHEMA, account)
        self._cursors = {
            stream: Cursor(SCHEMA, stream, account) for stream in (EXECUTOR, STRATEGIES)
        }

    @property
    def _lock(self) -> str:
        return f"account:{self._account}"


def listed(words: Iterable[str]) -> str:
    """`words` as SQL: written out, since an index over some states helps only a statement that names them."""
    return ", ".join(f"'{word}'" for word in sorted(words))
