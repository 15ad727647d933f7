"""What wakes a task of this process?

A bell rung inside the process: no socket, no loss. Rung many times before anybody listens it wakes once.
"""

from __future__ import annotations

import asyncio


class Wake:
    """An `Ear` that its own process rings."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def set(self) -> None:
        """Wake whoever waits, or whoever waits next."""
        self._rung.set()

    async def wait(self, timeout_s: float) -> bool:
        """See `Ear`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True
