"""How is a review kept: whole, once, and under the account's lock?"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from risk_manager.ports import Decide, Inbound, StoredDecision
from risk_manager.review import Decision, Outcome
from risk_manager.snapshot import Book, Mode
from risk_manager.store.authority import Authority
from risk_manager.store.books import Books
from risk_manager.store.rows import decision_row, json_rows, stored_of
from risk_manager.store.tables import SCHEMA
from shared.adapters.postgres import Database, lock
from shared.domain.decisions import TradingMode
from shared.domain.lots import Execution
from shared.domain.symbols import Symbol
from shared.messages import REVIEW, REVIEWS

_OF_VALIDATION = (
    "outcome",
    "symbol",
    "side",
    "purpose",
    "quantity",
    "reason_code",
    "reason",
    "checks",
    "figures",
)
_OF_MARK = (
    "instant_at",
    "cash",
    "equity",
    "peak_equity",
    "drawdown",
    "gross_exposure",
    "net_exposure",
    "mode_version",
    "day_equity",
    "paid_in",
)
_COLUMNS = """account, decision_id, signal_id, source, instant_at, decided_at, outcome, strategy, symbol, side,
    purpose, quantity, type, time_in_force, limit_price, stop_price, stop_loss, take_profit,
    reference_price, act_from, act_until, trade_on, reason_code, reason, checks, figures"""
# Decisions in their order, under the number of the review that has just been announced.
_DECIDED = f"""
, decided AS (
    INSERT INTO risk_manager.decisions (review_id, {_COLUMNS})
    SELECT announced.id, {", ".join(f"d.{name.strip()}" for name in _COLUMNS.split(","))}
    FROM announced, json_populate_recordset(NULL::risk_manager.decisions, CAST(:decisions AS json))
        WITH ORDINALITY d
    ORDER BY d.ordinality)
"""  # names from above
_MARKED = """
, marked AS (
    INSERT INTO risk_manager.equity_points (account, source, instant_at, cash, equity, peak_equity, drawdown,
        gross_exposure, net_exposure, mode_version, day_equity, paid_in)
    VALUES (:account, :key, :instant_at, :cash, :equity, :peak_equity, :drawdown, :gross_exposure, :net_exposure,
        :mode_version, :day_equity, :paid_in))
"""
_INSERT_STOP_MOVE = text("""
INSERT INTO risk_manager.stop_moves (
    account, review_id, decision_id, symbol, side, stop_loss, previous, reason, decided_at)
VALUES (:account, :review_id, :decision_id, :symbol,
        (SELECT side FROM risk_manager.decisions WHERE account = :account AND decision_id = :decision_id),
        :stop_loss, :previous, :reason, :at)
""")


class Reviews(Books, Authority):
    """Decisions and what is announced with them."""

    def __init__(self, database: Database, account: str, **reads: bool) -> None:
        """See `Tables`."""
        super().__init__(database, account, **reads)
        # By whether there are decisions, and whether equity is marked: whatever there is, it is one round trip.
        self._announce = {
            (is_decided, is_marked): text(
                self._outbox.announcing
                + (_DECIDED if is_decided else "")
                + (_MARKED if is_marked else "")
                + "SELECT id FROM announced"
            )
            for is_decided in (True, False)
            for is_marked in (True, False)
        }

    async def record(
        self,
        source: str,
        decide: Decide,
        at: datetime,
        *,
        inbound: Inbound | None = None,
        marks_equity: bool = False,
    ) -> Outcome | None:
        """See `ports.Store`."""

        async def review(connection: AsyncConnection) -> Outcome | None:
            # The lock before the book's statement, or that would see what was before the lock.
            if inbound is None:
                await lock(connection, self._lock)
            else:
                cursor = self._cursors[inbound.stream]
                if not await cursor.move(connection, inbound.position, holding=self._lock):
                    return None
            shorts = [] if inbound is None else inbound.shorts
            row = await self._book_row(connection, at, source, shorts)
            if row.is_reviewed:
                return None
            book = await self._book_of(connection, row, at)
            if row.version is None:
                # Written down, so that the executor finds a mode in the view.
                await self._write_mode(connection, book.mode, None)
            outcome = decide(book)
            await self._write(
                connection, outcome, at, marks_equity=marks_equity and outcome.keeps_mark
            )
            if outcome.reduce_because is not None:
                reduced = Mode(
                    TradingMode.REDUCING, book.mode.version + 1, outcome.reduce_because, SCHEMA, at
                )
                await self._write_mode(connection, reduced, book.mode)
            for throttle in outcome.stopped:
                await self._write_throttle(connection, throttle)
            return outcome

        return await self._db.run(review)

    async def book_with_executions(self, at: datetime) -> tuple[Book, list[Execution]]:
        """See `ports.Store`."""

        async def read(connection: AsyncConnection) -> tuple[Book, list[Execution]]:
            # What is booked between two statements would be held by nobody's fill, or filled and not held.
            await connection.execute(
                text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            )
            row = await self._book_row(connection, at, "", ())
            return await self._book_of(connection, row, at), await self._executions(connection)

        return await self._db.run(read)

    async def record_validation(
        self, validation_id: str, decision: Decision, actor: str, at: datetime
    ) -> None:
        """See `ports.Store`."""

        async def write(connection: AsyncConnection) -> None:
            row = decision_row(decision)
            await connection.execute(
                text(
                    "INSERT INTO risk_manager.validations (account, validation_id, actor, asked_at, "
                    "outcome, symbol, side, purpose, quantity, reason_code, reason, checks, figures) "
                    "VALUES (:account, :validation_id, :actor, :at, :outcome, :symbol, :side, :purpose, "
                    ":quantity, :reason_code, :reason, CAST(:checks AS jsonb), "
                    "CAST(:figures AS jsonb)) ON CONFLICT (account, validation_id) DO NOTHING"
                ),
                {
                    "account": self._account,
                    "validation_id": validation_id,
                    "actor": actor,
                    "at": at,
                    **{name: row[name] for name in _OF_VALIDATION},
                },
            )

        await self._db.run(write)

    async def decisions(
        self,
        *,
        limit: int,
        before: int | None = None,
        symbol: Symbol | None = None,
        outcome: str | None = None,
        source: str | None = None,
    ) -> list[StoredDecision]:
        """See `ports.Store`."""
        wanted: dict[str, Any] = {"symbol": symbol, "outcome": outcome, "source": source}
        filters = {name: value for name, value in wanted.items() if value is not None}
        conditions = ["account = :account", *(f"{name} = :{name}" for name in filters)]
        if before is not None:
            conditions.append("id < :before")

        async def read(connection: AsyncConnection) -> list[StoredDecision]:
            found = await connection.execute(
                text(
                    f"SELECT * FROM risk_manager.decisions WHERE {' AND '.join(conditions)} "  # names from above, values are bound
                    "ORDER BY id DESC LIMIT :limit"
                ),
                {"account": self._account, "limit": limit, "before": before, **filters},
            )
            return [stored_of(row) for row in found]

        return await self._db.run(read)

    async def _write(
        self, connection: AsyncConnection, outcome: Outcome, at: datetime, *, marks_equity: bool
    ) -> None:
        review = outcome.review
        # A breach is stored with the mark that it was found at: who resumes accepts what that one says.
        marks_equity = marks_equity or outcome.reduce_because is not None
        values = self._outbox.values(
            topic=REVIEWS, key=review.source, payload=REVIEW.encode(review), at=at
        )
        if outcome.decisions:
            common = {
                "account": self._account,
                "source": review.source,
                "instant_at": review.instant_at,
                "decided_at": at,
            }
            values["decisions"] = json_rows(
                {**decision_row(decision), **common} for decision in outcome.decisions
            )
        if marks_equity:
            values |= {name: getattr(outcome.mark, name) for name in _OF_MARK}
        announced = await connection.execute(
            self._announce[bool(outcome.decisions), marks_equity], values
        )
        # Under the account's lock nobody else has announced it meanwhile.
        review_id = announced.scalar_one()
        if review.moved:
            await connection.execute(
                _INSERT_STOP_MOVE,
                [
                    {
                        "account": self._account,
                        "review_id": review_id,
                        "decision_id": move.decision_id,
                        "symbol": move.symbol,
                        "stop_loss": move.stop_loss,
                        "previous": move.previous,
                        "reason": move.reason,
                        "at": at,
                    }
                    for move in review.moved
                ],
            )
