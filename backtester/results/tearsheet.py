"""Everything that is said about one backtest, in one place.

Takes a finished backtest apart, compares it, doubts it and names its figures. The terminal, the HTML file, JSON and the
kept runs all show this, so they cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from backtester import costs, metrics, risk_rules
from backtester.results import significance
from backtester.results.assumptions import assumptions_of
from backtester.results.attribution import Attribution, attribute
from backtester.results.benchmark import Benchmark, compared, held
from backtester.results.diagnoses import Diagnosis, Evidence, diagnose, longest_underwater
from backtester.results.figures import Block, Figure, Kind, Table
from backtester.results.foresight import Foresight
from backtester.results.manifest import Request
from backtester.results.summary_tables import duration_s, tables_of
from backtester.results.trades import Trade, trades_of
from backtester.run import Result
from backtester.terms import FLAT
from shared.domain.bar_blocks import from_epoch_us

Floats = np.ndarray[Any, np.dtype[np.float64]]
# Shares of a bar's volume at which a strategy's capacity is stated.
CAPACITY_SHARES = (0.01, 0.05)


@dataclass(frozen=True)
class Trials:
    """What else was run on the same bars: how many different runs, this one included, and their Sharpe ratios."""

    count: int = 1
    sharpes: Sequence[float] = ()

    @property
    def spread(self) -> float | None:
        """Standard deviation of the Sharpe ratios; None for fewer than two."""
        return float(np.std(self.sharpes, ddof=1)) if len(self.sharpes) > 1 else None


@dataclass(frozen=True)
class Tearsheet:
    """A finished backtest with everything that is said about it; see `tearsheet_of`."""

    request: Request
    result: Result
    manifest: Mapping[str, Any]
    trades: Sequence[Trade]
    attribution: Attribution
    benchmark: Benchmark
    comparison: Mapping[str, float | None]
    trials: Trials
    evidence: Evidence
    diagnoses: Sequence[Diagnosis]
    blocks: Sequence[Block]
    tables: Sequence[Table]
    assumptions: Sequence[str]
    envelope: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @cached_property
    def closing(self) -> Floats:
        """Equity at each exchange day's end."""
        found: Floats = self.result.outcome.equity[self.result.history.session_ends]
        return found

    @cached_property
    def days(self) -> list[str]:
        """Each exchange day."""
        history = self.result.history
        return [history.day(row).isoformat() for row in history.session_ends.tolist()]

    def document(self, *, every_bar: bool = True) -> dict[str, Any]:
        """All of it as plain values; equity by bar, or by exchange day alone."""
        history, equity = self.result.history, self.result.outcome.equity
        if every_bar:
            times = [from_epoch_us(us).isoformat() for us in history.end_us.tolist()]
            points = zip(times, equity.tolist(), strict=True)
        else:
            points = zip(self.days, self.closing.tolist(), strict=True)
        trades = [trade.document() for trade in self.trades]
        return {
            "manifest": dict(self.manifest),
            "summary": dict(self.result.summary),
            "trades": [trade for trade in trades if trade["exit_at"] is not None],
            "open_positions": [trade for trade in trades if trade["exit_at"] is None],
            "equity": [{"at": at, "equity": value} for at, value in points],
            "benchmark": {
                "name": self.benchmark.name,
                "equity": [
                    {"at": at, "equity": value}
                    for at, value in zip(self.days, self.benchmark.closing.tolist(), strict=True)
                ],
            },
            "warnings": list(self.result.warnings),
            "diagnoses": [diagnosis.document() for diagnosis in self.diagnoses],
            "envelope": {name: dict(figures) for name, figures in self.envelope.items()},
            "figures": [block.document() for block in self.blocks],
            "tables": [table.document() for table in self.tables],
            "assumptions": list(self.assumptions),
        }


def tearsheet_of(
    request: Request,
    result: Result,
    manifest: Mapping[str, Any],
    *,
    benchmark: Benchmark | None = None,
    trials: Trials | None = None,
    foresight: Foresight | None = None,
    envelope: Mapping[str, Mapping[str, Any]] | None = None,
) -> Tearsheet:
    """Say everything about `result`.

    Args:
        benchmark: None compares with holding what was traded.
        foresight: what the look-ahead and warm-up check found, if it was made.
        envelope: figures of the optimistic, base and pessimistic runs, if they were made.
    """
    history, plan = result.history, result.plan
    trades = trades_of(result)
    attribution = attribute(result, trades)
    benchmark = benchmark or held(history, plan.cash)
    closing = result.outcome.equity[history.session_ends]
    comparison = compared(plan.cash, closing, benchmark)
    trials = trials or Trials()
    evidence = _evidence(
        request,
        result,
        trades,
        attribution,
        benchmark,
        comparison,
        trials,
        foresight or Foresight(None, None, 0),
    )
    if envelope:
        evidence = replace(
            evidence,
            envelope=(
                envelope["pessimistic"]["total_return"],
                envelope["base"]["total_return"],
            ),
        )
    until = from_epoch_us(int(history.end_us[-1])).isoformat()
    return Tearsheet(
        request,
        result,
        manifest,
        trades,
        attribution,
        benchmark,
        comparison,
        trials,
        evidence,
        diagnose(evidence),
        _blocks(result, trades, attribution, benchmark, comparison, evidence, until),
        tables_of(trades, plan.cash, until),
        assumptions_of(plan, result.engine),
        envelope or {},
    )


# ---------------------------------------------------------------------- evidence


def _evidence(
    request: Request,
    result: Result,
    trades: Sequence[Trade],
    attribution: Attribution,
    benchmark: Benchmark,
    comparison: Mapping[str, float | None],
    trials: Trials,
    foresight: Foresight,
) -> Evidence:
    history, plan, outcome, summary = result.history, result.plan, result.outcome, result.summary
    closing = outcome.equity[history.session_ends]
    returns = metrics.daily_returns(plan.cash, closing)
    profits = np.array([trade.profit for trade in trades if not trade.is_open])
    return Evidence(
        cash=plan.cash,
        equity=closing,
        benchmark=benchmark.closing,
        benchmark_name=benchmark.name[:1].upper() + benchmark.name[1:],
        profits=profits,
        by_symbol=attribution.by_symbol,
        symbols=len(history.panel.symbols),
        by_month=attribution.by_month,
        fees=float(summary["fees"] or 0.0),
        slippage_cost=float(summary["slippage_cost"] or 0.0),
        borrow_fees=outcome.borrow_fees,
        overnight=attribution.overnight,
        gaps=attribution.gaps,
        open_profit=sum(trade.profit for trade in trades if trade.is_open),
        open_positions=sum(trade.is_open for trade in trades),
        turnover=summary["turnover"],
        exposure=float(summary["exposure"] or 0.0),
        sharpe=summary["sharpe"],
        benchmark_sharpe=comparison["benchmark_sharpe"],
        fills=len(outcome.fill_row),
        partial_fills=int(np.count_nonzero(attribution.is_partial)),
        late_fills=attribution.late_fills,
        stale_fills=attribution.stale_fills,
        participation=attribution.participation,
        capacity=attribution.capacity(float(np.mean(closing)), CAPACITY_SHARES[-1]),
        is_free_of_slippage=plan.slippage_bps == 0.0,
        is_free_of_risk_rules=plan.limits is None,
        wishes=int(np.count_nonzero(result.wished.wishes.direction != FLAT)),
        refused=dict(zip(risk_rules.CODES, outcome.refused.tolist(), strict=True)),
        missing_share=history.missing_share,
        jumps=tuple(
            f"{jump.symbol} opened at {jump.ratio:.2f} times its last close on {jump.on}"
            for jump in attribution.jumps
        ),
        stopped_on=history.day(outcome.reduced_row).isoformat()
        if outcome.reduced_row >= 0
        else None,
        parameters={
            name: (result.strategy.values[name], parameter.low, parameter.high)
            for name, parameter in result.strategy.parameters.items()
        },
        mean_profit=significance.mean_profit_interval(profits, request.seed),
        probabilistic_sharpe=significance.probabilistic_sharpe(returns),
        trials=trials.count,
        deflated_sharpe=significance.deflated_sharpe(returns, trials.count, trials.spread),
        lookahead=foresight.lookahead,
        warmup=foresight.warmup,
        instants_checked=foresight.instants,
    )


# ---------------------------------------------------------------------- figures


def _blocks(
    result: Result,
    trades: Sequence[Trade],
    attribution: Attribution,
    benchmark: Benchmark,
    comparison: Mapping[str, float | None],
    evidence: Evidence,
    until: str,
) -> list[Block]:
    return [
        Block("Run", _run_figures(result, trades)),
        Block("Result", _result_figures(result, trades)),
        Block("Best and worst", _extremes(result, trades, attribution, until)),
        Block("Account", _account_figures(result, benchmark)),
        Block("Against the benchmark", _against(benchmark, comparison)),
        Block("Costs", _cost_figures(result, evidence)),
        Block("Execution", _execution_figures(attribution, evidence)),
        Block("Exposure", _exposure_figures(result, attribution, comparison)),
        Block("Honesty", _honesty_figures(evidence)),
    ]


def _run_figures(result: Result, trades: Sequence[Trade]) -> list[Figure]:
    history = result.history
    return [
        Figure("from", "From", history.day(0).isoformat(), Kind.TEXT),
        Figure("to", "To", history.day(-1).isoformat(), Kind.TEXT),
        Figure("days", "Exchange days", len(history.session_ends), Kind.COUNT),
        Figure("bars", "Bars", len(history), Kind.COUNT),
        Figure("symbols", "Symbols", len(history.panel.symbols), Kind.COUNT),
        Figure("most_open", "Most open at once", most_open(trades), Kind.COUNT),
    ]


def most_open(trades: Sequence[Trade]) -> int:
    """The most positions that were held at once."""
    steps = sorted(
        [(trade.entry_row, 1) for trade in trades]
        + [(trade.exit_row, -1) for trade in trades if not trade.is_open]
    )
    most = now = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


def _result_figures(result: Result, trades: Sequence[Trade]) -> list[Figure]:
    summary, cash = result.summary, result.plan.cash
    days = len(result.history.session_ends)
    closed = [trade for trade in trades if not trade.is_open]
    profits = np.array([trade.profit for trade in closed])
    stakes = [trade.quantity * trade.entry_price for trade in closed]
    final = float(summary["final_equity"] or 0.0)
    traded = float(np.sum(result.outcome.fill_shares * result.outcome.fill_price))
    return [
        Figure("trades", "Trades", len(closed), Kind.COUNT),
        Figure("trades_a_day", "Trades a day", len(closed) / days, Kind.RATIO),
        Figure("starting_balance", "Starting balance", cash, Kind.MONEY),
        Figure("final_balance", "Final balance", final, Kind.MONEY),
        Figure("absolute_profit", "Absolute profit", final - cash, Kind.MONEY),
        Figure("total_return", "Total profit", summary["total_return"], Kind.FRACTION),
        Figure("cagr", "CAGR", summary["cagr"], Kind.FRACTION),
        Figure("volatility", "Volatility", summary["volatility"], Kind.FRACTION),
        Figure("sortino", "Sortino", summary["sortino"], Kind.RATIO),
        Figure("sharpe", "Sharpe", summary["sharpe"], Kind.RATIO),
        Figure("calmar", "Calmar", summary["calmar"], Kind.RATIO),
        Figure("sqn", "SQN", system_quality(profits), Kind.RATIO),
        Figure("win_rate", "Win rate", summary["win_rate"], Kind.FRACTION),
        Figure("profit_factor", "Profit factor", summary["profit_factor"], Kind.RATIO),
        Figure("expectancy", "Expectancy a trade", summary["expectancy"], Kind.MONEY),
        Figure("expectancy_ratio", "Expectancy ratio", expectancy_ratio(profits), Kind.RATIO),
        Figure("kelly", "Kelly fraction", kelly(profits), Kind.FRACTION),
        Figure("profit_a_day", "Profit a day", (final - cash) / days, Kind.MONEY),
        Figure("average_stake", "Average stake", _mean(stakes), Kind.MONEY),
        Figure("total_volume", "Total volume", traded, Kind.MONEY),
    ]


def system_quality(profits: Floats) -> float | None:
    """Mean profit over its standard deviation, times the root of the number of trades (Van Tharp's SQN)."""
    if len(profits) < 2:
        return None
    spread = float(np.std(profits, ddof=1))
    return float(np.mean(profits)) / spread * len(profits) ** 0.5 if spread > 0.0 else None


def expectancy_ratio(profits: Floats) -> float | None:
    """What a trade earned on average per dollar that an average loser lost."""
    losers = profits[profits < 0.0]
    return float(np.mean(profits) / -np.mean(losers)) if len(losers) else None


def kelly(profits: Floats) -> float | None:
    """The share of the account that grows it fastest, from win rate and payoff (Kelly 1956); below 0: do not bet."""
    winners, losers = profits[profits > 0.0], profits[profits < 0.0]
    if not (len(winners) and len(losers)):
        return None
    won = len(winners) / len(profits)
    return won - (1.0 - won) / float(np.mean(winners) / -np.mean(losers))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _extremes(
    result: Result, trades: Sequence[Trade], attribution: Attribution, until: str
) -> list[Figure]:
    history = result.history
    closed = [trade for trade in trades if not trade.is_open]
    closing = result.outcome.equity[history.session_ends]
    changes = np.diff(closing, prepend=result.plan.cash)
    winners = [duration_s(t, until) for t in closed if t.profit > 0.0]
    losers = [duration_s(t, until) for t in closed if t.profit < 0.0]
    lengths = [duration_s(t, until) for t in closed]
    refused = int(np.sum(result.outcome.refused))
    won, lost = streaks([trade.profit for trade in closed])

    def day(at: int) -> str:
        on = history.day(int(history.session_ends[at])).isoformat()
        return f"{on}  {changes[at]:+,.0f}"

    def trade(of: Trade | None) -> str | None:
        return None if of is None else f"{of.symbol}  {of.fraction:+.2%}"

    symbols = sorted(attribution.by_symbol.items(), key=lambda item: item[1])
    ranked = sorted(closed, key=lambda t: t.fraction)
    best = f"{symbols[-1][0]}  {symbols[-1][1]:+,.0f}" if symbols else None
    worst = f"{symbols[0][0]}  {symbols[0][1]:+,.0f}" if symbols else None
    return [
        Figure("best_symbol", "Best symbol", best, Kind.TEXT),
        Figure("worst_symbol", "Worst symbol", worst, Kind.TEXT),
        Figure("best_trade", "Best trade", trade(ranked[-1] if ranked else None), Kind.TEXT),
        Figure("worst_trade", "Worst trade", trade(ranked[0] if ranked else None), Kind.TEXT),
        Figure("best_day", "Best day", day(int(np.argmax(changes))), Kind.TEXT),
        Figure("worst_day", "Worst day", day(int(np.argmin(changes))), Kind.TEXT),
        Figure("days_won", "Days won", int(np.sum(changes > 0.0)), Kind.COUNT),
        Figure("days_flat", "Days unchanged", int(np.sum(changes == 0.0)), Kind.COUNT),
        Figure("days_lost", "Days lost", int(np.sum(changes < 0.0)), Kind.COUNT),
        Figure("duration_of_winners_s", "Winners held", _mean(winners), Kind.DURATION),
        Figure("duration_of_losers_s", "Losers held", _mean(losers), Kind.DURATION),
        Figure("shortest_s", "Shortest trade", min(lengths, default=None), Kind.DURATION),
        Figure("longest_s", "Longest trade", max(lengths, default=None), Kind.DURATION),
        Figure("wins_in_a_row", "Wins in a row", won, Kind.COUNT),
        Figure("losses_in_a_row", "Losses in a row", lost, Kind.COUNT),
        Figure(
            "average_worst",
            "Against us on the way",
            _mean([t.worst for t in closed]),
            Kind.FRACTION,
        ),
        Figure("average_best", "For us on the way", _mean([t.best for t in closed]), Kind.FRACTION),
        Figure("refused_entries", "Refused entries", refused, Kind.COUNT),
    ]


def streaks(profits: Sequence[float]) -> tuple[int, int]:
    """The most trades in a row that won, and that lost."""
    most = {True: 0, False: 0}
    run, was = 0, None
    for profit in profits:
        won = None if profit == 0.0 else profit > 0.0
        run = run + 1 if won is was and won is not None else 1
        was = won
        if won is not None:
            most[won] = max(most[won], run)
    return most[True], most[False]


def _account_figures(result: Result, benchmark: Benchmark) -> list[Figure]:
    history, cash = result.history, result.plan.cash
    closing = result.outcome.equity[history.session_ends]
    peaks = np.maximum.accumulate(np.maximum(closing, cash))
    fallen = (peaks - closing) / peaks
    low = int(np.argmax(fallen))
    high = int(np.argmax(closing[: low + 1] == peaks[low])) if peaks[low] > cash else 0
    back = np.flatnonzero(closing[low:] >= peaks[low])

    def day(at: int) -> str:
        return history.day(int(history.session_ends[at])).isoformat()

    fell = fallen[low] > 0.0
    return [
        Figure("least_balance", "Least balance", float(np.min(closing)), Kind.MONEY),
        Figure("most_balance", "Most balance", float(np.max(closing)), Kind.MONEY),
        Figure("max_drawdown", "Max drawdown", result.summary["max_drawdown"], Kind.FRACTION),
        Figure("drawdown_usd", "Max drawdown, USD", float(peaks[low] - closing[low]), Kind.MONEY),
        Figure("drawdown_high", "Its high", float(peaks[low]) if fell else None, Kind.MONEY),
        Figure("drawdown_low", "Its low", float(closing[low]) if fell else None, Kind.MONEY),
        Figure("drawdown_start", "It began on", day(high) if fell else None, Kind.TEXT),
        Figure("drawdown_end", "Its low was on", day(low) if fell else None, Kind.TEXT),
        Figure(
            "recovered_on",
            "Recovered on",
            day(low + int(back[0])) if fell and len(back) else None,
            Kind.TEXT,
        ),
        Figure(
            "longest_underwater",
            "Longest below a peak, days",
            longest_underwater(cash, closing),
            Kind.COUNT,
        ),
        Figure(
            "market_change",
            "Market change",
            float(benchmark.closing[-1]) / cash - 1.0,
            Kind.FRACTION,
        ),
    ]


def _against(benchmark: Benchmark, comparison: Mapping[str, float | None]) -> list[Figure]:
    kinds = (
        ("benchmark_return", "Its total return", Kind.FRACTION),
        ("benchmark_cagr", "Its CAGR", Kind.FRACTION),
        ("benchmark_volatility", "Its volatility", Kind.FRACTION),
        ("benchmark_sharpe", "Its Sharpe", Kind.RATIO),
        ("benchmark_max_drawdown", "Its max drawdown", Kind.FRACTION),
        ("alpha", "Alpha a year", Kind.FRACTION),
        ("beta", "Beta", Kind.RATIO),
        ("correlation", "Correlation", Kind.RATIO),
        ("tracking_error", "Tracking error", Kind.FRACTION),
        ("information_ratio", "Information ratio", Kind.RATIO),
        ("treynor", "Treynor", Kind.RATIO),
    )
    return [
        Figure("benchmark", "Benchmark", benchmark.name, Kind.TEXT),
        *(Figure(name, title, comparison[name], kind) for name, title, kind in kinds),
    ]


def commissions_of(result: Result) -> float:
    """Dollars of all fills' commission; what else fees were is the regulators'."""
    plan, outcome = result.plan, result.outcome
    if plan.commission_bps == 0.0 and plan.commission_per_share == 0.0:
        return 0.0
    # A split is free, and so are the fractions that it pays out.
    shares = outcome.fill_shares[outcome.fill_fee > 0.0]
    values = shares * outcome.fill_price[outcome.fill_fee > 0.0]
    return sum(
        costs.commission(each, value, plan.commission_bps, plan.commission_per_share)
        for each, value in zip(shares.tolist(), values.tolist(), strict=True)
    )


def _cost_figures(result: Result, evidence: Evidence) -> list[Figure]:
    commission = commissions_of(result)
    gross = evidence.gross_profit
    return [
        Figure("gross_profit", "Profit before costs", gross, Kind.MONEY),
        Figure("slippage_cost", "Slippage", evidence.slippage_cost, Kind.MONEY),
        Figure("commission", "Commission", commission, Kind.MONEY),
        Figure("regulatory_fees", "Regulatory fees", evidence.fees - commission, Kind.MONEY),
        Figure("borrow_fees", "Borrowed shares", result.outcome.borrow_fees, Kind.MONEY),
        Figure("dividends", "Dividends, of the profit", result.outcome.dividends, Kind.MONEY),
        Figure("net_profit", "Profit after costs", evidence.net_profit, Kind.MONEY),
        Figure(
            "cost_share",
            "Costs of profit",
            evidence.costs / gross if gross > 0.0 else None,
            Kind.FRACTION,
        ),
        Figure(
            "gross_return", "Return before costs", result.summary["gross_return"], Kind.FRACTION
        ),
        Figure("total_return", "Return after costs", result.summary["total_return"], Kind.FRACTION),
    ]


def _execution_figures(attribution: Attribution, evidence: Evidence) -> list[Figure]:
    part = attribution.participation
    mean_equity = float(np.mean(evidence.equity))
    fills = evidence.fills
    return [
        Figure("fills", "Fills", fills, Kind.COUNT),
        Figure(
            "average_participation",
            "Of the bar's volume, average",
            float(np.mean(part)) if fills else None,
            Kind.FRACTION,
        ),
        Figure(
            "worst_participation",
            "Of the bar's volume, worst",
            float(np.max(part)) if fills else None,
            Kind.FRACTION,
        ),
        Figure(
            "partial_share",
            "Fills that were parts",
            evidence.partial_fills / fills if fills else None,
            Kind.FRACTION,
        ),
        Figure("late_fills", "Orders that had to wait", evidence.late_fills, Kind.COUNT),
        Figure("stale_fills", "Fills at repeated prices", evidence.stale_fills, Kind.COUNT),
        Figure("turnover", "Turnover a year", evidence.turnover, Kind.RATIO),
        *(
            Figure(
                f"capacity_{share * 100:g}",
                f"Capacity at {share:.0%} of volume",
                attribution.capacity(mean_equity, share),
                Kind.MONEY,
            )
            for share in CAPACITY_SHARES
        ),
    ]


def _exposure_figures(
    result: Result, attribution: Attribution, comparison: Mapping[str, float | None]
) -> list[Figure]:
    gross, net = attribution.gross_exposure, attribution.net_exposure
    gained = attribution.overnight + attribution.intraday
    return [
        Figure("time_in_market", "Time in the market", result.summary["exposure"], Kind.FRACTION),
        Figure("average_gross", "Gross exposure, average", float(np.mean(gross)), Kind.FRACTION),
        Figure("most_gross", "Gross exposure, most", float(np.max(gross)), Kind.FRACTION),
        Figure("average_net", "Net exposure, average", float(np.mean(net)), Kind.FRACTION),
        Figure("beta", "Beta", comparison["beta"], Kind.RATIO),
        Figure("overnight_profit", "Made overnight", attribution.overnight, Kind.MONEY),
        Figure("intraday_profit", "Made in sessions", attribution.intraday, Kind.MONEY),
        Figure(
            "overnight_share",
            "Overnight share",
            attribution.overnight / gained if gained else None,
            Kind.FRACTION,
        ),
        Figure("gap_profit", "Made in gaps beyond 2 %", attribution.gaps, Kind.MONEY),
    ]


def _honesty_figures(evidence: Evidence) -> list[Figure]:
    low, high = evidence.mean_profit or (None, None)
    return [
        Figure("mean_profit_low", "A trade's mean profit, from", low, Kind.MONEY),
        Figure("mean_profit_high", "to, with 90 % confidence", high, Kind.MONEY),
        Figure(
            "probabilistic_sharpe",
            "Sharpe above 0, probability",
            evidence.probabilistic_sharpe,
            Kind.FRACTION,
        ),
        Figure("trials", "Runs made on these bars", evidence.trials, Kind.COUNT),
        Figure("deflated_sharpe", "Deflated Sharpe", evidence.deflated_sharpe, Kind.FRACTION),
        Figure(
            "instants_checked",
            "Instants decided on again",
            evidence.instants_checked,
            Kind.COUNT,
        ),
        Figure("missing_share", "Missing bars", evidence.missing_share, Kind.FRACTION),
        Figure("jumps", "Jumps beyond a third", len(evidence.jumps), Kind.COUNT),
    ]
