"""Was there enough to learn from, and was it all known then?"""

from __future__ import annotations

from backtester.results.diagnoses.evidence import Diagnosis, Evidence, Severity

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
        "includes zero.",
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
