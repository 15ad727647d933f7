"""Which strategies are there?

Every class in a module of `strategy_engine.strategies` (shipped), in a file of the folder `strategies` beside
this package (the user's own) and behind the entry points `full_ai_trader.strategies` (installed packages). No
list names them. A module that cannot be imported is reported with its reason and hides no other; nor do two strategies of
one name, of which neither can be meant.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType

import strategy_engine.strategies
from strategy_engine.parameters import UnknownName, did_you_mean
from strategy_engine.patience import within
from strategy_engine.strategy import Strategy

ENTRY_POINTS = "full_ai_trader.strategies"
USER_FOLDER = Path(__file__).parents[1] / "strategies"
_USER_PREFIX = "user_strategies_"
IMPORT_WITHIN_S = 20.0


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Strategies by name; modules that gave none because they failed, and names that two claim, with the reason."""

    strategies: Mapping[str, type[Strategy]]
    broken: Mapping[str, str] = field(default_factory=dict)

    def find(self, name: str) -> type[Strategy]:
        """The strategy called `name`.

        Raises:
            UnknownName: there is none; says which is nearest, and what could not be imported.
        """
        if name in self.strategies:
            return self.strategies[name]
        if name in self.broken:
            raise UnknownName(self.broken[name])
        broken = "".join(f"; {where} is broken: {why}" for where, why in self.broken.items())
        raise UnknownName(
            f"there is no strategy {name[:64]!r}; {did_you_mean(name, self.strategies)}{broken}"
        )


def discover(
    user_folder: Path = USER_FOLDER, import_within_s: float = IMPORT_WITHIN_S
) -> Catalogue:
    """Look for strategies in all three places; a stranger's module may take so long to be imported."""
    found: dict[str, list[type[Strategy]]] = {}
    broken: dict[str, str] = {}
    for where, load in _modules(user_folder, import_within_s):
        try:
            classes = _strategies_in(load())
            for strategy in classes:
                strategy()  # one that cannot be made with its own defaults is broken
        except Exception as error:  # noqa: BLE001  # a stranger's module may raise anything
            broken[where] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            continue
        for strategy in classes:
            others = found.setdefault(strategy.name, [])
            if strategy not in others:
                others.append(strategy)
    for name, claiming in found.items():
        if len(claiming) > 1:
            # Trading the one that was not meant would be worse than trading neither.
            broken[name] = (
                f"two strategies are called {name}: {_place(claiming[0])} and "
                f"{_place(claiming[1])}; give one of them another name"
            )
    known = {name: claiming[0] for name, claiming in sorted(found.items()) if name not in broken}
    return Catalogue(known, broken)


def _place(strategy: type[Strategy]) -> str:
    return f"{inspect.getsourcefile(strategy)} class {strategy.__name__}"


def _modules(
    user_folder: Path, limit_s: float
) -> Iterator[tuple[str, Callable[[], ModuleType | type[Strategy]]]]:
    shipped = strategy_engine.strategies
    for info in pkgutil.iter_modules(shipped.__path__):
        name = f"{shipped.__name__}.{info.name}"
        yield name, partial(importlib.import_module, name)
    for path in sorted(user_folder.glob("*.py")):
        if not path.name.startswith("_"):
            yield str(path), partial(within, limit_s, partial(_load_file, path))
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        yield f"entry point {point.name}", partial(within, limit_s, point.load)


def _load_file(path: Path) -> ModuleType:
    name = f"{_USER_PREFIX}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and typing look a class's module up there while it is being made.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _strategies_in(found: ModuleType | type[Strategy]) -> list[type[Strategy]]:
    if inspect.isclass(found):
        if not issubclass(found, Strategy):
            raise TypeError(f"{found.__name__} is not a Strategy")
        return [found]
    return [
        value
        for value in vars(found).values()
        if inspect.isclass(value)
        and issubclass(value, Strategy)
        # Not the bases that the module imported, nor half-finished ones.
        and value.__module__ == found.__name__
        and not inspect.isabstract(value)
    ]
