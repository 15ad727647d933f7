"""What does each process count about itself, whatever it does?

Plain numbers, raised where things happen and read when somebody asks for `/metrics`: transactions and how long they
waited for a connection, hits and misses of the cache, requests to the broker, how late the event loop is. Kept apart from
Prometheus' library, so that what only counts need not import it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

_LOOK_EVERY_S = 1.0


@dataclass
class ProcessFigures:
    """Counted since the process started; seconds are machine time."""

    transactions: int = 0
    database_wait_s: float = 0.0
    database_longest_wait_s: float = 0.0
    database_retries: int = 0
    database_in_use: int = 0
    cache: Counter[tuple[str, str]] = field(default_factory=Counter)
    broker_requests: Counter[str] = field(default_factory=Counter)
    broker_wait_s: float = 0.0
    loop_lag_s: float = 0.0
    loop_longest_lag_s: float = 0.0

    def connected(self, after_s: float) -> None:
        """A transaction has its connection, after waiting so long."""
        self.transactions += 1
        self.database_wait_s += after_s
        self.database_longest_wait_s = max(self.database_longest_wait_s, after_s)

    def looked_up(self, cache: str, *, hits: int, asked: int) -> None:
        """So many of what was asked of a cache were there."""
        self.cache[cache, "hit"] += hits
        self.cache[cache, "miss"] += asked - hits


FIGURES = ProcessFigures()


def watch_loop(figures: ProcessFigures = FIGURES) -> None:
    """Measure once a second how late the running event loop is, as long as it runs."""
    loop = asyncio.get_running_loop()

    def look(due_s: float) -> None:
        figures.loop_lag_s = max(0.0, loop.time() - due_s)
        figures.loop_longest_lag_s = max(figures.loop_longest_lag_s, figures.loop_lag_s)
        loop.call_later(_LOOK_EVERY_S, look, loop.time() + _LOOK_EVERY_S)

    loop.call_later(_LOOK_EVERY_S, look, loop.time() + _LOOK_EVERY_S)
