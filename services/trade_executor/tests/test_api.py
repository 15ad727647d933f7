"""What the API takes and turns away, before anything is stored."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from shared.adapters.http_api import ProblemError, Role
from shared.domain.errors import InvalidInput
from shared.domain.orders import IntentState, OrderType, Side, TimeInForce
from trade_executor.api.wishes import OrderWish, manual_order, parse_quantity, states_of

NOW = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)


def test_a_wish_becomes_the_message_that_risk_reviews() -> None:
    wish = OrderWish.model_validate(
        {
            "symbol": "AAPL", "side": "buy", "qty": 10, "type": "limit", "limit_price": 101.1,
            "take_profit": {"limit_price": "110"}, "stop_loss": {"stop_price": "95.5"},
        }
    )  # fmt: skip
    order = manual_order(wish, "paper", "key-1", NOW, Role.OPERATE, None)
    assert (order.symbol, order.side, order.quantity) == ("AAPL", Side.BUY, Decimal(10))
    assert (order.type, order.limit_price) == (OrderType.LIMIT, Decimal("101.1"))
    assert (order.take_profit, order.stop_loss) == (Decimal(110), Decimal("95.5"))
    assert order.actor == "token:operate"


def test_one_key_names_one_order_for_ever_and_per_account() -> None:
    wish = OrderWish(symbol="AAPL", side=Side.BUY, qty="1")

    def name(account: str, key: str) -> str:
        return manual_order(wish, account, key, NOW, Role.OPERATE, None).signal_id

    assert name("paper", "a") == name("paper", "a")
    assert len({name("paper", "a"), name("paper", "b"), name("other", "a")}) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "limit"},
        {"limit_price": "1"},
        {"type": "stop"},
        {"stop_price": "1"},
        {"take_profit": {"limit_price": "1"}},
        {"side": "hold"},
        {"type": "trailing_stop"},
        {"type": "iceberg"},
        {"qty": None},
        {"notional": "5"},
        {"qty": None, "notional": "5"},
        {"extended_hours": True},
        {"time_in_force": "opg", "type": "stop", "stop_price": "9"},
        {"qty": "1.5", "time_in_force": "gtc"},
        {"quantity": "1"},
        {"client_key": ""},
    ],
    ids=str,
)
def test_a_wish_that_contradicts_itself_is_turned_away(changes: dict[str, Any]) -> None:
    def ask() -> None:
        wish = OrderWish.model_validate({"symbol": "AAPL", "side": "buy", "qty": "1", **changes})
        manual_order(wish, "paper", "key", NOW, Role.OPERATE, None)

    with pytest.raises((ValidationError, ProblemError, InvalidInput)):
        ask()


def test_a_sum_of_money_is_the_shares_it_buys_at_the_newest_price() -> None:
    wish = OrderWish(symbol="AAPL", side=Side.BUY, notional="1000")
    order = manual_order(wish, "paper", "key", NOW, Role.OPERATE, Decimal(300))
    assert order.quantity == Decimal("3.333333333")
    assert order.terms.notional == Decimal(1000)


def test_a_refusal_says_what_to_ask_for_instead() -> None:
    wish = OrderWish(symbol="AAPL", side=Side.BUY, qty="1.5", time_in_force=TimeInForce.GTC)
    with pytest.raises(ProblemError, match="ask for time_in_force day, or for whole shares"):
        manual_order(wish, "paper", "key", NOW, Role.OPERATE, None)


@pytest.mark.parametrize(
    "text", ["0", "-1", "NaN", "Infinity", "1e9", "ten", "", "0.0000000001", "1_0", "\u0661\u0660"]
)
def test_a_quantity_that_cannot_be_is_turned_away(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_quantity(text)


def test_a_quantity_may_have_nine_decimals() -> None:
    assert parse_quantity("0.000000001") == Decimal("1e-9")


def test_filter_words_cover_every_state_once() -> None:
    assert sorted([*states_of("open"), *states_of("closed")]) == sorted(IntentState)
    assert states_of("all") == []
    assert states_of("unknown") == ["UNKNOWN"]
    with pytest.raises(InvalidInput):
        states_of("maybe")
