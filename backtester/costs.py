"""What does one fill cost beside its price?

Commission, and what US regulators take from sales, at the rates of the day. Scalar float64 rules as
`shared.domain.arithmetic` has them; dollars in, dollars on the cent out. Charged per fill, and regulators' parts
rounded up to the cent each, as brokers pass them on. What slippage costs is part of a price and not decided here.
"""

from __future__ import annotations

from datetime import date
from math import floor
from typing import NamedTuple

from backtester.terms import micros
from shared.domain.arithmetic import NOISE


class FeePeriod(NamedTuple):
    """What sales cost from a day on: a fraction of their value, and dollars a share up to a most per fill."""

    from_on: date
    sec_rate: float
    taf_per_share: float
    taf_most: float


# Section 31 of the Securities Exchange Act, dollars per million of sales, by the day of the trade. Sources: the SEC's fee
# rate advisories (2010-255, 2012-232, 2021-8), its orders of 2023 (release 34-96724), 2024 (34-99973) and 2026 (34-104909),
# and FINRA's information notices (3/3/14, 3/15/16, 5/7/18, March 2019, 2/3/20, 2/16/21, 4/24/25). Since 2012 a rate begins 60
# days after the SEC's appropriation became law.
_SEC_PER_MILLION = (
    (date(2011, 1, 21), 19.20),
    (date(2012, 2, 21), 18.00),
    (date(2012, 4, 1), 22.40),
    (date(2013, 5, 25), 17.40),
    (date(2014, 3, 18), 22.10),
    (date(2015, 2, 14), 18.40),
    (date(2016, 2, 16), 21.80),
    (date(2017, 7, 4), 23.10),
    (date(2018, 5, 22), 13.00),
    (date(2019, 4, 16), 20.70),
    (date(2020, 2, 18), 22.10),
    (date(2021, 2, 25), 5.10),
    (date(2022, 5, 14), 22.90),
    (date(2023, 2, 27), 8.00),
    (date(2024, 5, 22), 27.80),
    (date(2025, 5, 14), 0.00),
    (date(2026, 4, 4), 20.60),
)
# FINRA By-Laws, schedule A, section 1: dollars per share sold, and the most per trade. Sources: regulatory notices 04-84,
# 11-27, 12-06 and 12-31; SR-FINRA-2020-032's fee increase schedule (2022 to 2024); SR-FINRA-2024-019 (from 2026).
_TAF = (
    (date(2004, 11, 1), 0.000075, 3.75),
    (date(2011, 7, 1), 0.000090, 4.50),
    (date(2012, 3, 1), 0.000095, 4.75),
    (date(2012, 7, 1), 0.000119, 5.95),
    (date(2022, 1, 1), 0.000130, 6.49),
    (date(2023, 1, 1), 0.000145, 7.27),
    (date(2024, 1, 1), 0.000166, 8.30),
    (date(2026, 1, 1), 0.000195, 9.79),
)


def us_fee_periods() -> tuple[FeePeriod, ...]:
    """Every period of constant rates, oldest first; before the first no fee is known and none is charged."""
    days = sorted({day for day, _ in _SEC_PER_MILLION} | {day for day, _, _ in _TAF})
    periods = []
    for day in days:
        sec = max((row for row in _SEC_PER_MILLION if row[0] <= day), default=(day, 0.0))
        taf = max((row for row in _TAF if row[0] <= day), default=(day, 0.0, 0.0))
        periods.append(FeePeriod(day, sec[1] / 1_000_000.0, taf[1], taf[2]))
    return tuple(periods)


def cents(amount: float) -> float:
    """`amount` of dollars to the cent, half up."""
    return floor(amount * 100.0 + 0.5 + NOISE) / 100.0


def cents_up(amount: float) -> float:
    """`amount` of dollars to the cent, up."""
    return floor(amount * 100.0 + 1.0 - NOISE) / 100.0


def commission(shares: float, value: float, bps: float, per_share: float) -> float:
    """What the broker takes of one fill of `shares` worth `value`."""
    if bps == 0.0 and per_share == 0.0:
        return 0.0
    return cents(value * bps / 10_000.0 + shares * per_share)


def regulatory_fee(
    shares: float, value: float, sec_rate: float, taf_per_share: float, taf_most: float
) -> float:
    """What regulators take of one sale of `shares` worth `value`."""
    if sec_rate == 0.0 and taf_per_share == 0.0:
        return 0.0
    taf = shares * taf_per_share
    taf = taf_most if taf > taf_most else taf
    return cents_up(value * sec_rate) + cents_up(taf)


def borrow_fee(worth: float, rate: float, nights: int) -> float:
    """Micros paid for `nights` with borrowed shares of so many dollars; a year of lending has 360 days."""
    return micros(worth * rate * nights / 360.0)
