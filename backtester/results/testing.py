"""Finished backtests and evidence for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from backtester.history import History
from backtester.plan import DEFAULT_LIMITS, Plan, read_sizing
from backtester.results.diagnoses import Evidence
from backtester.results.manifest import Request, manifest_of
from backtester.results.tearsheet import Tearsheet, tearsheet_of
from backtester.run import Result, backtest
from strategy_engine.strategy import Strategy

# Windows small enough for short markets, and plans with every cost.
QUICK = {"short_window": 3, "long_window": 9}
COSTLY = Plan(
    commission_bps=3.0, commission_per_share=0.01, slippage_bps=5.0, max_volume_share=0.05
)
SHORTING = replace(COSTLY, limits=replace(DEFAULT_LIMITS, allow_short=True), borrow_rate=0.0)
FREELY = replace(COSTLY, limits=None, sizing=read_sizing("fraction=0.4"))


def a_request(result: Result, **changes: Any) -> Request:
    """What was asked for in `result`, as the command line would have it."""
    asked: dict[str, Any] = {
        "strategy": result.strategy.name,
        "parameters": dict(result.strategy.values),
        "data": "bars.csv",
        "account": "paper",
        "symbols": result.history.panel.symbols,
        "timeframe": None,
        "start_on": None,
        "end_on": None,
        "plan": result.plan,
        "engine": result.engine,
    }
    return Request(**{**asked, **changes})


def a_sheet(strategy: Strategy, history: History, plan: Plan, **more: Any) -> Tearsheet:
    """The tear sheet of a backtest over all of `history`."""
    result = backtest(strategy, history, plan)
    request = a_request(result)
    return tearsheet_of(request, result, manifest_of(request, result), **more)


def evidence(**changes: Any) -> Evidence:
    """Evidence of a sound backtest, of which no diagnosis says anything; `changes` make it unsound."""
    days = 504
    rng = np.random.default_rng(3)
    # Up 20 % a year, with falls that are soon made good.
    equity = 100_000.0 * np.cumprod(1.0 + 0.0008 + 0.004 * np.sin(np.arange(days) / 3.0))
    profits = rng.normal(400.0, 900.0, 100)
    months = {f"2023-{month:02d}": 1_500.0 for month in range(1, 13)}
    sound: dict[str, Any] = {
        "cash": 100_000.0,
        "equity": equity,
        "benchmark": np.linspace(100_000.0, 110_000.0, days),
        "benchmark_name": "Holding AA",
        "profits": profits,
        "by_symbol": dict.fromkeys(("AA", "BB", "CC", "DD", "EE"), 10000.0),
        "symbols": 5,
        "by_month": months,
        "fees": 500.0,
        "slippage_cost": 500.0,
        "borrow_fees": 0.0,
        "overnight": 10_000.0,
        "gaps": 3_000.0,
        "open_profit": 0.0,
        "open_positions": 0,
        "turnover": 5.0,
        "exposure": 0.6,
        "sharpe": 1.5,
        "benchmark_sharpe": 0.8,
        "fills": 200,
        "partial_fills": 2,
        "late_fills": 1,
        "stale_fills": 0,
        "participation": np.full(200, 0.001),
        "capacity": 5_000_000.0,
        "is_free_of_slippage": False,
        "is_free_of_risk_rules": False,
        "wishes": 100,
        "refused": {"ALREADY_HELD": 10, "CORRELATION": 3},
        "missing_share": 0.0,
        "jumps": (),
        "stopped_on": None,
        "parameters": {"short_window": (20, 1, 899), "long_window": (50, 2, 900)},
        "mean_profit": (250.0, 550.0),
        "probabilistic_sharpe": 0.98,
        "trials": 1,
        "deflated_sharpe": 0.98,
    }
    return Evidence(**{**sound, **changes})
