"""Both forms of a strategy agree, none sees the future, and the crossover is the specified one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.money import MICROS
from shared.domain.signals import Direction
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from strategy_engine.catalogue import discover
from strategy_engine.panels import Floats, Panel
from strategy_engine.strategies.moving_average import MovingAverage
from strategy_engine.strategy import VectorStrategy, Wishes

# Small windows, so that short random markets hold many crossings.
SHIPPED = [
    MovingAverage(short_window=2, long_window=4),
    MovingAverage(short_window=1, long_window=3),
]
prices = st.integers(95, 105).map(float)
markets = st.integers(1, 4).flatmap(
    lambda symbols: st.lists(
        st.lists(prices | st.just(float("nan")), min_size=symbols, max_size=symbols),
        min_size=1,
        max_size=30,
    )
)


def a_panel(close: Floats) -> Panel:
    names = tuple(Symbol(f"S{i}") for i in range(close.shape[1]))
    return Panel(Timeframe.DAY, names, close, close, close, close, close)


def same(a: Wishes, b: Wishes) -> bool:
    return (
        np.array_equal(a.entries, b.entries)
        and np.array_equal(a.exits, b.exits)
        and all(np.array_equal(a.figures[k], b.figures[k], equal_nan=True) for k in a.figures)
    )


def cut(wishes: Wishes, rows: slice) -> Wishes:
    figures = {name: values[rows] for name, values in wishes.figures.items()}
    return Wishes(wishes.entries[rows], wishes.exits[rows], "", "", None, figures)


def test_every_shipped_vector_strategy_is_among_those_tested_here() -> None:
    shipped = {s for s in discover().strategies.values() if issubclass(s, VectorStrategy)}

    assert shipped == {type(strategy) for strategy in SHIPPED}


@pytest.mark.parametrize("strategy", SHIPPED)
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


@pytest.mark.parametrize("strategy", SHIPPED)
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


@pytest.mark.parametrize("strategy", SHIPPED)
@given(market=markets, surplus=st.integers(0, 10))
def test_bars_needed_are_enough(
    strategy: VectorStrategy, market: list[list[float]], surplus: int
) -> None:
    panel = a_panel(np.asarray(market))
    for column in range(len(panel.symbols)):
        own = panel.of(column)
        if len(own) == 0:
            continue
        short = a_panel(own.close[-strategy.bars_needed - surplus :])

        assert strategy.generate_signal(short.view(0)) == strategy.generate_signal(own.view(0))


@given(price=st.integers(1, 10**13), n=st.integers(1, 120))
def test_a_price_that_does_not_move_gives_no_signal(price: int, n: int) -> None:
    wishes = MovingAverage().wishes(a_panel(np.full((n, 1), price / MICROS)))

    assert not wishes.entries.any()
    assert not wishes.exits.any()


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
