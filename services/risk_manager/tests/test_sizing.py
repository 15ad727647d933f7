"""How many shares: never above a limit, and which bound decided."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from risk_manager import limits as rules
from risk_manager.limits import OPEN_GAP
from risk_manager.sizing import Sizing, size, stop_price, target_price


def sized(**changes: Any) -> Sizing:
    figures: dict[str, Any] = {
        "equity": 100_000.0,
        "price": 100.0,
        "stop": 95.0,
        "available_cash": 100_000.0,
        "portfolio_risk": 0.0,
        "max_position_size": 0.05,
        "max_portfolio_risk": 0.02,
        **changes,
    }
    return size(**figures)


def test_a_free_account_buys_its_share_of_equity() -> None:
    assert sized().shares == 50


def test_scarce_cash_leaves_room_for_an_opening_gap() -> None:
    assert sized(available_cash=1_040.0).shares == 10
    assert sized(available_cash=1_039.0).shares == 9


def test_the_risk_that_is_left_caps_the_size() -> None:
    assert sized(portfolio_risk=1_900.0).shares == 20
    assert sized(portfolio_risk=2_000.0).shares == 0


def test_a_share_dearer_than_the_limit_buys_none() -> None:
    assert sized(price=5_001.0, stop=4_750.0).shares == 0


def test_a_stop_on_the_price_risks_nothing_because_it_protects_nothing() -> None:
    assert sized(stop=100.0).shares == 0


def test_stop_and_target_stand_on_the_tick() -> None:
    assert stop_price(187.33, 0.05) == 177.96
    assert target_price(187.33, 0.10) == 206.06
    assert stop_price(0.5, 0.05) == 0.475


@given(
    equity=st.floats(0, 1e9),
    price=st.floats(0.01, 1e5),
    stop_loss=st.floats(0.001, 0.999),
    cash=st.floats(-1e6, 1e9),
    risk=st.floats(0, 1e8),
    max_size=st.floats(0.001, 1),
    max_risk=st.floats(0.001, 1),
)
def test_no_size_passes_a_limit(
    equity: float,
    price: float,
    stop_loss: float,
    cash: float,
    risk: float,
    max_size: float,
    max_risk: float,
) -> None:
    stop = stop_price(price, stop_loss)
    shares = sized(
        equity=equity,
        price=price,
        stop=stop,
        available_cash=cash,
        portfolio_risk=risk,
        max_position_size=max_size,
        max_portfolio_risk=max_risk,
    ).shares

    if shares:
        assert rules.position_size(0.0, shares * price, equity, max_size).passed
        assert rules.buying_power(shares * price * (1 + OPEN_GAP), cash, price * 1.04).passed
        assert rules.portfolio_risk(risk, shares * (price - stop), equity, max_risk).passed
