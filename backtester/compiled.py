"""The fast engine as machine code.

Importing this costs the import of Numba, most of a second, so only large work does it. Nothing here decides
anything: each function is compiled from the very lines that the interpreter would run, the rules of the simulator and the
risk manager included. Machine code is kept between processes in a folder named after the source of all of them,
because Numba itself looks at one file's age only and would miss a rule that changed in another.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic, overload, register_jitable

from backtester import (
    account,
    averages,
    corporate_actions,
    costs,
    deciding,
    entries,
    kernel,
    managing,
    marking,
    opening,
    protection,
    risk_rules,
    terms,
    trips,
)
from risk_manager import management, sizing
from shared.domain import arithmetic
from simulator import fill_rules

# What compiled code calls, by module; whatever is not named here stays with the interpreter.
_RULES: dict[ModuleType, tuple[str, ...]] = {
    arithmetic: ("quantised", "to_tick"),
    fill_rules: ("market_price", "limit_price", "stop_price", "volume_cap"),
    management: ("tightened_stop", "rebalance_shares", "has_gained"),
    sizing: ("stop_price", "target_price", "kelly"),
    costs: ("cents", "cents_up", "commission", "regulatory_fee", "borrow_fee"),
    risk_rules: (
        "fits_bracket",
        "fits_share_of_equity",
        "fits_buying_power",
        "shares_by_size",
        "shares_by_cash",
        "shares_by_risk",
        "shares_by_room",
        "fits_order_value",
        "fits_order_shares",
        "fits_volume",
        "fits_margin",
        "has_fallen",
        "has_lost",
        "has_rested",
        "may_day_trade",
        "day_trades_of",
        "wanted_shares",
        "newest",
        "price_on",
        "in_shares_of",
        "session_volume",
        "volatility_of",
        "true_range_of",
        "are_alike",
        "coefficient",
        "whole",
        "parts",
    ),
    terms: ("micros",),
    averages: ("whole_micros",),
    entries: (
        "note_stop",
        "note_deal",
        "newest_close",
        "in_sector",
        "usual_volume",
        "record_of",
        "wanted_by_method",
        "risk_of",
        "open_risk",
        "size_at_close",
        "shares_by_rooms",
        "refusal_after_correlation",
        "size_at_open",
        "is_like_another",
    ),
    account: ("opened", "under_way", "without", "fee_of", "write"),
    corporate_actions: ("apply_actions",),
    opening: ("size_at_open",),
    protection: ("meet_bar", "fits_bracket", "followed"),
    managing: (
        "is_active",
        "moves_stops",
        "sells",
        "leave",
        "guard",
        "end_old_orders",
        "sell_down",
        "follow_close",
        "guard_bare",
    ),
    deciding: ("answer_wishes",),
    kernel: ("trade",),
}
# Steps of the loop that are put in its place: to hand a book over costs as much as a step.
_STEPS = ("size_at_open", "meet_bar", "answer_wishes")
# What the interpreter does its own way: many values at once, or in lists.
_LOOPS: tuple[tuple[Callable[..., Any], Callable[..., Any]], ...] = (
    (marking.numbers, marking.numbers_as_array),
    (marking.flags, marking.flags_as_array),
    (marking.places, marking.places_as_array),
    (marking.mark_rows, marking.mark_rows_one_by_one),
    (marking.newest_day, marking.newest_day_one_by_one),
    (marking.first_meeting, marking.first_meeting_one_by_one),
    (marking.follow_peak, marking.follow_peak_one_by_one),
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


def _keep_machine_code() -> None:
    """Choose the folder of compiled code before anything is compiled."""
    source = hashlib.sha256(numba.__version__.encode())
    for module in (*_RULES, marking, trips, sys.modules[__name__]):
        source.update(inspect.getsource(module).encode())
    named = os.environ.get("NUMBA_CACHE_DIR")
    root = folder_for_machine_code(
        Path(named) if named else Path(__file__).resolve().parents[1] / ".cache" / "numba"
    )
    # Its settings are attributes made while it is imported.
    vars(numba.config)["CACHE_DIR"] = str(root / source.hexdigest()[:16])


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


def _fetched_early(figures: Any, row: Any, column: Any) -> Callable[..., Any]:
    del figures, row, column

    def ask(figures: Any, row: Any, column: Any) -> None:
        _prefetch(figures, row, column)  # type: ignore[call-arg]

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


_keep_machine_code()
overload(marking.lent)(_lent_out)
overload(marking.expect)(_fetched_early)
for _module, _names in _RULES.items():
    for _name in _names:
        register_jitable(error_model="numpy", forceinline=_name in _STEPS)(getattr(_module, _name))
for _wide, _loop in _LOOPS:
    overload(_wide, jit_options={"error_model": "numpy"})(_replace_by(_loop))

simulate = _compiled(kernel.simulate)
round_trips = _compiled(trips.round_trips)
crossings = _compiled(averages.crossings)
means_of = _compiled(averages.means_of)
crossings_of_means = _compiled(averages.crossings_of_means)
