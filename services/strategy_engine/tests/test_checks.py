"""Whoever peeks or forgets to say how much it needs is found; whoever does neither is not."""

from __future__ import annotations

import numpy as np
import pytest

from shared.domain.signals import Direction
from shared.domain.timeframes import Timeframe
from strategy_engine.catalogue import discover
from strategy_engine.checks import check_lookahead, check_warmup, made_up_bars
from strategy_engine.indicators import crossed_above, crossed_below, ema, sma
from strategy_engine.panels import Floats, Panel, View
from strategy_engine.strategy import Strategy, VectorStrategy, Wishes


class Follower(VectorStrategy):
    """Long above what `line` says, out below; honest as far as that is."""

    @property
    def bars_needed(self) -> int:
        return 11

    def line(self, close: Floats) -> Floats:
        return sma(close, 10)

    def wishes(self, panel: Panel) -> Wishes:
        line = self.line(panel.close)
        return Wishes(
            crossed_above(panel.close, line),
            crossed_below(panel.close, line),
            "",
            "",
            None,
            {"line": line},
        )


class Centred(Follower):
    """Its average lies in the middle of its window."""

    def line(self, close: Floats) -> Floats:
        average = sma(close, 10)
        shifted = np.full_like(average, np.nan)
        shifted[:-5] = average[5:]
        return shifted


class Scaled(Follower):
    """Measures against the mean of the whole series."""

    def line(self, close: Floats) -> Floats:
        return np.where(np.isnan(close), np.nan, np.nanmean(close, axis=0))


class Remembering(Follower):
    """Averages over far more bars than it says."""

    def line(self, close: Floats) -> Floats:
        return ema(close, 30)


class Cumulative(Follower):
    """Averages everything since the series began."""

    def line(self, close: Floats) -> Floats:
        present = ~np.isnan(close)
        mean = np.cumsum(np.nan_to_num(close), axis=0) / np.maximum(np.cumsum(present, axis=0), 1)
        return np.where(present, mean, np.nan)


class Counting(Strategy):
    """Wishes every other time it is asked."""

    asked = 0

    @property
    def bars_needed(self) -> int:
        return 1

    def generate_signal(self, view: View) -> Direction | None:
        self.asked += 1
        return Direction.LONG if self.asked % 2 else None


class Greedy(Strategy):
    """Looks at everything it is given."""

    @property
    def bars_needed(self) -> int:
        return 5

    def generate_signal(self, view: View) -> Direction | None:
        return Direction.LONG if view.close[-1] >= view.close.max() else None


class Modest(Greedy):
    """Looks at what it needs."""

    def generate_signal(self, view: View) -> Direction | None:
        return Direction.LONG if view.close[-1] >= view.close[-5:].max() else None


@pytest.mark.parametrize("name", sorted(discover().strategies))
@pytest.mark.parametrize("timeframe", [Timeframe.DAY, Timeframe.MINUTE])
def test_no_shipped_strategy_peeks_or_needs_more_than_it_says(
    name: str, timeframe: Timeframe
) -> None:
    strategy = discover().find(name)()
    bars = made_up_bars(strategy, timeframe)

    for checked in (check_lookahead(strategy, bars, 12), check_warmup(strategy, bars, 12)):
        assert checked.differences == ()
        assert checked.instants >= 6


@pytest.mark.parametrize("strategy", [Centred(), Scaled()])
def test_a_look_into_the_future_is_found(strategy: Strategy) -> None:
    found = check_lookahead(strategy, made_up_bars(strategy, Timeframe.DAY))

    assert found.differences
    assert "without those that came later" in found.differences[0].sentence
    assert check_lookahead(Follower(), made_up_bars(strategy, Timeframe.DAY)).differences == ()


@pytest.mark.parametrize("strategy", [Remembering(), Cumulative(), Greedy()])
def test_needing_more_bars_than_said_is_found(strategy: Strategy) -> None:
    bars = made_up_bars(strategy, Timeframe.DAY)

    found = check_warmup(strategy, bars)

    assert found.differences
    assert f"with the {strategy.bars_needed} it says it needs" in found.differences[0].sentence
    assert check_lookahead(strategy, bars).differences == ()


def test_needing_no_more_than_said_is_fine() -> None:
    for strategy in (Follower(), Modest()):
        assert check_warmup(strategy, made_up_bars(strategy, Timeframe.DAY)).differences == ()


def test_an_answer_that_does_not_come_from_the_bars_is_found() -> None:
    found = check_lookahead(Counting(), made_up_bars(Counting(), Timeframe.DAY))

    assert "when asked again" in found.differences[0].sentence
    assert check_lookahead(Modest(), made_up_bars(Modest(), Timeframe.DAY)).differences == ()


def test_only_a_bounded_part_of_a_long_history_is_looked_at_and_its_rows_are_the_histories() -> (
    None
):
    strategy = Centred()
    day = made_up_bars(strategy, Timeframe.DAY)
    times = 20
    long = Panel(
        day.timeframe,
        day.symbols,
        *(
            np.tile(getattr(day, name), (times, 1))
            for name in ("open", "high", "low", "close", "volume")
        ),
    )

    found = check_lookahead(strategy, long)

    assert found.instants <= 40
    assert len(long) - 6_000 <= found.differences[0].row < len(long)
