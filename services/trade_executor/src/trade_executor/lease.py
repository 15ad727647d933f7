"""Who is the one executor of an account, and until when may it believe so?

The holder of a lease counts a row up every half second. Whoever stands by takes over once it has seen the same
count for three seconds, and the holder stops believing after two seconds without an answer: each measures on its
own machine's timer, so no two clocks have to agree. A holder known to be dead is not waited for. Every taking raises
the epoch, and whatever is sent is sent under the epoch that the transaction before it has seen. Nothing here reads a
table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import structlog

from shared.domain.errors import Retryable, Unavailable
from shared.ports import Timer

_log = structlog.get_logger(__name__)
BEAT_S = 0.5
# The holder believes for shorter than the others wait: between the two nobody sends.
HOLD_S = 2.0
EXPIRES_S = 3.0


class LeaseLost(Unavailable):
    """Another process has taken the lease."""


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """The lease as stored; nobody holds it when `holder` is None."""

    epoch: int
    beats: int
    holder: str | None


class Leases(Protocol):
    """Where the lease is kept."""

    async def look(self) -> LeaseRow | None:
        """The row; None when no executor ever ran for this account."""
        ...

    async def take(self, seen: LeaseRow | None, holder: str) -> int | None:
        """Begin a new epoch if the row is still as `seen`; None when somebody was quicker."""
        ...

    async def beat(self, epoch: int) -> bool:
        """Count the row up; False when the epoch is not ours any more."""
        ...

    async def release(self, epoch: int) -> None:
        """Let the next one take it at once."""
        ...


class Holder(Protocol):
    """Who may hold a lease."""

    @property
    def name(self) -> str:
        """What this one is called; no other process has the name."""
        ...

    def is_gone(self, name: str) -> bool:
        """Whether it is certain that the process of that name lives no more."""
        ...


class Watch:
    """Whether a lease that others hold has run out, by looking at it again and again."""

    def __init__(self) -> None:
        self._last: LeaseRow | None = None
        self._since_s = 0.0
        self._looked_s = 0.0

    def has_expired(self, seen: LeaseRow | None, now_s: float) -> bool:
        """Whether it may be taken, after one more look.

        A pause between two looks (the database was away, we were stopped) proves nothing about the holder, so
        the waiting begins anew.
        """
        if seen is None or seen.holder is None:
            return True
        was_blind = now_s - self._looked_s > HOLD_S
        self._looked_s = now_s
        if seen != self._last or was_blind:
            self._last, self._since_s = seen, now_s
        return now_s - self._since_s >= EXPIRES_S


class Lease:
    """Held for one epoch, as long as its beats are answered."""

    def __init__(self, leases: Leases, epoch: int, timer: Timer, heard_s: float) -> None:
        """`heard_s`: when the taking was asked for, which is before it took effect."""
        self._leases = leases
        self.epoch = epoch
        self._timer = timer
        self._heard_s = heard_s
        self._is_lost = False

    @property
    def is_sure(self) -> bool:
        """Whether an answer came lately enough that nobody else can have taken over."""
        return not self._is_lost and self._timer.monotonic_s() - self._heard_s < HOLD_S

    async def keep(self) -> None:
        """Beat until another process has the lease. Raises LeaseLost.

        While the database is away the lease is kept but not believed in: nothing is sent, and if nobody else has
        taken it meanwhile the term goes on.
        """
        is_quiet = False
        while True:
            await self._timer.sleep(BEAT_S)
            asked_s = self._timer.monotonic_s()
            try:
                is_ours = await self._leases.beat(self.epoch)
            except Retryable as error:
                if not is_quiet:
                    _log.warning("the lease is not confirmed", reason=str(error))
                is_quiet = True
                continue
            if not is_ours:
                self._is_lost = True
                raise LeaseLost("another process executes for this account now")
            self._heard_s, is_quiet = asked_s, False


async def take_lease(leases: Leases, holder: Holder, timer: Timer) -> Lease:
    """Stand by until the lease can be had, and take it.

    Raises:
        Unavailable: the database gave no answer.
    """
    watch = Watch()
    while True:
        seen = await leases.look()
        asked_s = timer.monotonic_s()
        is_gone = seen is not None and seen.holder is not None and holder.is_gone(seen.holder)
        if watch.has_expired(seen, asked_s) or is_gone:
            epoch = await leases.take(seen, holder.name)
            if epoch is not None:
                return Lease(leases, epoch, timer, asked_s)
        await timer.sleep(BEAT_S)
