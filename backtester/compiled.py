"""The fast engine as machine code.

Importing this costs the import of Numba, most of a second, so only large work does it. Nothing here decides
anything: each function is compiled from the very lines that the interpreter would run, the rules of the simulator and the
risk manager included. `compiling` finds which they are and says where their machine code is kept.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic, overload, register_jitable

from backtester import (
    averages,
    compiling,
    deciding,
    entries,
    kernel,
    marking,
    opening,
    protection,
    trips,
)

# Steps of the loop that are put in its place: to hand a book over costs as much as a step.
_STEPS = (opening.size_at_open, entries.size_at_open, protection.meet_bar, deciding.answer_wishes)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    made: Callable[..., Any] = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return made


def _replace_by(loop: Callable[..., Any]) -> Callable[..., Any]:
    def choose(*_: Any) -> Callable[..., Any]:
        return loop

    # Numba compares the names of the arguments.
    choose.__signature__ = inspect.signature(loop)  # type: ignore[attr-defined]
    return choose


@intrinsic
def _prefetch(typing_context: Any, figures: Any, row: Any, column: Any) -> Any:
    """The processor's own instruction for `kernel.expect`; it reads nothing and so cannot fail."""
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


def _fetched_early(
    opens: Any, volumes: Any, close: Any, sent: Any, row: Any, column: Any
) -> Callable[..., Any]:
    del opens, volumes, close, sent, row, column

    def ask(opens: Any, volumes: Any, close: Any, sent: Any, row: Any, column: Any) -> None:
        _prefetch(opens, row + 1, column)  # type: ignore[call-arg]
        _prefetch(volumes, row + 1, column)
        _prefetch(close, row, column)
        _prefetch(sent, row, 0)

    return ask


@intrinsic
def _without_owner(typing_context: Any, figures: Any) -> Any:
    """The same arrays with nobody to count references for; see `marking.lent`."""
    del typing_context

    def bare(context: Any, builder: Any, kind: Any, value: Any) -> Any:
        if isinstance(kind, types.BaseTuple):
            for i, each in enumerate(kind.types):  # type: ignore[attr-defined]
                part = bare(context, builder, each, builder.extract_value(value, i))
                value = builder.insert_value(value, part, i)
        elif isinstance(kind, types.Array):
            array = context.make_array(kind)(context, builder, value)
            array.meminfo = array.meminfo.type(None)
            array.parent = array.parent.type(None)
            value = array._getvalue()
        return value

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return bare(context, builder, signature.args[0], given[0])

    return figures(figures), generate


def _lent_out(figures: Any) -> Callable[..., Any]:
    del figures

    def lend(figures: Any) -> Any:
        return _without_owner(figures)  # type: ignore[call-arg]

    return lend


# Before anything is compiled; its settings are attributes made while it is imported.
vars(numba.config)["CACHE_DIR"] = str(compiling.folder())
overload(marking.lent)(_lent_out)
overload(marking.expect)(_fetched_early)
for _rule in compiling.reach_of(compiling.DOORS).functions:
    register_jitable(error_model="numpy", forceinline=_rule in _STEPS)(_rule)
for _wide, _loop in compiling.LOOPS:
    overload(_wide, jit_options={"error_model": "numpy"})(_replace_by(_loop))

simulate = _compiled(kernel.simulate)
round_trips = _compiled(trips.round_trips)
crossings = _compiled(averages.crossings)
means_of = _compiled(averages.means_of)
crossings_of_means = _compiled(averages.crossings_of_means)
