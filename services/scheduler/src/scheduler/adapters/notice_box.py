"""How are messages kept until they have arrived?"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.notices import Message
from scheduler.ports import KeptMessage
from shared.adapters.postgres import Database
from shared.domain.notices import Event, Priority

_LONGEST_ERROR = 300


class PostgresNoticeBox:
    """See `NoticeBox`. Pauses are this process's own: a restart tries everything again at once."""

    def __init__(self, database: Database, account: str) -> None:
        self._database = database
        self._account = account
        self._not_before_s: dict[int, float] = {}
        self._pause_s: dict[int, float] = {}

    async def keep(self, message: Message, now: datetime, *, is_wanted: bool) -> bool:
        """See `NoticeBox`."""

        async def work(connection: AsyncConnection) -> bool:
            added = await connection.execute(
                text(
                    "INSERT INTO scheduler.notices (account, event, key, title, body, priority, state, "
                    "created_at, due_at) VALUES (:account, :event, :key, :title, :body, :priority, :state, "
                    ":now, :due_at) ON CONFLICT (account, event, key) DO NOTHING RETURNING number"
                ),
                {
                    "account": self._account,
                    "event": message.event.value,
                    "key": message.key,
                    "title": message.title,
                    "body": message.text,
                    "priority": int(message.priority),
                    "state": "WAITING" if is_wanted else "KEPT",
                    "now": now,
                    "due_at": message.due_at,
                },
            )
            return added.first() is not None

        return await self._database.run(work)

    async def due(self, now: datetime, now_s: float, limit: int) -> list[KeptMessage]:
        """See `NoticeBox`."""
        for number, pause_s in self._pause_s.items():
            self._not_before_s[number] = now_s + pause_s
        self._pause_s.clear()

        async def work(connection: AsyncConnection) -> list[KeptMessage]:
            found = await connection.execute(
                text(
                    "SELECT number, event, title, body, priority, tries FROM scheduler.notices "
                    "WHERE account = :account AND state = 'WAITING' AND due_at <= :now "
                    "ORDER BY priority DESC, number LIMIT 500"
                ),
                {"account": self._account, "now": now},
            )
            return [
                KeptMessage(row[0], Event(row[1]), row[2], row[3], Priority(row[4]), row[5])
                for row in found
            ]

        ready = [
            kept
            for kept in await self._database.run(work)
            if self._not_before_s.get(kept.number, now_s) <= now_s
        ]
        return ready[:limit]

    async def sent(self, number: int, at: datetime) -> None:
        """See `NoticeBox`."""
        self._not_before_s.pop(number, None)
        await self._change(
            "UPDATE scheduler.notices SET state = 'SENT', sent_at = :at, tries = tries + 1, error = NULL "
            "WHERE account = :account AND number = :number AND state = 'WAITING'",
            number=number,
            at=at,
        )

    async def failed(self, number: int, why: str, pause_s: float, *, is_last: bool) -> None:
        """See `NoticeBox`."""
        self._pause_s[number] = pause_s
        await self._change(
            "UPDATE scheduler.notices SET state = :state, tries = tries + 1, error = :error "
            "WHERE account = :account AND number = :number AND state = 'WAITING'",
            number=number,
            error=why[:_LONGEST_ERROR],
            state="GIVEN_UP" if is_last else "WAITING",
        )

    async def undelivered(self) -> int:
        """How many messages were wanted and have not arrived."""

        async def work(connection: AsyncConnection) -> int:
            found = await connection.scalar(
                text(
                    "SELECT count(*) FROM scheduler.notices "
                    "WHERE account = :account AND (state = 'GIVEN_UP' OR (state = 'WAITING' AND tries > 0))"
                ),
                {"account": self._account},
            )
            return int(found or 0)

        return await self._database.run(work)

    async def _change(self, statement: str, **values: object) -> None:
        async def work(connection: AsyncConnection) -> None:
            await connection.execute(text(statement), {"account": self._account, **values})

        await self._database.run(work)
