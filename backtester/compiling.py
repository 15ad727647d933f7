"""What is compiled, and where is its machine code kept?

Machine code is kept between processes in a folder named after the source of all that it is made of, because Numba itself looks
at one file's age only and would miss a rule that changed in another. It is made in a process of its own: the compiler takes
as much memory as a million bars and gives it back only when its process ends. Nothing here imports Numba.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from backtester import averages, kernel, marking, ranking, trips

# Longer than any machine takes; what is not ready then is made by whoever needs it.
_PATIENCE_S = 600.0
# Where the interpreter enters compiled code.
DOORS: tuple[Callable[..., Any], ...] = (
    kernel.simulate,
    trips.round_trips,
    averages.crossings,
    averages.means_of,
    averages.crossings_of_means,
    ranking.ranked,
)
# What the interpreter does its own way, many values at once or in lists, and what compiled code does in its place.
LOOPS: tuple[tuple[Callable[..., Any], Callable[..., Any]], ...] = (
    (marking.numbers, marking.numbers_as_array),
    (marking.flags, marking.flags_as_array),
    (marking.places, marking.places_as_array),
    (marking.mark_rows, marking.mark_rows_one_by_one),
    (marking.newest_day, marking.newest_day_one_by_one),
    (marking.first_meeting, marking.first_meeting_one_by_one),
    (marking.follow_peak, marking.follow_peak_one_by_one),
)
# An instruction to the processor in compiled code, which has no lines of its own.
_INSTRUCTIONS = (marking.expect,)


class Reach(NamedTuple):
    """All that compiled code is made of: the functions it calls, and what else it reads of modules."""

    functions: tuple[Callable[..., Any], ...]
    modules: tuple[str, ...]
    constants: tuple[tuple[str, object], ...]


def reach_of(doors: Iterable[Callable[..., Any]]) -> Reach:
    """Everything that `doors` lead to, by the names that they and what they call mention.

    A name that is mentioned otherwise may bring a function that nobody calls; such a one costs nothing.
    """
    skipped = {wide for wide, _ in LOOPS} | {*_INSTRUCTIONS}
    pending = [*doors, *(loop for _, loop in LOOPS)]
    functions: dict[Callable[..., Any], None] = dict.fromkeys(pending)
    modules, constants = set[str](), set[tuple[str, object]]()
    while pending:
        function = pending.pop()
        modules.add(function.__module__)
        for name, value in _mentioned(function):
            if isinstance(value, FunctionType):
                is_ours = not value.__module__.startswith("numpy") and value not in skipped
                if is_ours and value not in functions:
                    functions[value] = None
                    pending.append(value)
            elif isinstance(value, type) and hasattr(value, "_fields"):
                modules.add(value.__module__)
            elif isinstance(value, int | float | str | tuple):
                constants.add((name, value))
    called = set(functions) - {*doors} - {loop for _, loop in LOOPS}
    in_order = sorted(called, key=lambda each: (each.__module__, each.__qualname__))
    return Reach(tuple(in_order), tuple(sorted(modules)), tuple(sorted(constants, key=repr)))


def _mentioned(function: Callable[..., Any]) -> Iterator[tuple[str, object]]:
    """What the names in `function` stand for in its module, and in the modules that are among them."""
    assert isinstance(function, FunctionType)
    names = _names_in(function.__code__)
    for name in names & function.__globals__.keys():
        value = function.__globals__[name]
        yield name, value
        if isinstance(value, ModuleType):
            yield from ((each, vars(value)[each]) for each in names & vars(value).keys())


def _names_in(code: CodeType) -> set[str]:
    return set(code.co_names).union(
        *(_names_in(each) for each in code.co_consts if isinstance(each, CodeType))
    )


def folder_for_machine_code(wanted: Path) -> Path:
    """`wanted`, made if need be, or a folder for this process alone where that may not be written."""
    try:
        wanted.mkdir(parents=True, exist_ok=True)
    except OSError:
        may_write = False
    else:
        may_write = os.access(wanted, os.W_OK)
    if may_write:
        return wanted
    # Installed where its user may not write. A folder that others could write to must not hold code, so each
    # process compiles for itself; NUMBA_CACHE_DIR names a better place.
    return Path(tempfile.mkdtemp(prefix="full-ai-trader-numba-"))


@cache
def folder() -> Path:
    """Where machine code of the present source is kept."""
    source = hashlib.sha256(version("numba").encode())
    reach = reach_of(DOORS)
    for module in reach.modules:
        source.update(inspect.getsource(sys.modules[module]).encode())
    # Machine code holds numbers that other modules have named.
    source.update(repr(reach.constants).encode())
    own = Path(__file__)
    for path in (own, own.with_name("compiled.py")):
        source.update(path.read_bytes())
    named = os.environ.get("NUMBA_CACHE_DIR")
    root = folder_for_machine_code(
        Path(named) if named else own.resolve().parents[1] / ".cache" / "numba"
    )
    return root / source.hexdigest()[:16]


def make_ready() -> None:
    """Have machine code made by another process if there is none yet.

    Where that fails, whoever needs it compiles for itself.
    """
    made = folder() / "made"
    if made.exists() or "backtester.compiled" in sys.modules:
        return
    # The folder is told, because a process that may not write to the usual one has one of its own.
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder().parent)}
    try:
        done = subprocess.run(  # our own interpreter and module
            [sys.executable, "-m", "backtester.precompile"],
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE_S,
        )
        if done.returncode == 0:
            made.touch()
    except (OSError, subprocess.TimeoutExpired):
        return
