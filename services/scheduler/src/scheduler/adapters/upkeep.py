"""How are the database's tables and the log files kept small?

The scheduler's role may maintain every table (MAINTAIN: vacuum and analyse) and delete from none, so a fault here
loses nothing. Files go only where no process writes any more: rotated ones, past their age.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.runs import Figures
from shared.adapters.logs import old_logs
from shared.adapters.postgres import Database
from shared.domain.errors import Rejected
from shared.ports import Clock

_WRITER = "trader.runtime.nightly_backup"
_LONGEST_WORDS = 400
# To end its database tools and remove its draft.
_MAY_TIDY_S = 10.0
_MAY_MAINTAIN = """
    SELECT quote_ident(schemaname) || '.' || quote_ident(relname) AS name, n_dead_tup
    FROM pg_stat_user_tables WHERE has_table_privilege(relid, 'MAINTAIN') ORDER BY 1"""


class MachineUpkeep:
    """See `Upkeep`."""

    def __init__(
        self, database: Database, logs: Path, keep_logs: timedelta, machine_clock: Clock
    ) -> None:
        """`machine_clock` is the machine's even in a replay, since files bear its time."""
        self._database = database
        self._logs = logs
        self._keep_logs = keep_logs
        self._clock = machine_clock

    async def vacuum(self) -> Figures:
        """See `Upkeep`; a table that somebody holds is passed over, the next night comes to it."""

        async def tables(connection: AsyncConnection) -> list[tuple[str, int]]:
            return [(row[0], int(row[1])) for row in await connection.execute(text(_MAY_MAINTAIN))]

        found = await self._database.read(tables)
        for name, _ in found:

            async def vacuum(connection: AsyncConnection, name: str = name) -> None:
                # Quoted by the database itself; no parameter may stand there.
                await connection.execute(text(f"VACUUM (ANALYZE, SKIP_LOCKED) {name}"))

            await self._database.read(vacuum)
        return {"tables": len(found), "dead_rows_before": sum(dead for _, dead in found)}

    async def back_up(self) -> Figures:
        """See `Upkeep`: a program of its own, so that its memory and a crash of it are not ours."""
        writer = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            _WRITER,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # A group of its own, so that pg_dump can be ended with it; uvloop knows no other way to one.
            start_new_session=True,
        )
        try:
            said, why = await writer.communicate()
        finally:
            await _ended(writer)
        if writer.returncode != 0:
            words = why.decode(errors="replace").strip().splitlines()
            raise Rejected(words[-1][:_LONGEST_WORDS] if words else "the backup's writer ended")
        figures: Figures = orjson.loads(said)
        return figures

    async def forget_logs(self) -> Figures:
        """See `Upkeep`."""
        oldest_at = self._clock.now() - self._keep_logs

        def remove() -> int:
            files = old_logs(self._logs, oldest_at)
            for file in files:
                file.unlink(missing_ok=True)
            return len(files)

        return {"files": await asyncio.to_thread(remove)}


async def _ended(writer: asyncio.subprocess.Process) -> None:
    """End a writer that is given up, with every program it has started; asked first, so that it can tidy up."""
    if writer.returncode is not None:
        return
    try:
        with suppress(ProcessLookupError, TimeoutError):
            os.killpg(writer.pid, signal.SIGTERM)
            async with asyncio.timeout(_MAY_TIDY_S):
                await writer.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(writer.pid, signal.SIGKILL)
