"""Does machine code do what the interpreter does, to the last bit?

One process compiles for all of these; the machine code is kept between runs.
"""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtester import averages, compiling, kernel, protection
from backtester.plan import Plan, Sizing
from backtester.run import backtest
from backtester.sweep import sweep
from backtester.terms import Bars
from backtester.testing import Case, a_market, cases
from backtester.trips import round_trips
from backtester.wishing import wishes_of
from risk_manager import management
from risk_manager.limits import LEAST_LEG_DISTANCE
from strategy_engine.strategies.moving_average import MovingAverage


# A busy machine without a cache compiles for minutes.
@pytest.mark.timeout(1_200)
@given(cases())
def test_compiled_and_interpreted_trade_alike(case: Case) -> None:
    from backtester import compiled

    bars = Bars(*(np.ascontiguousarray(figure) for figure in case.history.bars))

    slow = kernel.simulate(bars, case.wished.wishes, *case.given)
    fast = compiled.simulate(bars, case.wished.wishes, *case.given)

    for ours, theirs in zip(slow, fast, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    columns = bars.close.shape[1]
    for ours, theirs in zip(
        round_trips(*slow[2:10], columns), compiled.round_trips(*fast[2:10], columns), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_whatever_compiled_code_calls_or_reads_is_found_without_a_list() -> None:
    reach = compiling.reach_of([kernel.simulate])

    # Called by name, by its module's name, and by way of others.
    assert {kernel.trade, protection.followed, management.lowered_stop} < {*reach.functions}
    assert {"backtester.terms", "risk_manager.management"} < {*reach.modules}
    assert ("LEAST_LEG_DISTANCE", LEAST_LEG_DISTANCE) in reach.constants


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 12), st.integers(1, 30))
def test_averages_cross_where_the_strategys_panels_say(
    seed: int, columns: int, short: int, more: int
) -> None:
    # Prices in cents, so that averages are often equal.
    history = a_market(seed, 120, columns, minutes=False, wild=0.005, holes=0.0)
    panel = replace(history.panel, close=np.round(history.panel.close, 2))
    history = replace(history, panel=panel)
    strategy = MovingAverage(short_window=short, long_window=short + more)

    by_panels = wishes_of(strategy, history, compiled=False)
    by_machine = wishes_of(strategy, history, compiled=True)

    for ours, theirs in zip(by_panels.wishes[:3], by_machine.wishes[:3], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    if columns > 1:
        np.testing.assert_array_equal(by_panels.wishes.conviction, by_machine.wishes.conviction)
    assert by_panels.entry_reason == by_machine.entry_reason


def test_a_gap_or_a_price_beyond_exactness_is_left_to_the_panels() -> None:
    from backtester.compiled import crossings

    close = np.full((100, 2), 100.0)
    close[50, 1] = np.nan
    assert crossings(close, 2, 5)[0] == -1
    close[50, 1] = averages.TOLD_APART
    assert crossings(close, 2, 5)[0] == -1
    close[50, 1] = 100.0
    assert crossings(close, 2, 5)[0] == 0


def test_a_sweep_finds_what_each_backtest_by_itself_finds() -> None:
    history = a_market(3, 400, 1, minutes=False, wild=0.02, holes=0.0)
    plan = Plan(sizing=Sizing("all_in"), limits=None, max_volume_share=1.0)
    sets = [{"short_window": s, "long_window": n} for s in (2, 5) for n in (9, 20)]

    found = sweep(MovingAverage, sets, history, plan, workers=2)

    for values, tried in zip(sets, found, strict=True):
        alone = backtest(MovingAverage(**values), history, plan, compiled=False)
        assert values.items() <= dict(tried.values).items()
        assert tried.final_equity == alone.summary["final_equity"]
        assert tried.fills == len(alone.outcome.fill_row)
        assert tried.max_drawdown == alone.summary["max_drawdown"]
        assert tried.sharpe == pytest.approx(alone.summary["sharpe"])


def test_a_small_backtest_never_imports_numba() -> None:
    program = """
import sys
from backtester.testing import a_market
from backtester.plan import Plan
from backtester.run import backtest
from strategy_engine.strategies.moving_average import MovingAverage
backtest(MovingAverage(), a_market(1, 2_520, 1, minutes=False, wild=0.01, holes=0.0), Plan())
sys.exit("numba was imported" if "numba" in sys.modules else None)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_large_backtest_is_interpreted_where_there_is_no_compiler() -> None:
    program = """
import sys
sys.modules["numba"] = None
from backtester import run
from backtester.testing import a_market
run.COMPILED_FROM_CELLS = 2_000
sys.exit(run.is_compiled(a_market(1, 2_520, 1, minutes=False, wild=0.01, holes=0.0)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_machine_code_is_kept_in_a_folder_that_is_made_on_a_fresh_checkout(tmp_path: Path) -> None:
    wanted = tmp_path / ".cache" / "numba"

    assert compiling.folder_for_machine_code(wanted) == wanted
    assert wanted.is_dir()
    (tmp_path / "file").write_text("")
    assert (
        compiling.folder_for_machine_code(tmp_path / "file" / "numba")
        != tmp_path / "file" / "numba"
    )


def test_large_work_compiles_nothing_in_its_own_process() -> None:
    """The compiler would take more memory than the work."""
    program = """
import sys
from backtester.testing import a_market
from backtester.plan import Plan
from backtester.run import backtest
from strategy_engine.strategies.moving_average import MovingAverage
backtest(MovingAverage(), a_market(1, 300, 1, minutes=False, wild=0.01, holes=0.0), Plan(), compiled=True)
from backtester import compiled
missed = compiled.simulate.stats.cache_misses
sys.exit(f"{missed} were missing" if missed or not compiled.simulate.stats.cache_hits else None)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_numba_that_always_counts_references_is_told_nothing_else_and_named_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from numba.core import cpu

    from backtester import compiled

    assert compiled.leaves_counts_out(cpu.CPUTargetOptions)
    assert compiled.options_of(kernel.trade, leave_out=True)[compiled.UNCOUNTED] is False
    assert caplog.messages == []

    assert not compiled.leaves_counts_out(object())
    assert compiled.options_of(kernel.trade, leave_out=False) == {"error_model": "numpy"}
    [line] = caplog.messages
    assert "has no option _nrt" in line


@pytest.mark.prove
@pytest.mark.timeout(1_200)
def test_a_numba_without_the_option_finds_what_the_interpreter_finds(tmp_path: Path) -> None:
    program = """
from numba.core import cpu
cpu.CPUTargetOptions = object  # what a version without it would show; what Numba itself compiles keeps its own
from backtester import compiled
from backtester.testing import a_market
from backtester.plan import Plan
from backtester.run import backtest
from strategy_engine.strategies.moving_average import MovingAverage
market = a_market(3, 600, 1, minutes=False, wild=0.03, holes=0.1)
alone = backtest(MovingAverage(), market, Plan(), compiled=False).summary
assert backtest(MovingAverage(), market, Plan(), compiled=True).summary == alone, alone
print(alone["trades"] > 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
    )

    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert done.stderr.count("has no option _nrt") == 1
