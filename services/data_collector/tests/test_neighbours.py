"""Tests of `data_collector.neighbours`: F72, F73 and F74 on live bars."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from data_collector.neighbours import WINDOW, Neighbours, Verdict
from shared.domain.bars import Bar
from shared.domain.timeframes import Timeframe
from shared.testing.bar_stores import NOON, a_bar, a_block


def minute(number: int, close: float, symbol: str = "AAPL", volume: int = 0) -> Bar:
    """A bar whose volume differs from minute to minute, as in a market that moves."""
    return a_bar(symbol, number, close=close, volume=volume or 1_000 + number)


def after(*bars: Bar) -> Neighbours:
    known = Neighbours(Timeframe.MINUTE)
    known.learn(a_block(*bars))
    return known


def quiet(count: int = WINDOW, symbol: str = "AAPL") -> list[Bar]:
    return [minute(n, 100 + n % 3 / 10, symbol) for n in range(count)]


def judged(known: Neighbours, *bars: Bar) -> list[bool]:
    """Of each bar, judged one after the other, whether it came in."""
    return [len(known.judge(a_block(bar)).good) == 1 for bar in bars]


def test_f73_a_price_far_from_all_its_neighbours_is_refused_with_the_figures() -> None:
    known = after(*quiet(), *quiet(symbol="MSFT"))

    found = known.judge(a_block(minute(20, 125), minute(20, 100.1, "MSFT")))

    assert found.good.symbols == ("MSFT",)
    ((bad, reason),) = found.misfits
    assert list(bad) == [minute(20, 125)]
    assert reason == ("a bad print: low 124 and high 126 while the bars around it stand at 100.1")


def test_f73_a_single_wick_is_refused_although_open_and_close_fit() -> None:
    wick = replace(minute(20, 100), high=Decimal(130))

    assert judged(after(*quiet()), wick) == [False]


def test_f73_what_persists_becomes_the_new_level_after_two_bars() -> None:
    bars = [minute(n, 125) for n in range(20, 26)]

    assert judged(after(*quiet()), *bars) == [False, False, True, True, True, True]


def test_f73_after_one_bad_print_the_old_level_goes_on() -> None:
    bars = [minute(20, 125), minute(21, 100.2), minute(22, 130), minute(23, 100)]

    assert judged(after(*quiet()), *bars) == [False, True, False, True]


def test_a_share_that_moves_a_lot_anyway_is_given_room() -> None:
    wild = [minute(n, 100 * 1.06 ** (-1) ** n) for n in range(WINDOW)]

    assert judged(after(*wild), minute(20, 120)) == [True]
    assert judged(after(*quiet()), minute(20, 120)) == [False]


def test_few_or_distant_neighbours_judge_nobody() -> None:
    assert judged(after(*quiet(9)), minute(9, 125)) == [True]
    assert judged(after(*quiet()), minute(23, 125)) == [True]
    assert judged(after(), minute(0, 125)) == [True]


def test_a_refused_bar_that_is_fetched_again_is_refused_again() -> None:
    known = after(*quiet(15), *(minute(n, 100) for n in range(16, 20)))

    assert judged(known, minute(15, 125)) == [False]
    assert judged(known, minute(15, 100)) == [True]


@given(
    closes=st.lists(st.sampled_from([100.0, 100.5, 125.0, 80.0]), min_size=1, max_size=12),
    cut=st.integers(0, 11),
)
def test_a_restart_in_the_middle_decides_alike(closes: list[float], cut: int) -> None:
    bars = [minute(WINDOW + n, close) for n, close in enumerate(closes)]
    straight = judged(after(*quiet()), *bars)

    known = after(*quiet())
    first = judged(known, *bars[:cut])
    stored = quiet() + [bar for bar, fits in zip(bars, first, strict=False) if fits]
    # What is left of the first process is what it stored.
    restarted = after(*stored[-WINDOW:])

    assert first + judged(restarted, *bars[cut:]) == straight


def overnight(before: float, opened: float) -> Verdict:
    known = after(*(minute(n, before + n % 3 / 100) for n in range(WINDOW)))
    begins_at = NOON + timedelta(days=1)
    return known.judge(a_block(a_bar("AAPL", close=opened, begins_at=begins_at)))


def test_f74_a_step_between_days_that_looks_like_a_split_is_told_and_let_in() -> None:
    found = overnight(700, 100)

    assert (len(found.good), found.misfits) == (1, ())
    (step,) = found.steps
    assert (step.symbol, step.last_on, step.on) == (
        "AAPL",
        NOON.date(),
        NOON.date() + timedelta(days=1),
    )
    assert "the step of a 7:1 split; no corporate action explains it" in step.reason


def test_a_gap_that_is_no_split_and_a_step_within_a_day_tell_of_none() -> None:
    assert overnight(100, 92).steps == overnight(100, 78).steps == ()
    found = after(*quiet()).judge(a_block(minute(20, 50)))
    assert (found.steps, len(found.misfits)) == ((), 1)


def test_f72_a_series_that_stands_still_is_told_and_told_again_when_it_moves() -> None:
    known = after(*quiet())
    stale = [a_bar("AAPL", 20 + n, close=100, volume=500) for n in range(12)]

    told = [known.judge(a_block(bar)) for bar in stale]
    moved = known.judge(a_block(minute(32, 100.3)))

    assert [each.stood_still for each in told] == [()] * 9 + [("AAPL",)] + [()] * 2
    assert (moved.stood_still, moved.moved_again) == ((), ("AAPL",))


def test_minutes_without_any_trade_do_not_stand_still() -> None:
    known = after(*quiet())
    nothing = [a_bar("AAPL", 20 + n, close=100, volume=0) for n in range(15)]

    assert all(known.judge(a_block(bar)).stood_still == () for bar in nothing)


def test_a_page_of_history_is_judged_bar_by_bar() -> None:
    bars = [*quiet(), minute(20, 125), minute(21, 100)]

    found = Neighbours(Timeframe.MINUTE).judge(a_block(*bars))

    assert list(found.good) == [*quiet(), minute(21, 100)]
