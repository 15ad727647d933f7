"""What goes into an outbox row comes out of it as the same value, or not at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.bar_blocks import from_epoch_us
from shared.domain.errors import InvalidInput
from shared.domain.signals import Direction, Evaluation, ManualOrder, Signal
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.messages import EVALUATION, MANUAL_ORDER, REVIEW

instants = st.integers(0, 10**16).map(from_epoch_us)
amounts = st.decimals(min_value=0, max_value=10**9, places=6)
texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
symbols = st.sampled_from(["AAPL", "BRK.B"]).map(Symbol)
signals = st.builds(
    Signal,
    signal_id=texts,
    account=texts,
    strategy=texts,
    symbol=symbols,
    timeframe=st.sampled_from(Timeframe),
    bar_start_at=instants,
    bar_end_at=instants,
    direction=st.sampled_from(Direction),
    conviction=st.floats(0, 1),
    reason=texts,
    reference_price=amounts,
    figures=st.dictionaries(texts, texts, max_size=3),
)
evaluations = st.builds(
    Evaluation,
    account=texts,
    timeframe=st.sampled_from(Timeframe),
    instant_at=instants,
    signals=st.lists(signals, max_size=3).map(tuple),
)
manual_orders = st.builds(
    ManualOrder,
    signal_id=texts,
    account=texts,
    symbol=symbols,
    quantity=amounts,
    limit_price=st.none() | amounts,
    stop_price=st.none() | amounts,
    take_profit=st.none() | amounts,
    stop_loss=st.none() | amounts,
    requested_at=instants,
    actor=texts,
)


def through_the_database(payload: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(json.dumps(payload))
    return read


@given(evaluation=evaluations)
def test_an_evaluation_comes_back_as_it_was(evaluation: Evaluation) -> None:
    assert EVALUATION.decode(through_the_database(EVALUATION.encode(evaluation))) == evaluation


@given(order=manual_orders)
def test_a_manual_order_comes_back_as_it_was(order: ManualOrder) -> None:
    assert MANUAL_ORDER.decode(through_the_database(MANUAL_ORDER.encode(order))) == order


def an_evaluation() -> Evaluation:
    at = datetime(2026, 1, 15, 15, 1, tzinfo=UTC)
    signal = Signal(
        "sig-1",
        "paper",
        "m",
        Symbol("AAPL"),
        Timeframe.MINUTE,
        at,
        at,
        Direction.LONG,
        0.5,
        "why",
        Decimal("187.10"),
        {},
    )
    return Evaluation("paper", Timeframe.MINUTE, at, (signal,))


def test_prices_travel_as_exact_text_and_instants_as_utc() -> None:
    payload = EVALUATION.encode(an_evaluation())

    assert payload["v"] == 1
    assert payload["body"]["instant_at"] == "2026-01-15T15:01:00Z"
    assert payload["body"]["signals"][0]["reference_price"] == "187.10"


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version_is_never_guessed_at(version: object) -> None:
    payload = {**EVALUATION.encode(an_evaluation()), "v": version}

    with pytest.raises(InvalidInput, match="Evaluation message has version"):
        EVALUATION.decode(payload)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"direction": "UP"}, "direction"),
        ({"reference_price": "a lot"}, "reference_price"),
        ({"bar_end_at": "yesterday"}, "bar_end_at"),
        ({"timeframe": "2Min"}, "timeframe"),
    ],
)
def test_a_field_that_does_not_parse_is_named_and_its_value_is_not_repeated(
    change: dict[str, str], named: str
) -> None:
    payload = EVALUATION.encode(an_evaluation())
    payload["body"]["signals"][0].update(change)

    with pytest.raises(InvalidInput, match=named) as caught:
        EVALUATION.decode(payload)
    assert change[named] not in str(caught.value).replace(named, "")


def test_a_missing_field_and_a_message_of_another_kind_are_refused() -> None:
    payload = EVALUATION.encode(an_evaluation())
    with pytest.raises(InvalidInput, match="Review message"):
        REVIEW.decode(payload)

    del payload["body"]["signals"][0]["signal_id"]
    with pytest.raises(InvalidInput, match="signal_id"):
        EVALUATION.decode(payload)
    with pytest.raises(InvalidInput):
        EVALUATION.decode({"v": 1})
