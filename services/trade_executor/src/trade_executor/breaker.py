"""Does the broker fail so often that nothing new should be begun?

Five failures within half a minute open the breaker; it closes when an answer has come and ten seconds have passed
without a failure. Look-ups and cancels go on meanwhile, so that it can be found out and what stands can be ended.
Nothing here reads a clock; times are seconds of a monotonic timer.
"""

from __future__ import annotations

from collections import deque

FAILURES = 5
WITHIN_S = 30.0
QUIET_S = 10.0


class Breaker:
    """Of one broker."""

    def __init__(self) -> None:
        self._failures: deque[float] = deque(maxlen=FAILURES)
        self._is_open = False
        self._answered_since = False

    def failed(self, now_s: float) -> None:
        """A request got no answer, or one that says that the broker is ill."""
        self._failures.append(now_s)
        self._answered_since = False
        if len(self._failures) == FAILURES and now_s - self._failures[0] <= WITHIN_S:
            self._is_open = True

    def answered(self) -> None:
        """A request got an answer, whatever it was."""
        self._answered_since = True

    def is_open(self, now_s: float) -> bool:
        """Whether nothing new may be begun at `now_s`."""
        if self._is_open and self._answered_since and now_s - self._failures[-1] >= QUIET_S:
            self._is_open = False
            self._failures.clear()
        return self._is_open
