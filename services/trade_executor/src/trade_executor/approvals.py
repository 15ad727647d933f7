"""Does what is stored as approved allow what is about to be sent?

An intent was made from the message that announced its approval. Right before it is sent the risk manager's own row is
read once more, and the intent's symbol, side, purpose, shares and sum of money are held against it; type, prices and end too,
unless it replaces an order. Not held against it are stops, trails, sessions and time in force: a change of those in our
own tables is not seen here. Shares are those of today: an exit that waited over a split was put into new ones, and so is
what was approved. Protection is not asked about: it only follows an entry that was
approved, and without it shares would stand unguarded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from shared.domain.decisions import Purpose
from shared.domain.orders import OrderType, Side
from shared.domain.symbols import Symbol
from trade_executor.lifecycle import Intent, IntentPurpose

ZERO = Decimal(0)
_NANO_SHARES = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Approval:
    """The approved order, as far as an intent must keep to it; dollars per share, shares."""

    symbol: Symbol
    side: Side
    purpose: Purpose
    quantity: Decimal
    type: OrderType
    limit_price: Decimal | None
    stop_price: Decimal | None
    act_until: datetime
    # Dollars to spend; None for an order in shares.
    notional: Decimal | None = None


def unlike_approval(intent: Intent, approval: Approval | None) -> str | None:
    """Why `approval` (None: none is stored) does not allow `intent`; None when it does.

    A replacement was held against the approval when it was asked for, and has prices and times of its own.
    """
    if intent.purpose is IntentPurpose.PROTECT:
        return None
    if approval is None:
        return "the risk manager has stored no approval for it"
    allowed = [
        ("another symbol", approval.symbol == intent.symbol),
        ("another side", approval.side is intent.side),
        ("another purpose", approval.purpose.value == intent.purpose.value),
        ("fewer shares", intent.quantity <= approval.quantity),
        ("less money", intent.notional is None or intent.notional <= (approval.notional or ZERO)),
    ]
    if intent.replaces is None:
        asked = (intent.type, intent.limit_price, intent.stop_price)
        prices = (approval.type, approval.limit_price, approval.stop_price)
        allowed += [
            ("another type or price", asked == prices),
            ("an earlier end", intent.act_until <= approval.act_until),
        ]
    unlike = [what for what, is_so in allowed if not is_so]
    return f"its stored approval is for {', '.join(unlike)}" if unlike else None


def in_new_shares(quantity: Decimal, splits: Iterable[tuple[Decimal, Decimal]]) -> Decimal:
    """Shares that `quantity` became in `splits` (held before, held after), down to the billionth that a broker deals in."""
    shares = Fraction(quantity)
    for before, after in splits:
        shares *= Fraction(after) / Fraction(before)
    return Decimal(int(shares * _NANO_SHARES)) / _NANO_SHARES
