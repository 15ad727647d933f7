"""What can go wrong, by what to do about it.

TradingError
├── InvalidInput    drop the row or the call      InvalidSymbol, InvalidPrice, InvalidBar, InvalidTime
├── Retryable       wait, then try again          RateLimited, Unavailable
├── Rejected        record it and carry on        OrderRejected
├── Unproven        look it up, never resend      OutcomeUnknown
├── StateMismatch   stop trading, tell a human    AccountMismatch
└── Misconfigured   refuse to start, name the mend
"""

from __future__ import annotations


class TradingError(Exception):
    """Anything this system raises on purpose; the text is one sentence for whoever reads it."""


class InvalidInput(TradingError):
    """What was given cannot be right; giving it again will not help."""


class InvalidSymbol(InvalidInput):
    """Not the name of a US-listed share."""


class InvalidPrice(InvalidInput):
    """Not a finite number above zero, or finer than the system stores."""


class InvalidBar(InvalidInput):
    """An interval whose figures contradict each other."""


class InvalidTime(InvalidInput):
    """A naive instant, or one that lies where no session is known."""


class Retryable(TradingError):
    """It may work later; the caller waits, bounded."""


class RateLimited(Retryable):
    """The venue asked for a pause."""

    def __init__(self, venue: str, pause_s: float) -> None:
        super().__init__(f"{venue} asked for a pause of {pause_s:.1f} s")
        self.pause_s = pause_s


class Unavailable(Retryable):
    """A provider, broker, database or bus gave no usable answer; this is never 'no data'."""


class Rejected(TradingError):
    """A definite no; recorded, not repeated."""


class OrderRejected(Rejected):
    """The broker refused the order and said why."""

    def __init__(self, reason: str, *, status: int, code: int | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.code = code


class Unproven(TradingError):
    """Something may have happened; only a look-up can tell."""


class OutcomeUnknown(Unproven):
    """The order may live at the broker: look it up by its client order id, never send another."""

    def __init__(self, client_order_id: str, why: str) -> None:
        super().__init__(f"outcome of order {client_order_id} is unknown: {why}")
        self.client_order_id = client_order_id
        self.why = why


class StateMismatch(TradingError):
    """Our truth and the world's differ; trading stops until a person has looked."""


class AccountMismatch(StateMismatch):
    """The keys belong to another account than the one this system is pinned to."""


class Misconfigured(TradingError):
    """The system cannot start as configured; the text names the setting and the mend."""
