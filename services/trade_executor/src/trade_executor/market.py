"""Is the share, and its market as it stands, fit for an order?

Two questions before an entry leaves. Does the broker deal in the share in the way the order wants (its flags)? And for
an order that takes whatever price there is: is the quote fresh, is the spread bearable, and does the market still stand
where the decision was made (the collar)? Without a usable quote the answer is no. Exits are never asked: being out at a
bad price beats not being out, and a share that cannot be traded is the broker's to refuse. Nothing here reads a clock
or a socket.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from shared.domain.money import plain
from shared.domain.orders import OrderRequest, OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from trade_executor.preflight import Problem

_AUCTIONS = frozenset({TimeInForce.OPG, TimeInForce.CLS})
_ACTIVE = "active"
_FRACTIONS_OUTSIDE_HOURS = "fractional_eh_enabled"
_TENTH = Decimal("0.1")


@dataclass(frozen=True, slots=True)
class Asset:
    """What the broker lets be done with a share; None where it does not say."""

    symbol: Symbol
    status: str | None = None
    is_tradable: bool | None = None
    is_fractionable: bool | None = None
    is_shortable: bool | None = None
    is_easy_to_borrow: bool | None = None
    is_marginable: bool | None = None
    attributes: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Quote:
    """Dollars per share that somebody bids and asks, and since when."""

    bid: Decimal
    ask: Decimal
    quoted_at: datetime


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a market may be from ideal: fractions of its middle price, and seconds."""

    max_spread: Decimal
    collar: Decimal
    max_quote_age_s: float


class Market(Protocol):
    """Who knows shares and quotes. Both raise Unavailable or RateLimited when there was no answer."""

    async def asset(self, symbol: Symbol) -> Asset | None:
        """The share's flags, None when the broker knows no such share. May be an hour old."""
        ...

    async def quotes(self, symbols: list[Symbol]) -> dict[Symbol, Quote]:
        """The newest quote of each symbol that has one, fetched now."""
        ...


def meets_the_market(order: OrderRequest) -> bool:
    """Whether it takes whatever price stands when it arrives; an auction finds its price by itself."""
    return order.type is OrderType.MARKET and order.time_in_force not in _AUCTIONS


def problem_with_asset(
    order: OrderRequest, asset: Asset | None, *, opens_short: bool
) -> Problem | None:
    """The first flag of the share that forbids `order`; None when none does."""
    name = order.symbol
    if asset is None:
        return Problem(
            "asset_unknown", f"the broker knows no share called {name}", "check the symbol"
        )
    problem = problem_with_dealing(asset)
    if problem is not None:
        return problem
    is_fraction = order.quantity != order.quantity.to_integral_value()
    if (is_fraction or order.notional is not None) and asset.is_fractionable is False:
        return Problem(
            "asset_not_fractionable", f"{name} is dealt in whole shares only", "ask for whole shares"
        )  # fmt: skip
    if (
        is_fraction
        and order.extended_hours
        and asset.attributes is not None
        and _FRACTIONS_OUTSIDE_HOURS not in asset.attributes
    ):
        return Problem(
            "asset_not_fractionable", f"fractions of {name} are dealt in regular hours only",
            "ask for whole shares, or leave extended_hours out",
        )  # fmt: skip
    return problem_with_short(asset) if opens_short else None


def problem_with_dealing(asset: Asset) -> Problem | None:
    """The first flag of the share that forbids any order in it; None when none does."""
    name = asset.symbol
    if asset.status is not None and asset.status != _ACTIVE:
        return Problem(
            "asset_inactive", f"the broker lists {name} as {asset.status[:32]}", "take another share"
        )  # fmt: skip
    if asset.is_tradable is False:
        return Problem(
            "asset_not_tradable", f"{name} is not tradable at this broker", "take another share"
        )
    return None


def problem_with_short(asset: Asset) -> Problem | None:
    """The first flag of the share that forbids a short sale of it; None when none does."""
    name = asset.symbol
    # What the broker does not say is no permission: the loss of a short sale has no bound.
    if asset.is_shortable is not True:
        return Problem("asset_not_shortable", f"{name} cannot be sold short", "take another share")
    if asset.is_marginable is False:
        return Problem(
            "asset_not_marginable",
            f"{name} is not marginable, and a short sale needs margin",
            "take another share",
        )
    if asset.is_easy_to_borrow is not True:
        return Problem(
            "asset_hard_to_borrow", f"{name} is hard to borrow", "take another share, or ask again another day"
        )  # fmt: skip
    return None


def problem_with_quote(
    order: OrderRequest,
    quote: Quote | None,
    reference_price: Decimal,
    now: datetime,
    bounds: Bounds,
) -> Problem | None:
    """Why `order` should not meet the market as quoted; None when it may.

    Args:
        reference_price: dollars per share on which the order was decided.
    """
    limit_instead = "ask for type limit, which names the worst price it takes"
    if quote is None:
        return Problem("no_quote", f"nobody quotes {order.symbol}", limit_instead)
    age_s = (now - quote.quoted_at).total_seconds()
    if age_s > bounds.max_quote_age_s:
        return Problem(
            "stale_quote", f"the quote of {order.symbol} is {age_s:.0f} s old, the maximum is "
            f"{bounds.max_quote_age_s:.0f} s", limit_instead,
        )  # fmt: skip
    if quote.bid > quote.ask:
        return Problem(
            "crossed_quote", f"{order.symbol} is bid at {plain(quote.bid)} and asked at {plain(quote.ask)}, "
            "which cannot last", limit_instead,
        )  # fmt: skip
    middle = (quote.bid + quote.ask) / 2
    spread = (quote.ask - quote.bid) / middle
    if spread > bounds.max_spread:
        return Problem(
            "wide_spread", f"{order.symbol} is bid at {plain(quote.bid)} and asked at {plain(quote.ask)}, a spread "
            f"of {_percent(spread)}; the maximum is {_percent(bounds.max_spread)}", limit_instead,
        )  # fmt: skip
    taken = quote.ask if order.side is Side.BUY else quote.bid
    moved = abs(taken - reference_price) / reference_price
    if moved > bounds.collar:
        return Problem(
            "outside_collar", f"{order.symbol} was decided at {plain(reference_price)} and would be taken at "
            f"{plain(taken)}, {_percent(moved)} away; the maximum is {_percent(bounds.collar)}", limit_instead,
        )  # fmt: skip
    return None


def _percent(share: Decimal) -> str:
    return f"{plain((share * 100).quantize(_TENTH))} %"
