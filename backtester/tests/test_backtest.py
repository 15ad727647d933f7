"""What does a whole backtest give, and what does it refuse?"""

from datetime import date
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from backtester.history import History, NoData, read_history
from backtester.plan import Plan, read_sizing
from backtester.results.manifest import manifest_of
from backtester.results.testing import a_request, a_sheet
from backtester.results.trades import trades_of
from backtester.run import Engine, backtest
from backtester.testing import a_calendar, a_market
from backtester.wishing import StrategyFailed
from shared.domain.errors import InvalidInput
from shared.domain.signals import Direction
from shared.domain.symbols import Symbol
from strategy_engine.panels import Panel, View
from strategy_engine.strategies.moving_average import MovingAverage
from strategy_engine.strategy import InvalidWish, Strategy, VectorStrategy, Wishes

FREE = Plan(
    cash=1_000_000.0,
    max_volume_share=1.0,
    sizing=read_sizing("all_in"),
    limits=None,
    regulatory_fees=False,
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("engine", list(Engine))
def test_goog_gives_the_trades_and_the_equity_of_backtesting_py(
    engine: Engine, tmp_path: Path
) -> None:
    from backtesting import Backtest
    from backtesting import Strategy as Theirs
    from backtesting.test import GOOG, SMA

    from shared.adapters.exchange_calendar import load_calendar

    class Cross(Theirs):  # type: ignore[misc]  # it has no types
        def init(self) -> None:
            self.fast = self.I(SMA, self.data.Close, 20)
            self.slow = self.I(SMA, self.data.Close, 50)

        def next(self) -> None:
            if self.fast[-1] > self.slow[-1]:
                if self.fast[-2] <= self.slow[-2] and not self.position:
                    self.buy()
            elif self.fast[-1] < self.slow[-1] and self.position:
                self.position.close()

    stats = Backtest(GOOG, Cross, cash=1_000_000, commission=0).run()
    theirs = stats["_trades"]
    GOOG.to_csv(tmp_path / "GOOG.csv", index_label="Date")
    history = read_history(tmp_path / "GOOG.csv", load_calendar(tmp_path))

    result = backtest(MovingAverage(), history, FREE, engine=engine)
    summary = result.summary
    ours = [trade.document() for trade in trades_of(result) if not trade.is_open]

    assert summary["final_equity"] == pytest.approx(stats["Equity Final [$]"], abs=0.005)
    assert [trade["quantity"] for trade in ours] == theirs["Size"].tolist()
    for name, column in (
        ("entry_price", "EntryPrice"),
        ("exit_price", "ExitPrice"),
        ("profit", "PnL"),
    ):
        assert [trade[name] for trade in ours] == pytest.approx(theirs[column].tolist(), abs=0.005)
    assert [str(trade["entry_at"])[:10] for trade in ours] == [
        str(at.date()) for at in theirs["EntryTime"]
    ]
    assert summary["max_drawdown"] == pytest.approx(-stats["Max. Drawdown [%]"] / 100)


def test_the_document_has_every_figure_of_the_summary_and_one_equity_per_bar() -> None:
    history = a_market(5, 300, 2, minutes=False, wild=0.02, holes=0.0)

    said = a_sheet(MovingAverage(short_window=5, long_window=20), history, Plan()).document()

    assert set(said) == {
        "manifest", "summary", "trades", "open_positions", "equity", "benchmark", "warnings",
        "diagnoses", "envelope", "figures", "tables", "assumptions",
    }  # fmt: skip
    assert list(said["summary"]) == [
        "bars", "trades", "final_equity", "total_return", "cagr", "volatility", "sharpe", "sortino",
        "calmar", "max_drawdown", "win_rate", "profit_factor", "expectancy", "exposure", "turnover",
        "fees", "slippage_cost", "borrow_fees", "dividends", "gross_return",
    ]  # fmt: skip
    assert len(said["equity"]) == said["summary"]["bars"] == 300
    assert len(said["trades"]) == said["summary"]["trades"] > 0
    assert said["equity"][-1]["equity"] == said["summary"]["final_equity"]


def test_profits_of_all_trips_add_up_to_what_the_account_gained() -> None:
    history = a_market(8, 500, 3, minutes=True, wild=0.01, holes=0.05)
    plan = Plan(commission_bps=3.0, slippage_bps=5.0, max_volume_share=0.05)

    said = a_sheet(MovingAverage(short_window=3, long_window=9), history, plan).document()

    gained = sum(trade["profit"] for trade in said["trades"] + said["open_positions"])
    assert gained == pytest.approx(said["summary"]["final_equity"] - plan.cash, abs=0.01)


def test_bars_before_the_start_warm_up_and_are_not_traded() -> None:
    history = a_market(5, 300, 1, minutes=False, wild=0.02, holes=0.0)
    strategy = MovingAverage(short_window=5, long_window=20)
    start = history.day(100)

    whole = backtest(strategy, history, FREE)
    late = backtest(strategy, history, FREE, start_on=start)

    assert len(late.history) == 200
    # The first wish after the start is there, although twenty bars of the rest would not give it yet.
    wanted = whole.wished.wishes.row[whole.wished.wishes.row >= 100] - 100
    assert late.wished.wishes.row.tolist() == wanted.tolist()


def test_the_same_backtest_has_the_same_hashes_and_another_has_not() -> None:
    history = a_market(5, 200, 1, minutes=False, wild=0.02, holes=0.0)
    results = [
        backtest(MovingAverage(short_window=n, long_window=20), history, FREE) for n in (5, 5, 6)
    ]
    one, same, other = (manifest_of(a_request(result), result) for result in results)

    assert one == same
    assert one["data_hash"] == other["data_hash"]
    assert one["config_hash"] != other["config_hash"]
    assert one["result_hash"] != other["result_hash"]


# ---------------------------------------------------------------------- what is refused


class Raises(VectorStrategy):
    bars_needed: ClassVar[int] = 1

    def wishes(self, panel: Panel) -> Wishes:
        raise ZeroDivisionError("no volume")


class NotANumber(VectorStrategy):
    bars_needed: ClassVar[int] = 1

    def wishes(self, panel: Panel) -> Wishes:
        entries = np.zeros(panel.close.shape, np.bool_)
        entries[3] = True
        return Wishes(
            entries, ~entries, "in", "out", figures={"odd": np.full(panel.close.shape, np.nan)}
        )


class Short(Strategy):
    bars_needed: ClassVar[int] = 1

    def generate_signal(self, view: View) -> Direction:
        return Direction.SHORT


class EveryThird(Strategy):
    bars_needed: ClassVar[int] = 4
    seen: ClassVar[list[int]] = []

    def generate_signal(self, view: View) -> Direction | None:
        self.seen.append(len(view))
        turn = len(self.seen) % 3
        return {0: Direction.LONG, 1: None, 2: Direction.FLAT}[turn]


@pytest.fixture
def market() -> History:
    return a_market(2, 60, 1, minutes=False, wild=0.01, holes=0.0)


@pytest.mark.parametrize(
    ("strategy", "error", "words"),
    [
        (
            Raises(),
            StrategyFailed,
            r"strategy raises failed \(test_backtest.py line \d+\): ZeroDivisionError: no volume",
        ),
        (NotANumber(), InvalidWish, "odd of AA is nan at 2024-01-02"),
        (Short(), InvalidWish, "must declare a switch allow_short"),
    ],
)
def test_a_strategy_that_fails_ends_with_its_name_and_the_reason(
    market: History, strategy: Strategy, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        backtest(strategy, market, FREE)


def test_a_strategy_that_decides_bar_by_bar_sees_no_more_than_it_asks_for(market: History) -> None:
    result = backtest(EveryThird(), market, FREE)

    assert EveryThird.seen[:6] == [1, 2, 3, 4, 4, 4]
    assert len(EveryThird.seen) == 60
    assert len(result.trips.column) > 10


def test_a_constant_price_gives_no_signal_and_says_so(market: History) -> None:
    from dataclasses import replace

    panel = market.panel
    flat = np.full(panel.close.shape, 50.0)
    result = backtest(
        MovingAverage(short_window=2, long_window=5),
        replace(market, panel=replace(panel, open=flat, high=flat, low=flat, close=flat)),
        FREE,
    )

    assert result.summary["trades"] == 0
    assert result.summary["sharpe"] is None
    assert "the strategy gave no signal" in result.warnings


def test_without_volume_nothing_is_filled(market: History) -> None:
    from dataclasses import replace

    panel = market.panel
    silent = replace(panel, volume=np.zeros(panel.close.shape))
    result = backtest(
        MovingAverage(short_window=2, long_window=5),
        replace(market, panel=silent),
        FREE,
    )

    assert len(result.outcome.fill_row) == 0
    assert result.summary["final_equity"] == FREE.cash
    assert "no order was filled" in result.warnings


def test_too_little_cash_for_one_share_is_counted(market: History) -> None:
    from dataclasses import replace

    plan = replace(FREE, cash=5.0)
    result = backtest(MovingAverage(short_window=2, long_window=5), market, plan)

    assert any("NO_CASH" in warning for warning in result.warnings)


def test_one_bar_only_and_days_in_the_wrong_order_are_refused(market: History) -> None:
    with pytest.raises(InvalidInput, match="only one bar"):
        backtest(MovingAverage(), market.cut(0, 1), FREE)
    with pytest.raises(InvalidInput, match="is after --end"):
        backtest(
            MovingAverage(),
            market,
            FREE,
            start_on=date(2024, 2, 1),
            end_on=date(2024, 1, 1),
        )
    with pytest.raises(NoData, match="has no bars from 2030-01-01"):
        backtest(MovingAverage(), market, FREE, start_on=date(2030, 1, 1))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("half", "is not a sizing"),
        ("fraction", "above 0 and at most 1"),
        ("fraction=2", "above 0 and at most 1"),
        ("risk=nan", "above 0 and at most 1"),
        ("equal_weight=1.5", "number of positions"),
        ("all_in=1", "takes no amount"),
    ],
)
def test_a_sizing_that_cannot_be_meant_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        read_sizing(text)


def test_terms_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(InvalidInput, match="--cash must be"):
        Plan(cash=float("nan"))
    with pytest.raises(InvalidInput, match="--max-volume-share must be"):
        Plan(max_volume_share=0.0)
    with pytest.raises(InvalidInput, match="nothing says how much to buy"):
        Plan(limits=None)


# ---------------------------------------------------------------------- reading bars

ROWS = "date,open,high,low,close,volume\n2024-01-02,10,11,9,10,100\n2024-01-03,10,11,9,10,100\n"


def test_a_folder_is_joined_by_day_and_a_missing_day_is_a_gap(tmp_path: Path) -> None:
    (tmp_path / "BBB.csv").write_text(ROWS)
    (tmp_path / "AAA.csv").write_text("\n".join(ROWS.splitlines()[:2]) + "\n")

    history = read_history(tmp_path, a_calendar(5))

    assert history.panel.symbols == ("AAA", "BBB")
    assert history.panel.close[:, 1].tolist() == [10.0, 10.0]
    assert np.isnan(history.panel.close[1, 0])
    assert history.has_gaps
    assert [history.day(0), history.day(1)] == [date(2024, 1, 2), date(2024, 1, 3)]
    # What is decided at a day's close is sent on the next day.
    assert history.acts_on[0] == history.session[1]


def test_a_symbol_in_two_files_and_one_in_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "AAA.csv").write_text(ROWS)
    (tmp_path / "AAA.US.csv").write_text(ROWS)

    with pytest.raises(InvalidInput, match="AAA is in more than one file"):
        read_history(tmp_path, a_calendar(5))
    with pytest.raises(NoData, match="has no bars of ZZZ; it has AAA"):
        read_history(tmp_path / "AAA.csv", a_calendar(5), (Symbol("ZZZ"),))
