"""Which results are doubted, and which are left alone?"""

from typing import Any

import numpy as np
import pytest

from backtester.results.diagnoses import CHECKS, Evidence, Severity, diagnose, longest_underwater
from backtester.results.testing import evidence

DAYS = 504
UP_THEN_DOWN = np.concatenate(
    [np.linspace(100_000, 130_000, 252), np.linspace(130_000, 110_000, 252)]
)
SUNK = np.concatenate([np.linspace(100_000, 130_000, 100), np.full(403, 125_000.0), [131_000.0]])

# What makes each diagnosis speak, by its code. Everything else stays sound.
UNSOUND: dict[str, dict[str, Any]] = {
    "LOOKAHEAD": {"lookahead": "A signal depends on later bars."},
    "WARMUP": {"warmup": "A signal depends on where the bars began."},
    "NO_TRADES": {"fills": 0, "profits": np.empty(0), "stale_fills": 0},
    "FEW_TRADES": {"profits": np.full(29, 100.0)},
    "SHORT_HISTORY": {
        "equity": np.linspace(100_000, 120_000, 251),
        "benchmark": np.linspace(100_000, 105_000, 251),
    },
    "NOT_SIGNIFICANT": {"mean_profit": (-5.0, 700.0)},
    "MANY_TRIALS": {"trials": 40, "deflated_sharpe": 0.6},
    "TOO_GOOD": {"sharpe": 3.1},
    "ONE_SYMBOL": {"by_symbol": {"AA": 45_000.0, "BB": 5_000.0}, "symbols": 2},
    "ONE_TRADE": {"profits": np.array([*[100.0] * 50, 60_000.0])},
    "ONE_MONTH": {
        "by_month": {**{f"2023-{m:02d}": 10.0 for m in range(1, 7)}, "2023-07": 60_000.0}
    },
    "FROM_GAPS": {"gaps": 40_000.0},
    "OVERNIGHT": {"overnight": 60_000.0},
    "OPEN_PROFIT": {"open_profit": 20_000.0, "open_positions": 1},
    "LONG_TAIL": {"profits": np.array([*[500.0] * 99, -6_000.0])},
    "FADES": {"equity": UP_THEN_DOWN},
    "WORSE_THAN_HOLDING": {
        "benchmark": np.linspace(100_000, 300_000, DAYS),
        "benchmark_sharpe": 2.0,
    },
    "RARELY_INVESTED": {"exposure": 0.04},
    "LONG_UNDERWATER": {"equity": SUNK},
    "COSTS_EAT_THE_EDGE": {"fees": 60_000.0},
    "NO_SLIPPAGE": {"is_free_of_slippage": True},
    "FRAGILE": {"envelope": (-0.01, 0.2)},
    "HIGH_TURNOVER": {"turnover": 51.0},
    "CAPACITY": {"participation": np.full(200, 0.06)},
    "PARTIAL_FILLS": {"partial_fills": 21},
    "LATE_FILLS": {"late_fills": 21},
    "STALE_FILLS": {"stale_fills": 1},
    "MISSING_BARS": {"missing_share": 0.011},
    "JUMPS": {"jumps": ("AA opened at 0.50 times its last close on 2023-05-02",)},
    "ON_BOUND": {"parameters": {"short_window": (1, 1, 899)}},
    "MOSTLY_REFUSED": {"refused": {"ALREADY_HELD": 5, "CORRELATION": 51}},
    "STOPPED_EARLY": {"stopped_on": "2023-02-01"},
    "NO_RISK_RULES": {"is_free_of_risk_rules": True},
}
# What is just sound enough: the same fields at their thresholds, or where the diagnosis means nothing.
SOUND: dict[str, dict[str, Any]] = {
    "LOOKAHEAD": {"warmup": "Another thing."},
    "WARMUP": {"lookahead": "Another thing."},
    "NO_TRADES": {"fills": 1},
    "FEW_TRADES": {"profits": np.full(30, 100.0)},
    "SHORT_HISTORY": {
        "equity": np.linspace(100_000, 120_000, 252),
        "benchmark": np.linspace(100_000, 105_000, 252),
    },
    "NOT_SIGNIFICANT": {"mean_profit": (0.01, 700.0)},
    "MANY_TRIALS": {"trials": 40, "deflated_sharpe": 0.95},
    "TOO_GOOD": {"sharpe": 3.0},
    "ONE_SYMBOL": {"by_symbol": {"AA": 90_000.0}, "symbols": 1},
    "ONE_TRADE": {"profits": np.array([*[1_000.0] * 50, 9_000.0])},
    "ONE_MONTH": {"by_month": {"2023-01": 60_000.0}},
    "FROM_GAPS": {"gaps": -40_000.0},
    "OVERNIGHT": {"overnight": -60_000.0},
    "OPEN_PROFIT": {"open_profit": 5_000.0, "open_positions": 1},
    "LONG_TAIL": {"profits": np.array([*[500.0] * 99, -4_900.0])},
    "FADES": {"equity": np.linspace(100_000, 130_000, DAYS)},
    # Less was earned, but at a better price of risk.
    "WORSE_THAN_HOLDING": {"benchmark": np.linspace(100_000, 300_000, DAYS)},
    "RARELY_INVESTED": {"exposure": 0.05},
    "LONG_UNDERWATER": {},
    "COSTS_EAT_THE_EDGE": {"fees": 10_000.0},
    "NO_SLIPPAGE": {"is_free_of_slippage": True, "fills": 0, "profits": np.empty(0)},
    "FRAGILE": {"envelope": (0.01, 0.2)},
    "HIGH_TURNOVER": {"turnover": 50.0},
    "CAPACITY": {"participation": np.array([*[0.001] * 195, *[0.09] * 5])},
    "PARTIAL_FILLS": {"partial_fills": 20},
    "LATE_FILLS": {"late_fills": 20},
    "STALE_FILLS": {"stale_fills": 0},
    "MISSING_BARS": {"missing_share": 0.01},
    "JUMPS": {"jumps": ()},
    "ON_BOUND": {"parameters": {"short_window": (2, 1, 899), "exact": (5.0, None, None)}},
    "MOSTLY_REFUSED": {"refused": {"ALREADY_HELD": 90, "CORRELATION": 50}},
    "STOPPED_EARLY": {},
    "NO_RISK_RULES": {},
}


def codes(of: Evidence) -> set[str]:
    return {diagnosis.code for diagnosis in diagnose(of)}


def test_a_sound_result_is_left_alone() -> None:
    assert diagnose(evidence()) == []


def test_every_diagnosis_has_a_case_that_triggers_it_and_one_that_does_not() -> None:
    assert len(UNSOUND) == len(CHECKS) >= 15
    assert list(UNSOUND) == list(SOUND)


@pytest.mark.parametrize("code", UNSOUND)
def test_what_is_unsound_is_said_with_its_figures(code: str) -> None:
    found = {diagnosis.code: diagnosis for diagnosis in diagnose(evidence(**UNSOUND[code]))}

    assert code in found
    assert found[code].sentence.endswith((".", ")."))
    assert "\n" not in found[code].sentence


@pytest.mark.parametrize("code", SOUND)
def test_what_is_just_sound_enough_is_not_doubted(code: str) -> None:
    assert code not in codes(evidence(**SOUND[code]))


def test_the_gravest_come_first() -> None:
    found = diagnose(evidence(exposure=0.01, sharpe=9.0, turnover=99.0))

    assert [diagnosis.severity for diagnosis in found] == [
        Severity.WARNING,
        Severity.CAUTION,
        Severity.NOTE,
    ]


def test_losing_results_are_not_asked_what_carried_their_profit() -> None:
    lost = evidence(
        equity=np.linspace(100_000, 80_000, DAYS),
        profits=np.array([*[-900.0] * 40, 800.0]),
        gaps=5_000.0,
        by_symbol={"AA": 5_000.0, "BB": -25_000.0},
        symbols=2,
    )

    assert not codes(lost) & {"ONE_TRADE", "ONE_SYMBOL", "ONE_MONTH", "FROM_GAPS", "OVERNIGHT"}


def test_the_longest_time_below_a_peak_counts_days_in_a_row() -> None:
    equity = np.array([101.0, 100.0, 99.0, 101.0, 100.0, 102.0])

    assert longest_underwater(100.0, equity) == 2
    assert longest_underwater(100.0, np.array([99.0, 98.0, 97.0])) == 3
