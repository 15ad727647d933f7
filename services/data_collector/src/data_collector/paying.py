"""Spending a stored budget: waiting for a turn, and letting people see what waits and until when."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from data_collector.budgets import Limits, Spent, Wait, at, block, spend
from shared.domain.errors import RateLimited
from shared.ports import Clock, Timer

# Nobody sleeps longer without looking whether another process changed the budget.
_LONGEST_NAP_S = 30.0
PATIENCE_S = 120.0


class Budgets(Protocol):
    """What was spent, durable and shared by all processes."""

    async def change(self, provider: str, decide: Callable[[Spent], Spent]) -> Spent:
        """Replace what is stored of `provider` by what `decide` makes of it, nobody in between."""
        ...


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that waits for its turn."""

    what: str
    why: str
    until_at: datetime


@dataclass(frozen=True, slots=True)
class BudgetState:
    """One provider's budget as it is now."""

    provider: str
    limits: Limits
    used_in_window: int
    used_today: int
    blocked_until_at: datetime | None
    blocked_why: str
    waiting: tuple[Waiting, ...]


@dataclass(slots=True)
class StoredBudget:
    """See `Budget`.

    `name` is what it is stored under: providers count per key, so two keys have two budgets.
    `clock` is the machine's: a provider counts real minutes, whatever time a replay shows.
    `patience_s`: from how long a wait on the caller is told to go elsewhere.
    """

    provider: str
    limits: Limits
    stored: Budgets
    clock: Clock
    timer: Timer
    name: str = ""
    patience_s: float = PATIENCE_S
    paid: int = 0
    _waiting: dict[int, Waiting] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    # In this process in order of arrival, so that a large request is not passed by small ones for ever.
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.name = self.name or self.provider

    async def spend(self, cost: int, what: str) -> None:
        """See `Budget`."""
        number = next(self._numbers)
        try:
            if self._turn.locked():
                self._waiting[number] = Waiting(what, "other requests come first", self.clock.now())
            async with self._turn:
                while (answer := await self._try(cost)) is not None:
                    self._waiting[number] = Waiting(what, answer.why, answer.until_at)
                    wait_s = (answer.until_at - self.clock.now()).total_seconds()
                    if wait_s > self.patience_s:
                        raise RateLimited(f"the budget of {self.provider} ({answer.why})", wait_s)
                    await self.timer.sleep(min(max(wait_s, 0.05), _LONGEST_NAP_S))
            self.paid += cost
        finally:
            self._waiting.pop(number, None)

    @property
    def waiting(self) -> int:
        """How many requests of this process wait."""
        return len(self._waiting)

    async def refused(self, pause_s: float, why: str) -> None:
        """See `Budget`."""
        until_at = self.clock.now() + timedelta(seconds=pause_s)
        await self.stored.change(self.name, lambda spent: block(spent, until_at, why))

    async def state(self) -> BudgetState:
        """For people and dashboards."""
        spent = await self.stored.change(self.name, lambda spent: spent)
        spent = at(spent, self.limits, self.clock.now())
        return BudgetState(
            self.provider,
            self.limits,
            sum(cost for _, cost in spent.recent),
            spent.day_used,
            spent.blocked_until_at,
            spent.blocked_why,
            tuple(self._waiting.values()),
        )

    async def _try(self, cost: int) -> Wait | None:
        wait: Wait | None = None

        def decide(spent: Spent) -> Spent:
            nonlocal wait
            after = spend(spent, self.limits, cost, self.clock.now())
            wait = after if isinstance(after, Wait) else None
            return spent if isinstance(after, Wait) else after

        await self.stored.change(self.name, decide)
        return wait
