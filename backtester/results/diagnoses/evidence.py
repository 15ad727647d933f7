"""What do the diagnoses look at, and what do they say?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from backtester.metrics import DAYS_A_YEAR

Floats = NDArray[np.float64]


class Severity(StrEnum):
    """`warning`: do not trust the figures as they are; `caution`: know this; `note`: worth a look."""

    WARNING = "warning"
    CAUTION = "caution"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found: a stable code, how much it matters, and one sentence."""

    code: str
    severity: Severity
    sentence: str

    def document(self) -> dict[str, str]:
        """As plain values."""
        return {"code": self.code, "severity": self.severity.value, "sentence": self.sentence}


@dataclass(frozen=True)
class Evidence:
    """What the diagnoses look at. Dollars, fractions, and counts; arrays as their names say.

    `equity`, `benchmark`: dollars at each exchange day's end. `profits`: dollars of each closed trade.
    `parameters`: value and bounds of each, None where there is no bound.
    """

    cash: float
    equity: Floats
    benchmark: Floats
    benchmark_name: str
    profits: Floats
    by_symbol: Mapping[str, float]
    symbols: int
    by_month: Mapping[str, float]
    fees: float
    slippage_cost: float
    borrow_fees: float
    overnight: float
    gaps: float
    open_profit: float
    open_positions: int
    turnover: float | None
    exposure: float
    sharpe: float | None
    benchmark_sharpe: float | None
    fills: int
    partial_fills: int
    late_fills: int
    stale_fills: int
    participation: Floats
    capacity: float | None
    is_free_of_slippage: bool
    is_free_of_risk_rules: bool
    wishes: int
    refused: Mapping[str, int]
    missing_share: float
    jumps: Sequence[str]
    stopped_on: str | None
    parameters: Mapping[str, tuple[float, float | None, float | None]]
    mean_profit: tuple[float, float] | None
    probabilistic_sharpe: float | None
    trials: int
    deflated_sharpe: float | None
    # What the look-ahead and the warm-up check said; returns under pessimistic and base fills.
    lookahead: str | None = None
    warmup: str | None = None
    instants_checked: int = 0
    envelope: tuple[float, float] | None = None

    @property
    def net_profit(self) -> float:
        """Dollars that the account gained."""
        return float(self.equity[-1]) - self.cash

    @property
    def gross_profit(self) -> float:
        """The same before fees, slippage and what was borrowed."""
        return self.net_profit + self.costs

    @property
    def costs(self) -> float:
        """Dollars that all of these took."""
        return self.fees + self.slippage_cost + self.borrow_fees

    @property
    def years(self) -> float:
        """Exchange years traded."""
        return len(self.equity) / DAYS_A_YEAR
