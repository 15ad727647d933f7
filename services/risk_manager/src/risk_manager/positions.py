"""When is a position made smaller, or its stop moved, without anybody's wish?

Holdings and prices of a closed bar go in. Out come moves of stops, and sales (of what is owed, purchases) that take the
road of any other order: review, outbox, executor. At most one per symbol and bar, and none while something else is under way in it;
whatever the plan does not ask for is not done. Stops only tighten. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from risk_manager.exposure import Exposure
from risk_manager.management import (
    ManagementPlan,
    has_gained,
    lowered_stop,
    rebalance_shares,
    tightened_stop,
)
from risk_manager.sizing import average_true_range
from risk_manager.snapshot import ZERO, Book, Holding, Protection, figure
from shared.domain.arithmetic import whole_shares
from shared.domain.decisions import Purpose, StopMove
from shared.domain.money import plain
from shared.domain.symbols import Symbol


class Kind(StrEnum):
    """Why a position is made smaller, the most urgent first."""

    DAY_END = "day_end"
    REBALANCE = "rebalance"
    SCALE_OUT = "scale_out"


@dataclass(frozen=True, slots=True)
class Reduction:
    """Shares to be sold, or bought back, and why. `targets` are the targets of scaling out that were met by it."""

    symbol: Symbol
    kind: Kind
    quantity: Decimal
    reason: str
    targets: tuple[str, ...] = ()


def reductions(
    book: Book,
    exposure: Exposure,
    plan: ManagementPlan,
    *,
    max_position_size: float,
    day_is_over: bool,
    besides: AbstractSet[Symbol],
) -> list[Reduction]:
    """What is to be made smaller now, by symbol; `besides` are on their way out already."""
    found = _day_end(book, exposure, plan, besides) if day_is_over else []
    gone = besides | {reduction.symbol for reduction in found}
    for holding in _manageable(book, exposure, gone):
        reduction = _rebalance(holding, exposure, plan, max_position_size) or _scale_out(
            holding, exposure, plan
        )
        if reduction is not None:
            found.append(reduction)
    return found


def stop_moves(
    book: Book,
    exposure: Exposure,
    plan: ManagementPlan,
    *,
    atr_bars: int,
    besides: AbstractSet[Symbol],
) -> tuple[StopMove, ...]:
    """Which stops follow the price; `besides` are on their way out."""
    if not plan.moves_stops:
        return ()
    moves = []
    for holding in _manageable(book, exposure, besides):
        symbol = holding.symbol
        price = figure(exposure.price(symbol) or ZERO)
        true_range = _true_range(exposure, symbol, atr_bars) if plan.atr_stop > 0.0 else 0.0
        for entry, _ in holding.covered:
            if entry.stop is None or not entry.decision_id:
                continue
            stop = figure(entry.stop)
            follow = lowered_stop if holding.quantity < 0 else tightened_stop
            wanted = follow(stop, price, plan.trailing_stop, plan.atr_stop, true_range)
            if wanted != stop:
                moves.append(
                    StopMove(
                        entry.decision_id,
                        symbol,
                        Decimal(repr(wanted)),
                        entry.stop,
                        f"the bar closed at {price:g}",
                    )
                )
    return tuple(moves)


def _manageable(book: Book, exposure: Exposure, besides: AbstractSet[Symbol]) -> list[Holding]:
    """Positions with a price in which nothing else is under way and nothing is in doubt.

    In doubt is what differs from the broker, a symbol that the collector holds, and a split that has arrived in the
    prices or in the ledger alone.
    """
    doubtful = book.recent.paused | book.recent.held.keys() | exposure.unsettled.keys()
    return [
        holding
        for holding in sorted(book.holdings, key=lambda held: held.symbol)
        if holding.quantity
        and holding.symbol not in besides
        and holding.symbol not in doubtful
        and exposure.price(holding.symbol) is not None
        and not exposure.leaving.get(holding.symbol)
        and not exposure.entering.get(holding.symbol)
        and not exposure.unknown.get(holding.symbol)
    ]


def _day_end(
    book: Book, exposure: Exposure, plan: ManagementPlan, besides: AbstractSet[Symbol]
) -> list[Reduction]:
    """Everything that strategies of the day hold or may still get."""
    shares: dict[Symbol, Decimal] = {}
    for holding in book.holdings:
        for strategy, held in holding.by_strategy().items():
            if strategy in plan.day_strategies and holding.quantity:
                shares[holding.symbol] = shares.get(holding.symbol, ZERO) + held
    for order in book.working:
        if order.purpose is Purpose.ENTRY and order.strategy in plan.day_strategies:
            shares[order.symbol] = shares.get(order.symbol, ZERO) + order.quantity
    return [
        Reduction(symbol, Kind.DAY_END, quantity, "a strategy of the day holds nothing overnight")
        for symbol, quantity in sorted(shares.items())
        if symbol not in besides and not exposure.leaving_now(symbol)
    ]


def _rebalance(
    holding: Holding, exposure: Exposure, plan: ManagementPlan, max_position_size: float
) -> Reduction | None:
    price, equity = exposure.price(holding.symbol), exposure.equity
    # By an equity that is too low a position would seem too large.
    if plan.rebalance_band <= 0.0 or price is None or equity <= 0 or exposure.estimated:
        return None
    shares = rebalance_shares(
        figure(abs(holding.quantity)),
        figure(price),
        figure(equity),
        max_position_size,
        plan.rebalance_band,
    )
    if shares <= 0.0:
        return None
    held = abs(holding.quantity)
    is_all = shares >= figure(held)
    return Reduction(
        holding.symbol,
        Kind.REBALANCE,
        held if is_all else Decimal(int(shares)),
        f"{held * price / equity:.2%} of equity, and {max_position_size:.2%} is the most",
    )


def _scale_out(holding: Holding, exposure: Exposure, plan: ManagementPlan) -> Reduction | None:
    price = figure(exposure.price(holding.symbol) or ZERO)
    shares, met, told = ZERO, list[str](), list[str]()
    is_short = holding.quantity < 0
    way = "below" if is_short else "above"
    for entry, covered in holding.covered:
        left = covered
        for gain, share in plan.scale_out:
            target = target_of(entry, gain)
            if target is None or target in holding.scaled_out:
                continue
            reference = figure(entry.reference or ZERO)
            part = min(Decimal(whole_shares(figure(entry.quantity) * share)), left)
            if not has_gained(price, reference, gain, is_short) or not part:
                continue
            shares, left = shares + part, left - part
            met.append(target)
            told.append(f"{price:g} is {gain:.2%} {way} {plain(entry.reference or ZERO)} or more")
    if not shares:
        return None
    return Reduction(holding.symbol, Kind.SCALE_OUT, shares, "; ".join(told), tuple(met))


def target_of(entry: Protection, gain: float) -> str | None:
    """The name under which a target of an entry is met once; None where its price is not known."""
    if not entry.decision_id or entry.reference is None:
        return None
    return f"{entry.decision_id}@{gain:g}"


def _true_range(exposure: Exposure, symbol: Symbol, bars: int) -> float:
    """Dollars; 0 while too few bars are known."""
    market = exposure.market
    closes: Mapping[int, float] = market.closes.get(symbol, {})
    highs, lows = market.highs.get(symbol, {}), market.lows.get(symbol, {})
    ends = list(closes)[-(bars + 1) :]
    if not all(end in highs and end in lows for end in ends):
        return 0.0
    found = average_true_range(
        [highs[end] for end in ends],
        [lows[end] for end in ends],
        [closes[end] for end in ends],
        bars,
    )
    return found or 0.0
