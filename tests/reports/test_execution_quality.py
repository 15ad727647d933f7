"""Costs are what was lost against the price decided on and the price at sending, whichever way was traded."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from backtester.costs import FeePeriod
from shared.domain.orders import Side
from shared.domain.symbols import Symbol
from trader.execution_quality import FilledOrder, Model, by_hour, by_strategy, by_type, costs

FREE = Model(0.0, ())
BUY = FilledOrder(
    "o1",
    "ma",
    Symbol("AAPL"),
    Side.BUY,
    "market",
    quantity=10.0,
    price=100.5,
    fees=0.0,
    decision_price=100.0,
    arrival_price=100.4,
    sent_at=datetime(2026, 3, 2, 14, 45, tzinfo=UTC),
)
SALE = replace(BUY, order_id="o2", side=Side.SELL, price=99.5, arrival_price=99.6, fees=0.03)


def test_paying_more_and_getting_less_are_costs() -> None:
    (found,) = costs([BUY, SALE], by_strategy, FREE)

    assert (found.group, found.orders, found.value) == ("ma", 2, 2000.0)
    assert found.decision_bps == pytest.approx(50.0)
    assert found.arrival_bps == pytest.approx(10.0)
    assert found.live == pytest.approx(10.03)


def test_a_better_price_is_a_cost_below_zero() -> None:
    (found,) = costs([replace(BUY, price=99.0)], by_strategy, FREE)

    assert found.decision_bps == pytest.approx(-100.0)


def test_without_a_price_at_sending_only_the_decision_is_compared() -> None:
    (found,) = costs([replace(BUY, arrival_price=None)], by_strategy, FREE)

    assert found.arrival_bps is None
    assert found.decision_bps == pytest.approx(50.0)


def test_orders_are_grouped_by_strategy_hour_and_type() -> None:
    orders = [BUY, replace(BUY, strategy="", type="stop")]

    assert [cost.group for cost in costs(orders, by_strategy, FREE)] == ["ma", "manual"]
    assert [cost.group for cost in costs(orders, by_hour, FREE)] == ["09:00"]
    assert [cost.group for cost in costs(orders, by_type, FREE)] == ["market", "stop"]


def test_the_model_charges_slippage_on_market_orders_and_fees_on_sales() -> None:
    model = Model(10.0, (FeePeriod(date(2026, 1, 1), 0.00002, 0.0, 0.0),))
    stop = replace(SALE, type="stop")

    assert [cost.modelled for cost in costs([BUY], by_type, model)] == [pytest.approx(1.0)]
    # The SEC's part of 995 dollars is rounded up to the cent.
    assert [cost.modelled for cost in costs([SALE], by_type, model)] == [pytest.approx(1.02)]
    assert [cost.modelled for cost in costs([stop], by_type, model)] == [pytest.approx(0.02)]


def test_fees_from_before_the_known_rates_are_not_charged() -> None:
    model = Model(0.0, (FeePeriod(date(2027, 1, 1), 0.00002, 0.0, 0.0),))

    (found,) = costs([SALE], by_type, model)
    assert found.modelled == 0.0
    assert found.above_model == pytest.approx(5.03)
