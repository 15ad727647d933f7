"""The price rules one by one, and the laws behind them."""

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.arithmetic import to_tick
from simulator import fill_rules
from simulator.fill_rules import NO_FILL

PRICES = st.integers(10_000, 500_000_000).map(lambda micros: micros / 1_000_000)


@st.composite
def bars(draw: st.DrawFn) -> tuple[float, float, float, float]:
    opened, close, above, below = (draw(PRICES) for _ in range(4))
    return opened, max(opened, close, above), min(opened, close, below), close


def test_a_market_order_is_moved_against_its_sender_and_rounded_to_a_cent() -> None:
    assert fill_rules.market_price(100.0, True, 5.0) == 100.05
    assert fill_rules.market_price(100.0, False, 5.0) == 99.95
    assert fill_rules.market_price(645.569999, True, 0.0) == 645.57


def test_a_market_order_never_fills_for_nothing() -> None:
    assert fill_rules.market_price(0.00001, True, 0.0) == 0.0001
    assert fill_rules.market_price(0.0001, False, 9_999.0) == 0.0001


def test_a_limit_that_is_only_touched_does_not_fill() -> None:
    assert fill_rules.limit_price(99.0, 100.0, 101.0, 99.0, True) == NO_FILL
    assert fill_rules.limit_price(101.0, 100.0, 101.0, 99.0, False) == NO_FILL


def test_a_limit_fills_at_its_price_or_at_a_better_open() -> None:
    assert fill_rules.limit_price(99.5, 100.0, 101.0, 99.0, True) == 99.5
    assert fill_rules.limit_price(102.0, 100.0, 101.0, 99.0, True) == 100.0
    assert fill_rules.limit_price(98.0, 100.0, 101.0, 99.0, False) == 100.0


def test_a_stop_fills_when_touched_and_a_gap_hurts() -> None:
    assert fill_rules.stop_price(99.0, 100.0, 101.0, 99.0, False) == 99.0
    assert fill_rules.stop_price(98.9, 100.0, 101.0, 99.0, False) == NO_FILL
    assert fill_rules.stop_price(105.0, 100.0, 101.0, 99.0, False) == 100.0
    assert fill_rules.stop_price(95.0, 100.0, 101.0, 99.0, True) == 100.0


def test_a_bar_gives_whole_shares_and_at_least_one() -> None:
    assert fill_rules.volume_cap(1_000.0, 0.1) == 100.0
    assert fill_rules.volume_cap(3.0, 0.1) == 1.0
    assert fill_rules.volume_cap(0.0, 0.1) == 0.0


@given(limit=PRICES, bar=bars())
def test_a_limit_never_fills_worse_than_its_price_nor_outside_the_bar(
    limit: float, bar: tuple[float, float, float, float]
) -> None:
    opened, high, low, _ = bar
    bought = fill_rules.limit_price(limit, opened, high, low, True)
    sold = fill_rules.limit_price(limit, opened, high, low, False)

    assert bought == NO_FILL or low <= bought <= limit
    assert sold == NO_FILL or limit <= sold <= high


@given(stop=PRICES, bar=bars())
def test_a_stop_never_fills_better_than_its_price_nor_outside_the_bar(
    stop: float, bar: tuple[float, float, float, float]
) -> None:
    opened, high, low, _ = bar
    sold = fill_rules.stop_price(stop, opened, high, low, False)
    bought = fill_rules.stop_price(stop, opened, high, low, True)

    assert sold == NO_FILL or low <= sold <= stop
    assert bought == NO_FILL or stop <= bought <= high


@given(price=PRICES, slippage=st.floats(0, 500))
def test_slippage_never_helps(price: float, slippage: float) -> None:
    tick = to_tick(price)

    assert fill_rules.market_price(price, True, slippage) >= tick
    assert fill_rules.market_price(price, False, slippage) <= tick
