"""When a broker counts as ill, and when as well again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trade_executor.breaker import FAILURES, QUIET_S, WITHIN_S, Breaker


def broken_at(times_s: list[float]) -> Breaker:
    breaker = Breaker()
    for at_s in times_s:
        breaker.failed(at_s)
    return breaker


def test_five_failures_within_half_a_minute_open_it_and_four_do_not() -> None:
    assert not broken_at([0, 1, 2, 3]).is_open(3)
    assert broken_at([0, 1, 2, 3, 4]).is_open(4)
    assert not broken_at([0, 10, 20, 30, 40]).is_open(40)


def test_it_closes_after_an_answer_and_ten_quiet_seconds_and_not_before() -> None:
    breaker = broken_at([0, 1, 2, 3, 4])
    assert breaker.is_open(4 + 2 * QUIET_S)  # nothing was heard
    breaker.answered()
    assert breaker.is_open(4 + QUIET_S - 0.1)
    assert not breaker.is_open(4 + QUIET_S)
    breaker.failed(20)
    assert not breaker.is_open(20)


@given(gaps=st.lists(st.floats(0, 20), max_size=30))
def test_it_is_open_only_if_some_five_failures_lay_within_half_a_minute(gaps: list[float]) -> None:
    times = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    crowded = any(
        times[i + FAILURES - 1] - times[i] <= WITHIN_S for i in range(len(times) - FAILURES + 1)
    )
    assert broken_at(times).is_open(times[-1] if times else 0) == crowded
