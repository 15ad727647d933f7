"""What was run on what: enough to run it again, and to see that it was the same.

Four hashes: of the code that decides, of the bars, of everything that was chosen, and of the fills. A run's id is made of
them, so the same run has the same id wherever and whenever it is done. Nothing of a backtest is random but the
resampling in `significance`, whose seed stands beside them.
"""

from __future__ import annotations

import hashlib
import json
import platform
from base64 import b32encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from backtester.plan import Plan, Sizing
from backtester.run import Engine, Result
from risk_manager.limits import Limits
from risk_manager.management import ManagementPlan
from risk_manager.sizing import SizingMethod, SizingPlan
from shared.domain.errors import InvalidInput
from shared.domain.symbols import Symbol, parse_symbol
from shared.domain.timeframes import Timeframe, parse_timeframe
from strategy_engine.strategy import Strategy

# Raised when a kept run can no longer be read by its meaning.
FORMAT = 2
ID_LENGTH = 10
DEFAULT_SEED = 1
# Folders whose code changes no fill; of the strategies only the one that ran counts.
_DECIDES_NOTHING = {"results", "report", "tests", "strategies"}


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for: a strategy, bars and terms. `data` None means the system's own store.

    `symbols` empty means all that are in `data`; `timeframe` None whatever its bars have.
    """

    strategy: str
    parameters: Mapping[str, Any]
    data: str | None
    account: str
    symbols: tuple[Symbol, ...]
    timeframe: Timeframe | None
    start_on: date | None
    end_on: date | None
    plan: Plan
    engine: Engine = Engine.FAST
    benchmark: Symbol | None = None
    seed: int = DEFAULT_SEED
    # A file of splits and dividends for raw prices in `data`; the store has its own.
    actions: str | None = None

    def chosen(self) -> dict[str, Any]:
        """Every choice that can change a fill, as plain values. Not among them: engine, benchmark, seed."""
        return {
            "strategy": self.strategy,
            "parameters": dict(self.parameters),
            "symbols": list(self.symbols),
            "timeframe": None if self.timeframe is None else self.timeframe.value,
            "start_on": None if self.start_on is None else self.start_on.isoformat(),
            "end_on": None if self.end_on is None else self.end_on.isoformat(),
            "plan": self.plan.described(),
        }


def manifest_of(request: Request, result: Result) -> dict[str, Any]:
    """The manifest of a finished run as plain values."""
    history = result.history
    hashes = {
        "code_hash": code_hash(type(result.strategy)),
        "data_hash": history.digest,
        "config_hash": _hash_of(request.chosen()),
        "result_hash": result_hash(result),
    }
    return {
        "id": _short(json.dumps(hashes, sort_keys=True)),
        "format": FORMAT,
        **request.chosen(),
        "engine": request.engine.value,
        "benchmark": request.benchmark,
        "seed": request.seed,
        "data": request.data,
        "actions": request.actions,
        "account": request.account,
        "source": history.source,
        "traded_symbols": list(history.panel.symbols),
        "bar_length": history.panel.timeframe.value,
        "first_on": history.day(0).isoformat(),
        "last_on": history.day(-1).isoformat(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        **hashes,
    }


def request_of(manifest: Mapping[str, Any]) -> Request:
    """What was asked for in the run of `manifest`.

    Raises:
        InvalidInput: it was kept by another version that meant other things by it.
    """
    try:
        if manifest["format"] != FORMAT:
            raise InvalidInput(f"its format is {manifest['format']}")  # noqa: TRY301  # one sentence for all
        return Request(
            strategy=manifest["strategy"],
            parameters=manifest["parameters"],
            data=manifest["data"],
            account=manifest["account"],
            symbols=tuple(parse_symbol(symbol) for symbol in manifest["symbols"]),
            timeframe=_given(parse_timeframe, manifest["timeframe"]),
            start_on=_given(date.fromisoformat, manifest["start_on"]),
            end_on=_given(date.fromisoformat, manifest["end_on"]),
            plan=_plan_of(manifest["plan"]),
            engine=Engine(manifest["engine"]),
            benchmark=_given(parse_symbol, manifest["benchmark"]),
            seed=manifest["seed"],
            actions=manifest["actions"],
        )
    except (KeyError, TypeError, ValueError, InvalidInput) as error:
        raise InvalidInput(
            f"run {str(manifest.get('id'))[:20]} was kept by another version of this system ({error}); "
            "run it anew"
        ) from error


def _given(read: Any, value: Any) -> Any:
    return None if value is None else read(value)


def _plan_of(stored: Mapping[str, Any]) -> Plan:
    limits = stored["limits"]
    if limits is not None:
        sizing = {**limits["sizing"], "method": SizingMethod(limits["sizing"]["method"])}
        management = {
            **limits["management"],
            "scale_out": tuple(map(tuple, limits["management"]["scale_out"])),
            "day_strategies": frozenset(limits["management"]["day_strategies"]),
        }
        limits = Limits(
            **{
                **limits,
                "management": ManagementPlan(**management),
                "halted_symbols": frozenset(limits["halted_symbols"]),
                "sizing": SizingPlan(**sizing),
            }
        )
    unlent = frozenset(parse_symbol(symbol) for symbol in stored["unlent"])
    sizing_of_all = Sizing(**stored["sizing"])
    return Plan(**{**stored, "sizing": sizing_of_all, "limits": limits, "unlent": unlent})


def result_hash(result: Result) -> str:
    """A hash of every fill and of the equity at every bar's close."""
    hashed = hashlib.sha256()
    outcome = result.outcome
    for values in (
        outcome.fill_row,
        outcome.fill_column,
        outcome.fill_kind,
        outcome.fill_side,
        outcome.fill_shares,
        outcome.fill_price,
        outcome.fill_fee,
        outcome.equity,
    ):
        hashed.update(np.ascontiguousarray(values).data)
    return hashed.hexdigest()


@lru_cache
def code_hash(strategy: type[Strategy]) -> str:
    """A hash of the source of everything that decides: engines, rules, indicators and the strategy."""
    import inspect

    import backtester
    import risk_manager
    import shared.domain
    import simulator
    import strategy_engine

    hashed = hashlib.sha256()
    for module in (backtester, risk_manager, shared.domain, simulator, strategy_engine):
        assert module.__file__ is not None
        folder = Path(module.__file__).parent
        for path in sorted(folder.rglob("*.py")):
            if not _DECIDES_NOTHING & set(path.relative_to(folder).parts):
                hashed.update(path.read_bytes())
    own = inspect.getsourcefile(strategy)
    if own is not None:
        hashed.update(Path(own).read_bytes())
    return hashed.hexdigest()


def _hash_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _short(text: str) -> str:
    """Lower-case letters and digits that name `text`."""
    return b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:ID_LENGTH]
