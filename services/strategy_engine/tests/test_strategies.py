"""Both forms of a strategy agree, none sees the future, and the crossover is the specified one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.fundamentals import FUNDAMENTALS
from shared.domain.money import MICROS
from shared.domain.signals import Direction
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from strategy_engine.catalogue import discover
from strategy_engine.fundamentals import NO_SNAPSHOTS, Fundamentals
from strategy_engine.panels import FIGURES, Floats, Panel
from strategy_engine.strategies.bollinger import Bollinger
from strategy_engine.strategies.donchian_breakout import DonchianBreakout
from strategy_engine.strategies.hybrid import Hybrid
from strategy_engine.strategies.macd import Macd
from strategy_engine.strategies.momentum import Momentum
from strategy_engine.strategies.moving_average import MovingAverage
from strategy_engine.strategies.rsi_reversion import RsiReversion
from strategy_engine.strategy import Strategy, VectorStrategy, Wishes
from strategy_engine.universe import with_fundamentals

# Small windows, so that short random markets hold many wishes.
SHIPPED: list[VectorStrategy] = [
    MovingAverage(short_window=2, long_window=4),
    MovingAverage(short_window=1, long_window=3, allow_short=True),
    RsiReversion(window=2, oversold=40, recovered=60),
    Macd(fast=1, slow=3, signal=2),
    Bollinger(window=3, width=0.5),
    DonchianBreakout(entry_window=3, exit_window=2),
    Hybrid(short_window=2, long_window=4, enter=0.5, leave=0.4, ranging_extra=0.1),
    Momentum(lookback=3, skip=1, top=2, every_days=1),
]
BY_THEMSELVES = [strategy for strategy in SHIPPED if not strategy.compares_symbols]
prices = st.integers(95, 105).map(float)
markets = st.integers(1, 4).flatmap(
    lambda symbols: st.lists(
        st.lists(prices | st.just(float("nan")), min_size=symbols, max_size=symbols),
        min_size=1,
        max_size=40,
    )
)
DAY_US = 86_400_000_000


def named(strategy: Strategy) -> str:
    return f"{strategy.name} {dict(strategy.values)}"


def a_panel(close: Floats) -> Panel:
    """Daily bars with ranges of up to two dollars, of which every third knows nothing of its company."""
    symbols = tuple(Symbol(f"S{i}") for i in range(close.shape[1]))
    numbers = np.arange(close.size).reshape(close.shape)
    return Panel(
        Timeframe.DAY,
        symbols,
        open=close,
        high=close + numbers % 3,
        low=close - numbers % 2,
        close=close,
        volume=close,
        end_us=np.repeat(np.arange(1, len(close) + 1)[:, None] * DAY_US, close.shape[1], axis=1),
        fundamentals=Fundamentals(
            (numbers % 3).astype(np.int32),
            {name: np.array([np.nan, 0.1 * n, 0.2]) for n, name in enumerate(FUNDAMENTALS)},
        ),
    )


def rows(panel: Panel, kept: slice) -> Panel:
    figures = {name: getattr(panel, name)[kept] for name in (*FIGURES, "end_us")}
    known = panel.companies
    return Panel(
        panel.timeframe, panel.symbols, **figures, fundamentals=known.taken(known.place[kept])
    )


def same(a: Wishes, b: Wishes) -> bool:
    return (
        np.array_equal(a.entries, b.entries)
        and np.array_equal(a.exits, b.exits)
        and np.array_equal(a.wished, b.wished)
        and all(np.array_equal(a.figures[k], b.figures[k], equal_nan=True) for k in a.figures)
    )


def cut(wishes: Wishes, rows: slice) -> Wishes:
    figures = {name: values[rows] for name, values in wishes.figures.items()}
    shorts = None if wishes.shorts is None else wishes.shorts[rows]
    return Wishes(wishes.entries[rows], wishes.exits[rows], "", "", None, figures, shorts)


def test_every_shipped_vector_strategy_is_among_those_tested_here() -> None:
    shipped = {s for s in discover().strategies.values() if issubclass(s, VectorStrategy)}

    assert shipped == {type(strategy) for strategy in SHIPPED}


@pytest.mark.parametrize("strategy", SHIPPED, ids=named)
def test_every_shipped_strategy_gives_every_kind_of_wish(strategy: VectorStrategy) -> None:
    close = np.random.default_rng(5).integers(90, 111, (300, 3)).astype(np.float64)
    wishes = strategy.wishes(a_panel(close))

    assert wishes.entries.any()
    assert wishes.exits.any() != strategy.allows_shorts
    assert (wishes.shorts is not None and wishes.shorts.any()) == strategy.allows_shorts


@pytest.mark.parametrize("strategy", SHIPPED, ids=named)
def test_every_shipped_strategy_says_what_each_parameter_and_a_sell_mean(
    strategy: VectorStrategy,
) -> None:
    assert type(strategy).__doc__
    assert "sell_means" in vars(type(strategy))
    for parameter in strategy.parameters.values():
        assert parameter.about
        if parameter.kind is not bool:
            assert parameter.low is not None
            assert parameter.high is not None


@pytest.mark.parametrize("strategy", BY_THEMSELVES, ids=named)
@given(market=markets)
def test_the_vectorised_form_says_what_the_form_per_bar_says(
    strategy: VectorStrategy, market: list[list[float]]
) -> None:
    panel = a_panel(np.asarray(market))
    wishes = strategy.wishes(panel)

    for row in range(len(panel)):
        for column in range(len(panel.symbols)):
            if np.isnan(panel.close[row, column]):
                assert wishes.at(row, column) is None
            else:
                view = panel.until(row).view(column)
                assert strategy.generate_signal(view) == wishes.at(row, column)


@pytest.mark.parametrize("strategy", SHIPPED, ids=named)
@given(market=markets, data=st.data())
def test_what_comes_later_changes_nothing_said_before(
    strategy: VectorStrategy, market: list[list[float]], data: st.DataObject
) -> None:
    close = np.asarray(market)
    t = data.draw(st.integers(0, len(close) - 1))
    other = close.copy()
    other[t + 1 :] = data.draw(prices)

    before, after = strategy.wishes(a_panel(close)), strategy.wishes(a_panel(other))

    assert same(cut(before, slice(t + 1)), cut(after, slice(t + 1)))


@pytest.mark.parametrize("strategy", SHIPPED, ids=named)
@given(market=markets)
def test_every_wish_comes_with_figures_and_a_conviction_that_can_be_stored(
    strategy: VectorStrategy, market: list[list[float]]
) -> None:
    panel = a_panel(np.asarray(market))
    wishes = strategy.wishes(panel)

    wishes.check(panel)
    assert not wishes.wished[np.isnan(panel.close)].any()
    for values in wishes.figures.values():
        assert np.isfinite(values[wishes.wished]).all()
    if wishes.conviction is not None:
        said = wishes.conviction[wishes.wished]
        assert ((said >= 0) & (said <= 1)).all()


@pytest.mark.parametrize("strategy", SHIPPED, ids=named)
@given(seed=st.integers(0, 2**32), surplus=st.integers(0, 10), holes=st.booleans())
def test_a_live_window_of_the_bars_needed_says_what_the_whole_history_says(
    strategy: VectorStrategy, seed: int, surplus: int, holes: bool
) -> None:
    random = np.random.default_rng(seed)
    # Longer than anybody's memory, so that the window does not hold the beginning.
    close = random.integers(90, 111, (2 * strategy.bars_needed + 5, 3)).astype(np.float64)
    if holes:
        close[random.random(close.shape) < 0.1] = np.nan
        close[-1, 0] = 100.0
    panel = a_panel(close)
    row = len(panel) - 1

    window = panel.newest(row, strategy.bars_needed + surplus)
    live, whole = strategy.wishes(window), strategy.wishes(panel)

    for column, symbol in enumerate(window.symbols):
        assert live.at(-1, column) == whole.at(row, panel.symbols.index(symbol))


@given(price=st.integers(1, 10**13), n=st.integers(1, 120))
def test_a_price_that_does_not_move_gives_no_signal(price: int, n: int) -> None:
    close = np.full((n, 1), price / MICROS)
    still = Panel(
        Timeframe.DAY,
        (Symbol("AAPL"),),
        *(close for _ in FIGURES),
        end_us=np.arange(1, n + 1)[:, None] * DAY_US,
    )
    still = with_fundamentals(still, NO_SNAPSHOTS)
    for strategy in [MovingAverage(), *BY_THEMSELVES]:
        assert not strategy.wishes(still).wished.any(), strategy.name


def test_a_rise_is_bought_and_a_fall_sold_once_each_with_the_figures() -> None:
    close = np.asarray([[100.0]] * 60 + [[101.0]] * 5 + [[90.0]] * 30)
    wishes = MovingAverage().wishes(a_panel(close))

    assert np.flatnonzero(wishes.entries).tolist() == [60]
    assert np.flatnonzero(wishes.exits).tolist() == [65]
    wish = wishes.at(60, 0)
    assert wish is not None
    assert wish.direction is Direction.LONG
    assert wish.reason == "SMA 20 crossed above SMA 50"
    assert wish.figures == {"sma_short": 100.05, "sma_long": 100.02, "close": 101.0}
    # 0.03 of 100.02 dollars apart, where one per cent convinces fully.
    assert wish.conviction == pytest.approx(0.03 / 100.02 / 0.01)


def test_no_crossing_is_seen_on_the_first_bar_with_both_averages() -> None:
    rising = np.arange(100.0, 150.0)[:, None]

    assert not MovingAverage().wishes(a_panel(rising)).entries.any()
