"""How are the stages of the pipeline read from the services' views? Bounded reads by index."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.adapters.system_figures import QUEUES
from scheduler.pipeline import PipelineRun, PipelineState, Screening, Waiting
from shared.adapters.postgres import Database

_NEWEST = """
    SELECT (SELECT end_at FROM data_collector.v_bar_batches
            WHERE account = :account AND timeframe = :timeframe ORDER BY id DESC LIMIT 1),
           (SELECT max(taken_at) FROM data_collector.v_screens WHERE account = :account)"""
_NEWEST_SCREENING = """
    SELECT screen, due_at, outcome, ended_at, symbols, took_s, detail
    FROM data_collector.v_screen_runs
    WHERE account = :account ORDER BY due_at DESC LIMIT 1"""
# Of each of some batches the screen that was due last when its bars ended.
_SCREENINGS = """
    SELECT r.id, s.screen, s.due_at, s.outcome, s.ended_at, s.symbols, s.took_s, s.detail
    FROM unnest(CAST(:ids AS bigint[]), CAST(:ends AS timestamptz[])) AS r (id, end_at)
    CROSS JOIN LATERAL (
        SELECT * FROM data_collector.v_screen_runs
        WHERE account = :account AND due_at < r.end_at ORDER BY due_at DESC LIMIT 1
    ) AS s"""
# Messages are named after the instant of their batch, so that a run is found by names alone.
_RUNS = """
    WITH runs AS MATERIALIZED (
        SELECT id, account, timeframe, start_at, end_at, symbols, decidable, announced_at,
               timeframe || ':' || to_char(end_at AT TIME ZONE 'UTC',
                                           'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS name
        FROM data_collector.v_bar_batches
        WHERE account = :account AND id < :before ORDER BY id DESC LIMIT :limit
    ), decided AS MATERIALIZED (
        SELECT decision_id, source, outcome FROM risk_manager.v_decisions
        WHERE account = :account AND source IN (SELECT 'evaluation:' || name FROM runs)
    ), sent AS MATERIALIZED (
        SELECT d.source, i.client_order_id, i.sent_at FROM decided d
        JOIN trade_executor.v_intents i ON i.account = :account AND i.decision_id = d.decision_id
        WHERE i.sent_at IS NOT NULL
    ), filled AS MATERIALIZED (
        SELECT s.source, f.booked_at FROM sent s
        JOIN trade_executor.v_fills f
            ON f.account = :account AND f.client_order_id = s.client_order_id
    )
    SELECT r.id, r.timeframe, r.start_at, r.end_at, r.symbols, r.decidable,
        (SELECT max(taken_at) FROM data_collector.v_screens
         WHERE account = :account AND taken_at < r.end_at) AS screened_at,
        r.announced_at,
        e.created_at AS evaluated_at, v.created_at AS reviewed_at,
        (SELECT min(sent_at) FROM sent WHERE source = 'evaluation:' || r.name) AS sent_at,
        (SELECT max(booked_at) FROM filled WHERE source = 'evaluation:' || r.name) AS filled_at,
        (SELECT count(*) FROM strategy_engine.v_signals
         WHERE account = :account AND batch_id = r.id) AS signals,
        (SELECT count(*) FROM decided WHERE source = 'evaluation:' || r.name AND outcome = 'approved'),
        (SELECT count(*) FROM decided WHERE source = 'evaluation:' || r.name AND outcome = 'refused'),
        (SELECT count(*) FROM sent WHERE source = 'evaluation:' || r.name),
        (SELECT count(*) FROM filled WHERE source = 'evaluation:' || r.name)
    FROM runs r
    LEFT JOIN strategy_engine.v_outbox e
        ON e.account = :account AND e.topic = 'evaluations' AND e.key = r.name
    LEFT JOIN risk_manager.v_outbox v
        ON v.account = :account AND v.topic = 'reviews' AND v.key = 'evaluation:' || r.name
    ORDER BY r.id DESC"""


class PostgresPipeline:
    """See `PipelineReads`."""

    def __init__(self, database: Database, account: str, timeframe: str) -> None:
        self._database = database
        self._account = account
        self._timeframe = timeframe

    async def state(self) -> PipelineState:
        """See `PipelineReads`."""

        async def work(connection: AsyncConnection) -> PipelineState:
            mine = {"account": self._account}
            newest = await connection.execute(text(_NEWEST), {**mine, "timeframe": self._timeframe})
            bars_at, screen_at = newest.one()
            screened = (await connection.execute(text(_NEWEST_SCREENING), mine)).one_or_none()
            waiting = {}
            for reader, query in QUEUES.items():
                row = (await connection.execute(text(query), mine)).one()
                waiting[reader] = Waiting(int(row.many), row.oldest_at)
            screening = None if screened is None else Screening(*screened)
            return PipelineState(bars_at, screen_at, waiting, screening)

        return await self._database.run(work)

    async def runs(self, before: int | None, limit: int) -> list[PipelineRun]:
        """See `PipelineReads`."""

        async def work(connection: AsyncConnection) -> list[PipelineRun]:
            values = {"account": self._account, "before": before or 2**62, "limit": limit}
            found = [PipelineRun(*row) for row in await connection.execute(text(_RUNS), values)]
            ends = {
                "account": self._account,
                "ids": [run.batch_id for run in found],
                "ends": [run.end_at for run in found],
            }
            screenings = {
                row[0]: Screening(*row[1:])
                for row in await connection.execute(text(_SCREENINGS), ends)
            }
            return [replace(run, screening=screenings.get(run.batch_id)) for run in found]

        return await self._database.run(work)
