"""Tests of taking other people's bars in: what is sound is stored exactly, the rest is counted by reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from shared.adapters.importing import import_table
from shared.domain.bar_blocks import to_epoch_us
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.testing.bar_stores import MemoryBars
from shared.testing.calendars import a_calendar

OPEN_AT = datetime(2026, 1, 13, 14, 30, tzinfo=UTC)
NOW = datetime(2026, 1, 14, 12, 0, tzinfo=UTC)
GOOD: dict[str, Any] = {"open": 1.1, "high": 1.25, "low": 1.05, "close": 1.2, "volume": 7}


def table(*rows: dict[str, Any]) -> pl.DataFrame:
    schema = {"symbol": pl.String, "start_us": pl.Int64}
    figures = dict.fromkeys(("open", "high", "low", "close"), pl.Float64)
    filled = [
        {"symbol": "AAPL", "start_us": to_epoch_us(OPEN_AT + timedelta(minutes=n)), **GOOD, **row}
        for n, row in enumerate(rows)
    ]
    return pl.DataFrame(filled, schema={**schema, **figures, "volume": pl.Int64})


def brought_in(rows: pl.DataFrame, timeframe: Timeframe = Timeframe.MINUTE) -> Any:
    store = MemoryBars()
    done = import_table(rows, timeframe, a_calendar(), store, provider="file", now=NOW)
    bars = list(store.last(timeframe, [Symbol("AAPL"), Symbol("MSFT")], 999, NOW))
    return done, bars


def test_sound_bars_are_stored_exactly_and_again_stores_nothing() -> None:
    rows, store = table({}, {"symbol": "MSFT"}), MemoryBars()

    first, again = (
        import_table(rows, Timeframe.MINUTE, a_calendar(), store, provider="file", now=NOW)
        for _ in range(2)
    )

    newest = store.newest(Timeframe.MINUTE, Symbol("AAPL"), NOW)
    assert (first.rows, first.stored, again.stored) == (2, 2, 0)
    assert newest is not None
    assert (newest.bar.close, newest.bar.start_at) == (Decimal("1.2"), OPEN_AT)
    assert newest.provider == "file"


def test_each_bar_that_cannot_be_right_stays_out_with_its_reason() -> None:
    done, bars = brought_in(
        table(
            {},
            {"close": float("nan")},
            {"low": 0.0},
            {"high": 1.15},
            {"volume": -1},
            {"symbol": "../../x"},
            {"high": 7.35},
            {"start_us": to_epoch_us(OPEN_AT - timedelta(hours=3))},
            {"start_us": to_epoch_us(OPEN_AT) + 1},
            {"start_us": to_epoch_us(NOW + timedelta(hours=4))},
        )
    )

    assert len(bars) == done.stored == 1
    assert done.left_out == {
        "no symbol, or a text that can be none": 1,
        "prices that are no finite number above zero": 2,
        "open or close outside of low and high": 1,
        "an impossible volume": 1,
        "a start at which no bar begins": 1,
        "outside of regular hours": 1,
        "a bad print: the bar spans more than any market lets it": 1,
        "not over yet": 1,
    }


def test_a_last_hour_ends_with_the_session_and_a_day_with_its_close() -> None:
    hour = table({"start_us": to_epoch_us(datetime(2026, 1, 13, 20, 0, tzinfo=UTC))})
    _, (bar,) = brought_in(hour, Timeframe.HOUR)
    assert bar.end_at == datetime(2026, 1, 13, 21, 0, tzinfo=UTC)
    day = table({"start_us": to_epoch_us(datetime(2026, 1, 13, 5, 0, tzinfo=UTC))})
    _, (whole,) = brought_in(day, Timeframe.DAY)
    assert whole.end_at == datetime(2026, 1, 13, 21, 0, tzinfo=UTC)
    holiday = table({"start_us": to_epoch_us(datetime(2026, 1, 1, 5, 0, tzinfo=UTC))})
    done, bars = brought_in(holiday, Timeframe.DAY)
    assert (bars, done.left_out) == ([], {"a day without session": 1})


def quiet(count: int) -> list[dict[str, Any]]:
    """Minutes at about 100 dollars."""
    return [
        {"open": close, "high": close + 0.1, "low": close - 0.1, "close": close}
        for close in (100 + n % 3 / 10 for n in range(count))
    ]


def test_a_bar_far_from_all_around_it_stays_out_and_a_new_level_comes_in() -> None:
    rows = quiet(60)
    rows[30] |= {"high": 130.0, "close": 129.0}
    # The last ones lie elsewhere together: the price has moved.
    for row in rows[57:]:
        row |= {name: row[name] + 12 for name in ("open", "high", "low", "close")}

    done, bars = brought_in(table(*rows))

    assert done.left_out == {"a bad print: it lies far from all bars around it": 1}
    assert done.stored == len(bars) == 59
    assert OPEN_AT + timedelta(minutes=30) not in [bar.start_at for bar in bars]


def test_the_first_bar_is_judged_by_what_is_stored_before_it() -> None:
    store = MemoryBars()
    rows = quiet(40)
    rows[20] |= {"low": 70.0}
    halves = table(*rows)

    stored = [
        import_table(half, Timeframe.MINUTE, a_calendar(), store, provider="file", now=NOW).stored
        for half in (halves[:20], halves[20:22])
    ]

    assert stored == [20, 1]


def test_a_step_that_looks_like_a_split_comes_in_and_is_told() -> None:
    monday = to_epoch_us(datetime(2026, 1, 5, 5, tzinfo=UTC))
    rows = [
        {
            "start_us": monday + n * 86_400_000_000,
            **{k: v / (1 if n < 3 else 7) for k, v in row.items()},
        }
        for n, row in enumerate(quiet(5))
    ]

    done, bars = brought_in(table(*rows), Timeframe.DAY)

    assert len(bars) == done.stored == 5
    (step,) = done.steps
    assert (step.symbol, str(step.last_on), str(step.on)) == ("AAPL", "2026-01-07", "2026-01-08")
    assert "7:1 split; no corporate action explains it" in step.reason
