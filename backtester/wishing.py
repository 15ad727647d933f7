"""What does a strategy wish for, over a whole history?

Vectorised strategies are asked once, others bar by bar with the view that they would have live. A strategy is code that
somebody else wrote: what it raises, and answers that cannot be meant, end the backtest with its name, the
symbol and the day, and no partial report.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from backtester.history import History
from backtester.terms import FLAT, LONG, SHORT, Wishes
from shared.domain.errors import InvalidInput, TradingError
from shared.domain.signals import Direction
from strategy_engine.panels import FIGURES, View
from strategy_engine.patience import LIMIT_S, EndedTheProcess, TookTooLong, within
from strategy_engine.strategies.moving_average import MovingAverage
from strategy_engine.strategy import (
    IndicatorStrategy,
    InvalidWish,
    Strategy,
    VectorStrategy,
    Wish,
)

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


# Bars of which indicators are numbers of the interpreter's at a time.
_AT_ONCE = 65_536
# So long may a strategy think about all bars at once, as in `trader check`.
ALL_BARS_WITHIN_S = 300.0
_SLOW_BAR = "live trading would not wait for it either"
_SLOW_PANEL = "let it do less, or give it fewer bars or symbols"
_DIRECTIONS = {Direction.LONG: LONG, Direction.FLAT: FLAT, Direction.SHORT: SHORT}


class StrategyFailed(TradingError):
    """The strategy's own code failed."""


@dataclass(frozen=True, slots=True)
class Wished:
    """All wishes in the order in which they are decided, and the reasons that reports carry.

    `reasons`: one per wish; empty where all wishes of a kind have the same, `entry_reason` or `exit_reason`.
    """

    wishes: Wishes
    entry_reason: str
    exit_reason: str
    reasons: tuple[str, ...] = ()

    def reason(self, number: int) -> str:
        """Why the wish of that number was given."""
        if self.reasons:
            return self.reasons[number]
        is_long = self.wishes.direction[number] == LONG
        return self.entry_reason if is_long else self.exit_reason


CompiledForm = Callable[[Strategy, Floats], tuple[int, Ints, Ints, Bools, Floats]]


def _moving_average(strategy: Strategy, close: Floats) -> tuple[int, Ints, Ints, Bools, Floats]:
    from backtester.compiled import crossings

    assert isinstance(strategy, MovingAverage)
    found: tuple[int, Ints, Ints, Bools, Floats] = crossings(
        close, strategy.short_window, strategy.long_window
    )
    return found


# Strategies whose panels have a compiled twin for large histories; a property test holds each pair equal.
COMPILED_FORMS: dict[type[Strategy], CompiledForm] = {MovingAverage: _moving_average}


def wishes_of(
    strategy: Strategy,
    history: History,
    *,
    compiled: bool,
    bar_within_s: float = LIMIT_S,
    all_within_s: float = ALL_BARS_WITHIN_S,
) -> Wished:
    """Every new wish of `strategy`; `compiled` allows machine code where there is some.

    Args:
        bar_within_s: so long may one that is asked bar by bar think about a bar, as live.
        all_within_s: so long one that states all bars at once.
    Raises:
        StrategyFailed: it raised, or took longer.
        InvalidWish: it answered what cannot be meant.
    """
    # A compiled form knows entries and exits alone.
    may = compiled and not strategy.allows_shorts
    form = COMPILED_FORMS.get(type(strategy)) if may else None
    if form is not None:
        close = np.ascontiguousarray(history.panel.close)
        n, row, column, is_entry, conviction = form(strategy, close)
        if n >= 0:
            # The reasons are words of the strategy's own, the same for every bar.
            assert isinstance(strategy, VectorStrategy)
            words = strategy.wishes(history.panel.until(0))
            # Found bar by bar, each by symbol; those of one symbol are in order as they stand.
            wishes = Wishes(row[:n], column[:n], is_entry[:n].astype(np.int64), conviction[:n])
            if close.shape[1] > 1:
                from backtester.compiled import ranked

                order = ranked(wishes.row, wishes.direction, wishes.conviction)
                wishes = Wishes(*(values[order] for values in wishes))
            return Wished(wishes, words.entry_reason, words.exit_reason)
    if isinstance(strategy, VectorStrategy) and type(strategy) in COMPILED_FORMS:
        # The project's own, which ends: a thread would cost as much as its answer.
        return _from_panel(strategy, history)
    asked = _Asked(history)
    limit_s = all_within_s if isinstance(strategy, VectorStrategy) else bar_within_s

    def found() -> Wished:
        if isinstance(strategy, VectorStrategy):
            return _from_panel(strategy, history)
        if isinstance(strategy, IndicatorStrategy):
            return _from_indicators(strategy, history, asked)
        return _bar_by_bar(strategy, history, asked)

    try:
        return within(limit_s, found, asked.reached)
    except Exception as error:  # a stranger's code may raise anything, or ask to end
        raise _failure(strategy, asked.where, limit_s, error) from error


def _failure(strategy: Strategy, where: str, limit_s: float, error: Exception) -> TradingError:
    """One sentence with strategy, bar and line of its file; `where` is empty when it was asked for all bars at once."""
    from strategy_engine.blame import lines_of, place_in  # needed here alone

    cause = error.__cause__ or error if isinstance(error, EndedTheProcess) else error
    lines = error.lines if isinstance(error, TookTooLong) else lines_of(cause)
    answer = "indicators" if isinstance(strategy, IndicatorStrategy) and not where else ""
    at = f"{where and ' '}{where} ({place_in(strategy, lines, answer)})"
    match error:
        case TookTooLong():
            mend = _SLOW_BAR if where else _SLOW_PANEL
            return StrategyFailed(
                f"strategy {strategy.name} took longer than {limit_s:g} s{at} and was stopped; {mend}"
            )
        case InvalidInput():
            return InvalidWish(f"strategy {strategy.name}{at}: {error}")
        case _:
            said = " ".join(str(cause).split())[:200]
            return StrategyFailed(
                f"strategy {strategy.name} failed{at}: {type(cause).__name__}: {said}"
            )


class _Asked:
    """Which bar a strategy is asked about, for whoever has to say where it fails or hangs."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._column = -1
        self._rows: Ints = np.empty(0, np.int64)
        self._numbers = itertools.count()

    def bars_of(self, column: int, rows: Ints) -> Iterator[int]:
        """The numbers of the bars of a symbol, each taken when its bar's turn has come."""
        self._column, self._rows, self._numbers = column, rows, itertools.count()
        return self._numbers

    def reached(self) -> object:
        """Something that changes with each bar."""
        return self._column, repr(self._numbers)

    @property
    def where(self) -> str:
        """`on AAPL at 2023-05-25`; empty before the first bar."""
        # What a count gives next is all that it tells of itself.
        taken = int(re.sub(r"\D", "", repr(self._numbers)))
        if self._column < 0 or not taken:
            return ""
        symbol = self._history.panel.symbols[self._column]
        return f"on {symbol} at {self._history.moment(int(self._rows[taken - 1]))}"


def _from_panel(strategy: VectorStrategy, history: History) -> Wished:
    panel = history.panel
    stated = strategy.checked_wishes(panel)
    # Row by row, each by symbol.
    cells = np.flatnonzero(stated.wished)
    row, column = np.divmod(cells, len(panel.symbols))
    conviction = np.ones(len(cells)) if stated.conviction is None else stated.conviction.take(cells)
    direction = np.where(stated.entries.take(cells), LONG, FLAT)
    if stated.shorts is not None:
        direction[stated.shorts.take(cells)] = SHORT
    is_possible = (conviction >= 0) & (conviction <= 1)
    _require(is_possible, "conviction", conviction, history, row, column)
    for name, values in stated.figures.items():
        figures = values.take(cells)
        _require(np.isfinite(figures), name, figures, history, row, column)
    closes = panel.close.take(cells)
    _require(~np.isnan(closes), "close", closes, history, row, column)
    return in_order(
        row.astype(np.int64),
        column.astype(np.int64),
        direction,
        conviction,
        stated.entry_reason,
        stated.exit_reason,
    )


def _require(
    is_right: Bools, name: str, values: Floats, history: History, row: Ints, column: Ints
) -> None:
    if not is_right.all():
        i = int(np.argmin(is_right))
        raise InvalidWish(
            f"{name} of {history.panel.symbols[column[i]]} is {values[i]} at "
            f"{history.moment(int(row[i]))}, where it has a signal; it must be a number there"
        )


def _from_indicators(strategy: IndicatorStrategy, history: History, asked: _Asked) -> Wished:
    panel = history.panel
    found = _Found(strategy)
    indicators = strategy.checked_indicators(panel)
    for column in range(len(panel.symbols)):
        has_bar = ~np.isnan(panel.close[:, column])
        rows = np.flatnonzero(has_bar)
        own = [values[has_bar, column] for values in indicators.values()]
        # Filled bar by bar, so that nothing later is there to be looked at.
        empty = [math.nan] * strategy.bars_needed
        kept = [deque(empty, maxlen=strategy.bars_needed) for _ in own]
        newest = MappingProxyType(dict(zip(indicators, kept, strict=True)))
        pushes = [values.append for values in kept]
        decide = strategy.decide
        numbers = asked.bars_of(column, rows)
        for first in range(0, len(rows), _AT_ONCE):
            # In parts, because a list of numbers takes four times the memory of an array.
            part = [values[first : first + _AT_ONCE].tolist() for values in own]
            for values, n in zip(zip(*part, strict=True), numbers, strict=False):
                for push, value in zip(pushes, values, strict=True):
                    push(value)
                wish = decide(newest)
                if wish is not None:
                    found.add(int(rows[n]), column, wish)
    return found.in_order()


def _bar_by_bar(strategy: Strategy, history: History, asked: _Asked) -> Wished:
    panel = history.panel
    found = _Found(strategy)
    for column, symbol in enumerate(panel.symbols):
        alone = panel.of(column)
        figures = [getattr(alone, name)[:, 0] for name in FIGURES]
        rows = np.flatnonzero(~np.isnan(panel.close[:, column]))
        for row, n in zip(rows.tolist(), asked.bars_of(column, rows), strict=False):
            first = max(0, n + 1 - strategy.bars_needed)
            # Copies, because from a slice one gets back to the whole, future included.
            view = View(panel.timeframe, symbol, *(f[first : n + 1].copy() for f in figures))
            wish = strategy.generate_signal(view)
            if wish is not None:
                found.add(row, column, wish)
    return found.in_order()


@dataclass
class _Found:
    """Wishes that were answered bar by bar."""

    strategy: Strategy
    wishes: list[tuple[int, int, int, float]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def add(self, row: int, column: int, answer: object) -> None:
        """Keep one answer.

        Raises:
            InvalidWish: it cannot be meant.
        """
        wish = Wish(answer) if isinstance(answer, Direction) else answer
        if not isinstance(wish, Wish):
            raise InvalidWish(
                f"generate_signal must give a Wish, a Direction or None, gave {wish!r:.80}"
            )
        if wish.direction is Direction.SHORT and not self.strategy.allows_shorts:
            raise InvalidWish(
                "it wishes to be SHORT, so it must declare a switch allow_short, and that must be on"
            )
        direction = _DIRECTIONS[wish.direction]
        self.wishes.append((row, column, direction, float(wish.conviction)))
        self.reasons.append(wish.reason)

    def in_order(self) -> Wished:
        """All of them as the engines take them."""
        rows, columns, directions, convictions = (
            zip(*self.wishes, strict=True) if self.wishes else ((), (), (), ())
        )
        return in_order(
            np.array(rows, np.int64),
            np.array(columns, np.int64),
            np.array(directions, np.int64),
            np.array(convictions, np.float64),
            next(
                (why for w, why in zip(self.wishes, self.reasons, strict=True) if w[2] == LONG), ""
            ),
            next(
                (why for w, why in zip(self.wishes, self.reasons, strict=True) if w[2] != LONG), ""
            ),
            self.reasons,
        )


def in_order(
    row: Ints,
    column: Ints,
    direction: Ints,
    conviction: Floats,
    entry_reason: str,
    exit_reason: str,
    reasons: Sequence[str] = (),
) -> Wished:
    """Wishes that were found by row and column, in the order in which the risk manager takes them."""
    if len(column) and column.max() > 0:
        # Exits first, then the most convinced, then by symbol; see `ranking`.
        rank = np.where(direction != FLAT, -conviction, -2.0)
        order = np.lexsort((column, rank, row))
        row, column, direction, conviction = (
            row[order],
            column[order],
            direction[order],
            conviction[order],
        )
        reasons = [reasons[i] for i in order.tolist()] if reasons else ()
    return Wished(
        Wishes(row, column, direction.astype(np.int64), conviction),
        entry_reason,
        exit_reason,
        tuple(reasons),
    )
