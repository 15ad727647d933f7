"""How exact are prices and money?

The ledger is Decimal. A price is stored as a whole number of micros (millionths of a dollar), so that
storage and sums are exact; the rules work on float64 that were quantised to the same grid.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

from shared.domain.errors import InvalidPrice

MICROS = 1_000_000
_MICRO = Decimal("0.000001")
_CENT = Decimal("0.01")
# Above this a share price is an error (or needs a wider column), and int64 sums of bars stay exact.
MAX_PRICE = Decimal(10_000_000)
# What Python reads besides, "1_0" or the digits of other scripts, is a slip of the hand in an order.
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


def parse_number(text: str) -> Decimal:
    """The exact number that `text` writes in plain digits.

    Raises:
        ValueError: it does not; also for "NaN", "Infinity", "1_000" and digits that are not 0 to 9.
    """
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(f"not a number in plain digits: {text[:40]!r}")
    return Decimal(text)


def parse_price(value: Decimal | str | float) -> Decimal:
    """Return `value` as an exact price in dollars, on the grid of one micro.

    Floats go through their shortest text, so 187.3 is 187.3 and not its binary neighbour; what is
    finer than a micro is rounded half to even.

    Raises:
        InvalidPrice: not a number, not finite, not above zero, or above `MAX_PRICE`.
    """
    if isinstance(value, bool):
        raise InvalidPrice(f"price must be a number, was {value!r}")
    try:
        if isinstance(value, str):
            price = parse_number(value.strip())
        else:
            price = Decimal(repr(value) if isinstance(value, float) else value)
    except (ArithmeticError, TypeError, ValueError):
        raise InvalidPrice(f"price must be a number, was {str(value)[:40]!r}") from None
    if not (price.is_finite() and 0 < price <= MAX_PRICE):
        raise InvalidPrice(
            f"price must be above zero and at most {MAX_PRICE}, was {str(value)[:40]}"
        )
    rounded = price.quantize(_MICRO, rounding=ROUND_HALF_EVEN)
    if rounded == 0:
        raise InvalidPrice(f"price must be at least a millionth of a dollar, was {value}")
    return rounded


def to_micros(price: Decimal) -> int:
    """Whole micros of an exact price (dollars)."""
    return int(price.scaleb(6).to_integral_value(rounding=ROUND_HALF_EVEN))


def from_micros(micros: int) -> Decimal:
    """Dollars, exact, of a whole number of micros."""
    return Decimal(micros).scaleb(-6)


def to_cents(amount: Decimal) -> Decimal:
    """`amount` of dollars to the cent, half up, as a broker books it."""
    return amount.quantize(_CENT, rounding=ROUND_HALF_UP)


def plain(amount: Decimal) -> str:
    """Text without exponent or trailing zeros, as brokers write figures: `187.3`, `100`, `0`."""
    text = format(amount, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
