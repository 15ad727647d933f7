"""What may a strategy's parameters be?

A parameter is declared once, on the class, with its default, bounds and meaning; the API, the command line and
the check of what a person typed all read that declaration. A value outside its bounds is refused, never cut.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar, cast, overload

from shared.domain.errors import InvalidInput

Value = int | float | bool
V = TypeVar("V", bound=Value)


class InvalidParameter(InvalidInput):
    """A strategy cannot run with what was asked for."""


class UnknownName(InvalidInput):
    """No such strategy, parameter or symbol; the text names the nearest one there is."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """How to end a sentence about the unknown name `given`: the nearest known one, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]}?"
    if not names:
        return "there are none"
    more = ", ..." if len(names) > 10 else ""
    return f"there are {', '.join(names[:10])}{more}"


class Parameter(Generic[V]):
    """A declared, bounded value of a strategy; on an instance it reads as that value.

    Args:
        default: the value when none is given.
        low, high: bounds, both inclusive; None where there is none.
        about: what it means, with its unit, for whoever sets it.
    """

    kind: type[V]

    def __init__(
        self, default: V, *, low: V | None = None, high: V | None = None, about: str
    ) -> None:
        self.default = default
        self.low = low
        self.high = high
        self.about = about
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Parameter[V]: ...
    @overload
    def __get__(self, instance: Any, owner: type) -> V: ...
    def __get__(self, instance: Any, owner: type) -> Parameter[V] | V:
        if instance is None:
            return self
        value: V = instance.values[self.name]
        return value

    def __set__(self, instance: Any, value: V) -> None:
        raise AttributeError(f"parameter {self.name} is set when the strategy is made, not later")

    def parse(self, given: object) -> V:
        """The value meant by `given`, typed or as text.

        Raises:
            InvalidParameter: not such a value, or outside the bounds.
        """
        value: V = self._typed(given)
        # Numbers of one kind each, which a type variable cannot say.
        low, high, compared = cast(
            "tuple[float | None, float | None, float]", (self.low, self.high, value)
        )
        too_low = low is not None and compared < low
        too_high = high is not None and compared > high
        if too_low or too_high:
            raise InvalidParameter(f"{self.name} must be {self._bounds()}, was {value}")
        return value

    def _typed(self, given: object) -> V:
        raise NotImplementedError

    def _bounds(self) -> str:
        if self.low is not None and self.high is not None:
            return f"{self.low} to {self.high}"
        return f"at least {self.low}" if self.low is not None else f"at most {self.high}"

    def _refuse(self, what: str, given: object) -> InvalidParameter:
        return InvalidParameter(f"{self.name} must be {what}, was {str(given)[:40]!r}")


class Whole(Parameter[int]):
    """A whole number, e.g. a count of bars."""

    kind = int

    def _typed(self, given: object) -> int:
        if isinstance(given, bool) or not isinstance(given, int | str):
            raise self._refuse("a whole number", given)
        try:
            return int(given)
        except ValueError:
            raise self._refuse("a whole number", given) from None


class Number(Parameter[float]):
    """A finite number, e.g. a threshold."""

    kind = float

    def _typed(self, given: object) -> float:
        if isinstance(given, bool) or not isinstance(given, int | float | str):
            raise self._refuse("a number", given)
        try:
            value = float(given)
        except (ValueError, OverflowError):
            raise self._refuse("a number", given) from None
        if not math.isfinite(value):
            raise self._refuse("a finite number", given)
        return value


class Switch(Parameter[bool]):
    """On or off."""

    kind = bool

    def _typed(self, given: object) -> bool:
        if isinstance(given, bool):
            return given
        words = {"true": True, "false": False}
        if isinstance(given, str) and given.strip().lower() in words:
            return words[given.strip().lower()]
        raise self._refuse("true or false", given)


def read_values(
    owner: str, parameters: Mapping[str, Parameter[Any]], given: Mapping[str, object]
) -> dict[str, Value]:
    """Every parameter of the strategy called `owner` with its value: the given one, else its default.

    Raises:
        UnknownName: `given` names something that is no parameter.
        InvalidParameter: a value is not possible.
    """
    for name in given:
        if name not in parameters:
            raise UnknownName(
                f"{owner} has no parameter {name[:40]!r}; {did_you_mean(name, parameters)}"
            )
    return {
        name: parameter.parse(given.get(name, parameter.default))
        for name, parameter in parameters.items()
    }


def read_assignments(text: str) -> dict[str, str]:
    """The pairs in `text`, written like `short_window=20,long_window=50`.

    Raises:
        InvalidParameter: a part is not `name=value`, or a name stands twice.
    """
    pairs: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value):
            raise InvalidParameter(
                f"{part[:40]!r} is not a parameter: write short_window=20,long_window=50"
            )
        if name in pairs:
            raise InvalidParameter(f"parameter {name[:40]!r} is given twice; keep one")
        pairs[name] = value
    return pairs
