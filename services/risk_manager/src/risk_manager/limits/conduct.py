"""Is this a kind of order that may be given at all?

The mode, what is held and on its way in the symbol, and whether the symbol itself may be traded. How much of it may be
bought is asked in `exposures`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from risk_manager.limits.codes import Code
from shared.domain.arithmetic import NOISE
from shared.domain.decisions import Check, Purpose, TradingMode
from shared.domain.orders import OrderClass, Side


def mode(current: TradingMode, purpose: Purpose) -> Check:
    """ACTIVE lets all pass, REDUCING only exits, HALTED nothing.

    Source: rule R10 of the fault model; SEC rule 15c3-5 asks for such a switch.
    """
    limit = 0 if purpose is Purpose.ENTRY else 1
    return Check(
        Code.MODE,
        current.strictness <= limit,
        float(limit),
        float(current.strictness),
        "0 ACTIVE, 1 REDUCING, 2 HALTED",
        f"trading is {current}; an {purpose} needs {'ACTIVE' if limit == 0 else 'no HALTED'}",
    )


def short_not_allowed(selling: float, held: float) -> Check:
    """A way out sells no more than is held: nothing goes through zero in one order.

    Args:
        selling, held: shares.
    Source: SEC Regulation SHO, rule 203(b)(1): nothing is sold short that was not located.
    """
    return Check(
        Code.SHORT_NOT_ALLOWED,
        selling <= max(held, 0.0) + NOISE,
        max(held, 0.0),
        selling,
        "shares",
        f"selling {selling:g} of {held:g} held; a way out opens no short position",
    )


def short_sale(is_short: bool, is_allowed: bool) -> Check:
    """Shares may be sold short only where the account's owner has said so, beside the strategy's own switch.

    Source: FINRA rule 4210: a short position needs margin, and its loss has no bound.
    """
    return Check(
        Code.SHORT_NOT_ALLOWED,
        is_allowed or not is_short,
        float(is_allowed),
        float(is_short),
        "short sales",
        "it opens no short position"
        if not is_short
        else "RISK_ALLOW_SHORT allows short positions"
        if is_allowed
        else "no short position may be opened; RISK_ALLOW_SHORT=true allows it",
    )


def short_availability(account_may: bool | None, is_lent: bool | None) -> Check:
    """The broker lets this account sell short and lends the share easily; what is not known is refused.

    Args:
        account_may: by the broker's own flags. `is_lent`: shortable and easy to borrow. None where it is not known, or was
            heard longer than a trading day ago.
    Source: SEC Regulation SHO, rule 203(b)(1): nothing is sold short that was not located; Alpaca lends what is easy to borrow.
    """
    words = {True: "yes", False: "no", None: "not known"}
    return Check(
        Code.SHORT_AVAILABILITY,
        account_may is True and is_lent is True,
        2.0,
        float(account_may is True) + float(is_lent is True),
        "flags",
        f"the account may sell short: {words[account_may]}; the share is lent easily: {words[is_lent]}",
    )


def superseded(is_superseded: bool) -> Check:
    """An entry that waits for an exit is given up once anything newer is meant for its symbol or for all trading.

    Source: rule R9 of the fault model: in doubt no new order.
    """
    text = "no newer wish has come"
    if is_superseded:
        text = "a newer wish for the symbol has come, or trading was stopped, resumed or flattened"
    return Check(Code.SUPERSEDED, not is_superseded, 0.0, float(is_superseded), "wishes", text)


def crosses_zero(buying: float, short: float) -> Check:
    """A buy against a short position may close it and no more; what it would mean beyond is unclear.

    Args:
        buying, short: shares; `short` is how many are owed.
    Source: Alpaca, which closes a position before one on the other side is opened.
    """
    return Check(
        Code.CROSSES_ZERO,
        buying <= short + NOISE,
        short,
        buying,
        "shares",
        f"buying {buying:g} against a short position of {short:g}; buy at most that much",
    )


def opening_legs(order_class: OrderClass | None) -> Check:
    """What closes a position brings no legs of its own: they would rest once it is gone, and open one anew.

    A bracket's or OTO's legs stand on the other side than their order; both orders of an OCO close.

    Source: Alpaca's bracket and OTO orders, whose legs become active when their order has filled.
    """
    opens = order_class not in (None, OrderClass.SIMPLE, OrderClass.OCO)
    return Check(
        Code.OPENING_LEGS,
        not opens,
        0.0,
        float(opens),
        "legs that open",
        f"the legs of a {order_class} order would open a position once this exit has closed it; "
        "leave order_class out, or ask for oco"
        if opens
        else "it brings no legs that open a position",
    )


def no_position(reducible: float) -> Check:
    """An exit needs something to get out of: shares held, or an entry that may still fill.

    Source: SEC Regulation SHO, rule 203(b)(1): nothing is sold that is neither held nor located.
    """
    return Check(
        Code.NO_POSITION,
        reducible > NOISE,
        0.0,
        reducible,
        "shares",
        f"{reducible:g} shares are held or on order",
    )


def exit_in_progress(leaving: float, reducible: float) -> Check:
    """All exits together sell no more than there is, so that none opens a short position.

    Args:
        leaving: shares of live exits with this one.
        reducible: shares held or in entries that may still fill.
    Source: invariant I10 of the fault model.
    """
    return Check(
        Code.EXIT_IN_PROGRESS,
        leaving <= reducible + NOISE,
        reducible,
        leaving,
        "shares",
        f"exits for {leaving:g} of {reducible:g} shares, this one included",
    )


def entry_during_exit(leaving: float) -> Check:
    """While a symbol is being sold it takes no entry, which that sale would cancel or sell along.

    Args:
        leaving: shares of live exits.
    Source: rule R9 of the fault model: in doubt no new order.
    """
    return Check(
        Code.EXIT_IN_PROGRESS,
        leaving <= NOISE,
        0.0,
        leaving,
        "shares",
        f"exits for {leaving:g} shares are under way",
    )


def unknown_order(orders: int) -> Check:
    """A symbol with an order of unknown outcome takes no new entry until the outcome is proven.

    Args:
        orders: how many the broker may or may not have.
    Source: rule R6 of the fault model.
    """
    return Check(
        Code.UNKNOWN_ORDER,
        orders == 0,
        0.0,
        float(orders),
        "orders",
        f"{orders} orders have an unknown outcome",
    )


def already_held(committed: float) -> Check:
    """A wish to hold is fulfilled once something is held or on order; it is no wish for more.

    Source: freqtrade, which opens one trade per pair.
    """
    return Check(
        Code.ALREADY_HELD,
        abs(committed) <= NOISE,
        0.0,
        abs(committed),
        "shares",
        f"{committed:g} shares are held or on order already",
    )


def symbol_halted(symbol: str, halted: Collection[str], paused: Collection[str]) -> Check:
    """No entry in a symbol that a person has halted, or that the executor has paused.

    Args:
        halted: named by RISK_HALTED_SYMBOLS. `paused`: with differences that nobody has looked at yet.
    Source: SEC rule 15c3-5(c)(2)(ii), securities that are restricted.
    """
    reasons = []
    if symbol in halted:
        reasons.append("it is halted by RISK_HALTED_SYMBOLS")
    if symbol in paused:
        reasons.append("the executor has paused it until a person has looked at its differences")
    return Check(
        Code.SYMBOL_HALTED,
        not reasons,
        0.0,
        float(len(reasons)),
        "halts",
        f"{symbol}: {' and '.join(reasons)}" if reasons else f"{symbol} is not halted",
    )


def symbol_quarantined(
    refused_at: datetime | None, price_at: datetime | None, held: str | None = None
) -> Check:
    """While a symbol's newest bar was refused by the collector, or it is held there, its price is not trusted.

    Args:
        refused_at: when a bar of it was refused last, None for never. `price_at`: the end of its newest good bar.
        held: why the collector holds the symbol, None when it does not.
    Source: rule R9 of the fault model: in doubt no new order.
    """
    if held is not None:
        return Check(
            Code.SYMBOL_QUARANTINED, False, 0.0, 1.0, "refused bars", f"held: {held}"[:400]
        )
    is_newer = refused_at is not None and (price_at is None or refused_at >= price_at)
    text = (
        f"a bar was refused at {refused_at.isoformat()}, and no good one has come since"
        if refused_at is not None and is_newer
        else "no bar was refused since the newest good one"
    )
    return Check(Code.SYMBOL_QUARANTINED, not is_newer, 0.0, float(is_newer), "refused bars", text)


def wash_trade(side: Side, limit: float | None, others: Sequence[float | None]) -> Check:
    """An order must not be able to meet one's own open order on the other side.

    Args:
        limit: dollars per share, None for a market or stop order.
        others: of each open order on the other side that is not ours to cancel: its limit, None for market or stop orders.
    Source: Alpaca refuses such orders (403, code 40310000); FINRA rule 5210, self-trades.
    """
    meeting = sum(
        1
        for other in others
        if other is None or limit is None or side.sign * (limit - other) >= -NOISE
    )
    return Check(
        Code.WASH_TRADE,
        meeting == 0,
        0.0,
        float(meeting),
        "orders",
        f"{meeting} open {'sales' if side is Side.BUY else 'purchases'} of this account could be met",
    )
