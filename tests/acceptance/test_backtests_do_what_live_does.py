"""The same bars, live in lock-step and in a backtest: the same fills, and entries refused for the same reasons.

Wishes to be out of what is not held are refused live and not even looked at in a backtest.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from backtester import risk_rules
from backtester.history import read_history
from backtester.plan import Plan
from backtester.run import Engine, backtest
from backtester.terms import LONG, SCALE_OUT, STOP
from risk_manager.limits import Limits
from shared.adapters.exchange_calendar import load_calendar
from shared.config import load_settings
from strategy_engine.parameters import read_assignments
from strategy_engine.strategies.moving_average import MovingAverage
from tests.acceptance.replaying import GOOG, replaying
from trader.replay.session import ReplayPlan

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]

DAYS = 120
# Bars before them, enough for every window.
KNOWN = 30
# Often enough to trade, and a limit that bites.
TOLD = {
    "RISK_COOL_DOWN_BARS": "12",
    "RISK_STOP_LOSS": "0.03",
    "RISK_TAKE_PROFIT": "0.06",
    # What is held is managed, too: stops follow, parts are sold on the way.
    "RISK_ATR_STOP": "2.5",
    "RISK_TRAILING_STOP": "0.025",
    "RISK_SCALE_OUT": "0.01=0.5,0.03=0.25",
    "RISK_REBALANCE_BAND": "0.02",
}
LONG_ONLY = {"STRATEGY_PARAMS": "short_window=4,long_window=9"}
# Each cross is a wish for the other side, often enough that one overtakes another.
BOTH_SIDES = {
    "STRATEGY_PARAMS": "short_window=2,long_window=5,allow_short=true",
    "RISK_ALLOW_SHORT": "true",
}
Fill = tuple[str, str, int, Decimal]


async def _live(home: Path, told: dict[str, str]) -> tuple[list[Fill], Counter[str]]:
    async with replaying(home, ReplayPlan(bars=GOOG, last=DAYS), told) as replay:
        await replay.run()
        fills = await replay.truth.latest(
            "SELECT symbol, side, quantity, price FROM trade_executor.v_fills "
            "WHERE account = :account ORDER BY id"
        )
        refused = await replay.truth.latest(
            "SELECT reason_code FROM risk_manager.v_decisions "
            "WHERE account = :account AND outcome = 'refused' AND purpose = 'entry'"
        )
    return [(f[0], f[1], int(f[2]), Decimal(f[3])) for f in fills], Counter(r[0] for r in refused)


def _backtested(
    home: Path, engine: Engine, told: dict[str, str]
) -> tuple[list[Fill], Counter[str]]:
    home.mkdir()
    # A strategy answers the last bar before the replay, too, and both have the same bars behind that.
    bars = pl.read_csv(GOOG).tail(DAYS + 1 + KNOWN)
    first_on = date.fromisoformat(bars[KNOWN, 0])
    bars.write_csv(home / "GOOG.csv")
    history = read_history(home / "GOOG.csv", load_calendar(home))
    plan = Plan(limits=Limits.of(load_settings(told)))
    strategy = MovingAverage(**read_assignments(told["STRATEGY_PARAMS"]))
    outcome = backtest(strategy, history, plan, engine=engine, start_on=first_on).outcome
    fills = [
        (
            history.panel.symbols[column],
            "buy" if side == LONG else "sell",
            int(shares),
            Decimal(repr(float(price))),
        )
        for column, side, shares, price in zip(
            outcome.fill_column,
            outcome.fill_side,
            outcome.fill_shares,
            outcome.fill_price,
            strict=True,
        )
    ]
    # The management that both are told of is among them.
    assert {STOP, SCALE_OUT} <= set(outcome.fill_kind.tolist())
    codes = {code: int(n) for code, n in zip(risk_rules.CODES, outcome.refused, strict=True) if n}
    return fills, Counter(codes)


@pytest.mark.parametrize(
    "sides",
    [
        pytest.param(BOTH_SIDES, id="long-and-short"),
        pytest.param(LONG_ONLY, id="long-only", marks=pytest.mark.prove),
    ],
)
def test_the_same_bars_give_the_same_fills_and_refusals_live_and_in_both_engines(
    tmp_path: Path, sides: dict[str, str]
) -> None:
    told = {**TOLD, **sides}
    live = asyncio.run(_live(tmp_path / "live", told))
    fast = _backtested(tmp_path / "fast", Engine.FAST, told)
    reference = _backtested(tmp_path / "reference", Engine.REFERENCE, told)

    fills, refused = live
    assert len(fills) >= 8
    assert refused["COOL_DOWN"] > 0
    assert (refused["SUPERSEDED"] > 0) == (sides is BOTH_SIDES)
    assert fast[0] == reference[0] == fills
    assert fast[1] == reference[1] == refused
