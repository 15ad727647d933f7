"""Our indicators against TA-Lib's, and against themselves when the series begins later or has holes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
import talib
from hypothesis import given
from hypothesis import strategies as st

from strategy_engine import indicators as our
from strategy_engine.panels import FIGURES, Floats
from strategy_engine.parameters import InvalidParameter

MINUTE_US = 60_000_000
Bars = dict[str, Floats]
Indicator = Callable[[Bars], tuple[Floats, ...]]


def bars_of(seed: int, count: int, *, columns: int = 1, step: float = 1.0) -> Bars:
    """A random walk in cents with ranges and volumes; `step` 0 stands still."""
    random = np.random.default_rng(seed)
    walk = np.cumsum(random.normal(0.0, step, (count, columns)), axis=0)
    close: Floats = np.round(np.maximum(100.0 + walk, 1.0), 2).astype(np.float64)
    up, down = (random.integers(0, 200, close.shape) / 100 * (step > 0) for _ in range(2))
    low = np.maximum(close - down, 0.01)
    volume = random.integers(0, 10_000, close.shape).astype(np.float64)
    # Sessions of 130 bars, so that a series has a few of them.
    minute = np.arange(count)
    ends = (minute // 130 * 1440 + 900 + minute % 130) * MINUTE_US
    times = np.repeat(ends[:, None], columns, axis=1).astype(np.float64)
    return {
        "open": close,
        "high": close + up,
        "low": low,
        "close": close,
        "volume": volume,
        "end_us": times,
    }


def vwap(bars: Bars) -> tuple[Floats, ...]:
    times = np.nan_to_num(bars["end_us"]).astype(np.int64)
    return (our.vwap(bars["high"], bars["low"], bars["close"], bars["volume"], times),)


# Name, ours, and how many own bars a value may depend on.
OURS: list[tuple[str, Indicator, int]] = [
    ("sma", lambda b: (our.sma(b["close"], 7),), 7),
    ("wma", lambda b: (our.wma(b["close"], 7),), 7),
    ("ema", lambda b: (our.ema(b["close"], 7),), our.ema_memory(7)),
    ("wilder", lambda b: (our.wilder(b["close"], 5),), our.wilder_memory(5)),
    ("rsi", lambda b: (our.rsi(b["close"], 5),), our.wilder_memory(5) + 1),
    ("macd", lambda b: our.macd(b["close"], 3, 6, 4), our.macd_memory(6, 4)),
    ("bollinger", lambda b: our.bollinger(b["close"], 6), 6),
    ("atr", lambda b: (our.atr(b["high"], b["low"], b["close"], 5),), our.wilder_memory(5) + 1),
    ("adx", lambda b: our.adx(b["high"], b["low"], b["close"], 4), our.adx_memory(4)),
    ("donchian", lambda b: our.donchian(b["high"], b["low"], 6), 6),
    ("stochastic", lambda b: our.stochastic(b["high"], b["low"], b["close"], 6, 3, 2), 9),
    ("cci", lambda b: (our.cci(b["high"], b["low"], b["close"], 6),), 6),
    ("roc", lambda b: (our.roc(b["close"], 6),), 7),
    ("efficiency", lambda b: (our.efficiency(b["close"], 6),), 7),
    ("lag", lambda b: (our.lag(b["close"], 3),), 4),
    ("vwap", vwap, 261),
]
NAMES = [name for name, _, _ in OURS]


def by_name(name: str) -> tuple[Indicator, int]:
    return next((indicator, memory) for known, indicator, memory in OURS if known == name)


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 420), dropped=st.integers(0, 100))
def test_a_value_is_the_same_to_the_last_bit_wherever_the_series_began(
    name: str, seed: int, count: int, dropped: int
) -> None:
    indicator, memory = by_name(name)
    bars = bars_of(seed, count)
    later = {figure: values[dropped:] for figure, values in bars.items()}

    for whole, late in zip(indicator(bars), indicator(later), strict=True):
        known = slice(memory - 1, None)
        assert np.array_equal(whole[dropped:][known], late[known], equal_nan=True)


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 60), columns=st.integers(1, 4))
def test_holes_and_neighbours_change_nothing(
    name: str, seed: int, count: int, columns: int
) -> None:
    indicator, _ = by_name(name)
    bars = bars_of(seed, count, columns=columns)
    missing = np.random.default_rng(seed).random((count, columns)) < 0.3
    missing[:, 0] = False
    holey = {figure: np.where(missing, np.nan, values) for figure, values in bars.items()}

    together = indicator(holey)

    for column in range(columns):
        own = ~missing[:, column]
        alone = indicator({name: values[own, column : column + 1] for name, values in bars.items()})
        for found, expected in zip(together, alone, strict=True):
            assert np.array_equal(found[own, column], expected[:, 0], equal_nan=True)
            assert np.isnan(found[~own, column]).all()


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 2**32), columns=st.integers(400, 500))
def test_wide_panels_are_worked_on_in_groups_without_a_difference(
    name: str, seed: int, columns: int
) -> None:
    indicator, _ = by_name(name)
    bars = bars_of(seed, 45, columns=columns)

    together = indicator(bars)

    for column in (0, columns // 2, columns - 1):
        alone = indicator({name: values[:, column : column + 1] for name, values in bars.items()})
        for found, expected in zip(together, alone, strict=True):
            assert np.array_equal(found[:, column], expected[:, 0], equal_nan=True)


# Name, ours, TA-Lib's, and from which bar on its other beginning is forgotten.
Theirs = Callable[[dict[str, np.ndarray]], Iterable[np.ndarray]]
AGREEING: list[tuple[str, Indicator, Theirs, int]] = [
    ("sma", lambda b: (our.sma(b["close"], 20),), lambda b: [talib.SMA(b["close"], 20)], 0),
    ("wma", lambda b: (our.wma(b["close"], 20),), lambda b: [talib.WMA(b["close"], 20)], 0),
    ("ema", lambda b: (our.ema(b["close"], 20),), lambda b: [talib.EMA(b["close"], 20)], 240),
    ("rsi", lambda b: (our.rsi(b["close"], 14),), lambda b: [talib.RSI(b["close"], 14)], 320),
    ("macd", lambda b: our.macd(b["close"]), lambda b: talib.MACD(b["close"]), 420),
    (
        "bollinger",
        lambda b: our.bollinger(b["close"], 20),
        lambda b: talib.BBANDS(b["close"], 20)[::-1],
        0,
    ),
    (
        "standard deviation",
        lambda b: (our.standard_deviation(b["close"], 10),),
        lambda b: [talib.STDDEV(b["close"], 10)],
        0,
    ),
    (
        "true range",
        lambda b: (our.true_range(b["high"], b["low"], b["close"]),),
        lambda b: [talib.TRANGE(b["high"], b["low"], b["close"])],
        1,
    ),
    (
        "atr",
        lambda b: (our.atr(b["high"], b["low"], b["close"], 14),),
        lambda b: [talib.ATR(b["high"], b["low"], b["close"], 14)],
        320,
    ),
    (
        "adx",
        lambda b: our.adx(b["high"], b["low"], b["close"], 10),
        lambda b: [
            find(b["high"], b["low"], b["close"], 10)
            for find in (talib.ADX, talib.PLUS_DI, talib.MINUS_DI)
        ],
        440,
    ),
    (
        "obv",
        lambda b: (our.obv(b["close"], b["volume"]),),
        lambda b: [talib.OBV(b["close"], b["volume"])],
        0,
    ),
    ("roc", lambda b: (our.roc(b["close"], 10),), lambda b: [talib.ROC(b["close"], 10)], 0),
    (
        "cci",
        lambda b: (our.cci(b["high"], b["low"], b["close"], 20),),
        lambda b: [talib.CCI(b["high"], b["low"], b["close"], 20)],
        0,
    ),
    (
        "stochastic",
        lambda b: our.stochastic(b["high"], b["low"], b["close"], 14, 3, 3),
        lambda b: talib.STOCH(
            b["high"], b["low"], b["close"], fastk_period=14, slowk_period=3, slowd_period=3
        ),
        17,
    ),
    (
        "donchian",
        lambda b: our.donchian(b["high"], b["low"], 20),
        lambda b: [talib.MIN(b["low"], 20), talib.MAX(b["high"], 20)],
        0,
    ),
]


@pytest.mark.parametrize(
    ("indicator", "theirs", "forgotten"),
    [case[1:] for case in AGREEING],
    ids=[case[0] for case in AGREEING],
)
@given(seed=st.integers(0, 2**32), count=st.integers(2, 700))
def test_indicators_agree_with_ta_lib(
    indicator: Indicator, theirs: Theirs, forgotten: int, seed: int, count: int
) -> None:
    bars = bars_of(seed, count)
    theirs_of = theirs({figure: values[:, 0] for figure, values in bars.items()})

    for found, expected in zip(indicator(bars), theirs_of, strict=True):
        late = slice(forgotten, None)
        # What TA-Lib does not know either, short series included, and then the same values. Theirs sums up
        # rounding errors from bar to bar (a deviation is the root of such a difference), ours does not.
        assert np.array_equal(np.isnan(found[late, 0]), np.isnan(expected[late]))
        assert np.allclose(found[late, 0], expected[late], rtol=1e-7, atol=2e-5, equal_nan=True)


def test_what_never_moves_is_in_the_middle_of_everything() -> None:
    still = bars_of(1, 400, step=0.0)
    high, low, close = still["high"], still["low"], still["close"]

    for average in (
        our.sma(close, 20),
        our.wma(close, 20),
        our.ema(close, 20),
        *our.bollinger(close),
    ):
        assert np.array_equal(average[25:], close[25:])
    assert (our.rsi(close)[14:] == 50.0).all()
    assert all((part[33:] == 0.0).all() for part in our.macd(close))
    assert (our.atr(high, low, close)[14:] == 0.0).all()
    assert all((part[27:] == 0.0).all() for part in our.adx(high, low, close))
    assert all((part[17:] == 50.0).all() for part in our.stochastic(high, low, close))
    assert (our.cci(high, low, close)[19:] == 0.0).all()
    assert (our.efficiency(close)[20:] == 0.0).all()


@given(price=st.integers(1, 10**13), windows=st.lists(st.integers(1, 60), min_size=2, max_size=2))
def test_smoothed_averages_of_a_constant_never_cross(price: int, windows: list[int]) -> None:
    still = np.full((130, 1), price / 1_000_000)
    fast, slow = (our.ema(still, window) for window in windows)

    assert not our.crossed_above(fast, slow).any()
    assert not our.crossed_below(fast, slow).any()
    assert not our.crossed_above(our.rsi(still), 50.0).any()


def test_a_level_is_crossed_over_a_bar_that_is_missing() -> None:
    values = np.asarray([[1.0], [np.nan], [3.0], [np.nan], [1.0]])

    assert our.crossed_above(values, 2.0)[:, 0].tolist() == [False, False, True, False, False]
    assert our.crossed_below(values, 2.0)[:, 0].tolist() == [False, False, False, False, True]


def test_efficiency_is_one_on_a_straight_line_and_nothing_on_a_way_back() -> None:
    line = np.arange(100.0, 130.0)[:, None]
    back = np.asarray([100.0, 101.0, 102.0, 101.0, 100.0])[:, None]

    assert our.efficiency(line, 10)[10:].min() == 1.0
    assert our.efficiency(back, 4)[4, 0] == 0.0


def test_vwap_begins_anew_with_each_session_and_knows_nothing_of_the_first() -> None:
    bars = bars_of(3, 300)
    (found,) = vwap(bars)
    typical = (bars["high"] + bars["low"] + bars["close"]) / 3

    assert np.isnan(found[:130]).all()
    for row in (130, 200, 259):
        session = slice(130, row + 1)
        mean = np.average(typical[session, 0], weights=bars["volume"][session, 0])
        assert found[row, 0] == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("window", [0, 901])
def test_a_window_that_cannot_be_is_refused_by_each(window: int) -> None:
    close = np.ones((3, 1))
    for indicator in (
        our.sma,
        our.wma,
        our.ema,
        our.wilder,
        our.rsi,
        our.roc,
        our.efficiency,
        our.lag,
    ):
        with pytest.raises(InvalidParameter, match="window must be 1 to 900"):
            indicator(close, window)
    with pytest.raises(InvalidParameter, match="must be below the slow window"):
        our.macd(close, 26, 12)


def test_every_figure_of_a_panel_is_covered_by_the_bars_made_up_here() -> None:
    assert set(FIGURES) < set(bars_of(1, 3))
