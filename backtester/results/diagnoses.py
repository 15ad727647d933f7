"""What should make a reader doubt this result?

Each diagnosis is a pure function of the evidence: it is silent or says one sentence with its figures. The thresholds stand
beside the reason for them. A diagnosis never changes a result and never hides one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


Check = Callable[[Evidence], Diagnosis | None]

# ---------------------------------------------------------------------- how much was there to learn from

# The usual size from which a mean begins to say something, and from which Kelly bets here.
FEW_TRADES = 30
# A year has one season of earnings four times and every month once; less has seen no second of anything.
SHORT_DAYS = 252
# One trial in twenty of a worthless strategy looks as good.
SURE_ENOUGH = 0.95
# Few funds of any size have kept it for years; a backtest that does has usually seen the future.
TOO_GOOD_SHARPE = 3.0


def no_trades(evidence: Evidence) -> Diagnosis | None:
    """Nothing was traded, so nothing was tested."""
    if evidence.fills:
        return None
    why = (
        "the strategy gave no signal"
        if not evidence.wishes
        else "signals were given and none became a fill"
    )
    return Diagnosis("NO_TRADES", Severity.WARNING, f"Nothing was traded: {why}.")


def few_trades(evidence: Evidence) -> Diagnosis | None:
    """Fewer than `FEW_TRADES` closed trades."""
    n = len(evidence.profits)
    if not 0 < n < FEW_TRADES:
        return None
    return Diagnosis(
        "FEW_TRADES",
        Severity.WARNING,
        f"{n} closed trades are too few to tell skill from luck; {FEW_TRADES} are the least.",
    )


def short_history(evidence: Evidence) -> Diagnosis | None:
    """Fewer than `SHORT_DAYS` exchange days."""
    if len(evidence.equity) >= SHORT_DAYS:
        return None
    return Diagnosis(
        "SHORT_HISTORY",
        Severity.CAUTION,
        f"{len(evidence.equity)} exchange days are less than a year: yearly figures are extrapolated.",
    )


def not_significant(evidence: Evidence) -> Diagnosis | None:
    """The mean profit of a trade may well be zero, although money was made."""
    if evidence.mean_profit is None or evidence.net_profit <= 0.0:
        return None
    low, high = evidence.mean_profit
    if low > 0.0:
        return None
    return Diagnosis(
        "NOT_SIGNIFICANT",
        Severity.WARNING,
        f"A trade earned between {low:,.2f} and {high:,.2f} USD on average with 90 % confidence: that "
        "includes nothing.",
    )


def many_trials(evidence: Evidence) -> Diagnosis | None:
    """The best of so many tries on the same bars would look as good without any skill."""
    sharpe = evidence.deflated_sharpe
    if evidence.trials < 2 or sharpe is None or sharpe >= SURE_ENOUGH or evidence.net_profit <= 0:
        return None
    return Diagnosis(
        "MANY_TRIALS",
        Severity.WARNING,
        f"{evidence.trials} runs were made on these bars; against the best of as many worthless ones the Sharpe "
        f"ratio is real with a probability of {sharpe:.0%} (deflated Sharpe), below {SURE_ENOUGH:.0%}.",
    )


def too_good(evidence: Evidence) -> Diagnosis | None:
    """A Sharpe ratio above `TOO_GOOD_SHARPE` over at least a year."""
    if evidence.sharpe is None or evidence.sharpe <= TOO_GOOD_SHARPE:
        return None
    if len(evidence.equity) < SHORT_DAYS:
        return None
    return Diagnosis(
        "TOO_GOOD",
        Severity.WARNING,
        f"A Sharpe ratio of {evidence.sharpe:.1f} over {evidence.years:.1f} years is rarely real: look for prices "
        "that nobody could have had.",
    )


def sees_the_future(evidence: Evidence) -> Diagnosis | None:
    """A signal changed when the bars after it were taken away."""
    if evidence.lookahead is None:
        return None
    return Diagnosis("LOOKAHEAD", Severity.WARNING, evidence.lookahead)


def needs_more_bars(evidence: Evidence) -> Diagnosis | None:
    """A signal changed when only the bars were shown that the strategy says it needs, as live trading does."""
    if evidence.warmup is None:
        return None
    return Diagnosis("WARMUP", Severity.WARNING, evidence.warmup)


# ---------------------------------------------------------------------- what carries the profit

# More than half of the profit from one place: without it the rest is another strategy.
CARRIES = 0.5
# A year of months, else the best one is half of the whole by arithmetic.
FEW_MONTHS = 6
# What nights earn an account that holds all day and night is near one half for a drifting market.
OVERNIGHT = 0.9
# A profit that was made by one kind of surprise.
FROM_GAPS = 0.5
# Valued at the last close and not sold: no spread, no slippage, no decision.
OPEN_AT_THE_END = 0.25
# A loss that undoes so many usual winners.
TAIL = 10.0


def one_symbol(evidence: Evidence) -> Diagnosis | None:
    """One symbol of several earned more than `CARRIES` of the net profit."""
    if evidence.symbols < 2 or evidence.net_profit <= 0.0 or not evidence.by_symbol:
        return None
    best = max(evidence.by_symbol, key=lambda symbol: evidence.by_symbol[symbol])
    share = evidence.by_symbol[best] / evidence.net_profit
    if share <= CARRIES:
        return None
    return Diagnosis(
        "ONE_SYMBOL",
        Severity.WARNING,
        f"{best} earned {share:.0%} of the profit; without it {evidence.symbols - 1} symbols earned "
        f"{evidence.net_profit - evidence.by_symbol[best]:,.0f} USD.",
    )


def one_trade(evidence: Evidence) -> Diagnosis | None:
    """One of several trades earned more than `CARRIES` of the net profit."""
    if len(evidence.profits) < 2 or evidence.net_profit <= 0.0:
        return None
    best = float(np.max(evidence.profits))
    if best <= CARRIES * evidence.net_profit:
        return None
    return Diagnosis(
        "ONE_TRADE",
        Severity.WARNING,
        f"The best of {len(evidence.profits)} trades earned {best:,.0f} USD, {best / evidence.net_profit:.0%} of all.",
    )


def one_month(evidence: Evidence) -> Diagnosis | None:
    """One of at least `FEW_MONTHS` months earned more than `CARRIES` of the net profit."""
    if len(evidence.by_month) < FEW_MONTHS or evidence.net_profit <= 0.0:
        return None
    best = max(evidence.by_month, key=lambda month: evidence.by_month[month])
    share = evidence.by_month[best] / evidence.net_profit
    if share <= CARRIES:
        return None
    return Diagnosis(
        "ONE_MONTH", Severity.WARNING, f"{best} alone earned {share:.0%} of the profit."
    )


def from_gaps(evidence: Evidence) -> Diagnosis | None:
    """More than `FROM_GAPS` of the profit before costs came in gaps of the open."""
    if evidence.gross_profit <= 0.0 or evidence.gaps <= FROM_GAPS * evidence.gross_profit:
        return None
    return Diagnosis(
        "FROM_GAPS",
        Severity.CAUTION,
        f"{evidence.gaps / evidence.gross_profit:.0%} of the profit before costs came in overnight gaps beyond 2 %: "
        "news decided, and no stop helps against one the other way.",
    )


def mostly_overnight(evidence: Evidence) -> Diagnosis | None:
    """More than `OVERNIGHT` of the profit before costs was made while the exchange was shut."""
    if evidence.gross_profit <= 0.0 or evidence.overnight <= OVERNIGHT * evidence.gross_profit:
        return None
    return Diagnosis(
        "OVERNIGHT",
        Severity.CAUTION,
        f"{evidence.overnight / evidence.gross_profit:.0%} of the profit before costs was made overnight, when no stop "
        "works and margin is lower.",
    )


def open_profit(evidence: Evidence) -> Diagnosis | None:
    """Positions that are still held make up more than `OPEN_AT_THE_END` of the profit."""
    if evidence.net_profit <= 0.0 or evidence.open_profit <= OPEN_AT_THE_END * evidence.net_profit:
        return None
    return Diagnosis(
        "OPEN_PROFIT",
        Severity.CAUTION,
        f"{evidence.open_profit / evidence.net_profit:.0%} of the profit is on paper: {evidence.open_positions} positions "
        "are open at the end, valued at the last close.",
    )


def long_tail(evidence: Evidence) -> Diagnosis | None:
    """The worst trade lost more than `TAIL` average winners earned."""
    winners = evidence.profits[evidence.profits > 0.0]
    if not len(winners):
        return None
    usual, worst = float(np.mean(winners)), -float(np.min(evidence.profits))
    if worst <= TAIL * usual:
        return None
    return Diagnosis(
        "LONG_TAIL",
        Severity.CAUTION,
        f"The worst trade lost {worst:,.0f} USD, as much as {worst / usual:.0f} usual winners earn.",
    )


def fades(evidence: Evidence) -> Diagnosis | None:
    """The first half earned and the second lost."""
    n = len(evidence.equity)
    if n < 2 * FEW_TRADES:
        return None
    middle = float(evidence.equity[n // 2 - 1])
    first, second = middle - evidence.cash, float(evidence.equity[-1]) - middle
    # A day's noise is no fading.
    if first <= 0.0 or second >= -0.1 * first:
        return None
    return Diagnosis(
        "FADES",
        Severity.CAUTION,
        f"The first half earned {first:,.0f} USD, the second lost {-second:,.0f}: what worked may have ended.",
    )


# ---------------------------------------------------------------------- against doing nothing

# Held for less than this share of bars, returns are a matter of very few moments.
RARELY_IN = 0.05
# Longer than this below the peak is more than most people hold out.
LONG_UNDERWATER = 0.5


def worse_than_holding(evidence: Evidence) -> Diagnosis | None:
    """Less was earned than by the benchmark, and no less risky."""
    ours = float(evidence.equity[-1]) / evidence.cash - 1.0
    theirs = float(evidence.benchmark[-1]) / evidence.cash - 1.0
    if ours >= theirs or evidence.sharpe is None or evidence.benchmark_sharpe is None:
        return None
    if evidence.sharpe >= evidence.benchmark_sharpe:
        return None
    return Diagnosis(
        "WORSE_THAN_HOLDING",
        Severity.WARNING,
        f"{evidence.benchmark_name} returned {theirs:.1%} at a Sharpe ratio of {evidence.benchmark_sharpe:.2f}; this "
        f"{ours:.1%} at {evidence.sharpe:.2f}.",
    )


def rarely_invested(evidence: Evidence) -> Diagnosis | None:
    """Something was held in less than `RARELY_IN` of the bars."""
    if not evidence.fills or evidence.exposure >= RARELY_IN:
        return None
    return Diagnosis(
        "RARELY_INVESTED",
        Severity.NOTE,
        f"Something was held in {evidence.exposure:.1%} of the bars; ratios by the day flatter or hide that.",
    )


def long_underwater(evidence: Evidence) -> Diagnosis | None:
    """Equity was below an earlier peak for more than `LONG_UNDERWATER` of the time without a break."""
    n = len(evidence.equity)
    if n < SHORT_DAYS:
        return None
    longest = longest_underwater(evidence.cash, evidence.equity)
    if longest <= LONG_UNDERWATER * n:
        return None
    return Diagnosis(
        "LONG_UNDERWATER",
        Severity.CAUTION,
        f"Equity stayed below an earlier peak for {longest} days in a row, {longest / n:.0%} of the time.",
    )


def longest_underwater(cash: float, equity: Floats) -> int:
    """The longest run of days whose equity is below the peak so far."""
    peaks = np.maximum.accumulate(np.maximum(equity, cash))
    longest = run = 0
    for is_below in (equity < peaks).tolist():
        run = run + 1 if is_below else 0
        longest = max(longest, run)
    return longest


# ---------------------------------------------------------------------- costs and fills

# Half of what was earned goes to brokers and the spread: a little more slippage and nothing is left.
COSTS_EAT = 0.5
# The account turned over once a week.
HIGH_TURNOVER = 50.0
# A twentieth of a bar's volume: from about there impact grows beyond the spread (Almgren and others 2005, Risk 18).
LARGE_PART = 0.05
# Of fills: one in ten is no longer an exception.
OFTEN = 0.1


def costs_eat_the_edge(evidence: Evidence) -> Diagnosis | None:
    """Fees, slippage and borrowing took more than `COSTS_EAT` of what was earned before them, or all of it."""
    costs = evidence.costs
    if costs <= 0.0 or evidence.gross_profit <= 0.0 or costs <= COSTS_EAT * evidence.gross_profit:
        return None
    return Diagnosis(
        "COSTS_EAT_THE_EDGE",
        Severity.WARNING,
        f"Costs of {costs:,.0f} USD took {costs / evidence.gross_profit:.0%} of the {evidence.gross_profit:,.0f} USD that "
        "were earned before them.",
    )


def costs_left_out(evidence: Evidence) -> Diagnosis | None:
    """Market orders were assumed to fill at the very open."""
    if not (evidence.fills and evidence.is_free_of_slippage):
        return None
    return Diagnosis(
        "NO_SLIPPAGE",
        Severity.CAUTION,
        "No slippage was assumed; real market orders pay about half of the spread (try --slippage-bps 5, or "
        "--envelope).",
    )


def breaks_when_fills_are_worse(evidence: Evidence) -> Diagnosis | None:
    """The profit is a loss under the envelope's pessimistic fills."""
    if evidence.envelope is None:
        return None
    pessimistic, base = evidence.envelope
    if base <= 0.0 or pessimistic > 0.0:
        return None
    return Diagnosis(
        "FRAGILE",
        Severity.WARNING,
        f"The return of {base:.2%} is {pessimistic:.2%} under pessimistic fills: the edge is smaller than what is not "
        "known of execution.",
    )


def high_turnover(evidence: Evidence) -> Diagnosis | None:
    """The account was turned over more than `HIGH_TURNOVER` times a year."""
    if evidence.turnover is None or evidence.turnover <= HIGH_TURNOVER:
        return None
    return Diagnosis(
        "HIGH_TURNOVER",
        Severity.CAUTION,
        f"The account is turned over {evidence.turnover:.0f} times a year: each basis point of cost takes "
        f"{2 * evidence.turnover / 10_000:.2%} a year.",
    )


def beyond_capacity(evidence: Evidence) -> Diagnosis | None:
    """One fill in twenty took more than `LARGE_PART` of its bar's volume."""
    if evidence.capacity is None:
        return None
    large = float(np.quantile(evidence.participation, 0.95))
    if large <= LARGE_PART:
        return None
    return Diagnosis(
        "CAPACITY",
        Severity.WARNING,
        f"A fill in twenty took {large:.1%} of its bar's volume or more, which moves prices; at 5 % the account could be "
        f"{evidence.capacity:,.0f} USD.",
    )


def partly_filled(evidence: Evidence) -> Diagnosis | None:
    """More than `OFTEN` of the fills were parts of an order."""
    if not evidence.fills or evidence.partial_fills <= OFTEN * evidence.fills:
        return None
    return Diagnosis(
        "PARTIAL_FILLS",
        Severity.CAUTION,
        f"{evidence.partial_fills} of {evidence.fills} fills were parts of an order: the bars were too thin for it.",
    )


def filled_late(evidence: Evidence) -> Diagnosis | None:
    """More than `OFTEN` of the orders waited for a bar with volume."""
    if not evidence.fills or evidence.late_fills <= OFTEN * evidence.fills:
        return None
    return Diagnosis(
        "LATE_FILLS",
        Severity.CAUTION,
        f"{evidence.late_fills} of {evidence.fills} fills came later than the bar after the decision.",
    )


def stale_prices(evidence: Evidence) -> Diagnosis | None:
    """Fills in bars that repeat the price before: nobody may have traded there."""
    if not evidence.stale_fills:
        return None
    severity = Severity.WARNING if evidence.stale_fills > OFTEN * evidence.fills else Severity.NOTE
    return Diagnosis(
        "STALE_FILLS",
        severity,
        f"{evidence.stale_fills} of {evidence.fills} fills lie in bars that only repeat the last price.",
    )


# ---------------------------------------------------------------------- data, parameters, rules

# One bar in a hundred.
MANY_GAPS = 0.01


def missing_bars(evidence: Evidence) -> Diagnosis | None:
    """More than `MANY_GAPS` of the bars are missing."""
    if evidence.missing_share <= MANY_GAPS:
        return None
    return Diagnosis(
        "MISSING_BARS",
        Severity.CAUTION,
        f"{evidence.missing_share:.1%} of the bars are missing; a symbol's orders wait while they are.",
    )


def unadjusted_jumps(evidence: Evidence) -> Diagnosis | None:
    """A traded symbol jumped overnight as splits make prices jump."""
    if not evidence.jumps:
        return None
    return Diagnosis(
        "JUMPS",
        Severity.WARNING,
        f"There are overnight moves of more than a third ({evidence.jumps[0]}"
        + (f" and {len(evidence.jumps) - 1} more" if len(evidence.jumps) > 1 else "")
        + "): look whether these are splits that the prices were not adjusted for.",
    )


def parameter_on_its_bound(evidence: Evidence) -> Diagnosis | None:
    """A parameter stands on its lowest or highest value: the best may lie beyond."""
    found = [
        f"{name}={value:g}"
        for name, (value, low, high) in evidence.parameters.items()
        if not isinstance(value, bool) and value in (low, high)
    ]
    if not found:
        return None
    return Diagnosis(
        "ON_BOUND",
        Severity.NOTE,
        f"{', '.join(found)} stands on its bound: the strategy was not made for it.",
    )


def mostly_refused(evidence: Evidence) -> Diagnosis | None:
    """More than half of the wished entries were refused by rules other than holding already."""
    refused = {code: n for code, n in evidence.refused.items() if code != "ALREADY_HELD" and n}
    total = sum(refused.values())
    if not evidence.wishes or total <= CARRIES * evidence.wishes:
        return None
    first = max(refused, key=lambda code: refused[code])
    return Diagnosis(
        "MOSTLY_REFUSED",
        Severity.CAUTION,
        f"{total} of {evidence.wishes} wished entries were refused, {refused[first]} of them by {first}: the rules "
        "traded, not the strategy.",
    )


def stopped_early(evidence: Evidence) -> Diagnosis | None:
    """The limit on drawdown or on a day's loss ended all entries on the way."""
    if evidence.stopped_on is None:
        return None
    return Diagnosis(
        "STOPPED_EARLY",
        Severity.WARNING,
        f"The limit on drawdown or on a day's loss was passed on {evidence.stopped_on}; no entry followed, so the time after it says nothing of "
        "the strategy.",
    )


def without_risk_rules(evidence: Evidence) -> Diagnosis | None:
    """The rules that hold live were off."""
    if not evidence.is_free_of_risk_rules:
        return None
    return Diagnosis(
        "NO_RISK_RULES",
        Severity.CAUTION,
        "The risk rules were off: live trading would refuse, size and stop otherwise.",
    )


CHECKS: Sequence[Check] = (
    sees_the_future,
    needs_more_bars,
    no_trades,
    few_trades,
    short_history,
    not_significant,
    many_trials,
    too_good,
    one_symbol,
    one_trade,
    one_month,
    from_gaps,
    mostly_overnight,
    open_profit,
    long_tail,
    fades,
    worse_than_holding,
    rarely_invested,
    long_underwater,
    costs_eat_the_edge,
    costs_left_out,
    breaks_when_fills_are_worse,
    high_turnover,
    beyond_capacity,
    partly_filled,
    filled_late,
    stale_prices,
    missing_bars,
    unadjusted_jumps,
    parameter_on_its_bound,
    mostly_refused,
    stopped_early,
    without_risk_rules,
)
_ORDER = tuple(Severity)


def diagnose(evidence: Evidence) -> list[Diagnosis]:
    """Everything that was found, the gravest first."""
    found = [diagnosis for check in CHECKS if (diagnosis := check(evidence)) is not None]
    return sorted(found, key=lambda diagnosis: _ORDER.index(diagnosis.severity))
