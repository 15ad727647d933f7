"""Tests of `shared.domain.corporate_actions`: raw prices seen from a day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.bar_blocks import BarBlock, to_epoch_us
from shared.domain.bars import Bar
from shared.domain.corporate_actions import (
    Adjustment,
    CashDividend,
    CorporateAction,
    InvalidAction,
    Split,
    adjusted,
    cumulative_split_factors,
    merged,
    parse_adjustment,
)
from shared.domain.errors import InvalidInput
from shared.domain.symbols import Symbol, parse_symbol
from shared.domain.timeframes import Timeframe
from shared.testing.bar_stores import a_bar, a_block

AAPL, MSFT = parse_symbol("AAPL"), parse_symbol("MSFT")
FIRST_ON = date(2014, 6, 2)
# New York midnight in summer.
FIRST_AT = datetime(2014, 6, 2, 4, 0, tzinfo=UTC)
LAST_ON = date(2030, 1, 1)


def days(closes: list[float], symbol: str = "AAPL") -> BarBlock:
    """Daily bars from `FIRST_ON` on."""
    bars = [
        a_bar(symbol, n, close=close, timeframe=Timeframe.DAY, begins_at=FIRST_AT)
        for n, close in enumerate(closes)
    ]
    return a_block(*bars, timeframe=Timeframe.DAY)


def on(day: int) -> date:
    return FIRST_ON + timedelta(days=day)


def split(day: int, new: int = 7, old: int = 1, symbol: Symbol = AAPL) -> Split:
    return Split(symbol, on(day), Decimal(new), Decimal(old))


def dividend(day: int, amount: str = "2", symbol: Symbol = AAPL) -> CashDividend:
    return CashDividend(symbol, on(day), Decimal(amount))


def nothing_before(_symbol: Symbol, _at: datetime) -> tuple[int, int] | None:
    return None


def closes(
    block: BarBlock,
    actions: list[CorporateAction],
    adjustment: Adjustment = Adjustment.ALL,
    as_of_on: date = LAST_ON,
) -> list[Decimal]:
    return [b.close for b in adjusted(block, actions, adjustment, as_of_on, nothing_before)]


def test_a_split_divides_prices_and_multiplies_volumes_of_the_days_before_it() -> None:
    block = adjusted(days([700, 700, 101]), [split(2)], Adjustment.SPLIT, LAST_ON, nothing_before)

    assert [(bar.open, bar.high, bar.close, bar.volume) for bar in block] == [
        (Decimal(100), Decimal("100.142857"), Decimal(100), 7_000),
        (Decimal(100), Decimal("100.142857"), Decimal(100), 7_000),
        (Decimal(101), Decimal(102), Decimal(101), 1_000),
    ]


def test_raw_prices_stay_as_they_were_paid() -> None:
    block = days([700, 100])

    assert adjusted(block, [split(1)], Adjustment.NONE, LAST_ON, nothing_before) is block


def test_seen_from_before_its_ex_date_an_action_does_not_exist() -> None:
    block = days([700, 700, 100])

    assert closes(block, [split(2), dividend(2)], as_of_on=on(1)) == [700, 700, 100]
    assert closes(block, [split(2)], as_of_on=on(2)) == [100, 100, 100]


def test_dividends_change_prices_with_all_and_not_with_split() -> None:
    block = days([100, 100, 98])

    assert closes(block, [dividend(2)], Adjustment.SPLIT) == [100, 100, 98]
    assert closes(block, [dividend(2)]) == [98, 98, 98]


def test_splits_and_dividends_of_one_symbol_multiply_and_leave_other_symbols_alone() -> None:
    mixed = a_block(*days([800, 400, 200, 99]), *days([5, 5], "MSFT"), timeframe=Timeframe.DAY)
    actions: list[CorporateAction] = [split(1, 2), split(2, 2), dividend(3, "2")]

    assert closes(mixed, actions) == [198, 198, 198, 99, 5, 5]


def test_a_dividend_on_the_day_of_a_split_is_paid_on_the_new_shares() -> None:
    assert closes(days([200, 98]), [split(1, 2), dividend(1, "2")]) == [98, 98]


def test_a_split_in_a_hole_before_a_dividend_counts_for_the_dividends_price() -> None:
    block = a_block(*list(days([200, 200, 200, 98]))[::3], timeframe=Timeframe.DAY)

    assert closes(block, [split(1, 2), dividend(2, "2")]) == [98, 98]


def test_a_reverse_split_raises_the_prices_before_it() -> None:
    assert closes(days([1.5, 30]), [split(1, 1, 20)]) == [30, 30]


def test_a_price_never_becomes_nothing() -> None:
    block = days([1.5, 1.5])
    tiny = [split(1, 100_000), split(1, 1)]

    assert all(
        bar.low > 0 for bar in adjusted(block, tiny, Adjustment.ALL, LAST_ON, nothing_before)
    )


def test_minute_bars_of_the_ex_date_are_in_new_shares_from_the_first_minute_on() -> None:
    midnight = datetime(2014, 6, 9, 4, 0, tzinfo=UTC)
    block = a_block(
        a_bar("AAPL", 0, close=700, begins_at=midnight - timedelta(minutes=1)),
        a_bar("AAPL", 0, close=100, begins_at=midnight),
    )

    assert closes(block, [split(7)]) == [100, 100]


def test_a_dividend_after_the_last_bar_read_is_measured_by_the_store() -> None:
    asked: list[tuple[Symbol, datetime]] = []

    def store(symbol: Symbol, at: datetime) -> tuple[int, int]:
        asked.append((symbol, at))
        return to_epoch_us(FIRST_AT + timedelta(days=3)), 50_000_000

    block = adjusted(days([100, 100]), [dividend(4, "5")], Adjustment.ALL, LAST_ON, store)

    assert [bar.close for bar in block] == [90, 90]
    assert [(symbol, at.date()) for symbol, at in asked] == [(AAPL, on(4))]


def test_a_dividend_as_large_as_the_price_is_refused_by_name() -> None:
    with pytest.raises(InvalidAction, match=r"dividend of 100 that AAPL paid on 2014-06-03"):
        closes(days([100, 100]), [dividend(1, "100")])


@given(
    prices=st.lists(st.integers(1, 4_000).map(float), min_size=2, max_size=12),
    some=st.lists(
        st.tuples(st.integers(0, 12), st.sampled_from([(2, 1), (7, 1), (1, 10), (3, 2), None])),
        max_size=5,
    ),
    cut=st.integers(0, 11),
    as_of=st.integers(0, 14),
)
def test_a_bar_reads_the_same_however_much_is_read_with_it(
    prices: list[float], some: list[tuple[int, tuple[int, int] | None]], cut: int, as_of: int
) -> None:
    whole = days(prices)
    actions: list[CorporateAction] = [
        split(day, *rate) if rate else dividend(day, "0.005") for day, rate in some
    ]
    part = list(whole)[:cut] or list(whole)

    def stored(_symbol: Symbol, at: datetime) -> tuple[int, int] | None:
        before: list[Bar] = [bar for bar in whole if bar.start_at < at]
        return (to_epoch_us(before[-1].start_at), int(before[-1].close * 1_000_000))

    one = adjusted(whole, actions, Adjustment.ALL, on(as_of), stored)
    other = adjusted(
        a_block(*part, timeframe=Timeframe.DAY), actions, Adjustment.ALL, on(as_of), stored
    )

    assert list(one)[: len(part)] == list(other)


def test_factors_of_days_tell_what_one_share_has_become() -> None:
    actions: list[CorporateAction] = [split(1, 2), dividend(1), split(3, 1, 10)]

    factors = cumulative_split_factors(actions, [on(n) for n in range(5)])

    assert factors.tolist() == [1, 2, 2, 0.2, 0.2]


def test_actions_of_one_day_become_one_split_and_one_dividend() -> None:
    found = merged([dividend(1, "0.5"), split(1, 3, 2), dividend(1, "2"), split(1, 2), split(0, 2)])

    assert found == [split(0, 2), dividend(1, "2.5"), split(1, 3, 1)]


@pytest.mark.parametrize(
    ("new", "old"), [("0", "1"), ("1", "0"), ("-2", "1"), ("NaN", "1"), ("1", "200000")]
)
def test_a_split_that_cannot_be_is_refused(new: str, old: str) -> None:
    with pytest.raises(InvalidAction, match="split of AAPL on 2014-06-02"):
        Split(AAPL, FIRST_ON, Decimal(new), Decimal(old))


@pytest.mark.parametrize("amount", ["-1", "NaN", "Infinity", "1e12"])
def test_a_dividend_that_cannot_be_is_refused(amount: str) -> None:
    with pytest.raises(InvalidAction, match="dividend of AAPL on 2014-06-02"):
        CashDividend(AAPL, FIRST_ON, Decimal(amount))


def test_an_adjustment_is_read_from_text_or_refused_with_those_there_are() -> None:
    assert parse_adjustment(" Split ") is Adjustment.SPLIT
    with pytest.raises(InvalidInput, match="none, split, all"):
        parse_adjustment("dividends")
