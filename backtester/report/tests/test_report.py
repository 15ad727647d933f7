"""Is the report whole, true, bounded and harmless?"""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from backtester.history import History
from backtester.plan import Plan, read_sizing
from backtester.report.charts import MOST_CANDLES, MOST_JOINED, MOST_POINTS, rolling
from backtester.report.drawing import joined_candles, points_of_line
from backtester.report.page import _inert, drawdowns, monthly_returns, page_of
from backtester.results.testing import a_sheet
from backtester.testing import a_market
from strategy_engine.panels import Panel
from strategy_engine.strategies.moving_average import MovingAverage
from strategy_engine.strategy import VectorStrategy, Wishes
from trader.cli import main
from trader.exits import ExitCode

PROJECT = Path(__file__).resolve().parents[3]
QUICK = {"short_window": 3, "long_window": 9}
FREELY = Plan(slippage_bps=5.0, limits=None, sizing=read_sizing("fraction=0.4"))
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


class Hostile(VectorStrategy):
    """Its reasons want to be markup."""

    bars_needed: ClassVar[int] = 1

    def wishes(self, panel: Panel) -> Wishes:
        entries = np.zeros(panel.close.shape, np.bool_)
        entries[5::10] = True
        exits = np.zeros(panel.close.shape, np.bool_)
        exits[9::10] = True
        known = ~np.isnan(panel.close)
        return Wishes(entries & known, exits & known, HOSTILE, HOSTILE)


@pytest.fixture(scope="module")
def market() -> History:
    return a_market(8, 400, 3, minutes=False, wild=0.02, holes=0.05)


@pytest.fixture(scope="module")
def page(market: History) -> str:
    return page_of(a_sheet(MovingAverage(**QUICK), market, Plan(slippage_bps=5.0)))


def own_part(page: str) -> str:
    """The page without Plotly's script, which is not ours."""
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    return page.replace(max(scripts, key=len), "")


def figures_of(page: str) -> dict[str, Any]:
    found = re.search(
        r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL
    )
    assert found is not None
    figures: dict[str, Any] = json.loads(found.group(1))
    return figures


def test_the_page_has_everything_and_asks_no_network(page: str) -> None:
    ours = own_part(page)

    assert "default-src 'none'" in ours
    # Nothing is linked, imported or fetched.
    assert not re.search(r"(?i)(src|href)\s*=|@import|url\(|https?://", ours)
    assert set(figures_of(page)) == {"equity", "candles", "rolling", "costs", "trades"}
    for title in (
        "What to doubt",
        "Return by month",
        "Figures",
        "Deepest falls",
        "All trades",
        "What is assumed",
    ):
        assert f"<h2>{title}" in ours
    assert 'id="chart-candles"' in ours
    assert len(page) < 8_000_000


def test_words_of_a_strategy_are_text_and_never_markup(market: History) -> None:
    page = page_of(a_sheet(Hostile(), market, FREELY))
    ours = own_part(page)

    assert "alert(1)" in ours
    assert "<img" not in ours
    assert ours.count("</script>") == own_part(
        page_of(a_sheet(MovingAverage(**QUICK), market, FREELY))
    ).count("</script>")
    # Plotly shows tags as tags in its labels, so there they are escaped once more.
    texts = [
        text
        for trace in figures_of(page)["candles"]["choices"]["AA"]["data"]
        for text in trace.get("text", ())
    ]
    assert texts
    assert not [text for text in texts if "<img" in text or "<script" in text]


def test_no_text_ends_the_script_that_holds_the_figures() -> None:
    inert = _inert({"a": HOSTILE, "b": ["<!--", "</SCRIPT>"]})

    assert "<" not in inert
    assert json.loads(inert) == {"a": HOSTILE, "b": ["<!--", "</SCRIPT>"]}


def test_a_run_without_a_trade_has_a_report_too(market: History) -> None:
    flat = np.full(market.panel.close.shape, 50.0)
    still = replace(market, panel=replace(market.panel, open=flat, high=flat, low=flat, close=flat))
    page = page_of(a_sheet(MovingAverage(**QUICK), still, FREELY))

    assert "No order was filled." in page
    assert "candles" not in figures_of(page)
    assert "Nothing was traded" in page


def test_stops_and_targets_are_drawn_where_they_stood(market: History) -> None:
    sheet = a_sheet(MovingAverage(**QUICK), market, Plan())
    of_symbol = [trade for trade in sheet.trades if trade.symbol == "AA"]
    traces = {
        trace.get("name"): trace
        for trace in figures_of(page_of(sheet))["candles"]["choices"]["AA"]["data"]
    }

    assert traces["Stop"]["y"][::3] == [trade.stop for trade in of_symbol]
    assert traces["Target"]["y"][1::3] == [trade.target for trade in of_symbol]
    assert len(traces["Entry"]["x"]) == len(of_symbol)


def test_the_months_compound_to_the_year_and_the_years_to_the_whole(market: History) -> None:
    sheet = a_sheet(MovingAverage(**QUICK), market, FREELY)

    years = monthly_returns(sheet.days, sheet.closing.tolist(), FREELY.cash)

    for months in years.values():
        grown = np.prod([1.0 + value for month, value in months.items() if month])
        assert grown - 1.0 == pytest.approx(months[0])
    whole = np.prod([1.0 + months[0] for months in years.values()]) - 1.0
    assert whole == pytest.approx(sheet.result.summary["total_return"])


def test_falls_are_found_with_their_days_and_the_last_may_go_on() -> None:
    days = [f"2024-01-{day:02d}" for day in range(1, 8)]

    found = drawdowns(days, [101.0, 90.9, 95.0, 101.0, 110.0, 104.5, 107.0], 100.0)

    assert [(f["start_on"], f["low_on"], f["recovered_on"], f["days"]) for f in found] == [
        ("2024-01-01", "2024-01-02", "2024-01-04", 3),
        ("2024-01-05", "2024-01-06", None, 2),
    ]
    assert [f["depth"] for f in found] == pytest.approx([0.1, 0.05])


# ---------------------------------------------------------------------- drawing much with little


def test_a_drawn_line_keeps_its_ends_and_every_extreme() -> None:
    values = np.random.default_rng(1).normal(0, 1, 100_000)
    values[77_777] = 50.0
    values[12_345] = -50.0

    drawn = points_of_line(values, MOST_POINTS)

    assert len(drawn) <= MOST_POINTS
    assert {0, 12_345, 77_777, 99_999} <= set(drawn.tolist())
    assert np.all(np.diff(drawn) > 0)
    assert points_of_line(values[:10], MOST_POINTS).tolist() == list(range(10))


def test_joined_candles_are_what_the_longer_bars_would_be() -> None:
    rng = np.random.default_rng(2)
    close = 50 + np.cumsum(rng.normal(0, 0.1, 1_000))
    rows = np.arange(1_000) * 2

    candles = joined_candles(rows, close - 0.1, close + 0.5, close - 0.5, close, 300)

    assert candles.joined == 4
    assert len(candles.first) == 250
    assert candles.open[1] == close[4] - 0.1
    assert candles.high[1] == np.max(close[4:8]) + 0.5
    assert candles.low[1] == np.min(close[4:8]) - 0.5
    assert candles.close[1] == close[7]
    assert [candles.of(row) for row in (0, 7, 8, 1_998)] == [0, 0, 1, 249]


def test_rolling_figures_are_those_of_each_window_alone() -> None:
    rng = np.random.default_rng(3)
    ours, theirs = rng.normal(0, 0.01, 60), rng.normal(0, 0.01, 60)

    mean, spread, beta = rolling(ours, theirs, 20)

    assert len(mean) == 41
    part, other = ours[7:27], theirs[7:27]
    assert mean[7] == pytest.approx(np.mean(part))
    assert spread[7] == pytest.approx(np.std(part, ddof=1))
    assert beta[7] == pytest.approx(np.cov(part, other)[0, 1] / np.var(other, ddof=1))
    assert [len(each) for each in rolling(ours[:5], theirs[:5], 20)] == [0, 0, 0]


def test_a_long_minute_run_stays_small_and_says_what_is_left_out() -> None:
    market = a_market(5, 30_000, 1, minutes=True, wild=0.001, holes=0.0)
    sheet = a_sheet(MovingAverage(short_window=5, long_window=30), market, FREELY)

    page = page_of(sheet)

    assert len(page) < 8_000_000
    assert "30,000 points, of which each stretch keeps" in page
    assert f"in the whole time a candle stands for up to {-(-30_000 // MOST_JOINED)} bars" in page
    choices = figures_of(page)["candles"]["choices"]
    assert len(choices["AA"]["data"][0]["x"]) == MOST_CANDLES
    assert len(choices["AA, whole time"]["data"][0]["x"]) <= MOST_JOINED


# ---------------------------------------------------------------------- the command


def test_the_command_writes_the_report_whole(
    daily_bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADING_HOME", str(tmp_path / "home"))
    # The exchange's sessions come from the project's cache.
    monkeypatch.setenv("DATA_DIR", str(PROJECT / "data" / "parquet"))
    target = tmp_path / "report.html"
    words = ["backtest", "run", "--strategy", "moving_average", "--data", str(daily_bars)]

    assert main([*words, "--report", str(target)]) == ExitCode.OK

    assert target.read_text().startswith("<!doctype html>")
    assert target.read_text().rstrip().endswith("</html>")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_report_that_cannot_be_written_is_refused_before_the_run(
    daily_bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["backtest", "run", "--strategy", "moving_average", "--data", str(daily_bars)]

    assert main([*words, "--report", str(tmp_path / "none" / "r.html")]) == ExitCode.USAGE

    printed = capsys.readouterr()
    assert printed.out == ""
    assert "make it first" in printed.err
