"""Price and position are valued in the same shares, whichever of them a split reaches first."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk_manager.share_counts import BookedSplit, growth, unsettled
from risk_manager.snapshot import Holding, Protection
from risk_manager.testing import AAPL, NOW
from shared.domain.corporate_actions import Split

EX_ON = date(2026, 1, 15)


def told(new: str = "10", old: str = "1", on: date = EX_ON) -> Split:
    return Split(AAPL, on, Decimal(new), Decimal(old))


def booked(ratio: str = "10", on: date = EX_ON) -> BookedSplit:
    return BookedSplit(Decimal(ratio), on, datetime(on.year, on.month, on.day, 12, tzinfo=UTC))


def factor(
    splits: list[Split],
    ledger: list[BookedSplit],
    *,
    today: date = EX_ON,
    priced_on: date = EX_ON,
    held: bool = True,
) -> Decimal | None:
    found = unsettled(splits, ledger, today=today, priced_on=priced_on, was_held=lambda _: held)
    return None if found is None else found.factor


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("splits", "ledger", "circumstances", "expected"),
    [
        ([], [], {}, None),
        ([told()], [booked()], {}, None),
        ([told()], [], {}, Decimal(10)),
        ([told("1", "4")], [], {}, Decimal("0.25")),
        # Shares that were bought on the day itself are new ones.
        ([told()], [], {"held": False}, None),
        # Booked on the evening before, while prices are of the old shares.
        ([told()], [booked(on=EX_ON - DAY)], {"today": EX_ON - DAY, "priced_on": EX_ON - DAY}, Decimal("0.1")),
        # Told days later, which is the same split still.
        ([told()], [booked(on=EX_ON + 3 * DAY)], {"today": EX_ON + 3 * DAY, "priced_on": EX_ON + 2 * DAY}, None),
        # Known by the ledger alone: bars from before the broker's day are of the old shares.
        ([], [booked()], {"priced_on": EX_ON - DAY}, Decimal("0.1")),
        ([], [booked()], {}, None),
        # One the other way round is another one.
        ([told()], [booked("0.1")], {}, Decimal(10)),
        # Taken back by its provider, and one that is still to come.
        ([told("1")], [], {}, None),
        ([told(on=EX_ON + DAY)], [], {}, None),
        # Two of them, of which one has come.
        ([told("2"), told("3", on=EX_ON + 10 * DAY)], [booked("2")], {"today": EX_ON + 10 * DAY}, Decimal(3)),
    ],
)  # fmt: skip
def test_a_share_of_the_position_counts_for_the_price_times(
    splits: list[Split],
    ledger: list[BookedSplit],
    circumstances: dict[str, object],
    expected: Decimal | None,
) -> None:
    assert factor(splits, ledger, **circumstances) == expected  # type: ignore[arg-type]


@given(
    ratio=st.sampled_from(["2", "3", "10", "0.5", "0.1"]),
    price=st.integers(1, 10_000),
    shares=st.integers(1, 10_000),
)
def test_a_position_is_worth_the_same_before_between_and_after(
    ratio: str, price: int, shares: int
) -> None:
    fraction = Decimal(ratio)
    split = Split(AAPL, EX_ON, fraction, Decimal(1))
    after = Decimal(price) / fraction
    only_prices = unsettled([split], [], today=EX_ON, priced_on=EX_ON, was_held=lambda _: True)
    only_ledger = unsettled(
        [], [booked(ratio)], today=EX_ON, priced_on=EX_ON - DAY, was_held=lambda _: True
    )

    assert only_prices is not None
    assert only_ledger is not None
    worths = (
        shares * only_prices.worth(after),
        shares * fraction * only_ledger.worth(Decimal(price)),
    )
    assert all(abs(worth - shares * price) < Decimal("0.001") for worth in worths)


def test_shares_grow_by_what_was_booked_after_they_came() -> None:
    splits = [booked("2"), booked("5", EX_ON + DAY)]

    assert growth(splits, NOW - 10 * DAY) == 10
    assert growth(splits, splits[0].booked_at) == 5
    assert growth(splits, splits[1].booked_at) == 1


def test_a_position_was_there_before_a_day_as_far_as_that_days_entries_do_not_explain_it() -> None:
    def entry(shares: int, at: datetime | None) -> Protection:
        return Protection(Decimal(shares), None, since_at=at)

    today, before = NOW, NOW - DAY

    def held(quantity: int, *entries: Protection) -> bool:
        return Holding(AAPL, Decimal(quantity), None, entries).was_held(EX_ON)

    assert held(10, entry(4, today), entry(6, before))
    assert not held(10, entry(10, today), entry(6, before))
    assert held(10, entry(4, today))
    assert held(10, entry(10, None))
