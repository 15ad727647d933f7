"""Order requests and wire shapes: what is well-formed, and how it is written."""

from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.orders import OrderClass, OrderType
from shared.domain.symbols import Symbol
from simulator import wire
from simulator.faults import Faults
from simulator.order_form import parse_replace, parse_submit
from simulator.rate_limit import RateLimit
from simulator.refusals import Refusal

SYMBOLS = frozenset({Symbol("AAPL")})
GOOD = {"symbol": "AAPL", "qty": "10", "side": "buy", "type": "market", "time_in_force": "day"}


def refusal(body: Any) -> str:
    with pytest.raises(Refusal) as error:
        parse_submit(body, SYMBOLS)
    return f"{error.value.status} {error.value.body.get('code')} {error.value}"


@pytest.mark.parametrize("quantity", [10, 10.0, "10", "10.0"])
def test_figures_may_be_texts_or_numbers(quantity: Any) -> None:
    assert parse_submit({**GOOD, "qty": quantity}, SYMBOLS).quantity == 10


def test_a_number_is_taken_as_it_was_written() -> None:
    wish = parse_submit({**GOOD, "type": "limit", "limit_price": 101.1}, SYMBOLS)

    assert wish.limit_price == Decimal("101.1")


def test_a_bracket_carries_both_exits() -> None:
    wish = parse_submit(
        {
            **GOOD,
            "order_class": "bracket",
            "take_profit": {"limit_price": 110.0},
            "stop_loss": {"stop_price": 95.5},
        },
        SYMBOLS,
    )

    assert (wish.order_class, wish.type) == (OrderClass.BRACKET, OrderType.MARKET)
    assert (wish.take_profit, wish.stop_loss) == (Decimal(110), Decimal("95.5"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"symbol": None}, "422 40010001 symbol is required"),
        ({"symbol": "../x"}, '422 42210000 asset "../x" not found'),
        ({"symbol": "NVDA"}, '422 42210000 asset "NVDA" not found'),
        ({"side": "hold"}, "422 40010001 invalid side"),
        ({"qty": None}, "422 40010001 qty or notional is required"),
        ({"notional": 5}, "422 40010001 only one of qty or notional is accepted"),
        ({"qty": "0"}, "422 40010001 qty must be > 0"),
        ({"qty": "-1"}, "422 40010001 qty must be > 0"),
        ({"qty": "NaN"}, "422 40010001 qty must be a number"),
        ({"qty": True}, "422 40010001 qty must be a number"),
        ({"qty": [1]}, "422 40010001 qty must be a number"),
        ({"qty": "1e99999"}, "422 40010001 qty must be a number"),
        ({"qty": "0.00000000001"}, "422 40010001 qty must have at most 9 decimals"),
        ({"type": "iceberg"}, "422 40010001 invalid order type"),
        ({"type": "trailing_stop"}, "must specify one of trail_price or trail_percent"),
        (
            {"type": "trailing_stop", "trail_price": 1, "trail_percent": 1},
            "must specify one of trail_price or trail_percent",
        ),
        ({"type": "trailing_stop", "trail_percent": "0.05"}, "trail_percent must be >= 0.1"),
        ({"trail_price": 1}, "only trailing stop orders take trail_price"),
        ({"type": "stop_limit", "limit_price": 5}, "require both stop and limit price"),
        ({"type": "limit"}, "422 40010001 limit orders require a limit price"),
        ({"type": "stop"}, "422 40010001 stop orders require a stop price"),
        ({"limit_price": 5}, "422 40010001 market orders require no stop or limit price"),
        ({"time_in_force": "week"}, "422 40010001 invalid time_in_force"),
        (
            {"type": "stop", "stop_price": 5, "time_in_force": "ioc"},
            "ioc orders must be market or limit orders",
        ),
        (
            {"type": "trailing_stop", "trail_price": 1, "time_in_force": "opg"},
            "trailing stop orders must be DAY or GTC orders",
        ),
        ({"type": "limit", "limit_price": "10.001"}, "422 42210000 invalid limit_price 10.001."),
        ({"type": "limit", "limit_price": "0.12345"}, "sub-penny increment"),
        ({"client_order_id": "x" * 129}, "must be no more than 128 characters"),
        ({"qty": "1.5", "time_in_force": "gtc"}, "fractional orders must be DAY orders"),
        ({"order_class": "oto"}, "oto orders require one of take_profit.limit_price"),
        ({"order_class": "mleg"}, "422 40010001 invalid order_class"),
        ({"qty": None, "notional": "0.5"}, "422 42210000 notional must be >= 1.00"),
        (
            {"qty": None, "notional": 5, "time_in_force": "gtc"},
            "fractional orders must be DAY orders",
        ),
        ({"order_class": "oco"}, "oco orders must be limit orders"),
        ({"order_class": "bracket"}, "bracket orders require take_profit.limit_price"),
        ({"take_profit": {"limit_price": 5}}, "take_profit and stop_loss require an order_class"),
        ({"extended_hours": True}, "extended hours order must be DAY or GTC limit orders"),
    ],
)
def test_a_malformed_order_is_refused_in_the_brokers_words(
    change: dict[str, Any], words: str
) -> None:
    assert words in refusal({**GOOD, **change})


@pytest.mark.parametrize("body", [None, [], "x", 3])
def test_a_body_that_is_no_object_is_refused(body: Any) -> None:
    assert refusal(body) == "422 40010000 request body format is invalid"


def test_prices_below_a_dollar_may_have_four_decimals() -> None:
    wish = parse_submit({**GOOD, "type": "limit", "limit_price": "0.1234"}, SYMBOLS)

    assert wish.limit_price == Decimal("0.1234")


def test_a_replacement_takes_whole_shares_only() -> None:
    with pytest.raises(Refusal, match="whole number"):
        parse_replace("id", {"qty": "1.5"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    changes=st.dictionaries(
        st.sampled_from(
            [
                *GOOD,
                "limit_price",
                "stop_price",
                "stop_loss",
                "take_profit",
                "order_class",
                "client_order_id",
                "position_intent",
                "extended_hours",
            ]
        ),
        JSON,
    )
)
def test_no_body_does_anything_but_parse_or_be_refused(changes: dict[str, Any]) -> None:
    with suppress(Refusal):
        assert parse_submit({**GOOD, **changes}, SYMBOLS).quantity > 0


def test_a_key_gets_its_requests_back_after_a_minute() -> None:
    limit = RateLimit(2)

    answers = [limit.take("k", now) for now in (0.0, 1.0, 2.0, 60.0)]

    assert [a.allowed for a in answers] == [True, True, False, True]
    assert [a.remaining for a in answers] == [1, 0, 0, 1]
    assert answers[2].reset_s == 58.0


def test_a_fault_bites_as_often_as_it_was_told_and_only_where_it_matches() -> None:
    faults = Faults()
    faults.add({"kind": "status", "match": {"method": "POST", "path": "/v2/orders*"}, "count": 2})
    kinds = frozenset({"status"})

    bites = [
        faults.take(kinds, method=method, path=path) is not None
        for method, path in (
            ("GET", "/v2/orders"),
            ("POST", "/v2/orders"),
            ("POST", "/v2/account"),
            ("POST", "/v2/orders/x"),
            ("POST", "/v2/orders"),
        )
    ]

    assert bites == [False, True, False, True, False]
    assert faults.active == []


def test_an_asset_has_one_id_for_ever() -> None:
    assert wire.asset_id(Symbol("AAPL")) == wire.asset_id(Symbol("AAPL"))
    assert wire.asset_id(Symbol("AAPL")) != wire.asset_id(Symbol("MSFT"))
