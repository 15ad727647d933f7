"""May this be sold, or bought back? Few rules: what is held must be able to go.

An exit is approved for all that is held *and* all that may still fill. The executor cancels what is open, then sells
what was filled, which may be nothing. What a person lets rest until a price comes holds nothing back but another order
by hand: a flatten, a strategy or the end of a day takes its place. An exit for everything also takes the place of
those that are under way with a part, which would leave the rest. Whether a price is known holds no exit back.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from risk_manager import limits as rules
from risk_manager.exposure import Exposure
from risk_manager.review.case import Case, Decision, Span, Wish, answered
from risk_manager.review.hours import has_own_hours, special_span
from risk_manager.snapshot import ZERO, figure
from shared.domain.decisions import Purpose
from shared.domain.errors import InvalidTime
from shared.domain.orders import Side
from shared.domain.symbols import Symbol

# An exit stays wanted: it may leave until the close of this many sessions, counted from the first possible one.
EXIT_SESSIONS = 5
# What stands for a price where none is known, not from the market, a fill or the order: what is approved names one above
# 0. No exit is measured by it, and figures of slippage leave out what bears `NO_PRICE` among its own.
_NOMINAL_PRICE = Decimal("0.01")
NO_PRICE = "no_price"


def decide_exit(wish: Wish, exposure: Exposure, case: Case) -> Decision:
    """The answer to a wish to get out, with every check, failed or not."""
    quantity = wish.quantity if wish.quantity is not None else ZERO
    # A sale is no way out of what is owed, nor a purchase out of what is held.
    is_way_out = exposure.side_of(wish.symbol) is wish.side.opposite
    reducible = exposure.reducible(wish.symbol) if is_way_out else ZERO
    leaving = _not_replaced_by(wish, exposure) + quantity
    span = special_span(wish, case, is_entry=False) if has_own_hours(wish) else exit_span(case)
    reference, figures = wish.reference_price or _last_value(wish.symbol, exposure), wish.figures
    if reference is None:
        reference = _NOMINAL_PRICE
        figures = {**figures, NO_PRICE: f"no price is known; {reference} stands for it"}
    checks = [rules.mode(case.mode, Purpose.EXIT), rules.no_position(figure(reducible))]
    if wish.side is Side.SELL:
        checks.append(rules.short_not_allowed(figure(quantity), figure(reducible)))
    else:
        checks.append(rules.crosses_zero(figure(quantity), figure(reducible)))
    checks += [
        rules.opening_legs(wish.terms.order_class),
        rules.exit_in_progress(figure(leaving), figure(reducible)),
        rules.market_hours(*span),
        rules.quantity_zero(figure(quantity), least=rules.LEAST_FRACTION),
    ]
    return answered(wish, quantity, reference, span, tuple(checks), exposure, case, figures)


def _not_replaced_by(wish: Wish, exposure: Exposure) -> Decimal:
    """Shares of live exits that stay beside the wish: the executor withdraws the others before it sends it."""
    if not wish.replaces_resting:
        return exposure.leaving.get(wish.symbol, ZERO)
    is_whole = wish.quantity == exposure.reducible(wish.symbol)
    if is_whole and not exposure.leaves_whole(wish.symbol):
        return ZERO
    return exposure.leaving_now(wish.symbol)


def exit_span(case: Case) -> Span:
    """From when until when an exit may leave: any session, and for a few of them."""
    calendar = case.venue.calendar
    try:
        session = calendar.session_at(case.now) or calendar.next_session(case.now)
    except InvalidTime:
        return None, None
    later = calendar.between(session.on, session.on + timedelta(days=4 * EXIT_SESSIONS))
    return max(case.now, session.open_at), later[:EXIT_SESSIONS][-1].close_at


def _last_value(symbol: Symbol, exposure: Exposure) -> Decimal | None:
    """Dollars per share at which a symbol without a market price is carried."""
    # The value is that of the orders of others too.
    shares = exposure.there(symbol)
    value = exposure.committed_value.get(symbol, ZERO)
    return value / shares if shares and value else None
