"""What may the risk manager answer?

Every answer carries the checks it rests on, with limit and usage, so that any order and any refusal can
be explained later from what was stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from shared.domain.orders import PLAIN_TERMS, OrderTerms, OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol


class TradingMode(StrEnum):
    """Which orders may leave: all, only those that reduce positions, or none."""

    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"
    HALTED = "HALTED"

    @property
    def strictness(self) -> int:
        """0 for ACTIVE, 1 for REDUCING, 2 for HALTED."""
        return [*TradingMode].index(self)


class Purpose(StrEnum):
    """What an order does to the position; exits and cancels stay possible in REDUCING."""

    ENTRY = "entry"
    EXIT = "exit"


@dataclass(frozen=True, slots=True)
class Check:
    """One rule applied once: `usage` against `limit`, both in `unit`."""

    code: str
    passed: bool
    limit: float
    usage: float
    unit: str
    text: str


@dataclass(frozen=True, slots=True)
class Approved:
    """A sized order that passed every limit. Only the review and the bus decoder build one: the proof.

    `act_from` and `act_until` bound when it may be sent, in venue time; one made on a daily bar's
    close is held until the next session. An exit's `quantity` is what was held when it was decided.
    """

    decision_id: str
    signal_id: str
    account: str
    symbol: Symbol
    side: Side
    purpose: Purpose
    quantity: Decimal
    type: OrderType
    time_in_force: TimeInForce
    limit_price: Decimal | None
    stop_price: Decimal | None
    stop_loss: Decimal | None
    take_profit: Decimal | None
    reference_price: Decimal
    act_from: datetime
    act_until: datetime
    checks: tuple[Check, ...]
    terms: OrderTerms = PLAIN_TERMS


@dataclass(frozen=True, slots=True)
class Refused:
    """An order that would break a rule: an everyday answer, so returned and not raised."""

    decision_id: str
    signal_id: str
    account: str
    symbol: Symbol
    side: Side
    purpose: Purpose
    reason_code: str
    reason: str
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class StopMove:
    """The stop of what one entry brought, to rest closer to the price from now on.

    `decision_id` is the entry's. Stops only ever tighten, so a move that comes twice or late does no harm.
    """

    decision_id: str
    symbol: Symbol
    stop_loss: Decimal
    previous: Decimal
    reason: str


@dataclass(frozen=True, slots=True)
class Review:
    """All answers given for one evaluation (or one manual order), in the order they were decided."""

    account: str
    source: str
    instant_at: datetime
    approved: tuple[Approved, ...]
    refused: tuple[Refused, ...]
    moved: tuple[StopMove, ...] = ()
