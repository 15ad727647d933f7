"""Which line of a strategy's own file was it?

Who writes a strategy wants that line, and not the depth of whatever it called. The lines of a failure, or of a thread that
was no longer waited for, go in; the innermost one that lies in a file of the strategy's classes comes out.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterable
from pathlib import Path

import strategy_engine.strategy
from strategy_engine.patience import Line
from strategy_engine.strategy import IndicatorStrategy, Strategy, VectorStrategy


def lines_of(error: BaseException) -> tuple[Line, ...]:
    """Where `error` came through, the innermost line first."""
    found = traceback.walk_tb(error.__traceback__)
    return tuple((frame.f_code.co_filename, line) for frame, line in found)[::-1]


def place_in(strategy: Strategy, lines: Iterable[Line] = (), answer: str = "") -> str:
    """`mine.py line 12`: the first of `lines` in a file of `strategy`, else where it states its answer.

    Args:
        answer: the method that answered; by default the one that every strategy of its kind has.
    """
    files = _files_of(type(strategy))
    for path, line in lines:
        if path in files:
            return f"{Path(path).name} line {line}"
    method = getattr(type(strategy), answer or _asked_for(strategy))
    try:
        line = inspect.getsourcelines(method)[1]
        path = inspect.getsourcefile(method) or ""
    except (OSError, TypeError):  # made without a file
        return type(strategy).__name__
    return f"{Path(path).name} line {line}"


def _asked_for(strategy: Strategy) -> str:
    if isinstance(strategy, VectorStrategy):
        return "wishes"
    return "decide" if isinstance(strategy, IndicatorStrategy) else "generate_signal"


def _files_of(kind: type[Strategy]) -> set[str]:
    """The files of its classes, without the one of the bases that all strategies share."""
    shared = strategy_engine.strategy.__name__
    found = set()
    for each in kind.__mro__:
        if issubclass(each, Strategy) and each.__module__ != shared:
            path = inspect.getsourcefile(each)
            if path is not None:
                found.add(path)
    return found
