"""How do domain values travel in outbox rows?

As JSON made from the dataclasses themselves: decimals as text, instants as ISO 8601, with a version in
front. A payload of another version, or one that does not parse, is never guessed at.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from shared.domain.decisions import Review
from shared.domain.errors import InvalidInput
from shared.domain.ledger import Fill
from shared.domain.signals import Evaluation, ManualOrder

T = TypeVar("T")
_VERSION = 1

# Topics, and who writes them: each has its place in the pipeline.
EVALUATIONS = "evaluations"
REVIEWS = "reviews"
EXECUTIONS = "executions"
MANUAL_ORDERS = "manual_orders"
# Bells: rung after a commit that the named readers will want to see.
BELL_BARS = "market.bars"
BELL_EVALUATIONS = "signals"
BELL_REVIEWS = "orders.approved"
BELL_EXECUTIONS = "executions"
BELL_MANUAL = "orders.manual"
BELL_CLOCK = "clock"


class Codec(Generic[T]):
    """Turns one kind of value into a payload and back."""

    def __init__(self, kind: type[T]) -> None:
        self._adapter = TypeAdapter(kind)
        self._name = kind.__name__

    def encode(self, value: T) -> dict[str, Any]:
        """The payload of `value`."""
        return {"v": _VERSION, "body": self._adapter.dump_python(value, mode="json")}

    def decode(self, payload: dict[str, Any]) -> T:
        """The value in `payload`.

        Raises:
            InvalidInput: another version, or not such a value.
        """
        if payload.get("v") != _VERSION:
            raise InvalidInput(
                f"{self._name} message has version {payload.get('v')!r}, this build reads {_VERSION}"
            )
        try:
            return self._adapter.validate_python(payload.get("body"))
        except ValidationError as error:
            detail = error.errors(include_input=False, include_url=False)[0]
            raise InvalidInput(f"{self._name} message: {detail['loc']}: {detail['msg']}") from None


EVALUATION: Codec[Evaluation] = Codec(Evaluation)
REVIEW: Codec[Review] = Codec(Review)
MANUAL_ORDER: Codec[ManualOrder] = Codec(ManualOrder)
EXECUTION: Codec[Fill] = Codec(Fill)
