"""How are batches read from PostgreSQL, and evaluations kept there?

Batches come from the collector's view, in the order of their ids, after our cursor. The signals of a batch, the
message that announces them, the runs behind them and the cursor are one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.postgres import Cursor, Database, Outbox
from shared.domain.bar_blocks import to_epoch_us
from shared.domain.fundamentals import FUNDAMENTALS
from shared.domain.signals import Direction, Evaluation, Signal
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.messages import EVALUATION, EVALUATIONS
from strategy_engine.fundamentals import Snapshots, read_snapshots
from strategy_engine.ports import Batch, StoredSignal, StrategyRun
from strategy_engine.universe import Screen

SCHEMA = "strategy_engine"
SOURCE = "data_collector"
_BATCH = (
    "SELECT id, timeframe, start_at, end_at, composition, decidable "
    "FROM data_collector.v_bar_batches WHERE account = :account"
)
_SIGNAL = (
    "SELECT id, batch_id, signal_id, account, strategy, symbol, timeframe, bar_start_at, bar_end_at, "
    "direction, conviction, reason, reference_price, figures FROM strategy_engine.signals "
)


class PostgresEvaluations:
    """See `EvaluationStore`."""

    def __init__(self, database: Database, account: str) -> None:
        self._database = database
        self._account = account
        self._cursor = Cursor(SCHEMA, SOURCE, account)
        self._outbox = Outbox(SCHEMA, account)

    async def position(self) -> int:
        """See `EvaluationStore`."""
        return await self._database.run(self._cursor.position)

    async def next_batch(self) -> Batch | None:
        """See `EvaluationStore`."""

        async def read(connection: AsyncConnection) -> Batch | None:
            position = await self._cursor.position(connection)
            return await self._batch(connection, "AND id > :id ORDER BY id LIMIT 1", id=position)

        return await self._database.run(read)

    async def last_read(self) -> Batch | None:
        """See `EvaluationStore`."""

        async def read(connection: AsyncConnection) -> Batch | None:
            position = await self._cursor.position(connection)
            return await self._batch(connection, "AND id = :id", id=position)

        return await self._database.run(read)

    async def newest_batch(self, timeframe: Timeframe) -> Batch | None:
        """See `EvaluationStore`."""

        async def read(connection: AsyncConnection) -> Batch | None:
            return await self._batch(
                connection,
                "AND timeframe = :timeframe ORDER BY id DESC LIMIT 1",
                timeframe=timeframe,
            )

        return await self._database.run(read)

    async def _batch(
        self, connection: AsyncConnection, which: str, **given: int | str
    ) -> Batch | None:
        result = await connection.execute(
            text(f"{_BATCH} {which}"), {"account": self._account, **given}
        )
        row = result.first()
        if row is None:
            return None
        return Batch(
            row.id,
            Timeframe(row.timeframe),
            row.start_at,
            row.end_at,
            tuple(sorted(Symbol(name) for name in row.composition)),
            row.decidable,
        )

    async def compositions(
        self, timeframe: Timeframe, instants: Sequence[datetime]
    ) -> dict[datetime, AbstractSet[Symbol]]:
        """See `EvaluationStore`."""

        async def read(connection: AsyncConnection) -> dict[datetime, AbstractSet[Symbol]]:
            result = await connection.execute(
                text(
                    "SELECT end_at, composition FROM data_collector.v_bar_batches "
                    "WHERE account = :account AND timeframe = :timeframe AND end_at = ANY(:instants)"
                ),
                {
                    "account": self._account,
                    "timeframe": timeframe.value,
                    "instants": list(instants),
                },
            )
            return {row.end_at: frozenset(row.composition) for row in result}

        return await self._database.run(read)

    async def screens(self, until_at: datetime, limit: int) -> list[Screen]:
        """See `EvaluationStore`."""

        async def read(connection: AsyncConnection) -> list[Screen]:
            result = await connection.execute(
                text(
                    "SELECT taken_at, symbols FROM data_collector.v_screens "
                    "WHERE account = :account AND taken_at < :until ORDER BY taken_at DESC LIMIT :limit"
                ),
                {"account": self._account, "until": until_at, "limit": limit},
            )
            return [Screen(to_epoch_us(row.taken_at), frozenset(row.symbols)) for row in result]

        return await self._database.run(read)

    async def snapshots(
        self, *, after: int, since_at: datetime, until_at: datetime, limit: int
    ) -> tuple[int, Snapshots]:
        """See `EvaluationStore`."""

        async def read(connection: AsyncConnection) -> tuple[int, Snapshots]:
            result = await connection.execute(
                text(
                    f"SELECT id, symbol, taken_at, {', '.join(FUNDAMENTALS)} FROM data_collector.v_fundamentals "
                    "WHERE account = :account AND id > :after AND taken_at > :since AND taken_at < :until "
                    "ORDER BY id DESC LIMIT :limit"
                ),
                {
                    "account": self._account,
                    "after": after,
                    "since": since_at,
                    "until": until_at,
                    "limit": limit,
                },
            )
            rows = result.all()
            return (rows[0].id if rows else after), read_snapshots([row[1:] for row in rows])

        return await self._database.run(read)

    async def commit(
        self, batch: Batch, evaluation: Evaluation, runs: Sequence[StrategyRun], at: datetime
    ) -> bool:
        """See `EvaluationStore`."""
        signals = [_row(signal, batch, at) for signal in evaluation.signals]
        fared = [_run_row(run, self._account) for run in runs]

        async def write(connection: AsyncConnection) -> bool:
            # First, because it also makes a second writer wait and then find the work done.
            if not await self._cursor.move(connection, batch.id):
                return False
            if signals:
                await connection.execute(_INSERT_SIGNAL, signals)
            if fared:
                await connection.execute(_KEEP_RUN, fared)
            await self._outbox.append(
                connection,
                topic=EVALUATIONS,
                key=f"{evaluation.timeframe.value}:{evaluation.instant_at.isoformat()}",
                payload=EVALUATION.encode(evaluation),
                at=at,
            )
            return True

        return await self._database.run(write)

    async def runs(self) -> Mapping[str, StrategyRun]:
        """See `EvaluationStore`."""

        async def read(connection: AsyncConnection) -> Mapping[str, StrategyRun]:
            result = await connection.execute(
                text(
                    "SELECT strategy, failures, is_off, last_error, instant_at, signals, ran_at "
                    "FROM strategy_engine.strategy_runs WHERE account = :account"
                ),
                {"account": self._account},
            )
            return {row.strategy: StrategyRun(*row) for row in result}

        return await self._database.run(read)

    async def turn_off(self, strategy: str, reason: str) -> None:
        """See `EvaluationStore`."""

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(
                text(
                    "INSERT INTO strategy_engine.strategy_runs "
                    "(account, strategy, failures, is_off, last_error, signals) "
                    "VALUES (:account, :strategy, 0, true, :reason, 0) "
                    "ON CONFLICT (account, strategy) DO UPDATE SET is_off = true, "
                    "last_error = EXCLUDED.last_error"
                ),
                {"account": self._account, "strategy": strategy, "reason": reason},
            )

        await self._database.run(write)

    async def turn_on(self, strategy: str, reason: str, at: datetime) -> None:
        """See `EvaluationStore`."""

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(
                text(
                    "UPDATE strategy_engine.strategy_runs SET failures = 0, is_off = false, "
                    "turned_on_at = :at, turned_on_reason = :reason "
                    "WHERE account = :account AND strategy = :strategy"
                ),
                {"account": self._account, "strategy": strategy, "reason": reason, "at": at},
            )

        await self._database.run(write)

    async def signals(
        self, limit: int, *, symbol: Symbol | None = None, before: int | None = None
    ) -> list[StoredSignal]:
        """See `EvaluationStore`."""
        where = "WHERE account = :account "
        given: dict[str, Any] = {"account": self._account, "limit": limit}
        if symbol is not None:
            where += "AND symbol = :symbol "
            given["symbol"] = symbol
        if before is not None:
            where += "AND id < :before "
            given["before"] = before
        return await self._signals(where + "ORDER BY id DESC LIMIT :limit", given)

    async def signals_of(self, batch_id: int) -> list[Signal]:
        """See `EvaluationStore`."""
        found = await self._signals(
            "WHERE account = :account AND batch_id = :batch ORDER BY id",
            {"account": self._account, "batch": batch_id},
        )
        return sorted((s.signal for s in found), key=lambda s: (s.strategy, s.symbol))

    async def _signals(self, which: str, given: Mapping[str, Any]) -> list[StoredSignal]:
        async def read(connection: AsyncConnection) -> list[StoredSignal]:
            result = await connection.execute(text(_SIGNAL + which), given)
            return [StoredSignal(row.id, row.batch_id, _signal(row)) for row in result]

        return await self._database.run(read)


_INSERT_SIGNAL = text(
    "INSERT INTO strategy_engine.signals (signal_id, account, batch_id, strategy, symbol, timeframe, "
    "bar_start_at, bar_end_at, direction, conviction, reason, reference_price, figures, created_at) "
    "VALUES (:signal_id, :account, :batch_id, :strategy, :symbol, :timeframe, :bar_start_at, "
    ":bar_end_at, :direction, :conviction, :reason, :reference_price, CAST(:figures AS jsonb), "
    ":created_at) ON CONFLICT (signal_id) DO NOTHING"
)
_KEEP_RUN = text(
    "INSERT INTO strategy_engine.strategy_runs "
    "(account, strategy, failures, is_off, last_error, instant_at, signals, ran_at) "
    "VALUES (:account, :strategy, :failures, :is_off, :last_error, :instant_at, :signals, :ran_at) "
    "ON CONFLICT (account, strategy) DO UPDATE SET failures = EXCLUDED.failures, "
    "is_off = EXCLUDED.is_off, last_error = EXCLUDED.last_error, "
    "instant_at = EXCLUDED.instant_at, signals = EXCLUDED.signals, ran_at = EXCLUDED.ran_at"
)


def _row(signal: Signal, batch: Batch, at: datetime) -> dict[str, Any]:
    return {
        "signal_id": signal.signal_id,
        "account": signal.account,
        "batch_id": batch.id,
        "strategy": signal.strategy,
        "symbol": signal.symbol,
        "timeframe": signal.timeframe.value,
        "bar_start_at": signal.bar_start_at,
        "bar_end_at": signal.bar_end_at,
        "direction": signal.direction.value,
        "conviction": signal.conviction,
        "reason": signal.reason,
        "reference_price": signal.reference_price,
        "figures": orjson.dumps(signal.figures).decode(),
        "created_at": at,
    }


def _run_row(run: StrategyRun, account: str) -> dict[str, Any]:
    return {
        "account": account,
        "strategy": run.strategy,
        "failures": run.failures,
        "is_off": run.is_off,
        "last_error": run.last_error,
        "instant_at": run.instant_at,
        "signals": run.signals,
        "ran_at": run.ran_at,
    }


def _signal(row: Row[Any]) -> Signal:
    return Signal(
        signal_id=row.signal_id,
        account=row.account,
        strategy=row.strategy,
        symbol=Symbol(row.symbol),
        timeframe=Timeframe(row.timeframe),
        bar_start_at=row.bar_start_at,
        bar_end_at=row.bar_end_at,
        direction=Direction(row.direction),
        conviction=row.conviction,
        reason=row.reason,
        reference_price=row.reference_price,
        figures=row.figures,
    )
