"""What a panel knows of time: live windows, screens, and longer bars never hold what came later."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import InvalidInput
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from strategy_engine.higher import higher
from strategy_engine.indicators import sma
from strategy_engine.panels import FIGURES, Floats, Panel
from strategy_engine.universe import OLDEST, Screen, with_screens

MINUTE_US = 60_000_000
DAY_US = 1440 * MINUTE_US
# 14:30 UTC, when a session begins in winter.
OPEN_US = 870 * MINUTE_US
SESSION = 390


def minutes(
    close: Floats, *, timeframe: Timeframe = Timeframe.MINUTE, per_day: int = SESSION
) -> Panel:
    """One-minute bars of sessions of `per_day` bars, a row for each."""
    n = np.arange(len(close))
    ends = n // per_day * DAY_US + OPEN_US + (n % per_day + 1) * MINUTE_US
    symbols = tuple(Symbol(f"S{i}") for i in range(close.shape[1]))
    figures = [close, close + 1, close - 1, close, np.full(close.shape, 10.0)]
    return Panel(
        timeframe,
        symbols,
        *(np.where(np.isnan(close), np.nan, figure) for figure in figures),
        end_us=np.repeat(ends[:, None], close.shape[1], axis=1),
    )


def holey(seed: int, count: int, columns: int = 2) -> Floats:
    random = np.random.default_rng(seed)
    close = random.integers(90, 111, (count, columns)).astype(np.float64)
    close[random.random(close.shape) < 0.2] = np.nan
    return close


@given(seed=st.integers(0, 2**32), count=st.integers(1, 30), bars=st.integers(1, 12))
def test_the_newest_own_bars_of_each_symbol_that_has_one_are_what_is_seen_live(
    seed: int, count: int, bars: int
) -> None:
    panel = minutes(holey(seed, count, 3))

    live = panel.newest(count - 1, bars)

    expected = [k for k in range(3) if not np.isnan(panel.close[-1, k])]
    assert live.symbols == tuple(panel.symbols[k] for k in expected)
    assert len(live) == bars
    for column, k in enumerate(expected):
        own = panel.of(k)
        n = min(bars, len(own))
        for name in FIGURES:
            assert np.array_equal(
                getattr(live, name)[bars - n :, column], getattr(own, name)[-n:, 0]
            )
            assert np.isnan(getattr(live, name)[: bars - n, column]).all()
        assert live.times[bars - n :, column].tolist() == own.times[-n:, 0].tolist()


# ---------------------------------------------------------------------- screens


def test_a_bar_knows_the_newest_screen_taken_before_its_end_and_no_later_one() -> None:
    panel = minutes(np.ones((4, 2)))
    second_end = int(panel.times[1, 0])
    screens = [
        Screen(second_end, frozenset({"S1"})),
        Screen(second_end - 1, frozenset({"S0"})),
    ]

    seen = with_screens(panel, screens).passed_screen

    assert np.isnan(seen[0]).all()
    assert seen[1:].tolist() == [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]


def test_a_screen_that_is_too_old_says_nothing() -> None:
    panel = minutes(np.ones((1, 1)))
    end_us, oldest_us = int(panel.times[0, 0]), OLDEST.days * DAY_US

    just_in_time = with_screens(panel, [Screen(end_us - oldest_us, frozenset({"S0"}))])
    too_old = with_screens(panel, [Screen(end_us - oldest_us - 1, frozenset({"S0"}))])

    assert just_in_time.passed_screen.tolist() == [[1.0]]
    assert np.isnan(too_old.passed_screen).all()


def test_without_any_screen_nothing_is_known() -> None:
    panel = minutes(np.ones((2, 2)))

    assert np.isnan(panel.passed_screen).all()
    assert np.isnan(with_screens(panel, []).passed_screen).all()


# ---------------------------------------------------------------------- longer bars


def test_longer_bars_are_what_their_bars_make_up_and_the_first_is_left_out() -> None:
    close = np.arange(1.0, 2 * SESSION + 1)[:, None]
    hours = higher(minutes(close), Timeframe.HOUR).panel

    # A session of 6.5 hours has seven of them; the first of all may have begun earlier.
    assert len(hours) == 13
    assert (hours.open[0, 0], hours.high[0, 0], hours.low[0, 0]) == (61.0, 121.0, 60.0)
    assert (hours.close[0, 0], hours.volume[0, 0]) == (120.0, 600.0)
    # The last of a session is half an hour.
    assert (hours.open[5, 0], hours.close[5, 0], hours.volume[5, 0]) == (361.0, 390.0, 300.0)


def test_a_short_bar_is_given_only_what_was_over_before_it_began() -> None:
    close = np.arange(1.0, 2 * SESSION + 1)[:, None]
    days = higher(minutes(close, per_day=SESSION), Timeframe.DAY)
    three = np.concatenate([close, close[-1] + np.arange(1.0, SESSION + 1)[:, None]])

    assert np.isnan(days.spread(days.panel.close)).all()
    longer = higher(minutes(three), Timeframe.DAY)
    seen = longer.spread(longer.panel.close)[:, 0]
    assert np.isnan(seen[: 2 * SESSION]).all()
    assert (seen[2 * SESSION :] == 2.0 * SESSION).all()


@given(
    seed=st.integers(0, 2**32),
    count=st.integers(2, 400),
    cut=st.integers(1, 399),
    length=st.sampled_from([Timeframe.FIVE_MINUTES, Timeframe.FIFTEEN_MINUTES, Timeframe.HOUR]),
)
def test_cutting_the_future_off_never_changes_what_longer_bars_say(
    seed: int, count: int, cut: int, length: Timeframe
) -> None:
    panel = minutes(holey(seed, count), per_day=60)
    cut = min(cut, count)

    def seen(some: Panel) -> Floats:
        longer = higher(some, length)
        return longer.spread(sma(longer.panel.close, 2))

    assert np.array_equal(seen(panel)[:cut], seen(panel.until(cut - 1)), equal_nan=True)


@given(seed=st.integers(0, 2**32), count=st.integers(60, 200), dropped=st.integers(1, 30))
def test_longer_bars_do_not_depend_on_where_the_series_began(
    seed: int, count: int, dropped: int
) -> None:
    panel = minutes(holey(seed, count), per_day=60)
    later = minutes(panel.close, per_day=60)
    late = Panel(
        later.timeframe,
        later.symbols,
        *(getattr(later, name)[dropped:] for name in FIGURES),
        end_us=later.times[dropped:],
    )

    def seen(some: Panel) -> Floats:
        longer = higher(some, Timeframe.FIVE_MINUTES)
        return longer.spread(longer.panel.close)

    # Two longer bars later both know the same, also where bars are missing.
    known = slice(dropped + 15, None)
    whole, cut = seen(panel)[known], seen(late)[15:]
    assert np.array_equal(whole[~np.isnan(cut)], cut[~np.isnan(cut)])


def test_bars_that_are_not_longer_are_refused() -> None:
    with pytest.raises(InvalidInput, match="1Min are not longer than those of 1Min"):
        higher(minutes(np.ones((2, 1))), Timeframe.MINUTE)
    with pytest.raises(InvalidInput, match="need one value for each longer bar"):
        higher(minutes(np.ones((200, 1))), Timeframe.HOUR).spread(np.ones((1, 7)))
