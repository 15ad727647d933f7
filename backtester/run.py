"""One backtest: a strategy, a history and a plan go in, everything that can be said about it comes out.

Which engine runs, and whether its machine code is worth making, is decided here and nowhere else.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from backtester import kernel, metrics, risk_rules
from backtester.history import History, NoData
from backtester.plan import Plan
from backtester.terms import Bars, Listed, Outcome, Wishes
from backtester.trips import Trips, round_trips
from backtester.wishing import Wished, wishes_of
from shared.domain.errors import InvalidInput
from strategy_engine.strategy import Strategy

# Fewer bars than this run sooner than Numba is imported.
COMPILED_FROM_CELLS = 200_000


class Engine(StrEnum):
    """`fast` runs the kernel; `reference` the objects that trade live, slowly."""

    FAST = "fast"
    REFERENCE = "reference"


@dataclass(frozen=True)
class Result:
    """A finished backtest. `summary` holds the figures of `metrics` by name; None is undefined."""

    strategy: Strategy
    history: History
    plan: Plan
    engine: Engine
    wished: Wished
    outcome: Outcome
    trips: Trips
    summary: Mapping[str, float | int | None]
    warnings: tuple[str, ...]


def is_compiled(history: History) -> bool:
    """Whether machine code is worth its time: for large histories, or where a process has it already.

    Where there is no compiler, as in the dashboard's container, the same rules are interpreted.
    """
    if "backtester.compiled" in sys.modules:
        return True
    return history.panel.close.size >= COMPILED_FROM_CELLS and find_spec("numba") is not None


def backtest(
    strategy: Strategy,
    history: History,
    plan: Plan,
    *,
    engine: Engine = Engine.FAST,
    start_on: date | None = None,
    end_on: date | None = None,
    compiled: bool | None = None,
) -> Result:
    """Trade `strategy` over the bars from `start_on` to `end_on`; earlier ones warm its indicators up.

    Args:
        compiled: None lets the size decide.
    Raises:
        NoData: no bar lies between the two days.
        InvalidInput: the days are in the wrong order, or there is one bar only.
        StrategyFailed, InvalidWish: what the strategy did.
    """
    if start_on is not None and end_on is not None and start_on > end_on:
        raise InvalidInput(f"--start {start_on} is after --end {end_on}; exchange them")
    if start_on is None and end_on is None:
        first, last = 0, len(history)
    else:
        first, last = history.rows_between(start_on, end_on)
    if first >= last:
        raise NoData(
            f"{history.source} has no bars from {start_on or 'its beginning'} to {end_on or 'its end'}; it "
            f"has {history.day(0)} to {history.day(-1)}: choose days in there, or give more data"
        )
    if last - first < 2:
        raise InvalidInput("there is only one bar; what is decided on it could never be filled")
    use_machine_code = is_compiled(history) if compiled is None else compiled
    if use_machine_code:
        from backtester import compiling  # small work needs none

        compiling.make_ready()
    if last < len(history):
        history = history.cut(0, last)
    shown = len(history)
    # The compiled twins leave conviction out where it cannot order anything.
    scales = plan.limits is not None and plan.limits.sizing.scales_by_conviction
    wished = wishes_of(strategy, history.in_newest_shares, compiled=use_machine_code and not scales)
    if first > 0:
        history = history.cut(first, last)
        wished = _since(wished, first)
    panel = history.panel
    terms = plan.terms(panel.timeframe, strategy.name, has_gaps=history.has_gaps)
    listed = plan.listed(panel.symbols)
    days = history.days(plan.fees, plan.flat_before_s(strategy.name))
    actions = history.actions_as_arrays
    if engine is Engine.REFERENCE:
        from backtester.reference import simulate as simulate_live

        outcome = simulate_live(history, wished, plan, strategy.name)
    elif use_machine_code:
        from backtester import compiled as machine

        bars = Bars(*(np.ascontiguousarray(figure) for figure in history.bars))
        outcome = machine.simulate(bars, wished.wishes, days, actions, listed, terms)
    else:
        # As in the kernel: the interpreter is quicker with numbers of its own.
        wishes = Wishes(*(values.tolist() for values in wished.wishes))
        listed = Listed(*(values.tolist() for values in listed))
        outcome = kernel.simulate(history.bars, wishes, days, actions, listed, terms)
    trips = _trips(outcome, history.panel.close.shape[1], use_machine_code)
    return Result(
        strategy,
        history,
        plan,
        engine,
        wished,
        outcome,
        trips,
        summary_of(history, plan, outcome, trips),
        tuple(_warnings(strategy, history, shown, wished, outcome, trips)),
    )


def _since(wished: Wished, first: int) -> Wished:
    row, column, direction, conviction = wished.wishes
    kept = row >= first
    return Wished(
        Wishes(row[kept] - first, column[kept], direction[kept], conviction[kept]),
        wished.entry_reason,
        wished.exit_reason,
        tuple(why for why, is_kept in zip(wished.reasons, kept, strict=False) if is_kept),
    )


def _trips(outcome: Outcome, columns: int, use_machine_code: bool) -> Trips:
    fills = outcome[2:10]
    if use_machine_code:
        from backtester import compiled as machine

        found: Trips = machine.round_trips(*fills, columns)
        return found
    # The interpreter is quicker with numbers of its own.
    row, column, kind, shares, price, fee, slippage, side = (values.tolist() for values in fills)
    return round_trips(row, column, kind, shares, price, fee, slippage, side, columns)


# ---------------------------------------------------------------------- figures


def summary_of(
    history: History, plan: Plan, outcome: Outcome, trips: Trips
) -> dict[str, float | int | None]:
    """The figures of one backtest by name (see `metrics`)."""
    equity = outcome.equity
    ends = history.session_ends
    closing = equity.take(ends)
    final = float(equity[-1])
    returns = metrics.daily_returns(plan.cash, closing)
    profits = profits_of(trips)
    fees = float(outcome.fill_fee.sum())
    slippage = float(outcome.fill_slippage.sum())
    yearly = metrics.cagr(plan.cash, final, len(ends))
    traded = float((np.abs(outcome.fill_shares) * outcome.fill_price).sum())
    return {
        "bars": len(history),
        "trades": trips.closed,
        "final_equity": final,
        "total_return": metrics.total_return(plan.cash, final),
        "cagr": yearly,
        "volatility": metrics.volatility(returns),
        "sharpe": metrics.sharpe(returns),
        "sortino": metrics.sortino(returns),
        "calmar": metrics.calmar(yearly, outcome.max_drawdown),
        "max_drawdown": float(outcome.max_drawdown),
        "win_rate": metrics.win_rate(profits),
        "profit_factor": metrics.profit_factor(profits),
        "expectancy": metrics.expectancy(profits),
        "exposure": metrics.exposure(int(outcome.rows_held), len(history)),
        "turnover": metrics.turnover(traded, float(closing.mean()), len(ends)),
        "fees": fees,
        "slippage_cost": slippage,
        "borrow_fees": float(outcome.borrow_fees),
        "dividends": float(outcome.dividends),
        # What the same fills would have returned without fees, slippage and what was borrowed.
        "gross_return": metrics.total_return(
            plan.cash, final + fees + slippage + outcome.borrow_fees
        ),
    }


def profits_of(trips: Trips) -> NDArray[np.float64]:
    """Dollars that each closed trip earned after fees."""
    n = trips.closed
    return trips.sold[:n] - trips.bought[:n] - trips.fees[:n]


def _unscreened(history: History) -> list[str]:
    """What has to be known of a strategy that reads screens where none was taken."""
    passed = history.panel.passed_screen
    known = int(np.count_nonzero(~np.isnan(passed)))
    if known == 0:
        unknown = "no screen is known for these bars, so no fundamentals spoke for a symbol"
        mend = "the running system keeps screens with their time (FINVIZ_SCREEN)"
        return [f"{unknown}: {mend}"]
    if known < passed.size:
        return [f"screens are known for {known} of {passed.size} bars; where none is, none spoke"]
    return []


def _without_fundamentals(history: History) -> list[str]:
    """What has to be known of a strategy that reads fundamentals where none were taken."""
    panel = history.panel
    of = int(np.count_nonzero(~np.isnan(panel.close)))
    place = None if panel.fundamentals is None else panel.fundamentals.place
    known = 0 if place is None else int(np.count_nonzero((place > 0) & ~np.isnan(panel.close)))
    if known == 0:
        unknown = "no fundamentals are known for these bars, so none spoke for a symbol"
        mend = "the running system keeps those of screened symbols with their time (FINVIZ_SCREEN)"
        return [f"{unknown}: {mend}"]
    if known < of:
        return [f"fundamentals are known for {known} of {of} bars; where none are, none spoke"]
    return []


# What lets a refused entry through, where its code does not say it.
_MENDS = {
    "SHORT_NOT_ALLOWED": "; RISK_ALLOW_SHORT=true lets live trading sell short, and --sizing limits with it"
}


def _warnings(
    strategy: Strategy,
    history: History,
    shown: int,
    wished: Wished,
    outcome: Outcome,
    trips: Trips,
) -> Sequence[str]:
    """What has to be known of a run; `shown` counts the bars that the strategy saw, those ahead of the first day too."""
    found = list(history.notes)
    panel = history.panel
    if strategy.uses_screens:
        found += _unscreened(history)
    if strategy.uses_fundamentals:
        found += _without_fundamentals(history)
    if history.dropped:
        found.append(
            f"{history.dropped} rows outside regular hours, or outside the years whose sessions are known, were left out"
        )
    if history.has_gaps:
        gaps = int(np.isnan(panel.close).sum())
        found.append(f"{gaps} of {panel.close.size} bars are missing; such a symbol's orders wait")
    if len(days := history.days_without_bars):
        first, last = (date.fromordinal(int(day)) for day in days[[0, -1]])
        found.append(
            f"on {len(days)} exchange days, {first} to {last}, there is no bar at all; what was held was held through them"
        )
    if not len(wished.wishes.row):
        needed = strategy.bars_needed
        why = f": it needs {needed} bars and was shown {shown}" if shown < needed else ""
        found.append(f"the strategy gave no signal{why}")
    elif not len(outcome.fill_row):
        found.append("no order was filled")
    if history.silent_bars:
        found.append(f"{history.silent_bars} bars have no volume; nothing is filled in them")
    if outcome.reduced_row >= 0:
        found.append(
            f"the limit on drawdown or on a day's loss was passed on {history.day(outcome.reduced_row)}; no entry was made after "
            "that, as live, where a person has to resume"
        )
    for code, count in zip(risk_rules.CODES, outcome.refused.tolist(), strict=True):
        if count:
            were = "entry was" if count == 1 else "entries were"
            found.append(f"{count} {were} refused: {code}{_MENDS.get(code, '')}")
    if trips.closed < len(trips.column):
        left = len(trips.column) - trips.closed
        are = "position is" if left == 1 else "positions are"
        found.append(f"{left} {are} open at the end, valued at the last close")
    if outcome.max_drawdown >= 1.0:
        found.append("equity fell to zero or below")
    return found
