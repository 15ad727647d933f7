"""A signal wishes; it says nothing of how much, and FLAT is not SHORT."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from shared.domain.signals import Direction, Evaluation, ManualOrder, Signal


def test_there_are_three_directions_and_they_travel_by_name() -> None:
    assert [direction.value for direction in Direction] == ["LONG", "FLAT", "SHORT"]


def test_a_signal_carries_no_quantity() -> None:
    names = {field.name for field in dataclasses.fields(Signal)}

    assert names.isdisjoint({"quantity", "shares", "notional", "size"})


@pytest.mark.parametrize("kind", [Signal, Evaluation, ManualOrder])
def test_what_was_wished_for_cannot_be_changed_later(kind: type) -> None:
    value: Any = object.__new__(kind)

    with pytest.raises(dataclasses.FrozenInstanceError):
        value.account = "another"
