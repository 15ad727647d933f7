"""Are the price and the size of this one order sane?"""

from __future__ import annotations

from risk_manager.limits.codes import Code
from shared.domain.arithmetic import GRID, NOISE
from shared.domain.decisions import Check

# A bracket's legs must stand at least a cent away from the price (Alpaca, error 42210000).
LEAST_LEG_DISTANCE = 0.01
# Fractions may be bought by hand and held, and must be able to go: the smallest is the grid of the rules.
LEAST_FRACTION = 0.000001


def whole_shares_only(quantity: float) -> Check:
    """Entries with stop and target are whole shares: the broker takes no bracket on fractions.

    Source: Alpaca, which takes fractions in simple orders only.
    """
    fraction = quantity % 1.0
    return Check(
        Code.WHOLE_SHARES,
        fraction <= NOISE,
        0.0,
        fraction,
        "shares",
        f"{quantity:g} shares; an entry needs whole ones",
    )


def bracket_prices(
    price: float,
    stop: float | None,
    target: float | None,
    *,
    one_is_enough: bool = False,
    is_short: bool = False,
) -> Check:
    """Stop and target come together unless one is enough, a cent or more on their own side of the price.

    A short entry has its stop above and its target below, and never goes without: its loss would have no bound.

    Args:
        price: what one share is expected to cost, dollars. `stop`, `target`: None for no bracket.
    Source: Alpaca's bracket rules.
    """
    if is_short:
        return _short_bracket_prices(price, stop, target)
    if stop is None and target is None:
        text = "no bracket, so nothing guards the shares and their whole value counts as at risk"
        return Check(Code.BRACKET_PRICES, True, LEAST_LEG_DISTANCE, LEAST_LEG_DISTANCE, "USD", text)
    if one_is_enough and stop is not None and target is None:
        return _one_exit(price, price - stop)
    if one_is_enough and stop is None and target is not None:
        return _one_exit(price, target - price)
    if stop is None or target is None:
        text = "give both stop_loss and take_profit, or neither"
        return Check(Code.BRACKET_PRICES, False, LEAST_LEG_DISTANCE, 0.0, "USD", text)
    distance = min(price - stop, target - price)
    return Check(
        Code.BRACKET_PRICES,
        distance >= LEAST_LEG_DISTANCE - NOISE,
        LEAST_LEG_DISTANCE,
        distance,
        "USD",
        f"stop {stop:g} and target {target:g} around {price:g} leave {distance:.4f}, "
        f"at least {LEAST_LEG_DISTANCE} is needed",
    )


def _one_exit(price: float, distance: float) -> Check:
    text = f"the one exit leaves {distance:.4f} around {price:g}, at least {LEAST_LEG_DISTANCE} is needed"
    passed = distance >= LEAST_LEG_DISTANCE - NOISE
    return Check(Code.BRACKET_PRICES, passed, LEAST_LEG_DISTANCE, distance, "USD", text)


def _short_bracket_prices(price: float, stop: float | None, target: float | None) -> Check:
    if stop is None or target is None:
        text = "a short sale needs both stop_loss above and take_profit below its price"
        return Check(Code.BRACKET_PRICES, False, LEAST_LEG_DISTANCE, 0.0, "USD", text)
    # Far enough below, the target would be no price.
    distance = min(stop - price, price - target, target)
    return Check(
        Code.BRACKET_PRICES,
        distance >= LEAST_LEG_DISTANCE - NOISE,
        LEAST_LEG_DISTANCE,
        distance,
        "USD",
        f"stop {stop:g} and target {target:g} around the short {price:g} leave {distance:.4f}, "
        f"at least {LEAST_LEG_DISTANCE} is needed",
    )


def quantity_zero(shares: float, least: float = 1.0) -> Check:
    """An order is for `least` shares or more; `shares` is what the size limit buys, or was asked for.

    Source: Alpaca, which takes orders for at least one share, or a part of one in simple orders.
    """
    return Check(
        Code.QUANTITY_ZERO,
        shares + NOISE >= least,
        least,
        shares,
        "shares",
        f"{shares:.4f} shares, at least {least:g} is needed",
    )


def price_collar(price: float, last: float | None, limit: float) -> Check:
    """An order's price stands near the last price that was accepted from the market.

    Args:
        price: the order's limit, stop or reference, dollars per share.
        last: None where there is none, which another rule refuses.
    Source: RTS 6, article 15(1)(a), price collars.
    """
    if last is None or last <= 0.0:
        return Check(Code.PRICE_COLLAR, False, limit, limit + 1.0, "of the last price", "no price")
    away = abs(price - last) / last
    return Check(
        Code.PRICE_COLLAR,
        away <= limit + NOISE,
        limit,
        away,
        "of the last price",
        f"{price:g} is {away:.2%} away from the last price {last:g}, at most {limit:.2%}",
    )


def order_value(value: float, limit: float) -> Check:
    """One order is worth at most `limit` dollars.

    Source: RTS 6, article 15(1)(b), maximum order value.
    """
    return Check(
        Code.ORDER_VALUE,
        value <= limit + GRID,
        limit,
        value,
        "USD",
        f"the order is worth {value:.2f} USD, at most {limit:.2f} USD",
    )


def order_shares(shares: float, limit: int) -> Check:
    """One order is for at most `limit` shares.

    Source: RTS 6, article 15(1)(c), maximum order volume.
    """
    return Check(
        Code.ORDER_SHARES,
        shares <= limit + NOISE,
        float(limit),
        shares,
        "shares",
        f"{shares:g} shares, at most {limit}",
    )


def fat_finger(shares: float, average_volume: float | None, limit: float) -> Check:
    """An order is a small part of what usually trades in a session; an unknown volume refuses.

    Args:
        average_volume: shares a session, None where no bars tell.
    Source: SEC rule 15c3-5(c)(1)(ii), erroneous orders by size; RTS 6, article 15(1)(c).
    """
    if average_volume is None or average_volume <= 0.0:
        return Check(
            Code.FAT_FINGER,
            False,
            limit,
            limit + 1.0,
            "of a session's average volume",
            "no volume is known to compare the order with",
        )
    share = shares / average_volume
    return Check(
        Code.FAT_FINGER,
        share <= limit + NOISE,
        limit,
        share,
        "of a session's average volume",
        f"{shares:g} shares are {share:.4%} of {average_volume:.0f} traded in an average session, "
        f"at most {limit:.2%}",
    )
