"""What does a fill cost, and from which day on?"""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtester import costs


def fees_on(day: date) -> costs.FeePeriod:
    return [period for period in costs.us_fee_periods() if period.from_on <= day][-1]


@pytest.mark.parametrize(
    ("day", "per_million"),
    [
        (date(2020, 2, 17), 20.70),
        (date(2020, 2, 18), 22.10),
        (date(2021, 2, 24), 22.10),
        (date(2021, 2, 25), 5.10),
        (date(2025, 5, 13), 27.80),
        (date(2025, 5, 14), 0.0),
        (date(2026, 4, 4), 20.60),
    ],
)
def test_the_secs_rate_changes_on_its_day(day: date, per_million: float) -> None:
    assert fees_on(day).sec_rate == pytest.approx(per_million / 1e6)


def test_finras_fee_changes_on_its_day_and_has_a_most() -> None:
    assert fees_on(date(2023, 12, 31))[2:] == (0.000145, 7.27)
    assert fees_on(date(2024, 1, 1))[2:] == (0.000166, 8.30)
    assert fees_on(date(2026, 1, 1))[2:] == (0.000195, 9.79)


def test_periods_are_in_order() -> None:
    days = [period.from_on for period in costs.us_fee_periods()]

    assert days == sorted(set(days))


def test_a_sale_pays_both_regulators_rounded_up_to_the_cent() -> None:
    # 1,000 shares for 50,000 dollars: 50,000 * 27.8 / 1e6 = 1.39; 1,000 * 0.000166 = 0.166
    assert costs.regulatory_fee(1_000, 50_000, 27.8e-6, 0.000166, 8.30) == pytest.approx(
        1.39 + 0.17
    )


def test_finras_part_stops_at_its_most() -> None:
    assert costs.regulatory_fee(1_000_000, 1.0, 0.0, 0.000166, 8.30) == pytest.approx(8.30)


def test_without_rates_nothing_is_taken() -> None:
    assert costs.regulatory_fee(100, 5_000, 0.0, 0.0, 0.0) == 0.0
    assert costs.commission(100, 5_000, 0.0, 0.0) == 0.0


def test_commission_counts_value_and_shares() -> None:
    assert costs.commission(100, 5_000, 10.0, 0.005) == pytest.approx(5.0 + 0.5)


@given(st.integers(0, 10**6))
def test_whole_cents_stay_what_they_are(cents: int) -> None:
    assert costs.cents(cents / 100) == cents / 100
    assert costs.cents_up(cents / 100) == cents / 100
