"""How do bells, the bar stream and the latest prices travel through Redis?

Nothing in Redis is truth: it may be emptied, restarted or away and only latency changes. So writes here never
raise, and reads answer "not there", after which the caller reads the store.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, cast

import numpy as np
import orjson
import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from shared.adapters.figures import FIGURES
from shared.config import Settings
from shared.domain.bar_blocks import BarBlock, from_epoch_us, to_epoch_us
from shared.domain.bars import Bar
from shared.domain.money import from_micros
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.ports import Ear, LatestBar, Timer

_log = structlog.get_logger(__name__)
# A day of minutes; older batches are read from the store.
_STREAM_LENGTH = 400
# A price nobody refreshed for a long week-end is no price.
_LATEST_TTL_S = 5 * 24 * 3600
_COLUMNS = ("start_us", "end_us", "open", "high", "low", "close", "volume")
_GONE = (RedisError, OSError, asyncio.TimeoutError)


@contextlib.asynccontextmanager
async def open_redis(settings: Settings) -> AsyncIterator[Redis]:
    """A bounded pool of connections; connects when first used."""
    password = settings.redis_password.get_secret_value() if settings.redis_password else None
    client = Redis(
        host=settings.redis_host,
        port=settings.redis_port,
        password=password,
        socket_connect_timeout=1,
        socket_timeout=2,
        max_connections=8,
        health_check_interval=15,
        # The client's own default tries ten times with growing pauses: a bell nobody can hear would
        # hold up the stage that rings it for tens of seconds.
        retry=Retry(NoBackoff(), 0),
    )
    try:
        yield client
    finally:
        await client.aclose()


async def redis_is_answering(client: Redis) -> bool:
    """Whether Redis answers a ping right now."""
    try:
        return bool(await client.ping())
    except _GONE:
        return False


async def redis_memory_bytes(client: Redis) -> int | None:
    """What Redis uses of its memory, or None where it does not say."""
    try:
        return int((await client.info("memory"))["used_memory"])
    except (*_GONE, KeyError, ValueError):
        return None


class RedisBells:
    """Bells as Redis Pub/Sub messages without content."""

    def __init__(self, client: Redis, account: str, timer: Timer) -> None:
        self._client = client
        self._account = account
        self._timer = timer

    def _channel(self, name: str) -> str:
        return f"bell:{self._account}:{name}"

    async def ring(self, *names: str) -> None:
        """See `Bells`."""
        try:
            if len(names) == 1:
                await self._client.publish(self._channel(names[0]), b"")
                return
            async with self._client.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.publish(self._channel(name), b"")
                await pipe.execute()
        except _GONE as error:
            _log.debug("bell not rung", bells=names, error=type(error).__name__)

    @contextlib.asynccontextmanager
    async def listen(self, *names: str) -> AsyncIterator[Ear]:
        """See `Bells`."""
        ear = _RedisEar(self._client, [self._channel(name) for name in names], self._timer)
        task = asyncio.create_task(ear.follow(), name=f"ear:{','.join(names)}")
        try:
            yield ear
        finally:
            # While it connects, the client takes a cancellation for a timeout of its own and goes on.
            while not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=0.1)


class _RedisEar:
    """Holds one subscription open, again after each loss."""

    def __init__(self, client: Redis, channels: list[str], timer: Timer) -> None:
        self._client = client
        self._channels = channels
        self._timer = timer
        self._rung = asyncio.Event()

    async def wait(self, timeout_s: float) -> bool:
        """See `Ear`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True

    async def follow(self) -> None:
        """Subscribe and set the event at each bell, until cancelled."""
        pause_s = 0.1
        while True:
            try:
                async with self._client.pubsub() as pubsub:
                    await pubsub.subscribe(*self._channels)
                    # A bell may have rung while nobody listened: look once.
                    self._rung.set()
                    pause_s = 0.1
                    while True:
                        message = await pubsub.get_message(
                            ignore_subscribe_messages=True, timeout=5.0
                        )
                        if message is not None:
                            self._rung.set()
            except _GONE as error:
                _log.debug("bells are silent", error=type(error).__name__)
            await self._timer.sleep(pause_s)
            pause_s = min(pause_s * 2, 2.0)


class RedisLatestBars:
    """The newest bar per symbol as one hash per timeframe."""

    def __init__(self, client: Redis, account: str) -> None:
        self._client = client
        self._account = account
        # Held so that what a lost write left stale is put right as soon as Redis is back.
        self._unwritten: dict[Timeframe, dict[str, bytes]] = {}

    def _key(self, timeframe: Timeframe) -> str:
        return f"latest:{self._account}:{timeframe}"

    async def replace(self, block: BarBlock, *, provider: str, fetched_at: datetime) -> None:
        """See `LatestBars`."""
        fetched_us = to_epoch_us(fetched_at)
        columns = [getattr(block, name).tolist() for name in _COLUMNS]
        entries = dict(self._unwritten.get(block.timeframe, {}))
        for symbol, *figures in zip(block.symbols, *columns, strict=True):
            entries[symbol] = orjson.dumps([*figures, provider, fetched_us])
        if not entries:
            return
        key = self._key(block.timeframe)
        try:
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.hset(key, mapping=entries)  # type: ignore[arg-type]  # bytes values are fine
                pipe.expire(key, _LATEST_TTL_S)
                await pipe.execute()
            self._unwritten.pop(block.timeframe, None)
        except _GONE as error:
            self._unwritten[block.timeframe] = entries
            _log.warning("latest prices not cached", error=type(error).__name__)

    async def get(self, timeframe: Timeframe, symbols: Sequence[Symbol]) -> dict[Symbol, LatestBar]:
        """See `LatestBars`."""
        if not symbols:
            return {}
        try:
            found: list[Any] = await self._client.hmget(self._key(timeframe), list(symbols))
        except _GONE:
            FIGURES.looked_up("latest_bars", hits=0, asked=len(symbols))
            return {}
        hits = sum(entry is not None for entry in found)
        FIGURES.looked_up("latest_bars", hits=hits, asked=len(symbols))
        return {
            symbol: _latest_bar(timeframe, symbol, orjson.loads(raw))
            for symbol, raw in zip(symbols, found, strict=True)
            if raw is not None
        }


def _latest_bar(timeframe: Timeframe, symbol: Symbol, entry: list[Any]) -> LatestBar:
    start_us, end_us, opened, high, low, close, volume, provider, fetched_us = entry
    bar = Bar(
        symbol,
        timeframe,
        from_epoch_us(start_us),
        from_epoch_us(end_us),
        from_micros(opened),
        from_micros(high),
        from_micros(low),
        from_micros(close),
        volume,
    )
    return LatestBar(bar, provider, from_epoch_us(fetched_us))


class RedisBarStream:
    """Announced batches on the stream `market.bars`, each under the id `<batch>-0`."""

    def __init__(self, client: Redis, account: str) -> None:
        self._client = client
        self._key = f"market.bars:{account}"

    async def publish(self, batch_id: int, block: BarBlock) -> None:
        """See `BarStream`."""
        fields: dict[str, bytes | str] = {
            "timeframe": block.timeframe.value,
            "symbols": ",".join(block.symbols),
            **{name: getattr(block, name).tobytes() for name in _COLUMNS},
        }
        try:
            await self._client.xadd(
                self._key,
                fields,  # type: ignore[arg-type]  # the stub's field type is invariant
                id=f"{batch_id}-0",
                maxlen=_STREAM_LENGTH,
                approximate=True,
            )
        except _GONE as error:
            _log.debug("bars not on the stream", batch_id=batch_id, error=type(error).__name__)

    async def fetch(self, batch_id: int) -> BarBlock | None:
        """See `BarStream`."""
        try:
            rows = await self._client.xrange(self._key, f"{batch_id}-0", f"{batch_id}-0", count=1)
        except _GONE:
            return None
        if not rows:
            return None
        # The client decodes nothing, as asked; its stubs allow for more.
        fields = cast(dict[bytes, bytes], rows[0][1])
        symbols = tuple(Symbol(name) for name in fields[b"symbols"].decode().split(",") if name)
        columns = [np.frombuffer(fields[name.encode()], dtype=np.int64) for name in _COLUMNS]
        return BarBlock(Timeframe(fields[b"timeframe"].decode()), symbols, *columns)
