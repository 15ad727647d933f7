"""Tests of the market's calendar, over a small one of tests and over the exchange's own."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.adapters.exchange_calendar import load_calendar
from shared.domain.calendar import NEW_YORK, Phase, TradingCalendar, TradingWindow
from shared.domain.errors import InvalidTime
from shared.domain.timeframes import Timeframe
from shared.testing.calendars import a_calendar, a_session

CALENDAR = a_calendar()
THURSDAY = date(2026, 1, 15)
OPEN_AT = datetime(2026, 1, 15, 14, 30, tzinfo=UTC)
CLOSE_AT = datetime(2026, 1, 15, 21, 0, tzinfo=UTC)
FRIDAY_OPEN_AT = OPEN_AT + timedelta(days=1)
TUESDAY_OPEN_AT = OPEN_AT + timedelta(days=5)
MOMENT = timedelta(microseconds=1)
ALL_DAY = TradingWindow(time(9, 30), time(16, 0), NEW_YORK)
instants = st.datetimes(
    min_value=datetime(2025, 1, 1),  # noqa: DTZ001  # Hypothesis adds the zone
    max_value=datetime(2026, 6, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


def test_a_session_is_open_from_its_open_until_just_before_its_close() -> None:
    assert CALENDAR.phase_at(OPEN_AT - MOMENT) is Phase.CLOSED
    assert CALENDAR.phase_at(OPEN_AT) is Phase.OPEN
    assert CALENDAR.phase_at(CLOSE_AT - MOMENT) is Phase.OPEN
    assert CALENDAR.phase_at(CLOSE_AT) is Phase.CLOSED


def test_the_next_session_steps_over_weekends_and_holidays() -> None:
    assert CALENDAR.next_session(OPEN_AT).on == THURSDAY
    assert CALENDAR.next_session(OPEN_AT + MOMENT).on == date(2026, 1, 16)
    friday_evening = FRIDAY_OPEN_AT + timedelta(hours=8)
    # Monday the 19th is Martin Luther King's day.
    assert CALENDAR.next_session(friday_evening).on == date(2026, 1, 20)


def test_the_last_session_is_the_one_that_has_opened() -> None:
    last = CALENDAR.last_session(OPEN_AT)
    assert last is not None
    assert last.on == THURSDAY
    before = CALENDAR.last_session(OPEN_AT - MOMENT)
    assert before is not None
    assert before.on == date(2026, 1, 14)
    assert CALENDAR.last_session(datetime(2020, 1, 1, tzinfo=UTC)) is None


def test_beyond_its_last_day_the_calendar_refuses_to_guess() -> None:
    with pytest.raises(InvalidTime, match="the calendar ends on"):
        CALENDAR.next_session(datetime(2027, 6, 1, tzinfo=UTC))


def test_an_empty_calendar_cannot_be_built() -> None:
    with pytest.raises(InvalidTime):
        TradingCalendar([])


@pytest.mark.parametrize(
    ("start_at", "timeframe", "end_at"),
    [
        (OPEN_AT, Timeframe.MINUTE, OPEN_AT + timedelta(minutes=1)),
        (CLOSE_AT - timedelta(minutes=30), Timeframe.HOUR, CLOSE_AT),
        (datetime(2026, 1, 15, 5, 0, tzinfo=UTC), Timeframe.DAY, CLOSE_AT),
        (OPEN_AT, Timeframe.DAY, CLOSE_AT),
        (
            datetime(2025, 11, 28, 5, 0, tzinfo=UTC),
            Timeframe.DAY,
            datetime(2025, 11, 28, 18, 0, tzinfo=UTC),
        ),
        # In summer New York's midnight is at four.
        (
            datetime(2025, 7, 1, 4, 0, tzinfo=UTC),
            Timeframe.DAY,
            datetime(2025, 7, 1, 20, 0, tzinfo=UTC),
        ),
    ],
)
def test_a_bar_ends_after_its_length_at_the_latest_with_its_session(
    start_at: datetime, timeframe: Timeframe, end_at: datetime
) -> None:
    assert CALENDAR.bar_end(start_at, timeframe) == end_at


def test_a_holiday_has_no_daily_bar() -> None:
    with pytest.raises(InvalidTime, match="no session"):
        CALENDAR.bar_end(datetime(2026, 1, 19, 5, 0, tzinfo=UTC), Timeframe.DAY)


def test_session_time_counts_open_hours_only() -> None:
    weekend_long = CALENDAR.session_time_between(FRIDAY_OPEN_AT, TUESDAY_OPEN_AT)

    assert weekend_long == timedelta(hours=6, minutes=30)
    assert CALENDAR.session_time_between(OPEN_AT, OPEN_AT + timedelta(minutes=7)) == timedelta(
        minutes=7
    )
    assert CALENDAR.session_time_between(CLOSE_AT, OPEN_AT) == timedelta(0)


@given(instants, instants, instants)
def test_session_time_adds_up(one: datetime, two: datetime, three: datetime) -> None:
    first, middle, last = sorted((one, two, three))

    parts = CALENDAR.session_time_between(first, middle) + CALENDAR.session_time_between(
        middle, last
    )
    assert parts == CALENDAR.session_time_between(first, last)
    assert parts <= last - first


# ---------------------------------------------------------------- the trading window


def test_the_window_narrows_a_session_and_never_widens_it() -> None:
    session = a_session(THURSDAY)
    wide = TradingWindow(time(4, 0), time(20, 0), NEW_YORK)
    narrow = TradingWindow(time(10, 0), time(15, 0), NEW_YORK)
    evening = TradingWindow(time(17, 0), time(20, 0), NEW_YORK)
    abroad = TradingWindow(time(16, 0), time(17, 0), ZoneInfo("Europe/Berlin"))

    assert wide.narrow(session) == (OPEN_AT, CLOSE_AT)
    assert narrow.narrow(session) == (
        OPEN_AT + timedelta(minutes=30),
        CLOSE_AT - timedelta(hours=1),
    )
    assert evening.narrow(session) is None
    assert abroad.narrow(session) == (
        OPEN_AT + timedelta(minutes=30),
        OPEN_AT + timedelta(minutes=90),
    )


def test_an_entry_decided_in_the_window_may_be_sent_at_once_until_its_end() -> None:
    at = OPEN_AT + timedelta(hours=1)

    assert CALENDAR.entry_window(at, ALL_DAY) == (at, CLOSE_AT)


def test_an_entry_decided_at_the_close_waits_for_the_next_sessions_window() -> None:
    friday_close_at = CLOSE_AT + timedelta(days=1)
    ten = TradingWindow(time(10, 0), time(15, 0), NEW_YORK)

    assert CALENDAR.entry_window(friday_close_at, ALL_DAY)[0] == TUESDAY_OPEN_AT
    assert CALENDAR.entry_window(friday_close_at, ten)[0] == TUESDAY_OPEN_AT + timedelta(minutes=30)
    assert CALENDAR.entry_window(OPEN_AT, ten)[0] == OPEN_AT + timedelta(minutes=30)


def test_a_half_day_that_misses_the_window_is_stepped_over() -> None:
    afternoon = TradingWindow(time(14, 0), time(16, 0), NEW_YORK)
    thanksgiving_evening = datetime(2025, 11, 27, 22, 0, tzinfo=UTC)

    opens_at, _ = CALENDAR.entry_window(thanksgiving_evening, afternoon)

    assert opens_at == datetime(2025, 12, 1, 19, 0, tzinfo=UTC)


def test_a_window_that_meets_no_session_is_refused() -> None:
    with pytest.raises(InvalidTime, match="TRADING_START_TIME"):
        CALENDAR.entry_window(OPEN_AT, TradingWindow(time(1, 0), time(2, 0), NEW_YORK))


@given(instants)
def test_an_entry_window_lies_inside_one_session_and_not_in_the_past(at: datetime) -> None:
    opens_at, closes_at = CALENDAR.entry_window(at, ALL_DAY)

    session = CALENDAR.session_at(opens_at)
    assert session is not None
    assert at <= opens_at < closes_at <= session.close_at


# ---------------------------------------------------------------- the exchange's own


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which `exchange` was kept."""
    return tmp_path_factory.mktemp("calendar")


@pytest.fixture(scope="module")
def exchange(kept: Path) -> TradingCalendar:
    built = load_calendar(kept)
    cached = load_calendar(kept)
    days = (built.first_on, built.last_on)
    assert cached.between(*days) == built.between(*days)
    return cached


def test_sessions_that_cannot_be_kept_leave_nothing_behind(
    exchange: TradingCalendar, kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = kept.iterdir()
    in_the_way = tmp_path / file.name
    in_the_way.mkdir()

    again = load_calendar(tmp_path)

    assert (again.first_on, again.last_on) == (exchange.first_on, exchange.last_on)
    assert [*tmp_path.iterdir()] == [in_the_way]
    assert "sessions not cached" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("day", "hours"),
    [
        (date(2026, 1, 15), 6.5),
        (date(2025, 11, 28), 3.5),
        (date(2024, 7, 3), 3.5),
        (date(2025, 1, 9), None),  # the day of mourning for President Carter
        (date(2026, 1, 19), None),
        (date(2026, 6, 19), None),
        (date(2024, 3, 29), None),
        (date(2026, 1, 17), None),
    ],
)
def test_the_exchanges_days_are_known(
    exchange: TradingCalendar, day: date, hours: float | None
) -> None:
    session = exchange.session_on(day)

    known = None if session is None else (session.close_at - session.open_at) / timedelta(hours=1)
    assert known == hours


def test_sessions_follow_new_yorks_clock_changes(exchange: TradingCalendar) -> None:
    friday, monday = exchange.session_on(date(2026, 3, 6)), exchange.session_on(date(2026, 3, 9))
    assert friday is not None
    assert monday is not None

    assert (friday.open_at.hour, monday.open_at.hour) == (14, 13)


def test_a_damaged_cache_is_built_anew(tmp_path: Path) -> None:
    load_calendar(tmp_path)
    (cache,) = tmp_path.glob("sessions-*.json")
    cache.write_text("[[")

    calendar = load_calendar(tmp_path)

    assert calendar.session_on(THURSDAY) is not None
    assert len(json.loads(cache.read_text())) > 9_000


def test_a_folder_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert load_calendar(tmp_path / "file").session_on(THURSDAY) is not None
