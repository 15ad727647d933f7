"""Tests of how history is cut into pieces: everything once, in order, and resumable anywhere."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from data_collector.backfill import Marker, Piece, pieces, slices
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.testing.calendars import a_calendar

CALENDAR = a_calendar()
FROM, UNTIL = datetime(2024, 1, 15, tzinfo=UTC), datetime(2026, 1, 15, 21, tzinfo=UTC)
BEGINNING = Marker()
NAMES = tuple(Symbol(f"A{n:02}") for n in range(20))


def cut(
    marker: Marker = BEGINNING,
    group: int = 8,
    until: datetime = UNTIL,
) -> list[Piece]:
    return list(
        pieces(
            NAMES,
            Timeframe.MINUTE,
            FROM,
            until,
            group=group,
            max_bars=4_999,
            calendar=CALENDAR,
            marker=marker,
        )
    )


def test_two_years_of_minutes_are_cut_into_slices_that_fit_and_leave_nothing_out() -> None:
    found = list(slices(Timeframe.MINUTE, FROM, UNTIL, 4_999, CALENDAR))

    assert found[0][0] == FROM
    assert found[-1][1] == UNTIL
    assert all(a[1] == b[0] for a, b in itertools.pairwise(found))
    for low, high in found:
        assert CALENDAR.session_time_between(low, high) <= timedelta(minutes=4_999)
        assert CALENDAR.session_at(low) is None or low == FROM


def test_daily_bars_of_ten_years_are_one_slice() -> None:
    assert len(list(slices(Timeframe.DAY, FROM, UNTIL, 4_999, CALENDAR))) == 1


def test_every_symbol_gets_the_whole_range_in_groups() -> None:
    found = cut()

    assert [len(set(p.symbols)) for p in found if p.start_at == FROM] == [8, 8, 4]
    assert sorted({s for p in found for s in p.symbols}) == list(NAMES)


@given(
    done=st.integers(0, 200),
    group=st.integers(1, 25),
    days=st.integers(1, 200),
    other=st.integers(1, 25),
)
def test_work_that_goes_on_from_any_marker_with_any_provider_leaves_nothing_out(
    done: int, group: int, days: int, other: int
) -> None:
    until = FROM + timedelta(days=days)
    first = cut(group=group, until=until)[:done]
    marker = first[-1].after if first else Marker()

    rest = cut(marker, other, until)

    for symbol in NAMES:
        spans = [(p.start_at, p.end_at) for p in [*first, *rest] if symbol in p.symbols]
        assert spans[0][0] == FROM
        assert spans[-1][1] == until
        assert all(a[1] == b[0] for a, b in itertools.pairwise(spans))
