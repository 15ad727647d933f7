"""What a strategy may declare, and what it may answer."""

from __future__ import annotations

import numpy as np
import pytest

from shared.domain.signals import Direction
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from strategy_engine.panels import Floats, Panel, View
from strategy_engine.parameters import (
    InvalidParameter,
    Number,
    Switch,
    UnknownName,
    Whole,
    read_assignments,
)
from strategy_engine.strategies.moving_average import MovingAverage
from strategy_engine.strategy import InvalidWish, Strategy, Wish, Wishes


class Patient(Strategy):
    """Waits."""

    bars = Whole(5, low=1, high=10, about="bars to wait")
    threshold = Number(0.5, low=0.0, about="how far")
    loud = Switch(False, about="whether to say so")

    @property
    def bars_needed(self) -> int:
        return self.bars

    def generate_signal(self, view: View) -> None:
        return None


def a_panel(close: Floats) -> Panel:
    names = tuple(Symbol(f"S{i}") for i in range(close.shape[1]))
    return Panel(Timeframe.MINUTE, names, close, close, close, close, close)


def test_a_strategy_is_named_after_its_class_and_has_its_defaults() -> None:
    strategy = Patient()

    assert strategy.name == "patient"
    assert (strategy.bars, strategy.threshold, strategy.loud) == (5, 0.5, False)


def test_moving_average_is_20_50_unless_told_otherwise() -> None:
    assert dict(MovingAverage().values) == {
        "short_window": 20,
        "long_window": 50,
        "allow_short": False,
    }
    assert MovingAverage().bars_needed == 51
    assert MovingAverage(long_window="100").bars_needed == 101


def test_values_are_read_from_text_as_settings_have_them() -> None:
    strategy = Patient(**read_assignments(" bars = 7 , threshold=1.5,loud=TRUE,"))

    assert (strategy.bars, strategy.threshold, strategy.loud) == (7, 1.5, True)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"bars": 11}, "bars must be 1 to 10, was 11"),
        ({"bars": 0}, "bars must be 1 to 10, was 0"),
        ({"bars": "many"}, "bars must be a whole number, was 'many'"),
        ({"bars": 5.5}, "bars must be a whole number"),
        ({"bars": True}, "bars must be a whole number"),
        ({"threshold": -1}, "threshold must be at least 0.0, was -1.0"),
        ({"threshold": "nan"}, "threshold must be a finite number"),
        ({"threshold": "1e999"}, "threshold must be a finite number"),
        ({"loud": "yes"}, "loud must be true or false, was 'yes'"),
        ({"loud": 1}, "loud must be true or false"),
    ],
)
def test_an_impossible_value_is_refused_and_named(given: dict[str, object], complaint: str) -> None:
    with pytest.raises(InvalidParameter, match=complaint):
        Patient(**given)


def test_windows_that_make_no_sense_together_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="short_window 50 must be below long_window 50"):
        MovingAverage(short_window=50)


def test_an_unknown_parameter_names_the_nearest_one() -> None:
    with pytest.raises(UnknownName, match="no parameter 'short_windw'; did you mean short_window"):
        MovingAverage(short_windw=5)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("bars", "'bars' is not a parameter"),
        ("bars=", "not a parameter"),
        ("a=1,a=2", "given twice"),
    ],
)
def test_a_malformed_list_of_parameters_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(InvalidParameter, match=complaint):
        read_assignments(text)


def test_a_parameter_cannot_be_changed_later() -> None:
    with pytest.raises(AttributeError, match="set when the strategy is made"):
        Patient().bars = 6


def test_a_default_outside_its_own_bounds_is_found_at_import() -> None:
    with pytest.raises(InvalidParameter, match="bars must be at most 3"):
        type("Broken", (Patient,), {"bars": Whole(5, high=3, about="")})


@pytest.mark.parametrize("conviction", [-0.1, 1.1, float("nan")])
def test_conviction_outside_0_to_1_is_no_wish(conviction: float) -> None:
    with pytest.raises(InvalidWish, match="conviction"):
        Wish(Direction.LONG, conviction)


@pytest.mark.parametrize("text", ["two\nlines", "nul\x00", "\ud800", "x" * 201])
def test_a_reason_that_no_table_or_log_could_hold_is_no_wish(text: str) -> None:
    with pytest.raises(InvalidWish, match="one printable line"):
        Wish(Direction.LONG, reason=text)
    with pytest.raises(InvalidWish, match="one printable line"):
        Wish(Direction.LONG, figures={text: 1.0})


def test_a_bar_cannot_be_entry_and_exit_at_once() -> None:
    panel = a_panel(np.ones((3, 2)))
    both = np.ones((3, 2), dtype=np.bool_)

    with pytest.raises(InvalidWish, match="both an entry and an exit"):
        Wishes(both, both, "", "").check(panel)


def test_wishes_of_another_shape_or_type_are_refused() -> None:
    panel = a_panel(np.ones((3, 2)))
    fits = np.zeros((3, 2), dtype=np.bool_)

    with pytest.raises(InvalidWish, match=r"exits must be an array of shape \(3, 2\)"):
        Wishes(fits, fits[1:], "", "").check(panel)
    with pytest.raises(InvalidWish, match="entries must be booleans, was float64"):
        Wishes(np.ones((3, 2)), fits, "", "").check(panel)  # type: ignore[arg-type]
    with pytest.raises(InvalidWish, match="x must be an array"):
        Wishes(fits, fits, "", "", figures={"x": np.ones(3)}).check(panel)


def test_a_strategy_can_neither_write_its_bars_nor_find_later_ones() -> None:
    close = np.asarray([[1.0], [np.nan], [3.0], [4.0]])
    view = a_panel(close).until(2).view(0)

    assert view.close.tolist() == [1.0, 3.0]
    with pytest.raises(ValueError, match="read-only"):
        view.close[0] = 5.0
    for seen in (view.close, a_panel(close).until(2).close):
        behind = seen.base
        while behind is not None:
            assert 4.0 not in behind
            behind = behind.base


def test_a_panel_leaves_the_callers_arrays_writable() -> None:
    close = np.ones((2, 1))
    panel = a_panel(close)

    close[0, 0] = 2.0

    assert (close[0, 0], panel.close.flags.writeable) == (2.0, False)
