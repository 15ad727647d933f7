"""The bus without Redis, for tests: bells that are counted, and a bar stream that can be emptied."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from shared.domain.bar_blocks import BarBlock
from shared.ports import Ear


@dataclass
class MemoryBarStream:
    """A `BarStream` in a dictionary, which a test may empty like Redis."""

    blocks: dict[int, BarBlock] = field(default_factory=dict)

    async def publish(self, batch_id: int, block: BarBlock) -> None:
        """See `BarStream`."""
        self.blocks[batch_id] = block

    async def fetch(self, batch_id: int) -> BarBlock | None:
        """See `BarStream`."""
        return self.blocks.get(batch_id)


@dataclass
class CountedBells:
    """`Bells` that remember what was rung."""

    rung: list[str] = field(default_factory=list)

    async def ring(self, *names: str) -> None:
        """See `Bells`."""
        self.rung += names

    @contextlib.asynccontextmanager
    async def listen(self, *names: str) -> AsyncIterator[Ear]:
        """See `Bells`."""
        yield _WaitsForNothing(self, names, len(self.rung))


@dataclass
class _WaitsForNothing:
    """Says whether one of `names` was rung since the last look, at once."""

    bells: CountedBells
    names: tuple[str, ...]
    seen: int

    async def wait(self, timeout_s: float) -> bool:  # noqa: ARG002  # a test has no time to pass
        """See `Ear`."""
        new = self.bells.rung[self.seen :]
        self.seen = len(self.bells.rung)
        return any(name in self.names for name in new)
