"""Do declared indicators, decided on bar by bar, say what whole panels say?"""

import threading
from collections.abc import Mapping

import numpy as np
import pytest

from backtester.testing import a_market
from backtester.wishing import StrategyFailed, wishes_of
from shared.domain.signals import Direction
from strategy_engine.indicators import sma
from strategy_engine.panels import Floats, Panel
from strategy_engine.strategies.moving_average import MovingAverage
from strategy_engine.strategy import (
    IndicatorStrategy,
    InvalidWish,
    Newest,
    VectorStrategy,
    Wish,
    Wishes,
)


class Crossing(IndicatorStrategy):
    """The moving average crossover as a person writes it bar by bar."""

    bars_needed = 21

    def indicators(self, panel: Panel) -> Mapping[str, Floats]:
        return {"fast": sma(panel.close, 5), "slow": sma(panel.close, 20)}

    def decide(self, newest: Newest) -> Wish | Direction | None:
        fast, slow = newest["fast"], newest["slow"]
        if fast[-1] > slow[-1] and fast[-2] <= slow[-2]:
            return Direction.LONG
        if fast[-1] < slow[-1] and fast[-2] >= slow[-2]:
            return Wish(Direction.FLAT, reason="below")
        return None


@pytest.mark.parametrize("holes", [0.0, 0.1])
def test_decided_bar_by_bar_is_decided_as_over_panels(holes: float) -> None:
    history = a_market(4, 300, 3, minutes=False, wild=0.02, holes=holes)
    by_panels = wishes_of(MovingAverage(short_window=5, long_window=20), history, compiled=False)

    by_bars = wishes_of(Crossing(), history, compiled=False)

    # Without conviction symbols stand in their own order.
    for ours, theirs in zip(by_bars.wishes[:3], by_panels.wishes[:3], strict=True):
        assert sorted(ours.tolist()) == sorted(theirs.tolist())
    assert by_bars.exit_reason == "below"


def test_live_the_newest_bar_gives_the_same_wish() -> None:
    history = a_market(4, 80, 1, minutes=False, wild=0.02, holes=0.0)
    strategy = Crossing()
    wishes = wishes_of(strategy, history, compiled=False).wishes
    wished = dict(zip(wishes.row.tolist(), wishes.direction.tolist(), strict=True))

    for row in range(80):
        answer = strategy.generate_signal(history.panel.until(row).view(0))
        is_entry = answer is Direction.LONG
        assert (answer is not None) == (row in wished)
        assert answer is None or is_entry == (wished[row] == 1)


def test_only_what_has_been_is_there_to_be_looked_at() -> None:
    history = a_market(4, 60, 1, minutes=False, wild=0.02, holes=0.0)
    seen: list[list[float]] = []

    class Looks(Crossing):
        bars_needed = 3

        def decide(self, newest: Newest) -> None:
            seen.append(list(newest["close"]))

        def indicators(self, panel: Panel) -> Mapping[str, Floats]:
            return {"close": panel.close}

    wishes_of(Looks(), history, compiled=False)

    closes = [np.nan, np.nan, *history.panel.close[:, 0].tolist()]
    np.testing.assert_array_equal(seen, [closes[i : i + 3] for i in range(60)])


@pytest.mark.parametrize(
    "answer", [{}, {"close": np.zeros(3)}, {"close": [1.0]}, {"close": np.zeros((60, 1), int)}]
)
def test_indicators_that_do_not_fit_are_refused(answer: Mapping[str, Floats]) -> None:
    class Odd(Crossing):
        def indicators(self, panel: Panel) -> Mapping[str, Floats]:
            return answer

    with pytest.raises(InvalidWish, match=r"strategy odd \(test_wishing\.py line \d+\): indicator"):
        wishes_of(
            Odd(),
            a_market(4, 60, 1, minutes=False, wild=0.02, holes=0.0),
            compiled=False,
        )


def test_one_that_hangs_is_stopped_and_named_with_bar_and_line() -> None:
    history = a_market(4, 60, 2, minutes=False, wild=0.02, holes=0.0)

    class Hangs(Crossing):
        asked = 0

        def decide(self, newest: Newest) -> None:
            self.asked += 1
            while self.asked == 75:
                pass

    class Ponders(VectorStrategy):
        bars_needed = 1

        def wishes(self, panel: Panel) -> Wishes:
            while True:
                pass

    said = rf"hangs took longer than 0.5 s on BB at {history.day(14)} \(test_wishing.py line \d+\) and was"
    with pytest.raises(StrategyFailed, match=said):
        wishes_of(Hangs(), history, compiled=False, bar_within_s=0.5)
    with pytest.raises(StrategyFailed, match=r"0.05 s \(test_wishing.py line \d+\).* fewer bars"):
        wishes_of(Ponders(), history, compiled=False, all_within_s=0.05)


def test_slow_bars_are_waited_for_while_they_get_on() -> None:
    history = a_market(4, 60, 1, minutes=False, wild=0.02, holes=0.0)
    # Longer than the patience with one bar, all together.
    whole = threading.Event()

    class Slow(Crossing):
        def decide(self, newest: Newest) -> None:
            whole.wait(0.01)

    assert not len(wishes_of(Slow(), history, compiled=False, bar_within_s=0.5).wishes.row)
