"""Positions with stops and targets that somebody gave at the broker, and a process that dies among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest

from services.trade_executor.tests.floor import Floor
from services.trade_executor.tests.integration.recordkeeping import AAPL, MSFT, TEN, Desk
from shared import crashpoints
from shared.domain.orders import OrderClass, OrderType, Side, TimeInForce
from simulator.orders import Submit

Before = Callable[[Floor], None]


class Died(Exception):
    """The process ends here."""


@contextmanager
def dying_at(place: str) -> Iterator[None]:
    """The process ends at that place, once."""

    def listener(name: str) -> None:
        if name == place:
            raise Died(name)

    crashpoints.listen(listener)
    try:
        with pytest.raises(Died):
            yield
    finally:
        crashpoints.listen(lambda _: None)


def buy(floor: Floor, side: Side, quantity: int = 10, **terms: Any) -> None:
    floor.do(Submit(AAPL, side, Decimal(quantity), OrderType.MARKET, TimeInForce.GTC, **terms))
    floor.bar()


def prices(side: Side) -> dict[str, Any]:
    """Stop and target of a position that was opened with `side` at a hundred."""
    stop, target = (90, 120) if side is Side.BUY else (110, 80)
    return {"stop_loss": Decimal(stop), "take_profit": Decimal(target)}


def bracketed(floor: Floor, side: Side = Side.BUY, quantity: int = 10) -> None:
    buy(floor, side, quantity, order_class=OrderClass.BRACKET, **prices(side))


def paired(floor: Floor, side: Side = Side.BUY) -> None:
    buy(floor, side)
    pair = prices(side)
    floor.do(
        Submit(
            AAPL, side.opposite, TEN, OrderType.LIMIT, TimeInForce.GTC, order_class=OrderClass.OCO,
            limit_price=pair["take_profit"], **pair,
        )
    )  # fmt: skip


def stopped(floor: Floor, side: Side = Side.BUY) -> None:
    buy(floor, side)
    stop = prices(side)["stop_loss"]
    floor.do(Submit(AAPL, side.opposite, TEN, OrderType.STOP, TimeInForce.GTC, stop_price=stop))


def stopped_with_a_limit(floor: Floor) -> None:
    buy(floor, Side.BUY)
    floor.do(
        Submit(
            AAPL, Side.SELL, TEN, OrderType.STOP_LIMIT, TimeInForce.GTC, stop_price=Decimal(90),
            limit_price=Decimal(88),
        )
    )  # fmt: skip


def trailed(floor: Floor) -> None:
    buy(floor, Side.BUY)
    floor.do(
        Submit(AAPL, Side.SELL, TEN, OrderType.TRAILING_STOP, TimeInForce.GTC, trail_price=TEN)
    )


def long_ago(kind: Before) -> Before:
    """Given so long before the account's last fill that no list of new orders shows it."""

    def before(floor: Floor) -> None:
        kind(floor)
        for _ in range(3):
            floor.bar()
        floor.do(Submit(MSFT, Side.BUY, TEN, OrderType.MARKET, TimeInForce.DAY))
        floor.bar()

    return before


CAME = [bracketed, paired, stopped, stopped_with_a_limit, trailed]


def short(kind: Callable[..., None]) -> Before:
    return lambda floor: kind(floor, Side.SELL)


async def go_out(desk: Desk, quantity: Decimal = TEN, **terms: Any) -> None:
    await desk.leaving(quantity=quantity, **terms)
    await desk.work()
