"""Due times, what becomes of them, the market's day, and the names of runs."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.backlog import Missed, sort_out
from scheduler.market import market_day
from scheduler.runs import requested_run_id, scheduled_run_id
from scheduler.schedules import AroundSession, Edge, Expiry, OnSessionDays, Schedule
from scheduler.testing import a_week_in_march
from shared.domain.calendar import NEW_YORK, Phase, TradingWindow
from shared.domain.errors import InvalidTime

CALENDAR = a_week_in_march()
BEFORE_OPEN = Schedule(AroundSession(Edge.OPEN, timedelta(minutes=-10)), Expiry.OPEN)
AFTER_CLOSE = Schedule(AroundSession(Edge.CLOSE, timedelta(minutes=5)), Expiry.NEXT_OPEN)
REPORT = Schedule(AroundSession(Edge.CLOSE, timedelta(minutes=10)), Expiry.SUPERSEDED)
EARLY = Schedule(OnSessionDays("30 8 * * *"), Expiry.OPEN)
ALL = (BEFORE_OPEN, AFTER_CLOSE, REPORT, EARLY)
START = datetime(2026, 3, 1, tzinfo=UTC)
END = datetime(2026, 3, 14, tzinfo=UTC)


def utc(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


def test_a_fixed_hour_is_new_yorks_hour_before_and_after_the_clocks_change() -> None:
    due = {found.session_on.day: found.due_at for found in EARLY.between(CALENDAR, START, END)}

    assert due[6] == utc(6, 13, 30)
    assert due[9] == utc(9, 12, 30)


def test_a_day_without_session_has_no_due_time() -> None:
    days = [found.session_on.day for found in EARLY.between(CALENDAR, START, END)]

    assert days == [2, 3, 5, 6, 9, 10, 11, 12, 13]


def test_a_line_for_some_weekdays_is_due_on_their_sessions_only() -> None:
    mondays = Schedule(OnSessionDays("0 9 * * mon"), Expiry.OPEN)

    assert [o.session_on.day for o in mondays.between(CALENDAR, START, END)] == [2, 9]


def test_after_the_close_means_after_the_early_close_of_a_half_day() -> None:
    [found] = AFTER_CLOSE.between(CALENDAR, utc(6, 0), utc(7, 0))

    assert found.due_at == utc(6, 18, 5)


def test_what_is_meant_for_before_the_open_is_too_late_at_the_open() -> None:
    [found] = BEFORE_OPEN.between(CALENDAR, utc(2, 0), utc(3, 0))

    assert (found.due_at, found.until_at) == (utc(2, 14, 20), utc(2, 14, 30))


def test_a_snapshot_is_worth_taking_until_somebody_can_trade_again() -> None:
    [found] = AFTER_CLOSE.between(CALENDAR, utc(3, 0), utc(4, 0))

    assert found.until_at == utc(5, 14, 30)


def test_a_report_is_worth_making_until_the_next_one_is_due() -> None:
    [found] = REPORT.between(CALENDAR, utc(3, 0), utc(4, 0))

    assert found.until_at == utc(5, 21, 10)


def test_the_last_session_of_the_calendar_gives_a_day_of_grace() -> None:
    [found] = REPORT.between(CALENDAR, utc(13, 0), utc(14, 0))

    assert found.until_at == found.due_at + timedelta(days=1)


def test_a_due_time_is_found_at_its_instant_and_not_once_more_after_it() -> None:
    due_at = utc(2, 14, 20)

    assert [o.due_at for o in BEFORE_OPEN.between(CALENDAR, utc(2, 0), due_at)] == [due_at]
    assert BEFORE_OPEN.between(CALENDAR, due_at, utc(2, 23)) == ()
    assert BEFORE_OPEN.next_after(CALENDAR, due_at) == BEFORE_OPEN.between(CALENDAR, due_at, END)[0]


def test_after_the_calendars_end_nothing_is_due() -> None:
    assert REPORT.next_after(CALENDAR, END) is None


@given(
    cuts=st.lists(st.datetimes(START.replace(tzinfo=None), END.replace(tzinfo=None)), max_size=8),
    schedule=st.sampled_from(ALL),
)
def test_however_often_one_looks_each_due_time_is_found_once(
    cuts: list[datetime], schedule: Schedule
) -> None:
    looks = sorted([START, END, *(cut.replace(tzinfo=UTC) for cut in cuts)])

    found = [
        occurrence
        for after, until in pairwise(looks)
        for occurrence in schedule.between(CALENDAR, after, until)
    ]

    assert found == list(schedule.between(CALENDAR, START, END))


@given(after=st.datetimes(START.replace(tzinfo=None), END.replace(tzinfo=None)))
def test_the_next_due_time_is_the_first_of_those_that_follow(after: datetime) -> None:
    at = after.replace(tzinfo=UTC)
    for schedule in ALL:
        following = schedule.between(CALENDAR, at, END)
        expected = following[0] if following else None
        assert schedule.next_after(CALENDAR, at) == expected


def test_a_line_that_is_no_crontab_is_refused_by_name() -> None:
    with pytest.raises(InvalidTime, match="'8 o clock' is no crontab line"):
        OnSessionDays("8 o clock")


def test_an_offset_out_of_reach_of_its_session_is_refused() -> None:
    with pytest.raises(InvalidTime, match="more than"):
        AroundSession(Edge.OPEN, timedelta(days=3))


def test_a_schedule_reads_as_a_person_would_say_it() -> None:
    assert str(BEFORE_OPEN.moment) == "10 min before each session's open"
    assert str(EARLY.moment) == "08:30 in New York, on session days"
    assert str(OnSessionDays("*/5 8 * * *")) == "crontab `*/5 8 * * *` in New York, on session days"


def test_only_the_newest_due_occurrence_is_run_and_the_others_are_one_missed_record() -> None:
    due = REPORT.between(CALENDAR, START, utc(11, 0))

    backlog = sort_out(due, utc(11, 0))

    assert backlog.run == due[-1]
    assert backlog.missed == Missed(due[0], due[-2], len(due) - 1)


def test_an_occurrence_that_came_too_late_is_missed_and_not_run() -> None:
    due = BEFORE_OPEN.between(CALENDAR, START, utc(2, 14, 30))

    backlog = sort_out(due, utc(2, 14, 30))

    assert backlog.run is None
    assert backlog.missed == Missed(due[0], due[0], 1)


def test_nothing_due_is_nothing_to_do() -> None:
    assert sort_out((), utc(2, 0)).run is None
    assert sort_out((), utc(2, 0)).missed is None


@given(now=st.datetimes(START.replace(tzinfo=None), END.replace(tzinfo=None)))
def test_every_due_occurrence_is_either_run_or_counted_as_missed(now: datetime) -> None:
    at = now.replace(tzinfo=UTC)
    for schedule in ALL:
        due = schedule.between(CALENDAR, START, at)
        backlog = sort_out(due, at)
        missed = backlog.missed.count if backlog.missed else 0
        assert missed + (backlog.run is not None) == len(due)


WINDOW = TradingWindow(time(10, 0), time(15, 0), NEW_YORK)


def test_the_market_is_open_from_the_open_until_just_before_the_close() -> None:
    assert market_day(CALENDAR, WINDOW, utc(2, 14, 30)).phase is Phase.OPEN
    assert market_day(CALENDAR, WINDOW, utc(2, 21, 0)).phase is Phase.CLOSED


def test_while_open_the_next_open_is_the_next_sessions_and_the_next_close_its_own() -> None:
    day = market_day(CALENDAR, WINDOW, utc(3, 15))

    assert (day.next_open_at, day.next_close_at) == (utc(5, 14, 30), utc(3, 21))


def test_at_the_instant_of_the_open_the_next_open_is_the_following_sessions() -> None:
    assert market_day(CALENDAR, WINDOW, utc(2, 14, 30)).next_open_at == utc(3, 14, 30)


def test_while_closed_both_are_the_next_sessions() -> None:
    day = market_day(CALENDAR, WINDOW, utc(4, 12))

    assert (day.next_open_at, day.next_close_at) == (utc(5, 14, 30), utc(5, 21))
    assert day.session is not None
    assert day.session.on == date(2026, 3, 5)


def test_a_half_day_is_called_one() -> None:
    assert market_day(CALENDAR, WINDOW, utc(6, 15)).is_half_day
    assert not market_day(CALENDAR, WINDOW, utc(5, 15)).is_half_day


def test_entries_are_allowed_inside_the_window_only() -> None:
    early = market_day(CALENDAR, WINDOW, utc(2, 14, 45))
    inside = market_day(CALENDAR, WINDOW, utc(2, 15, 0))
    late = market_day(CALENDAR, WINDOW, utc(2, 20, 0))

    assert (early.entries_allowed, inside.entries_allowed, late.entries_allowed) == (
        False,
        True,
        False,
    )
    assert early.entries_from_at == utc(2, 15)
    assert late.entries_from_at == utc(3, 15)


def test_a_window_outside_all_sessions_is_shown_as_none() -> None:
    night = TradingWindow(time(1, 0), time(2, 0), ZoneInfo("America/New_York"))

    day = market_day(CALENDAR, night, utc(2, 15))

    assert (day.entries_from_at, day.entries_allowed) == (None, False)


def test_at_the_calendars_end_there_is_no_next_open() -> None:
    day = market_day(CALENDAR, WINDOW, utc(13, 23))

    assert (day.next_open_at, day.next_close_at) == (None, None)


def test_a_runs_name_depends_on_account_job_and_due_time_and_on_no_time_zone() -> None:
    name = scheduled_run_id("paper", "reconcile", utc(2, 14, 20))

    assert name == scheduled_run_id("paper", "reconcile", utc(2, 14, 20).astimezone(NEW_YORK))
    others = {
        scheduled_run_id("live", "reconcile", utc(2, 14, 20)),
        scheduled_run_id("paper", "report", utc(2, 14, 20)),
        scheduled_run_id("paper", "reconcile", utc(2, 14, 21)),
        requested_run_id("paper", "reconcile", utc(2, 14, 20).isoformat()),
    }
    assert len(others | {name}) == 5
