"""What does a strategy wish for?

A signal says direction, conviction and why; never a quantity. An evaluation is everything all
strategies wished for at one instant, because exits go before entries and cash is shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from shared.domain.orders import PLAIN_TERMS, OrderTerms, OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe


class Direction(StrEnum):
    """The position wished for. FLAT means out; it is never a wish to be short."""

    LONG = "LONG"
    FLAT = "FLAT"
    SHORT = "SHORT"


@dataclass(frozen=True, slots=True)
class Signal:
    """One wish, made from data up to `bar_end_at`.

    `conviction` is 0 to 1. `reference_price` is the close of the deciding bar, dollars per share.
    `figures` are the indicator values behind it, by name, as text ready for people.
    """

    signal_id: str
    account: str
    strategy: str
    symbol: Symbol
    timeframe: Timeframe
    bar_start_at: datetime
    bar_end_at: datetime
    direction: Direction
    conviction: float
    reason: str
    reference_price: Decimal
    figures: dict[str, str]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All wishes made at one instant, possibly none; sent on even then, to mark the time."""

    account: str
    timeframe: Timeframe
    instant_at: datetime
    signals: tuple[Signal, ...]


@dataclass(frozen=True, slots=True)
class ManualOrder:
    """An order that a person asked for; it takes the same road through risk as any signal.

    `quantity` in shares, prices in dollars; `take_profit` and `stop_loss` make an entry a bracket.
    """

    signal_id: str
    account: str
    symbol: Symbol
    side: Side
    quantity: Decimal
    type: OrderType
    time_in_force: TimeInForce
    limit_price: Decimal | None
    stop_price: Decimal | None
    take_profit: Decimal | None
    stop_loss: Decimal | None
    requested_at: datetime
    actor: str
    terms: OrderTerms = PLAIN_TERMS
