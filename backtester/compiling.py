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
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

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

# Longer than any machine takes; what is not ready then is made by whoever needs it.
_PATIENCE_S = 600.0
# What compiled code calls, by module; whatever is not named here stays with the interpreter.
RULES: dict[ModuleType, tuple[str, ...]] = {
    arithmetic: ("quantised", "to_tick"),
    fill_rules: ("market_price", "limit_price", "stop_price", "volume_cap"),
    management: ("tightened_stop", "lowered_stop", "rebalance_shares", "has_gained"),
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
    for module in (*RULES, marking, trips):
        source.update(inspect.getsource(module).encode())
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
