"""Who waits for the request budget?

`Budget` says how long; here is the waiting, on machine time. One gate stands before all requests of one
account.
"""

from __future__ import annotations

from shared.ports import Timer
from trade_executor.budget import Budget, Lane


class Gate:
    """Lets requests pass at the budget's pace."""

    def __init__(self, requests_per_minute: int, timer: Timer) -> None:
        self._timer = timer
        self._budget = Budget(requests_per_minute, timer.monotonic_s())

    async def admit(self, lane: Lane) -> None:
        """Return when one request of `lane` may go."""
        while (pause_s := self._budget.take(lane, self._timer.monotonic_s())) > 0:
            await self._timer.sleep(pause_s)

    def close(self, pause_s: float) -> None:
        """The broker asked for a pause."""
        self._budget.close(pause_s, self._timer.monotonic_s())
