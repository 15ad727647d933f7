"""Who is logged in, what may they do, and until when?

A session stands for one accepted token. It ends when nobody has used it for a while, when it is old, or when its
person logs out; a restart ends all of them. Wrong tokens are counted by where they come from, and who sends too many
is told to wait; whoever has a right one is let in all the same, or a stranger could lock the owner out.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from dataclasses import dataclass, field

from shared.ports import Ids, Timer

IDLE_S = 30 * 60.0
MOST_SESSIONS = 100
WRONG_TRIES = 10
WRONG_WITHIN_S = 60.0
# Addresses beyond this are forgotten, the oldest first.
MOST_ADDRESSES = 1000


@dataclass(frozen=True, slots=True)
class Rights:
    """What a role may do; everybody who is logged in may look."""

    role: str
    may_halt: bool = False
    may_operate: bool = False
    may_set_limits: bool = False


@dataclass(slots=True)
class Session:
    """One person's login. `token` opens the services' APIs; it never leaves this process.

    `over` is set when it ends, for whoever serves it at that moment.
    """

    token: str = field(repr=False)
    rights: Rights
    began_s: float
    used_s: float
    over: asyncio.Event = field(default_factory=asyncio.Event, repr=False)


class Sessions:
    """All logins of this process, by the digest of the key in the browser's cookie."""

    def __init__(self, timer: Timer, ids: Ids, longest_s: float) -> None:
        """No session lasts longer than `longest_s`, however much it is used."""
        self._timer = timer
        self._ids = ids
        self.longest_s = longest_s
        self._open: dict[str, Session] = {}
        self._wrong: dict[str, deque[float]] = {}

    def begin(self, token: str, rights: Rights) -> str:
        """Log somebody in; returns the key for the cookie. The oldest login makes room for the newest."""
        now_s = self._timer.monotonic_s()
        self._forget(now_s)
        while len(self._open) >= MOST_SESSIONS:
            oldest = min(self._open, key=lambda digest: self._open[digest].used_s)
            self._open.pop(oldest).over.set()
        # Two ids: one alone has a few bits that everybody knows.
        key = self._ids.new() + self._ids.new()
        self._open[_digest(key)] = Session(token, rights, now_s, now_s)
        return key

    def find(self, key: str) -> Session | None:
        """The living session of `key`, now used again; None when there is none any more."""
        session = self._open.get(_digest(key))
        if session is None or not self.lives(session):
            return None
        session.used_s = self._timer.monotonic_s()
        return session

    def lives(self, session: Session) -> bool:
        """Whether `session` still counts; looking does not prolong it."""
        now_s = self._timer.monotonic_s()
        if self._is_old(session, now_s):
            session.over.set()
        return not session.over.is_set()

    def touch(self, session: Session) -> None:
        """Note that somebody has it open or has done something."""
        session.used_s = self._timer.monotonic_s()

    def end(self, key: str) -> None:
        """Log out."""
        session = self._open.pop(_digest(key), None)
        if session is not None:
            session.over.set()

    def note_wrong(self, address: str) -> float | None:
        """Count a token from `address` that is not one of ours.

        Returns:
            Seconds to wait after too many in a short time, or None while they are few.
        """
        now_s = self._timer.monotonic_s()
        tries = self._wrong.pop(address, deque(maxlen=WRONG_TRIES))
        oldest_s = tries[0] if len(tries) == WRONG_TRIES else None
        tries.append(now_s)
        while len(self._wrong) >= MOST_ADDRESSES:
            self._wrong.pop(next(iter(self._wrong)))
        self._wrong[address] = tries
        if oldest_s is None or now_s - oldest_s >= WRONG_WITHIN_S:
            return None
        return WRONG_WITHIN_S - (now_s - oldest_s)

    def _forget(self, now_s: float) -> None:
        for digest, session in list(self._open.items()):
            if self._is_old(session, now_s):
                session.over.set()
                del self._open[digest]

    def _is_old(self, session: Session, now_s: float) -> bool:
        return now_s - session.used_s > IDLE_S or now_s - session.began_s > self.longest_s


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
