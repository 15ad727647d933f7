"""What does the risk manager need from outside?

A store that reads one consistent book under the account's lock and commits a review whole, and the market at an
instant. PostgreSQL and memory keep the same promises; one contract suite holds both to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

from risk_manager.limits import CHANGEABLE, Limits, within_bounds
from risk_manager.modes import Change
from risk_manager.reports import DayFigures, StoredReport
from risk_manager.review import Decision, Outcome
from risk_manager.snapshot import Book, LimitChange, Market, Mode, Throttle
from shared.domain.lots import Execution
from shared.domain.signals import Direction, Evaluation, ManualOrder
from shared.domain.symbols import Symbol


@dataclass(frozen=True, slots=True)
class Inbound:
    """The next message to answer: where it was read, and at which position."""

    stream: str
    position: int
    body: Evaluation | ManualOrder

    @property
    def shorts(self) -> list[Symbol]:
        """What is wished to be sold short."""
        if isinstance(self.body, ManualOrder):
            return []
        return [s.symbol for s in self.body.signals if s.direction is Direction.SHORT]


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


class LimitsConflict(Exception):
    """The limits have changed since the caller looked; `version` is what they are at now."""

    def __init__(self, version: int) -> None:
        super().__init__(f"the limits are at version {version}; look again and repeat")
        self.version = version


class ThrottleConflict(Exception):
    """The throttle has changed since the caller looked, or stops nothing."""


@dataclass(frozen=True, slots=True)
class Enabling:
    """A person's wish that a stopped strategy may buy a symbol again; `version` is the one they have seen."""

    strategy: str
    symbol: Symbol
    version: int
    reason: str
    actor: str
    at: datetime


def enabled(current: Throttle | None, wanted: Enabling) -> Throttle:
    """What is stored once `wanted` holds; every store decides so.

    Raises:
        ThrottleConflict: see `Store.enable`.
    """
    pair = f"{wanted.strategy} in {wanted.symbol}"
    if current is None or not current.is_stopped:
        raise ThrottleConflict(f"{pair} is not stopped, so there is nothing to enable")
    if current.version != wanted.version:
        raise ThrottleConflict(
            f"{pair} was stopped anew, at version {current.version}; look again and repeat"
        )
    return Throttle(
        wanted.strategy,
        wanted.symbol,
        current.version + 1,
        False,
        wanted.reason,
        wanted.actor,
        wanted.at,
    )


@dataclass(frozen=True, slots=True)
class WantedLimits:
    """Limits that a person asks for; None takes one back to the setting. `version` is the one they have seen."""

    changes: Mapping[str, float | None]
    version: int
    reason: str
    actor: str
    at: datetime


def next_change(current: LimitChange | None, wanted: WantedLimits, settings: Limits) -> LimitChange:
    """What is stored once `wanted` holds; every store decides so.

    Raises:
        LimitsConflict, InvalidInput: see `Store.change_limits`.
    """
    version = 0 if current is None else current.version
    if wanted.version != version:
        raise LimitsConflict(version)
    kept = {} if current is None else within_bounds(current.changes)
    merged = {**kept, **wanted.changes}
    changes = {name: value for name, value in merged.items() if value is not None}
    settings.changed_by({**changes, **dict.fromkeys(wanted.changes.keys() - CHANGEABLE, 1.0)})
    return LimitChange(version + 1, changes, wanted.reason, wanted.actor, wanted.at)


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
        everything as it was. A mark that may be too high is not kept, unless it is that of a breach.

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

    async def book_with_executions(self, at: datetime) -> tuple[Book, list[Execution]]:
        """`book`, and of the same moment the newest fills, a thousand at most, oldest first.

        Each fill with the strategy that decided it, and among them what moved shares since the first of them.
        """
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

    async def change_limits(self, wanted: WantedLimits, settings: Limits) -> LimitChange:
        """Set limits above those of `settings` under the account's lock; from then on every decision keeps them.

        Raises:
            LimitsConflict: they have changed since the caller looked.
            InvalidInput: no limit may be so; nothing is stored.
        """
        ...

    async def throttles(self) -> list[Throttle]:
        """Every strategy that was ever stopped in a symbol, as it stands with them; stopped ones first, at most 500."""
        ...

    async def enable(self, wanted: Enabling) -> Throttle:
        """Let a stopped strategy buy the symbol again, under the account's lock.

        Raises:
            ThrottleConflict: it is not stopped, or was stopped anew since the caller looked.
        """
        ...

    async def limit_history(self, limit: int) -> list[LimitChange]:
        """The newest changes, newest first."""
        ...

    async def day(self, after: datetime, until: datetime) -> DayFigures:
        """What was stored for instants after `after`, up to `until`."""
        ...

    async def record_report(self, report: StoredReport) -> None:
        """Keep a day's report; one that is there already stays."""
        ...

    async def reports(
        self, *, limit: int, before: date | None = None, on: date | None = None
    ) -> list[StoredReport]:
        """The newest reports of days before `before`, or that of `on`."""
        ...

    async def record_snapshot(self, at: datetime, document: Mapping[str, Any]) -> None:
        """Keep what could be lost at `at`; a second one of the same instant is left out."""
        ...

    async def newest_snapshot(self, until: datetime) -> dict[str, Any] | None:
        """The newest one taken by `until`."""
        ...


class MarketReader(Protocol):
    """What the bars say at an instant."""

    async def at(
        self,
        instant_at: datetime,
        symbols: Iterable[Symbol],
        *,
        with_history: bool,
        in_haste: bool = False,
    ) -> Market:
        """The newest price of each symbol by `instant_at`, and its closes when history is wanted.

        Never waits for long: see `Market.unread`. `in_haste`, somebody wants to get out, and it waits less.
        """
        ...

    async def follow(self, instant_at: datetime) -> None:
        """Read ahead, after new bars, what the next decision of about `instant_at` will ask for; it changes no answer."""
        ...
