"""How long does a bar take through the pipeline, hop by hop?

Replays generated minutes in lock-step on a stack of its own and reads PostgreSQL's own commit times of each hop's rows:
batch -> evaluation -> review -> intents -> fills. In the same run the floor is measured on the same server: a commit of one
small row. Printed as times and as ratios to that floor, because machines differ.

    python -m benchmarks.pipeline [instants]
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from statistics import quantiles

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from trader.replay.rest import Phase, Step
from trader.replay.session import ReplayPlan, open_replay
from trader.runtime.instance import Instance
from trader.runtime.stack import LocalStack

_HOPS = """
    WITH hops AS (
      SELECT b.end_at,
        pg_xact_commit_timestamp(b.xmin) AS stored,
        pg_xact_commit_timestamp(e.xmin) AS evaluated,
        pg_xact_commit_timestamp(r.xmin) AS reviewed
      FROM data_collector.bar_batches b
      JOIN strategy_engine.outbox e ON e.account = b.account AND e.topic = 'evaluations'
        AND (e.payload #>> '{body,instant_at}')::timestamptz = b.end_at
      JOIN risk_manager.outbox r ON r.account = b.account
        AND (r.payload #>> '{body,instant_at}')::timestamptz = b.end_at
    )
    SELECT extract(epoch FROM evaluated - stored) * 1000, extract(epoch FROM reviewed - evaluated) * 1000,
      extract(epoch FROM reviewed - stored) * 1000
    FROM hops ORDER BY end_at
"""


def _figures(name: str, values: list[float], floor_ms: float) -> None:
    cuts = quantiles(values, n=100)
    print(
        f"{name:34} p50 {cuts[49]:7.2f} ms   p99 {cuts[98]:7.2f} ms   "
        f"p50 = {cuts[49] / floor_ms:4.1f} commits"
    )


async def _commit_floor_ms(url: str) -> float:
    """The median time of one durable commit of one small row."""
    engine = create_async_engine(url)
    times = []
    async with engine.connect() as connection:
        await connection.execute(text("CREATE TABLE IF NOT EXISTS public.floor (at float8)"))
        await connection.commit()
        for _ in range(200):
            began = time.perf_counter()
            await connection.execute(text("INSERT INTO public.floor VALUES (1)"))
            await connection.commit()
            times.append((time.perf_counter() - began) * 1000)
        await connection.execute(text("DROP TABLE public.floor"))
        await connection.commit()
    await engine.dispose()
    return quantiles(times, n=100)[49]


async def _measure(instants: int) -> None:
    with tempfile.TemporaryDirectory(prefix="full-ai-trader-bench-") as folder:
        instance = Instance.create(Path(folder) / "home")
        steps: dict[Phase, list[float]] = {phase: [] for phase in Phase}
        began = time.perf_counter()

        def note(step: Step) -> None:
            nonlocal began
            now = time.perf_counter()
            steps[step.phase].append((now - began) * 1000)
            began = now

        try:
            async with open_replay(instance, ReplayPlan(seed=7)) as replay:
                began = time.perf_counter()
                await replay.run(until=lambda step: step.number >= 3 * instants, after_step=note)
                url = instance.database_url("trading")
                floor_ms = await _commit_floor_ms(url)
                engine = create_async_engine(url)
                async with engine.connect() as connection:
                    hops = [tuple(map(float, row)) for row in await connection.execute(text(_HOPS))]
                await engine.dispose()
                print(f"{instants} minutes, {(await replay.summary()).orders} orders")
                print(f"{'one durable commit (floor)':34} p50 {floor_ms:7.2f} ms")
                for index, name in enumerate(
                    ("batch -> evaluation", "evaluation -> review", "batch -> review")
                ):
                    _figures(name, [hop[index] for hop in hops], floor_ms)
                for phase, times in steps.items():
                    _figures(f"step {phase}", times, floor_ms)
                _figures("whole bar", [sum(t) for t in zip(*steps.values(), strict=True)], floor_ms)
        finally:
            LocalStack(instance).remove()


if __name__ == "__main__":
    asyncio.run(_measure(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
