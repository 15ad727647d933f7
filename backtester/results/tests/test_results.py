"""Is what a report says of a backtest true?"""

from dataclasses import replace
from decimal import Decimal
from math import sqrt
from typing import ClassVar

import numpy as np
import pytest

from backtester.history import History, NoData
from backtester.plan import Plan
from backtester.results.benchmark import Benchmark, compared, held, on_days_of
from backtester.results.envelope import envelope_of, optimistic, pessimistic
from backtester.results.significance import (
    deflated_sharpe,
    mean_profit_interval,
    probabilistic_sharpe,
)
from backtester.results.tearsheet import streaks
from backtester.results.testing import COSTLY, FREELY, QUICK, SHORTING, a_sheet
from backtester.results.trades import trades_of
from backtester.run import backtest
from backtester.testing import a_market
from shared.domain.arithmetic import to_tick
from shared.domain.corporate_actions import CashDividend, Split
from shared.domain.signals import Direction
from strategy_engine.panels import FIGURES, Panel, View
from strategy_engine.strategies.moving_average import MovingAverage
from strategy_engine.strategy import Strategy, VectorStrategy, Wish, Wishes

# ---------------------------------------------------------------------- what came from where


@pytest.mark.parametrize("plan", [COSTLY, FREELY, SHORTING])
@pytest.mark.parametrize("minutes", [False, True])
def test_profits_add_up_whichever_way_they_are_cut(plan: Plan, minutes: bool) -> None:
    history = a_market(8, 500, 3, minutes=minutes, wild=0.02, holes=0.05)
    sheet = a_sheet(MovingAverage(**QUICK, allow_short=plan is SHORTING), history, plan)
    gained = float(sheet.result.summary["final_equity"] or 0) - plan.cash
    parts = sheet.attribution

    assert len(sheet.trades) > 10
    assert sum(trade.profit for trade in sheet.trades) == pytest.approx(gained, abs=0.01)
    assert sum(parts.by_symbol.values()) == pytest.approx(gained, abs=0.01)
    assert sum(parts.by_month.values()) == pytest.approx(gained, abs=1e-6)
    costs = sheet.evidence.fees + sheet.evidence.slippage_cost
    assert parts.overnight + parts.intraday == pytest.approx(gained + costs, abs=1e-6)


def test_a_night_is_earned_by_who_held_through_it_and_a_session_by_who_held_in_it(
    market: History,
) -> None:
    # Prices move overnight alone: opens differ from the closes before, closes do not from opens.
    panel = market.panel
    path = np.concatenate(
        [np.linspace(90.0, 50.0, 100), np.linspace(50.0, 120.0, len(market) - 100)]
    )
    opens = np.round(path, 2)[:, None] * np.ones((1, 3))
    still = replace(panel, open=opens, high=opens, low=opens, close=opens)
    sheet = a_sheet(MovingAverage(**QUICK), replace(market, panel=still), FREELY)

    assert sheet.attribution.overnight > 1_000.0
    assert sheet.attribution.intraday == pytest.approx(0.0, abs=1e-6)
    # None of these nights moved by two per cent.
    assert sheet.attribution.gaps == 0.0


def test_exposure_is_what_was_held_over_equity(market: History) -> None:
    sheet = a_sheet(MovingAverage(**QUICK), market, FREELY)
    gross = sheet.attribution.gross_exposure

    assert np.all(gross >= 0.0)
    assert float(np.mean(gross > 0.0)) == sheet.result.summary["exposure"]
    assert np.array_equal(gross, sheet.attribution.net_exposure)


def test_jumps_of_a_traded_symbol_are_named_with_their_day(market: History) -> None:
    panel = market.panel
    first = a_sheet(MovingAverage(**QUICK), market, FREELY)
    trade = next(t for t in first.trades if t.exit_row - t.entry_row >= 4)
    column = panel.symbols.index(trade.symbol)
    at = trade.entry_row + 2
    figures = {name: getattr(panel, name).copy() for name in ("open", "high", "low", "close")}
    for values in figures.values():
        values[at:, column] *= 3.0

    sheet = a_sheet(
        MovingAverage(**QUICK), replace(market, panel=replace(panel, **figures)), FREELY
    )

    assert [(j.symbol, j.on) for j in sheet.attribution.jumps] == [
        (trade.symbol, market.day(at).isoformat())
    ]


def test_a_trade_carries_reasons_stop_target_and_how_far_it_went(market: History) -> None:
    sheet = a_sheet(MovingAverage(**QUICK), market, COSTLY)

    reasons = {trade.exit_reason for trade in sheet.trades}
    assert {"stop", "target", "SMA 3 crossed below SMA 9", None} >= reasons
    assert len(reasons) >= 2
    for trade in sheet.trades:
        assert trade.entry_reason == "SMA 3 crossed above SMA 9"
        assert trade.stop is not None
        assert trade.target is not None
        assert trade.stop < trade.target
        assert trade.worst <= 0.01
        assert trade.best >= -0.01
        if trade.exit_reason == "target":
            assert trade.exit_price is not None
            assert trade.exit_price >= trade.target - 1e-9


class Talkative(Strategy):
    """Gives another reason each time."""

    bars_needed: ClassVar[int] = 2

    def generate_signal(self, view: View) -> Wish | None:
        at = f"{view.symbol} at {view.close[-1]:g}"
        if view.close[-1] > view.close[0] * 1.01:
            return Wish(Direction.LONG, reason=f"rose, {at}")
        if view.close[-1] < view.close[0] * 0.99:
            return Wish(Direction.FLAT, reason=f"fell, {at}")
        return None


@pytest.mark.parametrize("start", [0, 50])
def test_every_trade_carries_the_reasons_of_its_own_wishes(market: History, start: int) -> None:
    result = backtest(Talkative(), market, FREELY, start_on=market.day(start))
    history = result.history

    trades = trades_of(result)

    assert len(trades) > 30
    for trade in trades:
        closes = history.panel.close[:, history.panel.symbols.index(trade.symbol)]
        assert trade.entry_reason.startswith(f"rose, {trade.symbol} at ")
        spoken = {f"{trade.symbol} at {price:g}" for price in closes[: trade.entry_row]}
        assert trade.entry_reason.removeprefix("rose, ") in spoken
        if trade.exit_reason is not None:
            after = {
                f"fell, {trade.symbol} at {price:g}"
                for price in closes[trade.entry_row : trade.exit_row]
            }
            assert trade.exit_reason in after


def test_without_the_risk_rules_no_trade_claims_a_stop(market: History) -> None:
    trades = a_sheet(MovingAverage(**QUICK), market, FREELY).trades

    assert {(trade.stop, trade.target) for trade in trades} == {(None, None)}


def test_orders_that_had_to_wait_are_counted(market: History) -> None:
    panel = market.panel
    whole = a_sheet(MovingAverage(**QUICK), market, FREELY)
    trade = whole.trades[0]
    column = panel.symbols.index(trade.symbol)
    volume = panel.volume.copy()
    volume[trade.entry_row, column] = 0.0

    silent = a_sheet(
        MovingAverage(**QUICK), replace(market, panel=replace(panel, volume=volume)), FREELY
    )

    assert silent.attribution.late_fills == whole.attribution.late_fills + 1


def test_the_most_in_a_row_is_counted_per_side() -> None:
    assert streaks([1.0, 2.0, -1.0, 0.0, -1.0, -1.0, -1.0, 5.0]) == (2, 3)
    assert streaks([]) == (0, 0)


# ---------------------------------------------------------------------- splits, dividends, shorts

IN_PARTS = replace(FREELY, fractional=True, max_volume_share=1.0, regulatory_fees=False)


def split_at(history: History, row: int) -> History:
    """The first symbol's shares are split 2:1 before the open of `row`, and its prices are as they were paid."""
    figures = {name: getattr(history.panel, name).copy() for name in FIGURES}
    for name, values in figures.items():
        values[row:, 0] *= 2.0 if name == "volume" else 0.5
    symbol = history.panel.symbols[0]
    split = Split(symbol, history.day(row), Decimal(2), Decimal(1))
    return replace(history, panel=replace(history.panel, **figures), actions=(split,))


def test_a_split_is_neither_a_profit_nor_a_jump_nor_a_way_gone(market: History) -> None:
    plain = a_sheet(MovingAverage(**QUICK), market, IN_PARTS)
    held_through = next(
        t for t in plain.trades if t.symbol == "AA" and t.exit_row - t.entry_row >= 4
    )
    split = a_sheet(MovingAverage(**QUICK), split_at(market, held_through.entry_row + 2), IN_PARTS)

    # Half a price lies on another cent.
    assert split.result.summary["total_return"] == pytest.approx(
        plain.result.summary["total_return"], abs=5e-3
    )
    assert split.attribution.jumps == ()
    assert split.benchmark.closing == pytest.approx(plain.benchmark.closing, rel=1e-4)
    assert np.allclose(
        split.attribution.gross_exposure, plain.attribution.gross_exposure, atol=5e-3
    )
    (after,) = [t for t in split.trades if t.entry_at == held_through.entry_at and t.symbol == "AA"]
    assert (after.worst, after.best) == pytest.approx(
        (held_through.worst, held_through.best), abs=1e-3
    )
    assert split.manifest["data_hash"] != plain.manifest["data_hash"]


def test_dividends_reach_the_account_and_who_simply_holds(market: History) -> None:
    paid_on = market.day(200)
    symbol = market.panel.symbols[0]
    paying = replace(market, actions=(CashDividend(symbol, paid_on, Decimal("1.5")),))
    holder = a_sheet(Holder(), paying, IN_PARTS)
    without = a_sheet(Holder(), market, IN_PARTS)

    gained = holder.result.outcome.dividends
    assert gained > 0.0
    costs = next(block for block in holder.blocks if block.title == "Costs")
    assert {f.name: f.value for f in costs.figures}["dividends"] == gained
    assert holder.attribution.overnight == pytest.approx(without.attribution.overnight + gained)
    assert holder.attribution.intraday == pytest.approx(without.attribution.intraday)
    third = IN_PARTS.cash / 3.0 / float(market.panel.open[0, 0])
    assert holder.benchmark.closing[-1] == pytest.approx(
        without.benchmark.closing[-1] + third * 1.5
    )


class Holder(VectorStrategy):
    """Buys everything at once and keeps it."""

    bars_needed: ClassVar[int] = 1

    def wishes(self, panel: Panel) -> Wishes:
        entries = np.zeros(panel.close.shape, np.bool_)
        entries[0] = ~np.isnan(panel.close[0])
        return Wishes(entries, np.zeros_like(entries), "in", "out")


class Seller(VectorStrategy):
    """Sells short, and buys back ten bars later."""

    bars_needed: ClassVar[int] = 1

    def wishes(self, panel: Panel) -> Wishes:
        known = ~np.isnan(panel.close)
        shorts, exits = np.zeros_like(known), np.zeros_like(known)
        shorts[5::20] = True
        exits[15::20] = True
        return Wishes(np.zeros_like(known), exits & known, "in", "out", shorts=shorts & known)


def test_a_turn_is_shown_with_the_wish_it_waited_since_and_the_close_it_was_answered_at() -> None:
    market = a_market(8, 400, 3, minutes=False, wild=0.02, holes=0.0)
    sheet = a_sheet(MovingAverage(**QUICK, allow_short=True), market, SHORTING)
    assert SHORTING.limits is not None
    lose, win = SHORTING.limits.stop_loss, SHORTING.limits.take_profit
    wished = set(
        zip(
            sheet.result.wished.wishes.row.tolist(),
            sheet.result.wished.wishes.column.tolist(),
            strict=True,
        )
    )
    symbols = market.panel.symbols
    turned = [
        trade
        for trade in sheet.trades
        if (trade.entry_row - 1, symbols.index(trade.symbol)) not in wished
    ]

    assert {trade.side for trade in turned} == {"long", "short"}
    assert sheet.attribution.late_fills == 0
    for trade in turned:
        close = market.panel.close[trade.entry_row - 1, symbols.index(trade.symbol)]
        is_short = trade.side == "short"
        assert ("below" if is_short else "above") in trade.entry_reason
        assert trade.stop == to_tick(close * (1 + lose if is_short else 1 - lose))
        assert trade.target == to_tick(close * (1 - win if is_short else 1 + win))


def test_a_run_says_what_keeps_it_from_selling_short_and_what_it_takes_for_granted_of_lending(
    market: History,
) -> None:
    crossing = MovingAverage(**QUICK, allow_short=True)

    forbidden = a_sheet(crossing, market, COSTLY)
    allowed = a_sheet(crossing, market, SHORTING)

    [warning] = [text for text in forbidden.result.warnings if "RISK_ALLOW_SHORT" in text]
    assert "SHORT_NOT_ALLOWED" in warning
    assert not [text for text in allowed.result.warnings if "RISK_ALLOW_SHORT" in text]
    lent = "finds every symbol lent but 0 that were named"
    assert not [text for text in forbidden.assumptions if lent in text]
    assert [text for text in allowed.assumptions if lent in text and "as live" in text]


def test_short_trades_are_shown_from_their_own_side(market: History) -> None:
    sheet = a_sheet(Seller(), market, replace(FREELY, max_volume_share=1.0))

    assert len(sheet.trades) > 20
    assert {trade.side for trade in sheet.trades} == {"short"}
    assert np.all(sheet.attribution.net_exposure <= 0.0)
    for trade in sheet.trades:
        assert trade.worst <= trade.best
        if trade.exit_price is not None:
            fell = trade.exit_price < trade.entry_price
            assert fell or trade.profit < 0.0
    gained = float(sheet.result.summary["final_equity"] or 0.0) - FREELY.cash
    assert sum(t.profit for t in sheet.trades) - sheet.evidence.borrow_fees == pytest.approx(
        gained, abs=0.05
    )
    assert sheet.evidence.borrow_fees > 0.0
    parts = sheet.attribution
    assert parts.overnight + parts.intraday == pytest.approx(sheet.evidence.gross_profit, abs=1e-6)


# ---------------------------------------------------------------------- benchmark


def test_holding_earns_what_the_prices_did(market: History) -> None:
    closes, opens = market.panel.close[:, 0], market.panel.open[:, 0]
    alone = replace(market, panel=market.panel.of(0))

    benchmark = held(alone, 1_000.0)

    assert benchmark.closing[-1] == pytest.approx(1_000.0 * closes[-1] / opens[0])
    assert held(market, 900.0).closing[0] == pytest.approx(
        sum(300.0 * market.panel.close[0, k] / market.panel.open[0, k] for k in range(3)), rel=0.1
    )


def test_a_benchmark_is_aligned_by_day_and_must_reach_back(market: History) -> None:
    alone = replace(market, panel=market.panel.of(0))
    later = market.cut(100, 400)

    benchmark = on_days_of(later, alone, 1_000.0)

    assert len(benchmark.closing) == 300
    assert benchmark.closing[-1] == pytest.approx(
        1_000.0 * alone.panel.close[-1, 0] / alone.panel.open[100, 0]
    )
    with pytest.raises(NoData, match="leave --benchmark out"):
        on_days_of(market, alone.cut(100, 400), 1_000.0)


def test_twice_the_benchmark_has_a_beta_of_two_and_no_alpha() -> None:
    rng = np.random.default_rng(1)
    moves = rng.normal(0.0005, 0.01, 300)
    theirs = np.asarray(100.0 * np.cumprod(1.0 + moves), np.float64)
    ours = np.asarray(100.0 * np.cumprod(1.0 + 2.0 * moves), np.float64)

    found = compared(100.0, ours, Benchmark("it", theirs))

    assert found["beta"] == pytest.approx(2.0)
    assert found["alpha"] == pytest.approx(0.0, abs=1e-12)
    assert found["correlation"] == pytest.approx(1.0)
    assert found["tracking_error"] == pytest.approx(float(np.std(moves, ddof=1)) * sqrt(252))


# ---------------------------------------------------------------------- luck


def test_the_probabilistic_sharpe_is_the_published_formula() -> None:
    rng = np.random.default_rng(2)
    returns = rng.normal(0.0004, 0.01, 500)

    sure = probabilistic_sharpe(returns)

    # Of normal returns it is close to the t test of their mean.
    t = float(np.mean(returns) / np.std(returns, ddof=1) * sqrt(500))
    from statistics import NormalDist

    assert sure == pytest.approx(NormalDist().cdf(t), abs=0.01)
    assert probabilistic_sharpe(np.zeros(10)) is None


@pytest.mark.filterwarnings("ignore")
def test_skew_and_fat_tails_widen_the_error_as_published() -> None:
    from statistics import NormalDist

    from scipy import stats  # type: ignore[import-untyped]

    returns = np.random.default_rng(4).standard_t(3, 400) * 0.01 + 0.0008
    returns[7] = -0.15
    daily = float(np.mean(returns) / np.std(returns, ddof=1))
    skew = float(stats.skew(returns))
    kurtosis = float(stats.kurtosis(returns, fisher=False))
    error = sqrt((1.0 - skew * daily + (kurtosis - 1.0) / 4.0 * daily**2) / 399)

    sure = probabilistic_sharpe(returns, benchmark=0.5)

    assert sure == pytest.approx(NormalDist().cdf((daily - 0.5 / sqrt(252)) / error), abs=1e-12)


def test_more_trials_make_the_same_result_less_sure() -> None:
    returns = np.random.default_rng(2).normal(0.0008, 0.01, 750)
    sure = [deflated_sharpe(returns, trials, 0.5) for trials in (1, 2, 10, 100)]

    assert None not in sure
    assert sure == sorted(sure, reverse=True)  # type: ignore[type-var]
    assert sure[0] == probabilistic_sharpe(returns)


def test_the_mean_profits_interval_is_repeatable_and_holds_the_mean() -> None:
    profits = np.random.default_rng(5).normal(10.0, 50.0, 80)

    interval = mean_profit_interval(profits, seed=4)

    assert interval is not None
    assert interval[0] < float(np.mean(profits)) < interval[1]
    assert interval == mean_profit_interval(profits, seed=4)
    assert interval != mean_profit_interval(profits, seed=5)
    assert mean_profit_interval(profits[:4], seed=4) is None


# ---------------------------------------------------------------------- other fills


def test_worse_fills_earn_less_than_better_ones(market: History) -> None:
    # With volume enough, so that thin bars do not keep losses small.
    panel = market.panel
    deep = replace(market, panel=replace(panel, volume=panel.volume * 1e6))
    base = backtest(MovingAverage(**QUICK), deep, FREELY)

    found = envelope_of(base, lambda plan: backtest(MovingAverage(**QUICK), deep, plan))

    returns = [found[name]["total_return"] for name in ("optimistic", "base", "pessimistic")]
    assert returns == sorted(returns, reverse=True)
    assert len(set(returns)) == 3


def test_the_pessimist_fears_slippage_even_where_none_was_assumed() -> None:
    assert pessimistic(Plan()).slippage_bps == 5.0
    assert pessimistic(Plan(slippage_bps=20.0)).slippage_bps == 40.0
    assert pessimistic(Plan(slippage_bps=5_000.0)).slippage_bps == 5_000.0
    assert pessimistic(Plan()).max_volume_share == 0.05
    assert optimistic(Plan(slippage_bps=20.0)).slippage_bps == 0.0
