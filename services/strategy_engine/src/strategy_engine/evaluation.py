"""What do the strategies wish for at this instant?

Windows go in, signals come out, and what each strategy's run was like. A strategy is code that somebody else
wrote: one that raises, takes too long, or answers what cannot be meant, is heard no further at this instant, none of
its wishes count, and after three such runs in a row it is off. The others are evaluated all the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import numpy as np
import structlog

from shared.domain.bar_blocks import BarBlock
from shared.domain.ids import signal_id
from shared.domain.money import MICROS, from_micros, plain
from shared.domain.signals import Direction, Signal
from shared.domain.symbols import Symbol
from strategy_engine.panels import Panel
from strategy_engine.patience import LIMIT_S, within
from strategy_engine.ports import Batch, StrategyRun
from strategy_engine.strategy import InvalidWish, Strategy, VectorStrategy, Wish, read_wish
from strategy_engine.universe import Universe, with_fundamentals, with_screens
from strategy_engine.windows import Windows

_log = structlog.get_logger(__name__)
FAILURES_UNTIL_OFF = 3
_LONGEST_ERROR = 300
# Values per figure that a strategy is asked about at a time: they stay in the processor's cache.
_AT_ONCE = 200_000
NOTHING_SEEN = Universe()


@dataclass(frozen=True, slots=True)
class Evaluated:
    """All signals of one instant, sorted by strategy and symbol, and the runs behind them."""

    signals: tuple[Signal, ...]
    runs: tuple[StrategyRun, ...]


def newest_wishes(strategy: Strategy, panel: Panel) -> dict[Symbol, Wish]:
    """What `strategy` newly wishes for in the last row of `panel`.

    Raises:
        InvalidWish: the answer cannot be meant. Whatever else the strategy raises passes through.
    """
    wishes: dict[Symbol, Wish] = {}
    if isinstance(strategy, VectorStrategy):
        stated = strategy.checked_wishes(panel)
        columns = np.flatnonzero(stated.wished[-1]).tolist()
        found = ((column, stated.at(-1, column)) for column in columns)
    else:
        columns = np.flatnonzero(~np.isnan(panel.close[-1])).tolist()
        found = (
            (column, read_wish(strategy.generate_signal(panel.view(column)))) for column in columns
        )
    for column, wish in found:
        if wish is None:
            continue
        symbol = panel.symbols[column]
        if wish.direction is Direction.SHORT and not strategy.allows_shorts:
            raise InvalidWish(
                "a strategy that wishes to be SHORT must declare a switch allow_short, and it must be on"
            )
        for name, value in wish.figures.items():
            if not math.isfinite(value):
                raise InvalidWish(f"figure {name} of {symbol} is {value}")
        wishes[symbol] = wish
    return wishes


def wishes_in(
    strategy: Strategy,
    windows: Windows,
    symbols: Sequence[Symbol],
    universe: Universe,
) -> dict[Symbol, Wish]:
    """What `strategy` newly wishes for, of `symbols` (sorted), which all have a bar at this instant.

    One that does not compare symbols is asked about a few at a time, which changes no answer.
    """
    width = len(symbols)
    if not strategy.compares_symbols:
        width = max(1, _AT_ONCE // strategy.bars_needed)
    wishes: dict[Symbol, Wish] = {}
    for first in range(0, len(symbols), width):
        panel = windows.panel(symbols[first : first + width], strategy.bars_needed)
        if strategy.uses_screens:
            panel = with_screens(panel, universe.screens)
        if strategy.uses_fundamentals:
            panel = with_fundamentals(panel, universe.snapshots)
        wishes |= newest_wishes(strategy, panel)
    return wishes


def signals_of(
    strategy: Strategy,
    windows: Windows,
    block: BarBlock,
    batch: Batch,
    account: str,
    universe: Universe = NOTHING_SEEN,
    limit_s: float = LIMIT_S,
) -> list[Signal]:
    """The signals `strategy` gives for `batch`, whose bars are `block` and the newest of `windows`.

    Raises:
        TookTooLong: it took longer than `limit_s`.
        InvalidWish: the answer cannot be meant. Whatever else the strategy raises passes through.
    """
    wishes = within(limit_s, partial(wishes_in, strategy, windows, block.symbols, universe))
    closes = dict(zip(block.symbols, block.close.tolist(), strict=True)) if wishes else {}
    return [
        Signal(
            signal_id=signal_id(
                account, strategy.name, symbol, batch.timeframe.value, batch.end_at
            ),
            account=account,
            strategy=strategy.name,
            symbol=symbol,
            timeframe=batch.timeframe,
            bar_start_at=batch.start_at,
            bar_end_at=batch.end_at,
            direction=wish.direction,
            conviction=float(wish.conviction),
            reason=wish.reason,
            reference_price=from_micros(closes[symbol]),
            figures={name: figure_text(value) for name, value in wish.figures.items()},
        )
        for symbol, wish in sorted(wishes.items())
    ]


def figure_text(value: float) -> str:
    """A finite figure as people read it: to a millionth, without trailing zeros."""
    return plain(from_micros(round(value * MICROS)))


def evaluate(
    strategies: Sequence[Strategy],
    runs: Mapping[str, StrategyRun],
    windows: Windows,
    block: BarBlock,
    batch: Batch,
    account: str,
    ran_at: datetime,
    universe: Universe = NOTHING_SEEN,
    limit_s: float = LIMIT_S,
) -> Evaluated:
    """Ask every strategy that is on; `windows` must already hold `block`, the bars of `batch`."""
    signals: list[Signal] = []
    after: list[StrategyRun] = []
    for strategy in sorted(strategies, key=lambda s: s.name):
        before = runs.get(strategy.name, StrategyRun(strategy.name))
        if before.is_off:
            continue
        try:
            made = signals_of(strategy, windows, block, batch, account, universe, limit_s)
        except Exception as error:  # noqa: BLE001  # a stranger's code may raise anything
            run = after_failure(before, error, batch, ran_at)
            _log.warning(
                "strategy failed",
                strategy=strategy.name,
                batch_id=batch.id,
                failures=run.failures,
                off=run.is_off,
                exc_info=error,
            )
        else:
            signals += made
            run = StrategyRun(
                strategy.name,
                instant_at=batch.end_at,
                signals=len(made),
                ran_at=ran_at,
                last_error=before.last_error,
            )
        after.append(run)
    return Evaluated(tuple(signals), tuple(after))


def after_failure(
    before: StrategyRun, error: Exception, batch: Batch, ran_at: datetime
) -> StrategyRun:
    """The state of a strategy that failed on `batch`."""
    failures = before.failures + 1
    text = f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]
    return replace(
        before,
        failures=failures,
        is_off=failures >= FAILURES_UNTIL_OFF,
        last_error=f"{batch.end_at.isoformat()} {text}",
        instant_at=batch.end_at,
        signals=0,
        ran_at=ran_at,
    )
