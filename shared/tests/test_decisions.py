"""A review travels between services without losing a digit, and only the words we know are read."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.decisions import Approved, Check, Purpose, Refused, Review, TradingMode
from shared.domain.errors import InvalidInput
from shared.domain.orders import OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from shared.messages import REVIEW

NOW = datetime(2026, 1, 15, 15, 0, tzinfo=UTC)
ratios = st.floats(allow_nan=False, allow_infinity=False)
amounts = st.decimals("0.000001", "10000000", places=6)
checks = st.lists(
    st.builds(Check, st.text(max_size=20), st.booleans(), ratios, ratios, st.text(), st.text()),
    max_size=3,
).map(tuple)
approvals = st.builds(
    Approved,
    decision_id=st.text(),
    signal_id=st.text(),
    account=st.just("paper"),
    symbol=st.sampled_from([Symbol("AAPL"), Symbol("BRK.B")]),
    side=st.sampled_from(Side),
    purpose=st.sampled_from(Purpose),
    quantity=amounts,
    type=st.sampled_from(OrderType),
    time_in_force=st.sampled_from(TimeInForce),
    limit_price=st.none() | amounts,
    stop_price=st.none() | amounts,
    stop_loss=st.none() | amounts,
    take_profit=st.none() | amounts,
    reference_price=amounts,
    act_from=st.just(NOW),
    act_until=st.timedeltas(timedelta(0), timedelta(days=5)).map(lambda later: NOW + later),
    checks=checks,
)
refusals = st.builds(
    Refused,
    decision_id=st.text(),
    signal_id=st.text(),
    account=st.just("paper"),
    symbol=st.just(Symbol("AAPL")),
    side=st.sampled_from(Side),
    purpose=st.sampled_from(Purpose),
    reason_code=st.just("POSITION_SIZE"),
    reason=st.text(),
    checks=checks,
)
reviews = st.builds(
    Review,
    st.just("paper"),
    st.text(),
    st.just(NOW),
    st.lists(approvals, max_size=2).map(tuple),
    st.lists(refusals, max_size=2).map(tuple),
)


@given(review=reviews)
def test_a_review_is_read_as_it_was_written(review: Review) -> None:
    travelled = orjson.loads(orjson.dumps(REVIEW.encode(review)))

    assert REVIEW.decode(travelled) == review


def test_figures_of_money_travel_as_texts() -> None:
    refused = Review("paper", "x", NOW, (), ())
    approved = Approved(
        "dec-1", "sig-1", "paper", Symbol("AAPL"), Side.BUY, Purpose.ENTRY, Decimal(10),
        OrderType.MARKET, TimeInForce.GTC, None, None, Decimal("95.10"), Decimal(110), Decimal("100.1"),
        NOW, NOW, (),
    )  # fmt: skip

    body = REVIEW.encode(Review("paper", "x", NOW, (approved,), ()))["body"]

    assert body["approved"][0]["stop_loss"] == "95.10"
    assert REVIEW.encode(refused)["body"]["approved"] == []


@pytest.mark.parametrize("wrong", [{"v": 2, "body": {}}, {"v": 1, "body": {"account": "x"}}, {}])
def test_a_review_of_another_build_or_shape_is_never_guessed_at(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        REVIEW.decode(wrong)


def test_an_answer_cannot_be_changed_once_given() -> None:
    check = Check("MODE", True, 0.0, 0.0, "mode", "trading is ACTIVE")

    with pytest.raises(FrozenInstanceError):
        check.passed = False  # type: ignore[misc]  # the point of the test


def test_modes_and_purposes_keep_their_stored_names() -> None:
    assert [mode.value for mode in TradingMode] == ["ACTIVE", "REDUCING", "HALTED"]
    assert [purpose.value for purpose in Purpose] == ["entry", "exit"]
