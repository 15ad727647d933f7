"""How long does each shipped strategy take for one new bar of the whole market?

In one process, without servers: windows of 10,000 symbols are read from a Parquet store of their own, as at a start, then each
new minute is pushed and every strategy asked, as `strategy_engine.service` does it. Of every company three snapshots of
fundamentals are known to those that ask. Measured from the batch's bars in memory to its signals, once with every symbol in the minute and once with six of ten, which is what a real minute looks
like. The floor is one copy of the windows' bytes. Processor time stands beside the wall's and is what is held against the
wanted 300 ms, since machines are shared.

    python -m benchmarks.evaluation [symbols]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.store import market_of, names_of
from shared.adapters.parquet import ParquetBars
from shared.domain.bar_blocks import BarBlock, from_epoch_us, to_epoch_us
from shared.domain.fundamentals import FUNDAMENTALS
from shared.domain.money import MICROS
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from strategy_engine.catalogue import discover
from strategy_engine.evaluation import evaluate
from strategy_engine.fundamentals import snapshots_of
from strategy_engine.ports import Batch
from strategy_engine.strategy import Strategy
from strategy_engine.universe import Universe
from strategy_engine.windows import Windows, select

_OPENS_AT = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
_WANTED_MS = 300.0
_MINUTES = 5
_MINUTE_US = 60_000_000


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor milliseconds of one call."""
    began, busy = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - began) * 1_000, (time.process_time() - busy) * 1_000


def _batch(number: int, block: BarBlock) -> Batch:
    return Batch(
        number,
        Timeframe.MINUTE,
        from_epoch_us(int(block.start_us[0])),
        from_epoch_us(int(block.end_us[0])),
        block.symbols,
        decidable=True,
    )


def _universe(symbols: tuple[Symbol, ...], first_us: int) -> Universe:
    """Figures of every company, taken a day, three hours and an hour before."""
    random = np.random.default_rng(4)
    taken = [first_us - hours * 60 * _MINUTE_US for hours in (24, 3, 1)]
    figures = random.uniform(-0.2, 2.0, (len(taken) * len(symbols), len(FUNDAMENTALS)))
    return Universe(
        snapshots=snapshots_of(symbols * len(taken), np.repeat(taken, len(symbols)), figures)
    )


def _minutes(
    strategy: Strategy,
    windows: Windows,
    symbols: tuple[Symbol, ...],
    universe: Universe,
    share: float,
    first_us: int,
) -> tuple[float, float, int]:
    """The median wall and processor time of a minute, and how many signals all gave."""
    random = np.random.default_rng(3)
    taken, signals = [], 0
    for number in range(_MINUTES + 1):
        start_us = first_us + number * _MINUTE_US
        # From the last close on, by some cents: made up anew, half of the market would be a signal.
        last = np.rint(windows.panel(symbols, 1).close[-1] * MICROS).astype(np.int64)
        close = last + random.integers(-9, 10, len(symbols)) * 10_000
        made = market_of(symbols, np.array([start_us]), number)
        prices = {"open": last, "high": close + 500_000, "low": close - 500_000, "close": close}
        block = select(replace(made, **prices), random.random(len(made)) < share)

        def minute(block: BarBlock = block, number: int = number) -> None:
            nonlocal signals
            windows.push(block)
            at = from_epoch_us(int(block.end_us[0]))
            batch = _batch(number, block)
            found = evaluate([strategy], {}, windows, block, batch, "bench", at, universe)
            assert not found.runs[0].failures, found.runs[0].last_error
            signals += len(found.signals)

        taken.append(_timed(minute))
    # The first one pays for first allocations.
    walls, busy = zip(*taken[1:], strict=True)
    return median(walls), median(busy), signals


def measure(count: int) -> None:
    """Print what each strategy takes."""
    symbols = names_of(count)
    kinds = discover().strategies
    made = [kind() for kind in kinds.values()]
    deepest = max(strategy.bars_needed for strategy in made)
    starts = to_epoch_us(_OPENS_AT) + _MINUTE_US * np.arange(deepest)
    next_us = int(starts[-1]) + _MINUTE_US
    universe = _universe(symbols, next_us)
    with tempfile.TemporaryDirectory(prefix="full-ai-trader-bench-") as name:
        store = ParquetBars(Path(name))
        for first in range(0, deepest, 50):
            block = market_of(symbols, starts[first : first + 50], first)
            store.append(block, provider="bench", fetched_at=_OPENS_AT)
        print(
            f"{'strategy':18} {'bars':>5} {'warm-up':>9} {'all: wall':>10} {'cpu':>7} {'60%: wall':>10} "
            f"{'cpu':>7} {'floor':>7} {'signals':>8}"
        )
        for strategy in made:
            windows = Windows(Timeframe.MINUTE, strategy.bars_needed)

            def warm_up(windows: Windows = windows) -> None:
                until_at = from_epoch_us(next_us)
                history = store.last(Timeframe.MINUTE, symbols, windows.depth, until_at)
                windows.load(symbols, history, next_us)

            warm_ms, _ = _timed(warm_up)
            everything = np.ones((6, count, strategy.bars_needed))
            floor_ms = min(_timed(everything.copy)[0] for _ in range(3))
            whole = _minutes(strategy, windows, symbols, universe, 1.0, next_us)
            later = next_us + timedelta(minutes=_MINUTES + 1) // timedelta(microseconds=1)
            part = _minutes(strategy, windows, symbols, universe, 0.6, later)
            verdict = "" if whole[1] <= _WANTED_MS else f"  over {_WANTED_MS:.0f} ms"
            print(
                f"{strategy.name:18} {strategy.bars_needed:5} {warm_ms:6.0f} ms {whole[0]:7.0f} ms "
                f"{whole[1]:4.0f} ms {part[0]:7.0f} ms {part[1]:4.0f} ms {floor_ms:4.0f} ms "
                f"{whole[2] + part[2]:8}{verdict}"
            )


if __name__ == "__main__":
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
