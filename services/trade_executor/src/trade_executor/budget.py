"""How many requests may go to the broker, and whose turn is it?

A token bucket at four fifths of the broker's limit, so that a person's own tools have room beside us. Lanes
keep a reserve for the lanes above them: when the budget runs short, entries wait first and cancels last.
Nothing here reads a clock; the caller says what time it is and does the waiting.
"""

from __future__ import annotations

from enum import IntEnum

SHARE = 0.8
WINDOW_S = 60.0
# A quarter of a minute's requests may go at once, the rest trickles in: so no window of 60 s, wherever it
# begins, sees more than the whole.
_BURST_SHARE = 0.25


class Lane(IntEnum):
    """Who asks, the most urgent first."""

    CANCEL = 0
    QUERY = 1
    EXIT = 2
    ENTRY = 3


# Which part of the burst each lane must leave to those above it.
_RESERVE = {Lane.CANCEL: 0.0, Lane.QUERY: 0.1, Lane.EXIT: 0.2, Lane.ENTRY: 0.4}


class Budget:
    """The requests of one account; times in seconds of a monotonic timer."""

    def __init__(self, requests_per_minute: int, now_s: float) -> None:
        """`requests_per_minute` is the broker's limit; under 3 the share cannot be kept and is 2."""
        self.per_window = max(2, int(requests_per_minute * SHARE))
        self._burst = max(1, int(self.per_window * _BURST_SHARE))
        self._rate = (self.per_window - self._burst) / WINDOW_S
        self._tokens = float(self._burst)
        self._counted_s = now_s
        self._closed_until_s = now_s

    def take(self, lane: Lane, now_s: float) -> float:
        """Take one request for `lane`: 0.0 when it may go now, else how many seconds to wait and ask again."""
        if now_s < self._closed_until_s:
            return self._closed_until_s - now_s
        elapsed_s = max(0.0, now_s - self._counted_s)
        self._tokens = min(float(self._burst), self._tokens + elapsed_s * self._rate)
        self._counted_s = max(now_s, self._counted_s)
        needed = 1 + int(self._burst * _RESERVE[lane])
        if self._tokens >= needed:
            self._tokens -= 1
            return 0.0
        return max((needed - self._tokens) / self._rate, 0.001)

    def close(self, pause_s: float, now_s: float) -> None:
        """The broker asked for a pause: nothing goes before it is over."""
        self._closed_until_s = max(self._closed_until_s, now_s + pause_s)
        self._tokens = min(self._tokens, 1.0)
