"""Would this be the same bet as one that is held already?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from math import log, sqrt
from operator import mul
from typing import NamedTuple

from risk_manager.limits.allowed import Limits
from risk_manager.limits.codes import Code
from shared.domain.arithmetic import NOISE
from shared.domain.decisions import Check

Closes = Mapping[int, float]
"""A symbol's newest closes (dollars) by the end of their bar (any growing number), oldest first."""


class Moves(NamedTuple):
    """Log returns with their mean taken away, and the sum of their squares."""

    centred: list[float]
    squares: float


class KeptCloses(dict[int, float]):
    """Closes that nobody changes any more. What is worked out of them stays with them: many decisions see the same bars."""

    __slots__ = ("_moves", "_newest", "ends")

    def __init__(self, closes: Iterable[tuple[int, float]]) -> None:
        super().__init__(closes)
        self.ends = tuple(self)
        self._newest: tuple[int, tuple[int, ...]] | None = None
        self._moves: tuple[tuple[int, ...], Moves] | None = None

    def newest_ends(self, returns: int) -> tuple[int, ...]:
        """One more than the returns wanted, if there are; the same object as long as the same is asked."""
        kept = self._newest
        if kept is None or kept[0] != returns:
            kept = self._newest = returns, self.ends[-(returns + 1) :]
        return kept[1]

    def moves(self, ends: tuple[int, ...]) -> Moves:
        """Their log returns between `ends`, with the mean taken away; those asked for last are kept."""
        kept = self._moves
        if kept is None or kept[0] != ends:
            kept = self._moves = ends, _moved(log_returns(self, ends))
        return kept[1]


def correlation_of(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Pearson's coefficient of two series of the same length; 0 when one of them never moves."""
    return _coefficient(_moved(xs), _moved(ys))


def _coefficient(xs: Moves, ys: Moves) -> float:
    """Pearson's of two series that have their means taken away."""
    xy = 0.0
    for product in map(mul, xs.centred, ys.centred):
        xy += product
    if xs.squares <= 0.0 or ys.squares <= 0.0:
        return 0.0
    return max(-1.0, min(1.0, xy / (sqrt(xs.squares) * sqrt(ys.squares))))


def _moved(values: Sequence[float]) -> Moves:
    total, squares = 0.0, 0.0
    for value in values:
        total += value
    mean = total / len(values) if values else 0.0
    centred = [value - mean for value in values]
    for value in centred:
        squares += value * value
    return Moves(centred, squares)


def common_ends(mine: Closes, other: Closes, returns: int) -> tuple[int, ...]:
    """The ends of the newest bars that both have: one more than the returns wanted, if there are."""
    if isinstance(mine, KeptCloses) and isinstance(other, KeptCloses) and mine.ends == other.ends:
        return mine.newest_ends(returns)
    shared = mine if mine.keys() == other.keys() else [end for end in mine if end in other]
    return tuple(shared)[-(returns + 1) :]


def log_returns(closes: Closes, ends: Sequence[int]) -> list[float]:
    """Log returns between consecutive bars of `ends`; one fewer than there are bars."""
    logs = [log(closes[end]) for end in ends]
    return [later - earlier for earlier, later in pairwise(logs)]


def _moves(closes: Closes, ends: tuple[int, ...]) -> Moves:
    if isinstance(closes, KeptCloses):
        return closes.moves(ends)
    return _moved(log_returns(closes, ends))


def correlation(mine: Closes, others: Mapping[str, Closes], limits: Limits) -> Check:
    """How alike this symbol moves to each one held or on order; nothing held, nothing to compare.

    With too few bars in common the answer is unknown, which refuses: two symbols nobody can tell apart might
    be one bet twice. On which sides they are held does not count: what cancels today is a bet of its own once a stop has
    taken one of the two.

    Args:
        mine: closes of the symbol to be bought; `others`: those of each symbol held or on order.
    Source: Pearson (1895), Proc. R. Soc. 58, 240-242; correlated markets as one bet: Faith (2003), The Original
        Turtle Trading Rules, ch. 3.
    """
    worst, worst_symbol = 0.0, ""
    # Mostly all symbols have the same bars, so its own returns are the same for each comparison.
    known: dict[tuple[int, ...], Moves] = {}
    seen, xs = None, Moves([], 0.0)
    for symbol, closes in others.items():
        ends = common_ends(mine, closes, limits.correlation_bars)
        if ends is not seen:
            if ends not in known:
                known[ends] = _moves(mine, ends)
            seen, xs = ends, known[ends]
        if len(xs.centred) < limits.least_common_returns:
            return Check(
                Code.CORRELATION,
                False,
                float(limits.least_common_returns),
                float(len(xs.centred)),
                "returns in common",
                f"only {len(xs.centred)} returns in common with {symbol}, which is held or on order; "
                f"{limits.least_common_returns} are needed to compare",
            )
        alike = abs(_coefficient(xs, _moves(closes, ends)))
        if alike > worst or not worst_symbol:
            worst, worst_symbol = alike, symbol
    text = (
        f"{worst:.3f} with {worst_symbol}" if worst_symbol else "nothing else is held or on order"
    )
    return Check(
        Code.CORRELATION,
        worst <= limits.max_correlation + NOISE,
        limits.max_correlation,
        worst,
        "absolute correlation",
        f"{text}, at most {limits.max_correlation:g}",
    )
