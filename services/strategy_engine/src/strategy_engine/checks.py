"""Does a strategy use what it could not have known, or more bars than it says it needs?

A backtest shows a strategy the whole history, live trading only what has happened, and of that only `bars_needed` bars. So
the same bars are decided on again, once with the future cut off and once in the window that live trading would show, and
the answers are compared. Bars with wishes are looked at first, others in between; how many is bounded, so a strategy
without differences is one in which none was found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from shared.domain.fundamentals import FUNDAMENTALS
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from strategy_engine.fundamentals import Snapshots, snapshots_of
from strategy_engine.panels import FIGURES, Panel
from strategy_engine.strategy import Strategy, VectorStrategy, Wish, Wishes, read_wish
from strategy_engine.universe import with_fundamentals

# So many instants are decided on again, and of so much history at most.
MOST_INSTANTS = 40
_MOST_ROWS = 6_000
_MOST_CELLS = 1_000_000
_MOST_DIFFERENCES = 20
# What differs by less is rounding.
_SAME = 1e-9
_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Difference:
    """One answer that changed: `row` counts from the first row of the panel that was given."""

    row: int
    symbol: Symbol
    sentence: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What was looked at, and what was found: at most a few differences, the oldest first."""

    instants: int
    wishes: int
    differences: tuple[Difference, ...]


def check_lookahead(strategy: Strategy, panel: Panel, most: int = MOST_INSTANTS) -> Checked:
    """Whether what `strategy` says of a bar changes when all bars after it are taken away.

    One that is asked bar by bar never sees them, so it is asked twice instead: an answer that changes then comes from
    something else than its bars.

    Raises:
        InvalidWish: it answered what cannot be meant. Whatever else it raises passes through.
    """
    some, first = _bounded(strategy, panel)
    if not isinstance(strategy, VectorStrategy):
        return _asked_twice(strategy, some, first, most)
    whole = _stated(strategy, some)
    rows = _chosen(whole, most)
    found: list[Difference] = []
    for row in rows:
        cut = _stated(strategy, some.until(row))
        found += _differences(
            some, row, first, whole, cut, "with all bars", "without those that came later"
        )
    return _checked(rows, whole, found)


def check_warmup(strategy: Strategy, panel: Panel, most: int = MOST_INSTANTS) -> Checked:
    """Whether `strategy` says of a bar in the window that live trading shows what it says with all bars before it.

    A difference means that its `bars_needed` is too small, or that it remembers where the series began.

    Raises:
        InvalidWish: it answered what cannot be meant. Whatever else it raises passes through.
    """
    some, first = _bounded(strategy, panel)
    if not isinstance(strategy, VectorStrategy):
        return _in_views(strategy, some, first, most)
    whole = _stated(strategy, some)
    rows = _chosen(whole, most)
    found: list[Difference] = []
    for row in rows:
        window = some.newest(row, strategy.bars_needed)
        live = strategy.checked_wishes(window)
        for column, symbol in enumerate(window.symbols):
            said = whole.at(row, some.symbols.index(symbol))
            now = live.at(-1, column)
            if not _alike(said, now):
                found.append(
                    _difference(
                        row + first,
                        symbol,
                        said,
                        now,
                        "with all bars before it",
                        f"with the {strategy.bars_needed} it says it needs",
                    )
                )
    return _checked(rows, whole, found)


def made_up_bars(
    strategy: Strategy, timeframe: Timeframe, symbols: int = 5, seed: int = 7
) -> Panel:
    """A random walk long enough for `strategy`, with bars missing here and there; always the same for one `seed`."""
    random = np.random.default_rng(seed)
    count = min(_MOST_ROWS, 2 * strategy.bars_needed + 500)
    steps = random.normal(0.0, 0.02, (count, symbols))
    close = np.round(np.maximum(100.0 * np.exp(np.cumsum(steps, axis=0)), 0.01), 2)
    opens = np.round(np.maximum(close * (1.0 + random.normal(0.0, 0.005, close.shape)), 0.01), 2)
    high = np.round(np.maximum(opens, close) * (1.0 + random.random(close.shape) / 100), 2)
    low = np.round(np.maximum(np.minimum(opens, close) * 0.99, 0.01), 2)
    volume = random.integers(1_000, 100_000, close.shape).astype(np.float64)
    missing = random.random(close.shape) < 0.02
    missing[:, 0] = False
    drawn = [np.asarray(v, np.float64) for v in (opens, high, low, close, volume)]
    figures = dict(
        zip(FIGURES, (np.where(missing, np.nan, values) for values in drawn), strict=True)
    )
    # Sessions of 390 minutes that begin at 14:30 UTC; a daily bar ends with its session.
    per_day = 1 if timeframe is Timeframe.DAY else int(23_400 // timeframe.length.total_seconds())
    number = np.arange(count)
    length_us = 23_400_000_000 // per_day
    ends = number // per_day * _DAY_US + 52_200_000_000 + (number % per_day + 1) * length_us
    panel = Panel(
        timeframe,
        tuple(Symbol(f"MADE{n}") for n in range(symbols)),
        *(figures[name] for name in FIGURES),
        end_us=np.repeat(ends[:, None], symbols, axis=1),
    )
    return with_fundamentals(panel, _made_up_snapshots(panel, random))


def _made_up_snapshots(panel: Panel, random: np.random.Generator) -> Snapshots:
    """Something new of every company at every fifth bar, taken within a day before it ended, with figures missing."""
    count = len(panel) // 5 * len(panel.symbols)
    rows, columns = (
        random.integers(0, len(panel), count),
        random.integers(0, len(panel.symbols), count),
    )
    figures = random.uniform(-0.2, 2.0, (count, len(FUNDAMENTALS)))
    return snapshots_of(
        [panel.symbols[column] for column in columns.tolist()],
        panel.times[rows, columns] - random.integers(0, _DAY_US, count),
        np.where(random.random(figures.shape) < 0.1, np.nan, figures),
    )


# ---------------------------------------------------------------------- which bars


def _bounded(strategy: Strategy, panel: Panel) -> tuple[Panel, int]:
    """The newest part of `panel` that can be looked at in a moment, and its first row."""
    columns = len(panel.symbols)
    if not strategy.compares_symbols:
        columns = max(1, min(columns, _MOST_CELLS // min(len(panel), _MOST_ROWS)))
    first = max(0, len(panel) - _MOST_ROWS)
    if first == 0 and columns == len(panel.symbols):
        return panel, 0
    cut = {name: getattr(panel, name)[first:, :columns] for name in FIGURES}
    known = panel.fundamentals
    return Panel(
        panel.timeframe,
        panel.symbols[:columns],
        **cut,
        end_us=None if panel.end_us is None else panel.end_us[first:, :columns],
        screened=None if panel.screened is None else panel.screened[first:, :columns],
        fundamentals=None if known is None else known.taken(known.place[first:, :columns]),
    ), first


def _stated(strategy: VectorStrategy, panel: Panel) -> Wishes:
    return strategy.checked_wishes(panel)


def _chosen(whole: Wishes, most: int) -> list[int]:
    """Rows with wishes, evenly chosen, and as many others in between; the newest is among them."""
    wished = whole.wished.any(axis=1)
    others = _evenly(np.flatnonzero(~wished), most // 2)
    with_wishes = _evenly(np.flatnonzero(wished), most - len(others))
    if len(with_wishes) + len(others) < most:
        others = _evenly(np.flatnonzero(~wished), most - len(with_wishes))
    return sorted({*with_wishes, *others})


def _evenly(rows: np.ndarray, most: int) -> list[int]:
    if len(rows) <= most:
        return [int(row) for row in rows]
    # From the last one backwards, since early rows have little before them.
    places = np.linspace(len(rows) - 1, 0, max(most, 1), dtype=np.int64)
    return [int(row) for row in rows[places]]


def _checked(rows: list[int], whole: Wishes, found: list[Difference]) -> Checked:
    return Checked(len(rows), int(whole.wished[rows].sum()), tuple(found[:_MOST_DIFFERENCES]))


# ---------------------------------------------------------------------- what differs


def _differences(
    panel: Panel, row: int, first: int, whole: Wishes, cut: Wishes, how: str, otherwise: str
) -> Iterator[Difference]:
    """The answers of one row of `whole` that are others in the last row of `cut`."""
    for column, symbol in enumerate(panel.symbols):
        said, now = whole.at(row, column), cut.at(-1, column)
        if not _alike(said, now):
            yield _difference(row + first, symbol, said, now, how, otherwise)
            continue
        if said is not None or np.isnan(panel.close[row, column]):
            continue
        # A figure that knows the future shows also where it has not led to a wish yet.
        for name, values in whole.figures.items():
            before, after = float(values[row, column]), float(cut.figures[name][-1, column])
            if not _near(before, after):
                yield Difference(
                    row + first,
                    symbol,
                    f"{name} is {before:.6g} {how} and {after:.6g} {otherwise}",
                )
                break


def _near(a: float, b: float) -> bool:
    return (np.isnan(a) and np.isnan(b)) or abs(a - b) <= _SAME * max(abs(a), abs(b), 1.0)


def _alike(a: Wish | None, b: Wish | None) -> bool:
    if a is None or b is None:
        return a is b
    return (
        a.direction is b.direction
        and _near(a.conviction, b.conviction)
        and a.figures.keys() == b.figures.keys()
        and all(_near(value, b.figures[name]) for name, value in a.figures.items())
    )


def _difference(
    row: int, symbol: Symbol, said: Wish | None, now: Wish | None, how: str, otherwise: str
) -> Difference:
    if said is not None and now is not None and said.direction is now.direction:
        name = next(
            (
                n
                for n, value in said.figures.items()
                if not _near(value, now.figures.get(n, np.nan))
            ),
            "conviction",
        )
        a = said.figures.get(name, said.conviction)
        b = now.figures.get(name, now.conviction)
        return Difference(row, symbol, f"{name} is {a:.6g} {how} and {b:.6g} {otherwise}")
    words = ["nothing" if wish is None else wish.direction.value for wish in (said, now)]
    return Difference(row, symbol, f"it says {words[0]} {how} and {words[1]} {otherwise}")


# ---------------------------------------------------------------------- asked bar by bar


def _views(panel: Panel, most: int) -> Iterator[tuple[int, int]]:
    """Some bars, by row and column."""
    places = np.argwhere(~np.isnan(panel.close))
    for i in _evenly(np.arange(len(places)), most * len(panel.symbols)):
        yield int(places[i, 0]), int(places[i, 1])


def _answer(strategy: Strategy, panel: Panel, row: int, column: int, bars: int) -> Wish | None:
    window = panel.newest(row, bars)
    seen = window.view(window.symbols.index(panel.symbols[column]))
    return read_wish(strategy.generate_signal(seen))


def _asked_twice(strategy: Strategy, panel: Panel, first: int, most: int) -> Checked:
    found, wishes, places = [], 0, list(_views(panel, most))
    before = [_answer(strategy, panel, *place, strategy.bars_needed) for place in places]
    # Backwards: what remembers that it was asked before then remembers something else.
    again = [_answer(strategy, panel, *place, strategy.bars_needed) for place in places[::-1]]
    for (row, column), said, now in zip(places, before, again[::-1], strict=True):
        wishes += said is not None
        if not _alike(said, now):
            found.append(
                _difference(
                    row + first, panel.symbols[column], said, now, "at first", "when asked again"
                )
            )
    return Checked(len({row for row, _ in places}), wishes, tuple(found[:_MOST_DIFFERENCES]))


def _in_views(strategy: Strategy, panel: Panel, first: int, most: int) -> Checked:
    found, wishes, places = [], 0, list(_views(panel, most))
    for row, column in places:
        said = _answer(strategy, panel, row, column, row + 1)
        now = _answer(strategy, panel, row, column, strategy.bars_needed)
        wishes += said is not None
        if not _alike(said, now):
            found.append(
                _difference(
                    row + first,
                    panel.symbols[column],
                    said,
                    now,
                    "with all bars before it",
                    f"with the {strategy.bars_needed} it says it needs",
                )
            )
    return Checked(len({row for row, _ in places}), wishes, tuple(found[:_MOST_DIFFERENCES]))
