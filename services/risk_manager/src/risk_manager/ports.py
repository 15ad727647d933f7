"""What does the risk manager need from outside?

A store that reads one consistent book under the account's lock and commits a review whole, and the market at an
instant. PostgreSQL and memory keep the same promises; one contract suite holds both to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from risk_manager.attribution import Execution
from risk_manager.limits import Limits
from risk_manager.modes import Change
from risk_manager.review import Decision, Outcome
from risk_manager.snapshot import Book, Market, Mode
from shared.domain.signals import Evaluation, ManualOrder
from shared.domain.symbols import Symbol


@dataclass(frozen=True, slots=True)
class Inbound:
    """The next message to answer: where it was read, and at which position."""

    stream: str
    position: int
    body: Evaluation | ManualOrder


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """A decision as it was stored; `id` grows with time."""

    id: int
    source: str
    decided_at: datetime
    decision: Decision


class VersionConflict(Exception):
    """The mode has changed since the caller looked; `current` is what it is now."""

    def __init__(self, current: Mode) -> None:
        super().__init__(
            f"the mode is {current.mode} at version {current.version}; look again and repeat"
        )
        self.current = current


Decide = Callable[[Book], Outcome]


class Store(Protocol):
    """Where decisions, modes and marks are kept. Raises Unavailable while it gives no answer."""

    async def next_inbound(self) -> Inbound | None:
        """The oldest message nobody has answered: manual orders first, a person is waiting."""
        ...

    async def book(self, at: datetime) -> Book:
        """The account as it is; days are counted from `at` on. Raises Unavailable while the executor has not adopted the account."""
        ...

    async def record(
        self,
        source: str,
        decide: Decide,
        at: datetime,
        *,
        inbound: Inbound | None = None,
        marks_equity: bool = False,
    ) -> Outcome | None:
        """Decide under the account's lock and commit the review, its decisions, mark and cursor whole.

        `decide` is called with the book as it is then, and may be called again. What it raises leaves
        everything as it was.

        Returns:
            None when `source` was reviewed before; then only the cursor moves.
        """
        ...

    async def record_validation(
        self, validation_id: str, decision: Decision, actor: str, at: datetime
    ) -> None:
        """Keep the answer to a question that reserves nothing."""
        ...

    async def decisions(
        self,
        *,
        limit: int,
        before: int | None = None,
        symbol: Symbol | None = None,
        outcome: str | None = None,
        source: str | None = None,
    ) -> list[StoredDecision]:
        """The newest decisions with id < `before`; each filter narrows them."""
        ...

    async def executions(self) -> list[Execution]:
        """The newest fills, a thousand at most, oldest first, each with the strategy that decided it."""
        ...

    async def mode(self, at: datetime) -> Mode:
        """The present mode; that of a new account began at `at`."""
        ...

    async def change_mode(self, change: Change, limits: Limits) -> Mode:
        """Change the mode under the account's lock, and tell what it is then.

        Raises:
            VersionConflict: `modes.may_change` says no.
        """
        ...


class MarketReader(Protocol):
    """What the bars say at an instant."""

    async def at(
        self, instant_at: datetime, symbols: Iterable[Symbol], *, with_history: bool
    ) -> Market:
        """The newest price of each symbol by `instant_at`, and its closes when history is wanted."""
        ...
