"""How are signals and orders named?

Ids are pure functions of what they name, so a crash or a second delivery makes the same id again and
the broker's uniqueness check turns a late twin away (rule R4).
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime

# Alpaca documents 128 characters today and 48 in older texts; the smaller bound is safe at both.
MAX_CLIENT_ORDER_ID = 48
CLIENT_ORDER_PREFIX = "fat-"
MANAGEMENT_PREFIX = "mgt-"
SIGNAL_PREFIX = "sig-"
TURN_PREFIX = "trn-"


def _digest(*parts: str) -> str:
    """26 lower-case characters (130 bits) that name `parts`; the separator keeps them apart."""
    raw = hashlib.sha256("\x1f".join(parts).encode()).digest()[:17]
    return base64.b32encode(raw).decode().lower().rstrip("=")[:26]


def broker_mark(url: str, key: str) -> str:
    """A short name for whom `key` stands for at the broker behind `url`; neither can be told from it."""
    return "brk-" + _digest(url.rstrip("/"), key)


def signal_id(
    account: str, strategy: str, symbol: str, timeframe: str, bar_end_at: datetime
) -> str:
    """The one id of the signal that `strategy` may give for that bar."""
    return SIGNAL_PREFIX + _digest(
        account, strategy, symbol, timeframe, bar_end_at.astimezone(UTC).isoformat()
    )


def turn_signal_id(signal: str) -> str:
    """The one id of the entry that follows the exit which `signal` was answered by."""
    return TURN_PREFIX + signal.removeprefix(SIGNAL_PREFIX)


def wish_of(signal: str) -> str:
    """The wish that an answer under that id stands for: that of a turn's entry was answered by its exit before."""
    if not signal.startswith(TURN_PREFIX):
        return signal
    return SIGNAL_PREFIX + signal.removeprefix(TURN_PREFIX)


def source_of_instant(timeframe: str, end_at: datetime) -> str:
    """The name of all that follows from the bars of one instant: its evaluation, its review, and their log lines."""
    return f"evaluation:{timeframe}:{end_at.astimezone(UTC).isoformat()}"


def manual_signal_id(account: str, idempotency_key: str) -> str:
    """The one id of the manual order that was asked for under `idempotency_key`."""
    return "man-" + _digest(account, idempotency_key)


def client_order_id(account: str, signal: str, leg: str, generation: int) -> str:
    """The broker-side name of one order: at most `MAX_CLIENT_ORDER_ID` characters.

    Args:
        leg: what the order does for the signal: `entry`, `exit`, `protect`.
        generation: 0 for the first order of that leg, counted up only after proof that the one
            before has ended.
    """
    return f"{CLIENT_ORDER_PREFIX}{_digest(account, signal, leg)}-{leg[0]}{generation}"


def flatten_signal_id(account: str, flatten_id: str, symbol: str) -> str:
    """The one id of the wish to be out of `symbol` that the order to flatten everything gave."""
    return "fla-" + _digest(account, flatten_id, symbol)


def management_signal_id(account: str, kind: str, symbol: str, instant_at: datetime) -> str:
    """The one id of the wish to reduce `symbol` that managing positions gave at that instant."""
    return MANAGEMENT_PREFIX + _digest(
        account, kind, symbol, instant_at.astimezone(UTC).isoformat()
    )
