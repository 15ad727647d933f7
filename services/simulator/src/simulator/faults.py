"""What goes wrong on purpose?

Faults are switched on by the admin API, each for a number of times, and are looked at where they bite: before
a request is handled (status, rate_limit), after it was obeyed and written down (hold_reply, lose_reply,
truncate: only its first half leaves), or when a trade update leaves (duplicate_event, drop_event, malformed_event). Dropping streams happens at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from shared.domain.errors import InvalidInput

BEFORE = frozenset({"status", "rate_limit"})
AFTER = frozenset({"hold_reply", "lose_reply", "truncate"})
EVENTS = frozenset({"duplicate_event", "drop_event", "malformed_event"})
DROP_STREAM = "drop_stream"
KINDS = BEFORE | AFTER | EVENTS | {DROP_STREAM}
_MAX_FAULTS = 1_000
_MAX_DELAY_S = 600.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that will go wrong `count` more times.

    `match` holds what must be equal: `method`, `path` (a path that ends in * matches by its beginning) for
    requests and streams, `event` for trade updates. `delay_s` is how long a reply is held, or how long a
    dropped stream is refused.
    """

    id: int
    kind: str
    match: dict[str, str]
    count: int
    status: int
    delay_s: float
    body: str | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the admin API."""
        return {
            "id": self.id,
            "kind": self.kind,
            "match": self.match,
            "count": self.count,
            "status": self.status,
            "delay_s": self.delay_s,
            "body": self.body,
        }


class Faults:
    """All that are switched on, oldest first."""

    def __init__(self) -> None:
        self._active: list[Fault] = []
        self._next_id = 1

    def add(self, wish: object) -> Fault:
        """Switch one on. Raises InvalidInput with one sentence."""
        if not isinstance(wish, Mapping) or str(wish.get("kind")) not in KINDS:
            raise InvalidInput(f"kind must be one of {', '.join(sorted(KINDS))}")
        unknown = set(wish) - {"kind", "match", "count", "status", "delay_s", "body"}
        if unknown:
            raise InvalidInput(f"{min(unknown)!r} is no field of a fault")
        match = wish.get("match", {})
        if not isinstance(match, Mapping) or set(match) - {"method", "path", "event"}:
            raise InvalidInput("match may name method, path and event, and nothing else")
        count, status, delay_s = (
            wish.get("count", 1),
            wish.get("status", 503),
            wish.get("delay_s", 0),
        )
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= 1_000_000:
            raise InvalidInput("count must be a whole number from 1 to 1000000")
        # A 200 with a body stands for the login page, or the error, that comes as a success.
        lowest = 200 if isinstance(wish.get("body"), str) else 400
        if not isinstance(status, int) or not lowest <= status <= 599:
            raise InvalidInput("status must be 400 to 599, or from 200 on with a body")
        if not isinstance(delay_s, int | float) or not 0 <= delay_s <= _MAX_DELAY_S:
            raise InvalidInput(f"delay_s must be 0 to {_MAX_DELAY_S:.0f}")
        body = wish.get("body")
        if body is not None and not isinstance(body, str):
            raise InvalidInput("body must be the text to answer with")
        if len(self._active) >= _MAX_FAULTS:
            raise InvalidInput(f"{_MAX_FAULTS} faults are on already; DELETE /admin/faults first")
        fault = Fault(
            self._next_id,
            str(wish["kind"]),
            {str(k): str(v) for k, v in match.items()},
            count,
            status,
            float(delay_s),
            body,
        )
        self._next_id += 1
        if fault.kind != DROP_STREAM:
            self._active.append(fault)
        return fault

    @property
    def active(self) -> list[Fault]:
        """Those that still have times left."""
        return list(self._active)

    def clear(self) -> int:
        """Switch all off; returns how many there were."""
        count = len(self._active)
        self._active.clear()
        return count

    def take(self, kinds: frozenset[str], **facts: str) -> Fault | None:
        """The oldest fault of `kinds` whose match agrees with `facts`; uses up one of its times."""
        for i, fault in enumerate(self._active):
            if fault.kind in kinds and agrees(fault.match, facts):
                if fault.count == 1:
                    del self._active[i]
                else:
                    self._active[i] = replace(fault, count=fault.count - 1)
                return fault
        return None


def agrees(match: Mapping[str, str], facts: Mapping[str, str]) -> bool:
    """Whether every named fact is as `match` wants it."""
    for name, wanted in match.items():
        found = facts.get(name)
        if found is None:
            return False
        if wanted.endswith("*"):
            if not found.startswith(wanted[:-1]):
                return False
        elif found != wanted:
            return False
    return True
