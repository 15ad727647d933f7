"""Has this key asked too often in the running minute?

A fixed window of machine time per key and API. The broker's own kind of window is not documented; what
clients can rely on is the count, the headers and the 429.
"""

from __future__ import annotations

from typing import NamedTuple

_WINDOW_S = 60.0
# A key is whatever a client sends: without a bound, inventing keys would fill the memory.
_MAX_KEYS = 10_000


class Allowance(NamedTuple):
    """What is left after a request: `reset_s` seconds until the window is new."""

    allowed: bool
    limit: int
    remaining: int
    reset_s: float


class RateLimit:
    """Counts requests; a limit of 0 lets everything pass."""

    def __init__(self, per_minute: int) -> None:
        self._limit = per_minute
        self._windows: dict[str, tuple[float, int]] = {}

    @property
    def is_on(self) -> bool:
        """Whether anything is counted."""
        return self._limit > 0

    def take(self, key: str, now_s: float) -> Allowance:
        """Count one request of `key` at machine time `now_s`."""
        began, used = self._windows.get(key, (now_s, 0))
        if now_s - began >= _WINDOW_S:
            began, used = now_s, 0
        allowed = used < self._limit
        if allowed:
            used += 1
        if key not in self._windows and len(self._windows) >= _MAX_KEYS:
            self._windows.pop(next(iter(self._windows)))
        self._windows[key] = (began, used)
        return Allowance(allowed, self._limit, self._limit - used, began + _WINDOW_S - now_s)
