"""Tests of bars, blocks of bars, prices, symbols and timeframes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.bar_blocks import BarBlock, block_of, from_epoch_us, to_epoch_us
from shared.domain.bars import MAX_VOLUME
from shared.domain.errors import InvalidBar, InvalidInput, InvalidPrice, InvalidSymbol, InvalidTime
from shared.domain.money import (
    MAX_PRICE,
    from_micros,
    parse_price,
    plain,
    to_cents,
    to_micros,
)
from shared.domain.symbols import parse_symbol
from shared.domain.timeframes import Timeframe, parse_timeframe
from shared.testing.bar_stores import NOON, a_bar, a_block

micros = st.integers(min_value=1, max_value=int(MAX_PRICE) * 1_000_000)
instants = st.datetimes(
    min_value=datetime(1900, 1, 1),  # noqa: DTZ001  # Hypothesis adds the zone
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)

# ---------------------------------------------------------------- prices


@given(micros)
def test_a_price_survives_storage_exactly(amount: int) -> None:
    price = from_micros(amount)

    assert to_micros(price) == amount
    assert parse_price(price) == price
    assert parse_price(str(price)) == price


@given(st.integers(min_value=1, max_value=10**11))
def test_a_float_of_up_to_four_decimals_is_read_as_it_was_written(hundredths: int) -> None:
    text = plain(Decimal(hundredths).scaleb(-4))

    assert parse_price(float(text)) == Decimal(text)


@pytest.mark.parametrize(
    ("given_", "price"),
    [
        (187.3, "187.3"),
        (645.5699999, "645.57"),
        ("0.0000015", "0.000002"),
        ("0.0000025", "0.000002"),
        (10**7, "10000000"),
    ],
)
def test_a_price_is_rounded_to_the_micro(given_: Any, price: str) -> None:
    assert parse_price(given_) == Decimal(price)


@pytest.mark.parametrize(
    "bad",
    [
        0,
        -1,
        float("nan"),
        float("inf"),
        "-0.01",
        "NaN",
        "Infinity",
        "",
        "12,5",
        "1_0",
        "\u0661\u0660",
        "1e99",
        MAX_PRICE + 1,
        "0.0000001",
        True,
        None,
        [],
        {},
    ],
)
def test_what_is_no_price_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidPrice, match="price must be"):
        parse_price(bad)


@pytest.mark.parametrize(
    ("amount", "cents"),
    [("1.005", "1.01"), ("1.004999", "1.00"), ("-1.005", "-1.01"), ("2", "2.00")],
)
def test_cents_are_rounded_half_up(amount: str, cents: str) -> None:
    assert to_cents(Decimal(amount)) == Decimal(cents)


@pytest.mark.parametrize(
    ("amount", "text"),
    [("187.300000", "187.3"), ("1E+2", "100"), ("100.00", "100"), ("0.000", "0"), ("-0.0", "0")],
)
def test_figures_are_written_plainly(amount: str, text: str) -> None:
    assert plain(Decimal(amount)) == text


# ---------------------------------------------------------------- symbols and timeframes


@pytest.mark.parametrize("good", ["A", "AAPL", "BRK.B", "X1", "ABCDEFGHIJ"])
def test_a_symbol_is_taken_as_it_is(good: str) -> None:
    assert parse_symbol(good) == good


@pytest.mark.parametrize(
    "bad",
    ["", "aapl", "../x", "/etc", "A/B", "A\n", "AAPL ", "1A", ".A", "ABCDEFGHIJK", "Ä", "A\x00"],
)
def test_what_could_reach_a_path_or_a_query_is_no_symbol(bad: str) -> None:
    with pytest.raises(InvalidSymbol, match="is not a symbol"):
        parse_symbol(bad)


@pytest.mark.parametrize(
    ("text", "timeframe"),
    [
        ("1Min", Timeframe.MINUTE),
        (" 1min ", Timeframe.MINUTE),
        ("1T", Timeframe.MINUTE),
        ("5Min", Timeframe.FIVE_MINUTES),
        ("1D", Timeframe.DAY),
        ("1Hour", Timeframe.HOUR),
    ],
)
def test_a_timeframe_is_read_in_alpacas_spellings(text: str, timeframe: Timeframe) -> None:
    assert parse_timeframe(text) is timeframe


def test_an_unknown_timeframe_names_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="1Min, 5Min, 15Min, 1Hour, 1Day"):
        parse_timeframe("2Min")


def test_only_a_day_is_not_intraday() -> None:
    assert [t for t in Timeframe if not t.is_intraday] == [Timeframe.DAY]


# ---------------------------------------------------------------- bars


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"high": Decimal(98)}, InvalidBar),
        ({"low": Decimal(102)}, InvalidBar),
        ({"open": Decimal(0)}, InvalidBar),
        ({"close": Decimal(-1)}, InvalidBar),
        ({"close": Decimal("NaN")}, InvalidBar),
        ({"high": Decimal("Infinity")}, InvalidBar),
        ({"volume": -1}, InvalidBar),
        ({"volume": MAX_VOLUME + 1}, InvalidBar),
        ({"end_at": NOON}, InvalidBar),
        ({"start_at": NOON.replace(tzinfo=None)}, InvalidTime),
        ({"end_at": NOON.replace(tzinfo=None)}, InvalidTime),
    ],
)
def test_a_bar_that_contradicts_itself_cannot_be_built(
    changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        replace(a_bar(), **changes)


def test_a_bar_without_trades_or_range_is_a_bar() -> None:
    flat = Decimal(5)
    bar = replace(a_bar(), open=flat, high=flat, low=flat, close=flat, volume=0)

    assert bar.volume == 0


# ---------------------------------------------------------------- blocks


@given(instants)
def test_an_instant_survives_its_microseconds(at: datetime) -> None:
    assert from_epoch_us(to_epoch_us(at)) == at


def test_an_instant_of_another_zone_is_the_same_instant() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=-5)))

    assert to_epoch_us(elsewhere) == to_epoch_us(NOON)
    assert from_epoch_us(to_epoch_us(elsewhere)).tzinfo is UTC


bars = st.builds(
    a_bar,
    st.sampled_from(["AAPL", "BRK.B", "MSFT"]),
    st.integers(0, 9),
    close=st.integers(2_000_000, 10**12).map(from_micros),
    volume=st.integers(0, MAX_VOLUME),
)


@given(st.lists(bars, max_size=12))
def test_a_block_gives_back_its_bars_sorted_by_symbol_then_start(some: list[Any]) -> None:
    block = block_of(Timeframe.MINUTE, some)

    assert list(block) == sorted(some, key=lambda bar: (bar.symbol, bar.start_at))
    assert len(block) == len(some)
    assert all(getattr(block, name).dtype == np.int64 for name in ("start_us", "open", "volume"))


def test_a_block_is_of_one_timeframe() -> None:
    with pytest.raises(InvalidBar, match="does not belong"):
        block_of(Timeframe.DAY, [a_bar()])


def test_a_block_with_columns_of_unequal_length_cannot_be_built() -> None:
    block = a_block(a_bar("AAPL"), a_bar("MSFT"))

    with pytest.raises(InvalidBar, match="column close"):
        replace(block, close=block.close[:1])
    assert isinstance(block, BarBlock)
