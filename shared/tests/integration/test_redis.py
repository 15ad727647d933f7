"""Tests of `shared.adapters.redis` against a real server, also while it is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from redis.asyncio import Redis

from shared.adapters.clocks import MonotonicTimer
from shared.adapters.redis import (
    RedisBarStream,
    RedisBells,
    RedisLatestBars,
    open_redis,
    redis_is_answering,
)
from shared.config import Settings
from shared.domain.bar_blocks import block_of
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.ports import LatestBar
from shared.testing.bar_stores import NOON, a_bar, a_block
from trader.testing.servers import Servers, SettingsFor

AAPL, MSFT = Symbol("AAPL"), Symbol("MSFT")


def with_client(settings: Settings, story: Callable[[Redis], Awaitable[None]]) -> None:
    async def told() -> None:
        async with open_redis(settings) as client:
            await story(client)

    asyncio.run(told())


def away(settings: Settings) -> Settings:
    """The same settings with a port on which nobody listens."""
    return settings.model_copy(update={"redis_port": 1})


def test_a_password_is_needed(settings_for: SettingsFor) -> None:
    settings = settings_for("strategy_engine")

    async def story(client: Redis) -> None:
        assert await redis_is_answering(client)

    async def refused(client: Redis) -> None:
        assert not await redis_is_answering(client)

    with_client(settings, story)
    with_client(settings.model_copy(update={"redis_password": None}), refused)


def test_the_newest_bar_reads_back_exactly_with_its_origin(settings_for: SettingsFor) -> None:
    bar = a_bar("AAPL", close="187.123456")
    fetched_at = NOON + timedelta(microseconds=7)

    async def story(client: Redis) -> None:
        newest = RedisLatestBars(client, "one")
        await newest.replace(a_block(bar), provider="alpaca", fetched_at=fetched_at)
        found = await newest.get(Timeframe.MINUTE, [MSFT, AAPL])
        assert found == {AAPL: LatestBar(bar, "alpaca", fetched_at)}
        assert await newest.get(Timeframe.DAY, [AAPL]) == {}
        assert await newest.get(Timeframe.MINUTE, []) == {}
        assert await RedisLatestBars(client, "two").get(Timeframe.MINUTE, [AAPL]) == {}

    with_client(settings_for("data_collector"), story)


def test_a_price_that_could_not_be_cached_is_written_with_the_next_one(
    servers: Servers, settings_for: SettingsFor, account: str
) -> None:
    settings = settings_for("data_collector")

    async def story(client: Redis) -> None:
        newest = RedisLatestBars(client, account)
        await asyncio.to_thread(servers.stack.stop_programs, ["redis"])
        await newest.replace(a_block(a_bar("AAPL")), provider="p", fetched_at=NOON)
        await asyncio.to_thread(servers.stack.start_programs, ["redis"])
        nothing = block_of(Timeframe.DAY, [])
        await newest.replace(nothing, provider="p", fetched_at=NOON)
        assert await newest.get(Timeframe.DAY, [AAPL]) == {}
        await newest.replace(a_block(a_bar("MSFT")), provider="p", fetched_at=NOON)
        assert (await newest.get(Timeframe.MINUTE, [AAPL, MSFT])).keys() == {AAPL, MSFT}

    with_client(settings, story)


def test_a_batch_is_fetched_from_the_stream_by_its_id(
    settings_for: SettingsFor, account: str
) -> None:
    block = a_block(a_bar("AAPL"), a_bar("MSFT", close="0.000001"))

    async def story(client: Redis) -> None:
        stream = RedisBarStream(client, account)
        assert await stream.fetch(7) is None
        await stream.publish(7, block)
        # A second time, as after a crash, changes nothing and disturbs nobody.
        await stream.publish(7, block)
        found = await stream.fetch(7)
        assert found is not None
        assert list(found) == list(block)
        assert found.timeframe is Timeframe.MINUTE
        assert await stream.fetch(8) is None

    with_client(settings_for("data_collector"), story)


def test_the_stream_keeps_the_newest_batches_and_is_bounded(
    settings_for: SettingsFor, account: str
) -> None:
    async def story(client: Redis) -> None:
        stream = RedisBarStream(client, account)
        for batch_id in range(1, 1001):
            await stream.publish(batch_id, a_block(a_bar("AAPL")))
        assert await stream.fetch(1000) is not None
        assert await stream.fetch(1) is None
        assert await client.xlen(f"market.bars:{account}") < 600

    with_client(settings_for("data_collector"), story)


def test_a_bell_wakes_those_who_listen_for_it_and_nobody_else(
    settings_for: SettingsFor, account: str
) -> None:
    async def story(client: Redis) -> None:
        bells = RedisBells(client, account, MonotonicTimer())
        others = RedisBells(client, f"{account}-x", MonotonicTimer())
        async with bells.listen("bars") as ear, others.listen("bars") as stranger:
            # The first look after subscribing, since a bell may have rung before.
            assert await ear.wait(10)
            assert await stranger.wait(10)
            await bells.ring("signals")
            assert not await ear.wait(0.05)
            await bells.ring("bars", "signals")
            assert await ear.wait(10)
            assert not await stranger.wait(0.05)

    with_client(settings_for("data_collector"), story)


def test_bells_ring_again_after_the_server_was_killed(
    servers: Servers, settings_for: SettingsFor, account: str
) -> None:
    async def story(client: Redis) -> None:
        bells = RedisBells(client, account, MonotonicTimer())
        async with bells.listen("bars") as ear:
            assert await ear.wait(10)
            await asyncio.to_thread(servers.stack.kill, "redis")
            await asyncio.to_thread(servers.stack.wait_until_answering, ["redis"])
            # Subscribed anew, it looks once; after that only a bell wakes it.
            assert await ear.wait(10)
            await bells.ring("bars")
            assert await ear.wait(10)

    with_client(settings_for("data_collector"), story)


def test_while_redis_is_away_writes_pass_and_reads_answer_that_nothing_is_there(
    settings_for: SettingsFor,
) -> None:
    async def story(client: Redis) -> None:
        timer = MonotonicTimer()
        assert not await redis_is_answering(client)
        await RedisBells(client, "a", timer).ring("bars")
        newest, stream = RedisLatestBars(client, "a"), RedisBarStream(client, "a")
        await newest.replace(a_block(a_bar()), provider="p", fetched_at=NOON)
        assert await newest.get(Timeframe.MINUTE, [AAPL]) == {}
        await stream.publish(1, a_block(a_bar()))
        assert await stream.fetch(1) is None
        async with RedisBells(client, "a", timer).listen("bars") as ear:
            assert not await ear.wait(0.05)

    with_client(away(settings_for("data_collector")), story)


def test_an_emptied_server_answers_that_nothing_is_there(
    settings_for: SettingsFor, account: str
) -> None:
    async def story(client: Redis) -> None:
        newest, stream = RedisLatestBars(client, account), RedisBarStream(client, account)
        await newest.replace(a_block(a_bar()), provider="p", fetched_at=NOON)
        await stream.publish(1, a_block(a_bar()))
        # What FLUSHALL does, without disturbing the other tests on this server.
        await client.delete(f"latest:{account}:1Min", f"market.bars:{account}")
        assert await newest.get(Timeframe.MINUTE, [AAPL]) == {}
        assert await stream.fetch(1) is None
        await stream.publish(2, a_block(a_bar()))
        assert await stream.fetch(2) is not None

    with_client(settings_for("data_collector"), story)
