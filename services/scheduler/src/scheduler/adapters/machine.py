"""How are PostgreSQL, Redis and this very process? Each look has a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import psutil
from redis.asyncio import Redis

from scheduler.runs import ServiceHealth
from shared.adapters.postgres import Database
from shared.adapters.redis import redis_is_answering, redis_memory_bytes
from shared.ports import Timer

_WITHIN_S = 3.0


class ThisMachine:
    """See `Machine`."""

    def __init__(self, database: Database, redis: Redis, timer: Timer) -> None:
        self._database = database
        self._redis = redis
        self._timer = timer
        self._process = psutil.Process()
        self._cpu: tuple[float, float] | None = None

    async def health(self) -> list[ServiceHealth]:
        """See `Machine`."""
        postgres = await self._look("postgres", self._database.is_answering)
        redis = await self._look("redis", self._redis_answers)
        memory = await redis_memory_bytes(self._redis) if redis.alive else None
        return [postgres, replace(redis, memory_bytes=memory), self._own()]

    async def _redis_answers(self) -> bool:
        return await redis_is_answering(self._redis)

    async def _look(self, name: str, answers: Callable[[], Awaitable[bool]]) -> ServiceHealth:
        began_s = self._timer.monotonic_s()
        try:
            async with asyncio.timeout(_WITHIN_S):
                well = await answers()
        except TimeoutError:
            well = False
        took_s = self._timer.monotonic_s() - began_s if well else None
        why = "" if well else "does not answer"
        return ServiceHealth(name, well, well, {}, took_s, why)

    def _own(self) -> ServiceHealth:
        now_s, times = self._timer.monotonic_s(), self._process.cpu_times()
        cpu_s = times.user + times.system
        before, self._cpu = self._cpu, (now_s, cpu_s)
        share = None
        if before is not None and now_s > before[0]:
            share = (cpu_s - before[1]) / (now_s - before[0])
        memory = int(self._process.memory_info().rss)
        return ServiceHealth("scheduler", True, True, {}, 0.0, "", share, memory)
