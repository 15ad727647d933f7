"""Who waits for the request budget, and is the broker well enough for more?

`Budget` says how long and `Breaker` whether; here is the waiting, on machine time. One gate stands before all
requests of one account.
"""

from __future__ import annotations

from shared.adapters.figures import FIGURES
from shared.ports import Timer
from trade_executor.breaker import Breaker
from trade_executor.budget import Budget, Lane


class Gate:
    """Lets requests pass at the budget's pace."""

    def __init__(self, requests_per_minute: int, timer: Timer) -> None:
        self._timer = timer
        self._breaker = Breaker()
        self._budget = Budget(requests_per_minute, timer.monotonic_s())

    async def admit(self, lane: Lane) -> None:
        """Return when one request of `lane` may go."""
        while (pause_s := self._budget.take(lane, self._timer.monotonic_s())) > 0:
            FIGURES.broker_wait_s += pause_s
            await self._timer.sleep(pause_s)
        FIGURES.broker_requests[lane.name.lower()] += 1

    def failed(self) -> None:
        """A request got no answer, or one that says that the broker is ill."""
        self._breaker.failed(self._timer.monotonic_s())

    def answered(self) -> None:
        """A request got an answer."""
        self._breaker.answered()

    @property
    def is_broken(self) -> bool:
        """Whether the broker fails so often that nothing new should be begun."""
        return self._breaker.is_open(self._timer.monotonic_s())

    def close(self, pause_s: float) -> None:
        """The broker asked for a pause."""
        self._budget.close(pause_s, self._timer.monotonic_s())
