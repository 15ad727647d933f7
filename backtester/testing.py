"""Markets and wishes for tests: random, seeded, with everything in them that real bars do."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
from hypothesis import strategies as st

from backtester.history import History, history_of
from backtester.plan import Plan, Sizing
from backtester.wishing import Wished, in_order
from risk_manager.limits import Limits
from shared.domain.bar_blocks import to_epoch_us
from shared.domain.calendar import Session, TradingCalendar
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe


@dataclass(frozen=True)
class Case:
    """One backtest: bars, wishes and terms."""

    history: History
    wished: Wished
    plan: Plan


def a_calendar(days: int) -> TradingCalendar:
    """Sessions of six and a half hours, five in a row and two days off."""
    first = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
    opens = [first + timedelta(days=i + 2 * (i // 5)) for i in range(days)]
    return TradingCalendar(
        [Session(o.date(), o, o + timedelta(hours=6, minutes=30)) for o in opens]
    )


def a_market(
    seed: int, rows: int, columns: int, *, minutes: bool, wild: float, holes: float
) -> History:
    """Bars of two-letter symbols: `wild` is a bar's spread, `holes` the share of missing ones."""
    rng = np.random.default_rng(seed)
    shape = (rows, columns)
    close = 50.0 * np.exp(np.cumsum(rng.normal(0, wild, shape), axis=0))
    opens = np.vstack([close[:1], close[:-1]]) * np.exp(rng.normal(0, wild, shape))
    high = np.maximum(opens, close) * np.exp(np.abs(rng.normal(0, wild / 2, shape)))
    low = np.minimum(opens, close) * np.exp(-np.abs(rng.normal(0, wild / 2, shape)))
    digits = int(rng.integers(2, 7))
    figures = {
        name: np.round(values, digits)
        for name, values in (("open", opens), ("high", high), ("low", low), ("close", close))
    }
    figures["high"] = np.maximum.reduce([figures[n] for n in ("open", "high", "close")])
    figures["low"] = np.minimum.reduce([figures[n] for n in ("open", "low", "close")])
    figures["volume"] = np.floor(np.exp(rng.normal(7, 2, shape)))
    figures["volume"][rng.random(shape) < holes / 2] = 0.0
    absent = rng.random(shape) < holes
    absent[:, 0] = False  # every instant has a bar
    for values in figures.values():
        values[absent] = np.nan
    calendar = a_calendar(rows + 3)
    sessions = calendar.between(date(2024, 1, 1), date(2100, 1, 1))
    if minutes:
        per_day = 9
        starts = [
            # The last bar of a day is its session's last minute.
            sessions[i // per_day].close_at - timedelta(minutes=per_day - i % per_day)
            for i in range(rows)
        ]
        ends = [start + timedelta(minutes=1) for start in starts]
    else:
        starts = [sessions[i].open_at for i in range(rows)]
        ends = [sessions[i].close_at for i in range(rows)]
    return history_of(
        Timeframe.MINUTE if minutes else Timeframe.DAY,
        [Symbol(chr(65 + k) * 2) for k in range(columns)],
        figures,
        np.array([to_epoch_us(at) for at in starts]),
        np.array([to_epoch_us(at) for at in ends]),
        calendar,
        "random",
    )


def some_wishes(seed: int, history: History, often: float) -> Wished:
    """Entries and exits at random bars, `often` per bar."""
    rng = np.random.default_rng(seed)
    shape = history.panel.close.shape
    wanted = (rng.random(shape) < often) & ~np.isnan(history.panel.close)
    row, column = np.nonzero(wanted)
    return in_order(
        row.astype(np.int64),
        column.astype(np.int64),
        rng.random(len(row)) < 0.6,
        np.round(rng.random(len(row)), 1),
        "wished",
        "wished away",
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Backtests of all kinds: bars, parameters and rules at random."""
    seed = draw(st.integers(0, 2**32 - 1))
    rows, columns = draw(st.integers(2, 70)), draw(st.integers(1, 5))
    history = a_market(
        seed,
        rows,
        columns,
        minutes=draw(st.booleans()),
        wild=draw(st.sampled_from([0.003, 0.02, 0.08])),
        holes=draw(st.sampled_from([0.0, 0.0, 0.1])),
    )
    wished = some_wishes(seed, history, draw(st.sampled_from([0.05, 0.3])))
    name = draw(st.sampled_from(["limits", "limits", "all_in", "fraction", "risk", "equal_weight"]))
    amount = {"all_in": 1.0, "equal_weight": 1 / draw(st.integers(1, 6))}.get(
        name, draw(st.sampled_from([0.01, 0.1, 0.4]))
    )
    rules = Limits(
        max_position_size=draw(st.sampled_from([0.02, 0.2, 1.0])),
        max_portfolio_risk=draw(st.sampled_from([0.005, 0.05, 1.0])),
        drawdown_limit=draw(st.sampled_from([0.01, 0.1, 1.0])),
        max_daily_trades=draw(st.sampled_from([1, 3, 50])),
        max_correlation=draw(st.sampled_from([0.3, 0.9, 1.0])),
        correlation_bars=draw(st.sampled_from([2, 10])),
        stop_loss=draw(st.sampled_from([0.01, 0.05])),
        take_profit=draw(st.sampled_from([0.01, 0.1])),
        max_signal_age_bars=2,
    )
    plan = Plan(
        cash=draw(st.sampled_from([500.0, 20_000.0, 1_000_000.0])),
        commission_bps=draw(st.sampled_from([0.0, 5.0])),
        commission_per_share=draw(st.sampled_from([0.0, 0.0035])),
        slippage_bps=draw(st.sampled_from([0.0, 3.0, 50.0])),
        max_volume_share=draw(st.sampled_from([0.01, 0.1, 1.0])),
        fractional=name != "limits" and draw(st.booleans()),
        sizing=Sizing(name, amount),
        limits=rules if name == "limits" or draw(st.booleans()) else None,
        bracket=name == "limits" or draw(st.booleans()),
        regulatory_fees=draw(st.booleans()),
    )
    return Case(history, wished, plan)
