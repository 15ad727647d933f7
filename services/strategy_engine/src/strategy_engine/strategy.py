"""What is a strategy?

A small class with declared parameters and one method, `generate_signal(view)`: given one symbol's bars up to
now, which position does it newly wish for? A vectorised strategy says the same for whole panels at once, and its
`generate_signal` is made from that, so the two cannot differ. A strategy knows nothing of quantities,
positions, clocks or orders.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from shared.domain.errors import InvalidInput
from shared.domain.signals import Direction
from strategy_engine.fundamentals import Fundamentals
from strategy_engine.panels import Bools, Floats, Panel, View
from strategy_engine.parameters import Parameter, Value, read_values

# Memory and start-up time grow with it: so many bars of every symbol are kept.
MAX_BARS_NEEDED = 2_000
_MOST_FIGURES = 20
_LONGEST_TEXT = 200
_KINDS = ("entries", "exits", "shorts")
# How a strategy may be called.
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class InvalidWish(InvalidInput):
    """A strategy answered something that cannot be meant."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A new wish for one symbol: `conviction` is 0 to 1, `figures` are the values behind it."""

    direction: Direction
    conviction: float = 1.0
    reason: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.direction, Direction):
            raise InvalidWish(f"a direction must be LONG, FLAT or SHORT, was {self.direction!r}")
        if not 0 <= self.conviction <= 1:
            raise InvalidWish(f"conviction must be 0 to 1, was {self.conviction}")
        _check_words((self.reason,), self.figures)


def _check_words(reasons: Sequence[object], figures: Mapping[str, object]) -> None:
    """They go into tables, logs and messages, which take neither control characters nor novels."""
    if len(figures) > _MOST_FIGURES:
        raise InvalidWish(f"a wish may have {_MOST_FIGURES} figures, had {len(figures)}")
    for text in (*reasons, *figures):
        if not isinstance(text, str) or not text.isprintable() or len(text) > _LONGEST_TEXT:
            raise InvalidWish(
                f"a reason or a figure's name must be one printable line of at most "
                f"{_LONGEST_TEXT} characters, was {text!r:.60}"
            )


def read_wish(answer: object) -> Wish | None:
    """What a `generate_signal` meant by its answer. Raises InvalidWish when it cannot be meant."""
    if answer is None or isinstance(answer, Wish):
        return answer
    if isinstance(answer, Direction):
        return Wish(answer)
    raise InvalidWish(f"generate_signal must give a Wish, a Direction or None, gave {answer!r:.80}")


@dataclass(frozen=True, slots=True)
class Wishes:
    """The new wishes of a whole panel; arrays of its shape (bars, symbols).

    `entries` wish to be LONG, `exits` to be FLAT, `shorts` (none if absent) to be SHORT, for `exit_reason`.
    `conviction` counts only where there is a wish; absent, it is 1 everywhere. Beside `figures`, which are numbers wherever there
    is a wish, those of `companies` are kept with each wish as far as they are known.
    """

    entries: Bools
    exits: Bools
    entry_reason: str
    exit_reason: str
    conviction: Floats | None = None
    figures: Mapping[str, Floats] = field(default_factory=dict)
    shorts: Bools | None = None
    companies: Fundamentals | None = None

    @property
    def wished(self) -> Bools:
        """Where there is a wish of any kind."""
        any_kind = self.entries | self.exits
        return any_kind if self.shorts is None else any_kind | self.shorts

    def check(self, panel: Panel) -> None:
        """Raise InvalidWish unless every array fits `panel` and no cell wishes two things at once."""
        shape = panel.close.shape
        _check_words((self.entry_reason, self.exit_reason), self.figures)
        # Typed, but by somebody who may not have run a type checker.
        arrays: dict[str, object] = {"entries": self.entries, "exits": self.exits, **self.figures}
        if self.conviction is not None:
            arrays["conviction"] = self.conviction
        if self.shorts is not None:
            arrays["shorts"] = self.shorts
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray) or array.shape != shape:
                raise InvalidWish(f"{name} must be an array of shape {shape}")
            if name in _KINDS and array.dtype != np.bool_:
                raise InvalidWish(f"{name} must be booleans, was {array.dtype}")
            if name not in _KINDS and array.dtype != np.float64:
                raise InvalidWish(f"{name} must be float64, was {array.dtype}")
        if self.companies is not None and self.companies.place.shape != shape:
            raise InvalidWish(f"companies must be of shape {shape}")
        if (self.entries & self.exits).any():
            raise InvalidWish("one bar cannot be both an entry and an exit")
        if self.shorts is not None and (self.shorts & (self.entries | self.exits)).any():
            raise InvalidWish("one bar cannot wish to be SHORT and something else")

    def at(self, row: int, column: int) -> Wish | None:
        """The wish of one cell, or None."""
        if self.entries[row, column]:
            direction, reason = Direction.LONG, self.entry_reason
        elif self.exits[row, column]:
            direction, reason = Direction.FLAT, self.exit_reason
        elif self.shorts is not None and self.shorts[row, column]:
            direction, reason = Direction.SHORT, self.exit_reason
        else:
            return None
        conviction = 1.0 if self.conviction is None else float(self.conviction[row, column])
        figures = {name: float(values[row, column]) for name, values in self.figures.items()}
        if self.companies is not None:
            figures |= self.companies.at(row, column)
        return Wish(direction, conviction, reason, figures)


class Strategy(ABC):
    """The base of every strategy; a subclass declares parameters and says `generate_signal`."""

    # How people and settings call it; by default the class name in lower case with underscores.
    name: ClassVar[str]
    # What a SELL does, in words, for whoever lists strategies.
    sell_means: ClassVar[str] = "closes the long position"
    # Whether what it says of one symbol depends on the others of the same instant.
    compares_symbols: ClassVar[bool] = False
    # Whether it reads which symbols had passed the screen (`Panel.screened`).
    uses_screens: ClassVar[bool] = False
    # Whether it reads what was known of the companies (`Panel.fundamental`).
    uses_fundamentals: ClassVar[bool] = False
    parameters: ClassVar[Mapping[str, Parameter[Any]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
        if NAME.fullmatch(cls.name) is None:
            raise InvalidInput(
                f"{cls.name[:80]!r} cannot name a strategy: use a-z, 0-9 and _, a letter first"
            )
        own = {key: value for key, value in vars(cls).items() if isinstance(value, Parameter)}
        for parameter in own.values():
            parameter.parse(parameter.default)  # one outside its own bounds is found at import
        cls.parameters = {**cls.parameters, **own}

    def __init__(self, **values: object) -> None:
        """Make it with `values`, defaults for the rest.

        Raises:
            UnknownName: no such parameter.
            InvalidParameter: a value that is not possible, alone or with the others.
        """
        self.values: Mapping[str, Value] = read_values(self.name, self.parameters, values)
        self.check_parameters()
        if not 1 <= self.bars_needed <= MAX_BARS_NEEDED:
            raise InvalidInput(
                f"{self.name} needs {self.bars_needed} bars; it may need 1 to {MAX_BARS_NEEDED}"
            )

    @property
    def allows_shorts(self) -> bool:
        """Whether it may wish to be SHORT: only where it declares a switch `allow_short`, and that is on."""
        return self.values.get("allow_short") is True

    def check_parameters(self) -> None:  # noqa: B027  # most have nothing to add
        """Raise InvalidParameter when values are possible alone but not together."""

    @property
    @abstractmethod
    def bars_needed(self) -> int:
        """How many own bars, the newest included, the answer for the newest may depend on."""

    @abstractmethod
    def generate_signal(self, view: View) -> Wish | Direction | None:
        """The new wish at the last bar of `view`, or None when nothing changes.

        LONG asks for a long position, FLAT to be out. `view` may hold fewer than `bars_needed` bars, or
        more; the answer must not depend on the surplus.
        """


class VectorStrategy(Strategy):
    """A strategy that states entries and exits once, over whole panels."""

    @abstractmethod
    def wishes(self, panel: Panel) -> Wishes:
        """All new wishes in `panel`; a row's may depend on that row and earlier ones only."""

    def checked_wishes(self, panel: Panel) -> Wishes:
        """`wishes`, once they are seen to be some and to fit.

        Raises:
            InvalidWish: they are not, or one bar wishes two things at once.
        """
        # Typed, but by somebody who may not have run a type checker.
        stated: object = self.wishes(panel)
        if not isinstance(stated, Wishes):
            raise InvalidWish(f"wishes must give Wishes, gave {stated!r:.80}")
        stated.check(panel)
        return stated

    def generate_signal(self, view: View) -> Wish | None:
        """See `Strategy`: the last row of `wishes`. One that compares symbols is best among itself alone."""
        return self.checked_wishes(view.as_panel()).at(-1, 0)


Newest = Mapping[str, Sequence[float]]
"""Values of each declared indicator at one symbol's own bars, the newest last; NaN where none is known."""


class IndicatorStrategy(Strategy):
    """A strategy that declares its indicators once and decides bar by bar, in plain Python.

    A backtest computes the indicators over the whole history at once and asks for a decision at each bar, which
    takes about a microsecond; live, both happen at the newest bar.
    """

    @abstractmethod
    def indicators(self, panel: Panel) -> Mapping[str, Floats]:
        """Each indicator by its name, of the panel's shape; a row may depend on that row and earlier ones only."""

    @abstractmethod
    def decide(self, newest: Newest) -> Wish | Direction | None:
        """The new wish at the newest bar: `newest["fast"][-1]` is its value, `[-2]` that of the bar before.

        As many values are there as `bars_needed` says.
        """

    def checked_indicators(self, panel: Panel) -> Mapping[str, Floats]:
        """`indicators`, once they are seen to fit.

        Raises:
            InvalidWish: one is no float64 array of the panel's shape, or there is none.
        """
        found = self.indicators(panel)
        # Typed, but by somebody who may not have run a type checker.
        answer: object = found
        if not isinstance(answer, Mapping) or not answer:
            raise InvalidWish(f"indicators must name at least one, gave {answer!r:.80}")
        for name, values in answer.items():
            shape = values.shape if isinstance(values, np.ndarray) else None
            is_float = isinstance(values, np.ndarray) and values.dtype == np.float64
            if shape != panel.close.shape or not is_float:
                raise InvalidWish(
                    f"indicator {str(name)[:40]} must be a float64 array of shape {panel.close.shape}"
                )
        return found

    def generate_signal(self, view: View) -> Wish | Direction | None:
        """See `Strategy`: indicators over the view, and the decision at its newest bar."""
        count = self.bars_needed
        newest = {}
        for name, values in self.checked_indicators(view.as_panel()).items():
            known = values[-count:, 0].tolist()
            newest[name] = [math.nan] * (count - len(known)) + known
        return self.decide(newest)
