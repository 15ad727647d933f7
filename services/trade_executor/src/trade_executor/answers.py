"""What does an answer to a new order prove?

A definite no is a pair of HTTP status and code that stands on the list here. Everything else but a whole
order in a 200 proves nothing: a timeout, a 5xx, a 429, a page of HTML or half a JSON text may all follow an
order that lives. Texts change without notice, so they are read for one case only: a client order id that
is taken means that the order may be there, not that it was refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

# (HTTP status, broker code); anything not listed is unknown.
DEFINITE_REFUSALS = frozenset(
    {
        (401, 40110000),  # request is not authorized
        (403, 40310000),  # buying power, quantity, wash trade, shorting, suspended by request
        (403, 40310100),  # pattern day trading, where the old rule still stands
        (404, 40410000),  # symbol not found
        (422, 40010000),  # not a JSON order
        (422, 40010001),  # a field that cannot be right
        (422, 42210000),  # a business rule
    }
)
_SHORTEST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 60.0
_USUAL_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """The broker's definite no."""

    status: int
    code: int
    message: str

    @property
    def names_a_taken_id(self) -> bool:
        """Whether an order of the same client order id is there already: go and look."""
        text = self.message.lower().replace("_", " ")
        return "client order id" in text and "unique" in text


def definite_refusal(status: int, body: Any) -> Refusal | None:
    """The refusal in an answer (`body` is the parsed JSON, None when it did not parse), if it is one."""
    if not isinstance(body, dict):
        return None
    code, message = body.get("code"), body.get("message")
    if isinstance(code, bool) or not isinstance(code, int) or not isinstance(message, str):
        return None
    if (status, code) not in DEFINITE_REFUSALS:
        return None
    return Refusal(status, code, message[:500])


def pause_asked_for(headers: Mapping[str, str]) -> float:
    """Seconds to wait after a 429, from whatever the answer says; bounded, since headers may be nonsense.

    `X-RateLimit-Reset` is an instant of the broker's clock and is measured from the answer's own `Date`.
    """
    pause_s = _USUAL_PAUSE_S
    retry_after, reset = headers.get("retry-after"), headers.get("x-ratelimit-reset")
    try:
        if retry_after is not None:
            pause_s = float(retry_after)
        elif reset is not None and "date" in headers:
            said_at = parsedate_to_datetime(headers["date"])
            pause_s = (datetime.fromtimestamp(float(reset), UTC) - said_at).total_seconds()
    except (ValueError, TypeError, OverflowError, OSError):
        pause_s = _USUAL_PAUSE_S
    return min(max(pause_s, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)
