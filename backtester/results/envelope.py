"""How much does the result depend on what nobody knows of execution?

The same wishes filled three times: as well as can be hoped, as was asked, and as badly as must be feared. The spread between
them is how sure the figures can be at best.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from backtester.plan import Plan
from backtester.run import Result

# What a market order in a liquid share pays beyond the open when nothing was assumed: half of a wide spread.
LEAST_FEAR_BPS = 5.0
SHOWN = (
    "final_equity",
    "total_return",
    "cagr",
    "sharpe",
    "max_drawdown",
    "trades",
    "fees",
    "slippage_cost",
)


def optimistic(plan: Plan) -> Plan:
    """No slippage, and all of each bar's volume."""
    return replace(plan, slippage_bps=0.0, max_volume_share=1.0)


def pessimistic(plan: Plan) -> Plan:
    """Slippage doubled and `LEAST_FEAR_BPS` at least on top, and half of the volume that was assumed."""
    worse = max(2.0 * plan.slippage_bps, plan.slippage_bps + LEAST_FEAR_BPS)
    return replace(
        plan, slippage_bps=min(worse, 5_000.0), max_volume_share=plan.max_volume_share / 2.0
    )


def envelope_of(base: Result, run: Callable[[Plan], Result]) -> dict[str, Mapping[str, Any]]:
    """The figures of three runs: `optimistic`, `base`, `pessimistic`; `run` repeats the backtest under a plan."""
    plan = base.plan
    return {
        "optimistic": _figures(run(optimistic(plan))),
        "base": _figures(base),
        "pessimistic": _figures(run(pessimistic(plan))),
    }


def _figures(result: Result) -> dict[str, Any]:
    return {
        "slippage_bps": result.plan.slippage_bps,
        "max_volume_share": result.plan.max_volume_share,
        **{name: result.summary[name] for name in SHOWN},
    }
