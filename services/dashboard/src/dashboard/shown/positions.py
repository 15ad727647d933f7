"""What is held, what is it worth, and what protects it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from dashboard.shown.texts import (
    BAD,
    WARN,
    Cell,
    Column,
    Row,
    count,
    figure,
    money,
    number,
    percent,
    price,
    shares,
    signed,
    signed_percent,
    tone,
    words,
)

STATS = (
    ("count", "Positions", ""),
    ("value", "Market value", "USD"),
    ("open", "Unrealised", "USD"),
    ("bare", "Without a stop", ""),
)
COLUMNS = (
    Column("symbol", "Symbol"),
    Column("quantity", "Shares", right=True),
    Column("average", "Average", "USD", right=True),
    Column("last", "Last", "USD", right=True),
    Column("value", "Value", "USD", right=True),
    Column("gain", "Unrealised", "USD", right=True),
    Column("weight", "Weight", right=True),
    Column("stop", "Stop", "USD", right=True),
    Column("target", "Target", "USD", right=True),
)
Protection = Mapping[str, Sequence[Mapping[str, Any]]]


def by_symbol(protection: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Resting stops and targets of each symbol."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for order in protection:
        found.setdefault(order["symbol"], []).append(order)
    return found


def stop_of(orders: Sequence[Mapping[str, Any]], held: Decimal) -> tuple[Decimal | None, Decimal]:
    """The nearest stop's price and how many shares stops cover: below what is held, above what is owed."""
    stops = [order for order in _exits(orders, held) if order["stop_price"] is not None]
    covered = sum((number(order["quantity"]) or Decimal(0) for order in stops), Decimal(0))
    prices = [order["stop_price"] for order in stops]
    nearest = min if held < 0 else max
    return (nearest(prices) if prices else None), covered


def target_of(orders: Sequence[Mapping[str, Any]], held: Decimal) -> Decimal | None:
    """The nearest target's price: above what is held, below what is owed."""
    prices = [
        order["limit_price"]
        for order in _exits(orders, held)
        if order["limit_price"] is not None and order["stop_price"] is None
    ]
    nearest = max if held < 0 else min
    return nearest(prices) if prices else None


def _exits(orders: Sequence[Mapping[str, Any]], held: Decimal) -> Sequence[Mapping[str, Any]]:
    """Those of `orders` that would close the position: a stop that buys more protects nothing."""
    if held == 0:
        return orders
    return [order for order in orders if order["side"] == ("buy" if held < 0 else "sell")]


def stats(items: Sequence[Mapping[str, Any]], protection: Protection) -> dict[str, Cell]:
    """The strip of figures."""
    values = [number(each["market_value"]) for each in items]
    gains = [number(each["unrealised_pnl"]) for each in items]
    unpriced = sum(value is None for value in values)
    value = sum((v for v in values if v is not None), Decimal(0))
    gain = sum((g for g in gains if g is not None), Decimal(0))
    # What shares sold short are worth counts against the value; the result is measured by what both sides took.
    taken = sum(
        (abs(v - g) for v, g in zip(values, gains, strict=True) if v is not None and g is not None),
        Decimal(0),
    )
    bare = [each["symbol"] for each in items if _is_bare(each, protection)]
    return {
        "count": Cell(
            count(len(items)), sub=f"{count(unpriced)} without a price" if unpriced else ""
        ),
        "value": Cell(money(value)),
        "open": Cell(signed(gain), tone(gain), sub=signed_percent(gain / taken if taken else None)),
        "bare": Cell(
            count(len(bare)),
            BAD if bare else "",
            sub=", ".join(bare[:3]) if bare else "all are protected",
        ),
    }


def rows(
    items: Sequence[Mapping[str, Any]],
    protection: Protection,
    equity: Decimal | None,
    *,
    may_close: bool,
) -> list[Row]:
    """One line per position."""
    found = []
    for each in items:
        orders = protection.get(each["symbol"], ())
        held = _held(each)
        stop, covered = stop_of(orders, held)
        target = target_of(orders, held)
        value = number(each["market_value"])
        gain = number(each["unrealised_pnl"])
        cost = None if value is None or gain is None else value - gain
        weight = value / equity if value is not None and equity else None
        is_partly_bare = stop is not None and covered < abs(held)
        found.append(
            Row(
                words(each["symbol"]),
                {
                    "symbol": Cell(words(each["symbol"]), to=f"/charts?symbol={each['symbol']}"),
                    "quantity": figure(held, shares(held), sub="short" if held < 0 else ""),
                    "average": figure(number(each["average_price"]), price(each["average_price"])),
                    "last": figure(number(each["last_price"]), price(each["last_price"])),
                    "value": figure(value, money(value)),
                    "gain": figure(
                        gain,
                        signed(gain),
                        tone(gain),
                        signed_percent(gain / abs(cost) if gain is not None and cost else None),
                    ),
                    "weight": figure(weight, percent(weight, 1)),
                    "stop": Cell("none", BAD)
                    if stop is None
                    else figure(
                        stop,
                        price(stop),
                        WARN if is_partly_bare else "",
                        f"{shares(covered)} of {shares(abs(held))}" if is_partly_bare else "",
                    ),
                    "target": figure(target, price(target)),
                },
                (("close", "Close"),) if may_close and held else (),
            )
        )
    return found


def _is_bare(position: Mapping[str, Any], protection: Protection) -> bool:
    return stop_of(protection.get(position["symbol"], ()), _held(position))[0] is None


def _held(position: Mapping[str, Any]) -> Decimal:
    return number(position["quantity"]) or Decimal(0)
