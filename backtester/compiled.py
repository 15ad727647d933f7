"""The fast engine as machine code.

Importing this costs the import of Numba, most of a second, so only large work does it. Nothing here decides
anything: each function is compiled from the very lines that the interpreter would run, the rules of the simulator and the
risk manager included. `compiling` finds which they are and says where their machine code is kept.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, cpu, types
from numba.extending import intrinsic, overload, register_jitable

from backtester import (
    account,
    averages,
    compiling,
    deciding,
    entries,
    kernel,
    marking,
    opening,
    protection,
    ranking,
    trips,
)

# Steps of the loop that are put in its place: to hand a book over costs as much as a step.
_STEPS = (opening.size_at_open, entries.size_at_open, protection.meet_bar, deciding.answer_wishes)
# Who makes arrays. In all others the compiler counts no references to them (and refuses one that makes an array after all):
# whoever called keeps them alive, and a count up and down for each of thirty arrays costs more than the step they are handed to.
_MAKERS = (account.opened, kernel.outcome_of, marking.numbers, marking.flags, marking.places)
# Numba's own name for counting references, which it does not promise to keep: pyproject.toml bounds its version for it.
UNCOUNTED = "_nrt"
_log = logging.getLogger(__name__)


def leaves_counts_out(options: object) -> bool:
    """Whether a Numba whose compiler has these `options` can be told not to count references; says once where it cannot.

    An option that it does not know would end every compilation. The outcome is the same with and without.
    """
    if hasattr(options, UNCOUNTED):
        return True
    _log.warning(
        "Numba %s has no option %s: large backtests are right, and slower; pip install 'numba<0.69'",
        numba.__version__,
        UNCOUNTED,
    )
    return False


def options_of(function: Callable[..., Any], *, leave_out: bool) -> Any:
    """How what compiled code calls is compiled; references are counted everywhere, or where arrays are made."""
    common: dict[str, Any] = {"error_model": "numpy"}
    return {**common, UNCOUNTED: function in _MAKERS} if leave_out else common


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    made: Callable[..., Any] = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return made


def _replace_by(loop: Callable[..., Any]) -> Callable[..., Any]:
    def choose(*_: Any) -> Callable[..., Any]:
        return loop

    # Numba compares the names of the arguments.
    choose.__signature__ = inspect.signature(loop)  # type: ignore[attr-defined]
    return choose


def _to_be_read(typing_context: Any, figures: Any, row: Any, column: Any) -> Any:
    """The processor's own instruction for `marking.expect`; it reads nothing and so cannot fail."""
    del typing_context

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        kind = signature.args[0]
        array = context.make_array(kind)(context, builder, given[0])
        pointer = cgutils.get_item_pointer(  # type: ignore[no-untyped-call]
            context, builder, kind, array, [given[1], given[2]], wraparound=False
        )
        byte, number = ir.IntType(8), ir.IntType(32)
        shape = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), number, number, number])
        instruction = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, shape, "llvm.prefetch.p0"
        )
        # To be read, to be kept in every cache, data.
        builder.call(
            instruction,
            [builder.bitcast(pointer, byte.as_pointer()), number(0), number(3), number(1)],
        )
        return context.get_dummy_value()

    return types.none(figures, row, column), generate


_prefetch: Any = intrinsic(_to_be_read)


def _fetched_early(
    opens: Any, volumes: Any, close: Any, sent: Any, row: Any, column: Any, first: Any, last: Any
) -> Callable[..., Any]:
    del opens, volumes, close, sent, row, column, first, last

    def ask(
        opens: Any,
        volumes: Any,
        close: Any,
        sent: Any,
        row: Any,
        column: Any,
        first: Any,
        last: Any,
    ) -> None:
        for w in range(first + marking.AHEAD, min(last + marking.AHEAD, len(row))):
            t, k = row[w], column[w]
            _prefetch(close, t, k)
            _prefetch(sent, t, 0)
            if t + 1 < len(close):
                _prefetch(opens, t + 1, k)
                _prefetch(volumes, t + 1, k)

    return ask


# Before anything is compiled; its settings are attributes made while it is imported.
vars(numba.config)["CACHE_DIR"] = str(compiling.folder())
_LEAVE_OUT = leaves_counts_out(getattr(cpu, "CPUTargetOptions", None))
overload(marking.expect)(_fetched_early)
for _rule in compiling.reach_of(compiling.DOORS).functions:
    register_jitable(**options_of(_rule, leave_out=_LEAVE_OUT), forceinline=_rule in _STEPS)(_rule)
for _wide, _loop in compiling.LOOPS:
    overload(_wide, jit_options=options_of(_wide, leave_out=_LEAVE_OUT))(_replace_by(_loop))

simulate = _compiled(kernel.simulate)
round_trips = _compiled(trips.round_trips)
crossings = _compiled(averages.crossings)
means_of = _compiled(averages.means_of)
crossings_of_means = _compiled(averages.crossings_of_means)
ranked = _compiled(ranking.ranked)
