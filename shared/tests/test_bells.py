"""Listening for bells ends when it is told to, whatever the Redis client makes of that."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from shared.adapters.redis import RedisBells
from shared.testing.time import InstantTimer


class DeafClient:
    """A Redis client that takes its first cancellation for a timeout, as the real one does while connecting."""

    @contextlib.asynccontextmanager
    async def pubsub(self) -> AsyncIterator[Any]:
        yield self

    async def subscribe(self, *_channels: str) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()

    async def get_message(self, **_options: Any) -> None:
        await asyncio.get_running_loop().create_future()


def test_an_ear_whose_client_swallows_a_cancellation_still_closes() -> None:
    async def main() -> None:
        bells = RedisBells(DeafClient(), "paper", InstantTimer())  # type: ignore[arg-type]
        async with asyncio.timeout(30), bells.listen("signals"):
            # Once around the loop, so that the ear is waiting for its subscription.
            await asyncio.gather(asyncio.create_task(_nothing()))

    asyncio.run(main())


async def _nothing() -> None:
    return None
