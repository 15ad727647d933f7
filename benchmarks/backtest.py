"""How long does a backtest take, beside its peers, on the same bars, by the same convention, with the same trades?

    python benchmarks/backtest.py --peers PATH/bin/python     (or the environment variable BENCH_PEERS)

The peers' interpreter needs vectorbt (with its Rust engine) and backtesting: the dependency group `bench`. Without it only
our own figures are printed, and that is said. Rule: buy when the mean of 20 closes crosses above that of 50, sell
when it crosses below; fills at the next open, fractions of shares, no costs. Opens lie on the cent, as the
venue fills, and closes have six decimals, so that means are never equal by accident. Our runs have every feature of
the engine compiled in and the risk rules on, with limits that let this rule trade. Each figure is the least of
several runs, from bars in memory to trades, equity and summary; the first call is not counted but W5's. vectorbt works
its figures out when asked, so it is asked for those that our summary has, one by one, which is less than its own
`stats()`; backtesting.py makes its statistics in every run.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # peers run this file in an interpreter without the project
    from backtester.history import History
    from backtester.plan import Plan
    from strategy_engine.panels import Panel
    from strategy_engine.strategy import Strategy, Wishes

CASH = 1_000_000.0
SHORT, LONG, SLOTS = 20, 50, 50
SEED = 20261122
TARGET_S = {
    "W1": 1e-3,
    "W1 compiled": 1e-3,
    "W2": 12e-3,
    "W3": 30e-3,
    "W4": 0.3,
    "W5": 0.5,
    "W2 per bar": 2.0,
}
WORK = {
    "W1": "2,520 daily bars",
    "W1 compiled": "W1, where the process has machine code already",
    "W2": "1,000,000 minute bars",
    "W3": "500 symbols x 2,520 days, shared cash",
    "W4": "1,000 pairs x 100,000 bars, 2 threads",
    "W5": "process start to printed result",
    "W2 per bar": "W2, decided bar by bar over declared indicators",
}
PROJECT = Path(__file__).resolve().parents[1]


def pairs() -> list[tuple[int, int]]:
    return [(s, n) for s in range(5, 55, 2) for n in range(60, 260, 5)]


# ---------------------------------------------------------------------- data


def make(folder: Path) -> None:
    for name, rows, columns, spread in (
        ("W1", 2_520, 1, 0.28 / np.sqrt(252)),
        ("W2", 1_000_000, 1, 0.25 / np.sqrt(252 * 390)),
        ("W3", 2_520, 500, 0.28 / np.sqrt(252)),
    ):
        rng = np.random.default_rng([SEED, rows, columns])
        shape = (rows, columns)
        moves = rng.standard_t(5, shape) * spread * np.sqrt(3 / 5)
        common = rng.standard_normal((rows, 1)) * spread * 0.4 if columns > 1 else 0.0
        moves = moves + common
        moves -= moves.mean(axis=0) - (3e-4 if rows < 10_000 else 3e-7)
        close = np.round(100.0 * np.exp(np.cumsum(moves, axis=0)), 6)
        before = np.vstack([np.full((1, columns), 100.0), close[:-1]])
        opened = np.round(before * np.exp(0.3 * spread * rng.standard_normal(shape)), 2)
        top, bottom = np.maximum(opened, close), np.minimum(opened, close)
        figures = {
            "open": opened,
            "high": np.round(top * (1 + 0.5 * spread * rng.random(shape)) + 5e-7, 6),
            "low": np.round(bottom * (1 - 0.5 * spread * rng.random(shape)) - 5e-7, 6),
            "close": close,
            # So many shares that no fill is capped: peers know no cap.
            "volume": np.floor(rng.random(shape) * 1e9) + 1e9,
        }
        np.savez(folder / f"{name}.npz", **figures)


def load(folder: Path, name: str, rows: int | None = None) -> dict[str, Any]:
    with np.load(folder / f"{name}.npz") as file:
        return {key: np.ascontiguousarray(file[key][:rows]) for key in file.files}


def best(run: Callable[[], Any], budget_s: float = 6.0, most: int = 15) -> tuple[float, Any]:
    run()
    times, began = [], time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - began < budget_s and len(times) < most):
        start = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - start)
    return min(times), result


# ---------------------------------------------------------------------- ours


def history(folder: Path, name: str, rows: int | None = None) -> "History":
    from backtester.history import History
    from shared.domain.symbols import Symbol
    from shared.domain.timeframes import Timeframe
    from strategy_engine.panels import Panel

    figures = load(folder, name, rows)
    n, m = figures["close"].shape
    per_day = 390 if name == "W2" else 1
    day = 735_000 + np.arange(n, dtype=np.int64) // per_day
    opened = day * 86_400_000_000 + (np.arange(n, dtype=np.int64) % per_day) * 60_000_000
    panel = Panel(
        Timeframe.MINUTE if per_day > 1 else Timeframe.DAY,
        tuple(Symbol(f"S{k:03d}") for k in range(m)),
        **figures,
    )
    return History(panel, opened, opened + 60_000_000, day, day + 1, name)


def plan(sizing: str = "all_in") -> "Plan":
    from dataclasses import replace

    from backtester.plan import DEFAULT_LIMITS, Plan, read_sizing

    wide = replace(
        DEFAULT_LIMITS,
        max_position_size=1.0,
        max_portfolio_risk=1.0,
        drawdown_limit=1.0,
        max_daily_trades=10_000,
        max_correlation=1.0,
        max_daily_loss=1.0,
        max_positions=10_000,
        max_orders_per_minute=1_000,
        max_repeats=1_000,
        max_order_value=1e8,
        max_order_shares=10**7,
        max_volume_share=1.0,
        cool_down_bars=0,
        stop_guard_stops=1_000,
    )
    return Plan(
        cash=CASH,
        max_volume_share=1.0,
        fractional=True,
        sizing=read_sizing(sizing),
        limits=wide,
        bracket=False,
    )


def ours(folder: Path, work: str) -> tuple[float, float, int]:
    from backtester.run import backtest
    from strategy_engine.strategies.moving_average import MovingAverage

    if work == "W4":
        from backtester.sweep import sweep

        sets = [{"short_window": s, "long_window": n} for s, n in pairs()]
        bars = history(folder, "W2", 100_000)
        took, found = best(lambda: sweep(MovingAverage, sets, bars, free(plan()), workers=2))
        return took, sum(t.final_equity for t in found), sum(t.fills for t in found)
    if work == "W2 per bar":
        bars = history(folder, "W2")
        took, result = best(lambda: backtest(per_bar(), bars, free(plan())), most=5)
        return took, float(result.outcome.equity[-1]), len(result.outcome.fill_row)
    if work == "W1 compiled":
        bars = history(folder, "W1")
        took, result = best(lambda: backtest(MovingAverage(), bars, free(plan()), compiled=True))
        return took, float(result.outcome.equity[-1]), len(result.outcome.fill_row)
    bars = history(folder, work)
    terms = free(plan(f"equal_weight={SLOTS}" if work == "W3" else "all_in"))
    strategy = in_symbol_order() if work == "W3" else MovingAverage()
    took, result = best(lambda: backtest(strategy, bars, terms))
    return took, float(result.outcome.equity[-1]), len(result.outcome.fill_row)


def free(terms: "Plan") -> "Plan":
    from dataclasses import replace

    return replace(terms, regulatory_fees=False)


def in_symbol_order() -> "Strategy":
    """The same strategy without conviction, since the peer takes entries by symbol."""
    from dataclasses import replace

    from backtester import wishing
    from strategy_engine.strategies.moving_average import MovingAverage

    class Crossover(MovingAverage):
        def wishes(self, panel: "Panel") -> "Wishes":
            return replace(super().wishes(panel), conviction=None)

    def form(strategy: Any, close: Any) -> Any:
        from backtester.compiled import crossings

        n, row, column, is_up, conviction = crossings(
            close, strategy.short_window, strategy.long_window
        )
        conviction[:n] = 1.0
        return n, row, column, is_up, conviction

    wishing.COMPILED_FORMS[Crossover] = form
    return Crossover()


def per_bar() -> "Strategy":
    """The rule as a person writes it bar by bar, over indicators that are declared."""
    from shared.domain.signals import Direction
    from strategy_engine.indicators import sma
    from strategy_engine.strategy import IndicatorStrategy

    class PerBar(IndicatorStrategy):
        bars_needed = LONG + 1

        def indicators(self, panel: "Panel") -> Mapping[str, Any]:
            return {"fast": sma(panel.close, SHORT), "slow": sma(panel.close, LONG)}

        def decide(self, newest: Any) -> Direction | None:
            fast, slow = newest["fast"], newest["slow"]
            if fast[-1] > slow[-1]:
                return Direction.LONG if fast[-2] <= slow[-2] else None
            if fast[-1] < slow[-1]:
                return Direction.FLAT if fast[-2] >= slow[-2] else None
            return None

    return PerBar()


def cold(command: list[str], environment: Mapping[str, str]) -> float:
    times = []
    for _ in range(6):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=environment)
        times.append(time.perf_counter() - start)
    return min(times[1:])


# ---------------------------------------------------------------------- peers, in their own interpreter


def shifted(array: Any) -> Any:
    moved = np.zeros_like(array)
    moved[1:] = array[:-1]
    return moved


def vectorbt_signals(vbt: Any, close: Any, short: int, long: int) -> tuple[Any, Any]:
    fast = vbt.MA.run(close, short, short_name="fast").ma.to_numpy()
    slow = vbt.MA.run(close, long, short_name="slow").ma.to_numpy()
    up, down = fast > slow, fast < slow
    known = shifted(~np.isnan(slow))
    return shifted(up & ~shifted(up) & known), shifted(down & ~shifted(down) & known)


def summary_of(made: Any) -> None:
    """What our summary holds, as far as vectorbt has it: equity, trades and their figures."""
    made.value()
    trades = made.trades
    _ = trades.records
    for figure in (
        made.total_return, made.annualized_return, made.annualized_volatility, made.sharpe_ratio,
        made.sortino_ratio, made.calmar_ratio, made.max_drawdown, trades.count, trades.win_rate,
        trades.profit_factor, trades.expectancy, made.orders.fees.sum,
    ):  # fmt: skip
        figure()


def vectorbt_peer(folder: Path, work: str, engine: str) -> tuple[float, Any]:
    import pandas as pd
    import vectorbt as vbt

    vbt.settings["engine"] = engine
    common = {"init_cash": CASH, "freq": "1D", "engine": engine}
    name, rows = ("W2", 100_000) if work == "W4" else (work, None)
    figures = load(folder, name, rows)
    index = pd.date_range("2012-01-01", periods=len(figures["close"]), freq="min")
    frame = {k: pd.DataFrame(figures[k], index=index) for k in ("open", "close")}
    one = {k: v[0] for k, v in frame.items()}

    def single(short: int = SHORT, long: int = LONG) -> tuple[float, int]:
        entries, exits = vectorbt_signals(vbt, one["close"], short, long)
        made = vbt.Portfolio.from_signals(one["close"], entries, exits, price=one["open"], **common)
        summary_of(made)
        return float(made.final_value()), int(made.orders.count())

    def many() -> tuple[float, int]:
        entries, exits = vectorbt_signals(vbt, frame["close"], SHORT, LONG)
        size = np.where(exits, 0.0, np.where(entries, 1.0 / SLOTS, np.nan))
        made = vbt.Portfolio.from_orders(
            frame["close"], size, size_type="targetpercent", price=frame["open"],
            direction="longonly", cash_sharing=True, group_by=True, call_seq="auto",
            allow_partial=False, **common,
        )  # fmt: skip
        summary_of(made)
        return float(made.final_value()), int(made.orders.count())

    def pair_chunk(chosen: list[tuple[int, int]]) -> tuple[float, int]:
        total, count = 0.0, 0
        windows = sorted({w for pair in chosen for w in pair})
        means = vbt.MA.run(one["close"], windows).ma.to_numpy()
        place = {w: i for i, w in enumerate(windows)}
        for i in range(0, len(chosen), 10):
            part = chosen[i : i + 10]
            fast = means[:, [place[p[0]] for p in part]]
            slow = means[:, [place[p[1]] for p in part]]
            up, down, known = fast > slow, fast < slow, shifted(~np.isnan(slow))
            made = vbt.Portfolio.from_signals(
                one["close"],
                shifted(up & ~shifted(up) & known),
                shifted(down & ~shifted(down) & known),
                price=one["open"],
                **common,
            )
            # The figures that our sweep gives of each pair.
            for figure in (made.total_return, made.max_drawdown, made.sharpe_ratio):
                figure()
            total += float(made.final_value().sum())
            count += int(made.orders.count().sum())
        return total, count

    if work == "W4":
        import multiprocessing

        jobs = [pairs()[i::2] for i in range(2)]
        globals()["_pair_chunk"] = pair_chunk
        pool = multiprocessing.get_context("fork").Pool(2)

        def run() -> tuple[float, int]:
            found = pool.map(_call_pair_chunk, jobs)
            return sum(f[0] for f in found), sum(f[1] for f in found)

        return best(run, budget_s=20.0, most=2)
    return best(many if work == "W3" else single)


def _call_pair_chunk(job: list[tuple[int, int]]) -> Any:
    return globals()["_pair_chunk"](job)


def backtesting_peer(folder: Path, work: str) -> tuple[float, Any]:
    import warnings

    import pandas as pd
    from backtesting import Backtest, Strategy, backtesting

    warnings.simplefilter("ignore")
    backtesting._tqdm = lambda seq, **_: seq
    figures = load(folder, work)
    frame = pd.DataFrame(
        {k.capitalize(): v[:, 0] for k, v in figures.items()},
        index=pd.date_range("2012-01-01", periods=len(figures["close"]), freq="min"),
    )

    def mean(values: Any, n: int) -> Any:
        return pd.Series(values).rolling(n).mean()

    class Cross(Strategy):
        def init(self) -> None:
            self.fast = self.I(mean, self.data.Close, SHORT)
            self.slow = self.I(mean, self.data.Close, LONG)

        def next(self) -> None:
            if self.fast[-1] > self.slow[-1]:
                if self.fast[-2] <= self.slow[-2] and not self.position:
                    self.buy()
            elif self.fast[-1] < self.slow[-1] and self.position:
                self.position.close()

    def run() -> tuple[float, int]:
        stats = Backtest(frame, Cross, cash=CASH).run()
        broker = stats._strategy._broker
        return stats["Equity Final [$]"], 2 * len(broker.closed_trades) + len(broker.trades)

    if work == "W2":
        start = time.perf_counter()
        result = run()
        return time.perf_counter() - start, result
    return best(run)


def peer(folder: Path, work: str, engine: str) -> None:
    took, (final, fills) = (
        backtesting_peer(folder, work)
        if engine == "backtesting"
        else vectorbt_peer(folder, work, engine)
    )
    print(json.dumps({"took": took, "final": final, "fills": fills}))


# ---------------------------------------------------------------------- the table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default=os.environ.get("BENCH_PEERS"))
    parser.add_argument("--only", default="W1,W1 compiled,W2,W3,W4,W5,W2 per bar")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--own", help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder = given.data or Path(tempfile.gettempdir()) / f"full-ai-trader-bench-{SEED}"
    if not (folder / "W3.npz").exists():
        folder.mkdir(parents=True, exist_ok=True)
        make(folder)
    if given.peer:
        peer(folder, *given.peer)
        return
    if given.own:
        took, final, fills = ours(folder, given.own)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        numba = "numba" in sys.modules
        print(
            json.dumps({"took": took, "final": final, "fills": fills, "mb": memory, "jit": numba})
        )
        return
    table(folder, given.only.split(","), given.peers)


def table(folder: Path, works: list[str], peers: str | None) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    print("| work | ours | reach | peer | ratio | our fills, final equity | peer's | MB |")
    print("| --- | --: | --: | --- | --: | --- | --- | --: |")
    for work in works:
        if work == "W5":
            rows = [cold_row(folder, environment, peers)]
        else:
            mine = json.loads(
                said([sys.executable, __file__, "--data", str(folder), "--own", work], environment)
            )
            rows = [
                (mine, name, theirs) for name, theirs in peers_of(folder, work, peers, environment)
            ]
        for mine, name, theirs in rows:
            ratio = f"{theirs['took'] / mine['took']:.1f}x" if theirs else "not measured"
            print(
                f"| {work}: {WORK[work]} | {seconds(mine['took'])} | {seconds(TARGET_S[work])} "
                f"| {name} {seconds(theirs['took']) if theirs else ''} | {ratio} "
                f"| {mine.get('fills', '')} {mine.get('final', 0):,.2f} "
                f"| {theirs.get('fills', '') if theirs else ''} {theirs.get('final', 0) if theirs else 0:,.2f} "
                f"| {mine.get('mb', 0):.0f} |",
                flush=True,
            )


def peers_of(
    folder: Path, work: str, peers: str | None, environment: Mapping[str, str]
) -> list[tuple[str, Any]]:
    names = {
        "W1": ("numba", "rust", "backtesting"),
        "W1 compiled": ("numba", "rust", "backtesting"),
        "W2": ("numba", "rust", "backtesting"),
        "W3": ("numba", "rust"),
        "W4": ("numba", "rust"),
        "W2 per bar": ("backtesting",),
    }[work]
    if not peers:
        return [("(no --peers)", None)]
    found = []
    for name in names:
        try:
            base = work.split(" ", maxsplit=1)[0]
            text = said([peers, __file__, "--data", str(folder), "--peer", base, name], environment)
            label = name if name == "backtesting" else f"vectorbt-{name}"
            found.append((label, json.loads(text)))
        except (subprocess.CalledProcessError, ValueError) as error:
            found.append((f"{name} failed: {str(error)[:60]}", None))
    return found


def cold_row(
    folder: Path, environment: Mapping[str, str], peers: str | None
) -> tuple[dict[str, float], str, Any]:
    file = folder / "W1.csv"
    figures = load(folder, "W1")
    days = np.busday_offset("2015-01-02", np.arange(2_900), roll="forward")
    from shared.adapters.exchange_calendar import load_calendar

    calendar = load_calendar(PROJECT / "data" / "parquet")
    days = [d for d in days.astype(object) if calendar.session_on(d)][:2_520]
    with file.open("w") as out:
        out.write("date,open,high,low,close,volume\n")
        for i, day in enumerate(days):
            values = ",".join(f"{figures[k][i, 0]:.6f}" for k in ("open", "high", "low", "close"))
            out.write(f"{day},{values},{figures['volume'][i, 0]:.0f}\n")
    named = folder / "AAA.csv"
    file.replace(named)
    command = [sys.executable, str(PROJECT / "scripts" / "backtest.py"), "--strategy"]
    mine = cold([*command, "moving_average", "--data", str(named)], environment)
    theirs = None
    if peers:
        theirs = {
            "took": cold(
                [peers, __file__, "--data", str(folder), "--peer", "W1", "backtesting"], environment
            )
        }
    return {"took": mine}, "backtesting.py, W1 in a new process", theirs


def said(command: list[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return done.stdout.strip().splitlines()[-1]


def seconds(value: float) -> str:
    return f"{value * 1e3:.2f} ms" if value < 1 else f"{value:.2f} s"


if __name__ == "__main__":
    main()
