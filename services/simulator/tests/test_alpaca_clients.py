"""The official client, unmodified, is the witness: what it can do with Alpaca it can do here."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Self

import pytest
from alpaca.common.exceptions import APIError
from alpaca.data.enums import CorporateActionsType, DataFeed
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.historical.corporate_actions import CorporateActionsClient
from alpaca.data.live import StockDataStream
from alpaca.data.requests import (
    CorporateActionsRequest,
    StockBarsRequest,
    StockLatestBarRequest,
    StockLatestQuoteRequest,
    StockLatestTradeRequest,
    StockSnapshotRequest,
)
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderClass, OrderSide, OrderStatus, QueryOrderStatus, TimeInForce
from alpaca.trading.requests import (
    ClosePositionRequest,
    GetAssetsRequest,
    GetCalendarRequest,
    GetOrderByIdRequest,
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
    StopLimitOrderRequest,
    StopLossRequest,
    StopOrderRequest,
    TakeProfitRequest,
    TrailingStopOrderRequest,
)
from alpaca.trading.stream import TradingStream

from shared.domain.corporate_actions import CashDividend, Split
from shared.domain.symbols import Symbol
from simulator.generator import make_synthetic_tape
from simulator.orders import BookRules
from simulator.tape import Tape
from simulator.testing import RunningSimulator, running_simulator

pytestmark = [
    # The client uses the legacy API of websockets; that is its own business.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

MINUTES = [
    (100.0, 101.0, 99.0, 100.5, 10_000),
    (100.5, 102.0, 100.0, 101.0, 10_000),
    (101.0, 103.0, 100.5, 102.0, 10_000),
    (102.0, 112.0, 101.0, 111.0, 10_000),
    (111.0, 112.0, 110.0, 111.0, 10_000),
]


@pytest.fixture
def simulator(make_tape: Callable[..., Tape]) -> Iterator[RunningSimulator]:
    with running_simulator(make_tape(MINUTES, ["AAPL", "MSFT"])) as running:
        yield running


@pytest.fixture
def client(simulator: RunningSimulator) -> Any:
    return TradingClient("K", "S", url_override=simulator.url)


def a_market_buy(qty: float = 10, symbol: str = "AAPL", **more: Any) -> MarketOrderRequest:
    more.setdefault("time_in_force", TimeInForce.DAY)
    return MarketOrderRequest(symbol=symbol, qty=qty, side=OrderSide.BUY, **more)


def a_bracket(**more: Any) -> MarketOrderRequest:
    return a_market_buy(
        order_class=OrderClass.BRACKET,
        time_in_force=TimeInForce.GTC,
        take_profit=TakeProfitRequest(limit_price=110),
        stop_loss=StopLossRequest(stop_price=95),
        **more,
    )


def test_the_account_is_active_and_holds_its_opening_cash(client: Any) -> None:
    account = client.get_account()

    assert (account.status, account.cash, account.equity) == ("ACTIVE", "100000", "100000")
    assert account.pattern_day_trader is None  # gone since 2026-07-06


def test_the_clock_is_the_venues_and_closed_before_the_first_step(
    client: Any, simulator: RunningSimulator
) -> None:
    before = client.get_clock()
    simulator.advance(1)
    after = client.get_clock()

    assert (before.is_open, after.is_open) == (False, True)
    assert after.timestamp.astimezone(UTC) == datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
    assert after.next_close.astimezone(UTC) == datetime(2026, 1, 5, 21, 0, tzinfo=UTC)
    assert after.next_open.astimezone(UTC) == datetime(2026, 1, 6, 14, 30, tzinfo=UTC)


def test_the_calendar_lists_trading_days_with_their_hours(client: Any) -> None:
    days = client.get_calendar(GetCalendarRequest(start=date(2026, 11, 25), end=date(2026, 11, 28)))

    assert [(day.date, f"{day.close:%H:%M}") for day in days] == [
        (date(2026, 11, 25), "16:00"),
        (date(2026, 11, 27), "13:00"),  # the half day after Thanksgiving
    ]


def test_the_tapes_symbols_are_the_assets(client: Any) -> None:
    assert {a.symbol for a in client.get_all_assets(GetAssetsRequest())} == {"AAPL", "MSFT"}
    assert client.get_asset("AAPL").tradable
    with pytest.raises(APIError) as error:
        client.get_asset("NVDA")
    assert error.value.status_code == 404


def test_a_market_order_fills_at_the_next_open(client: Any, simulator: RunningSimulator) -> None:
    order = client.submit_order(a_market_buy(client_order_id="mine"))
    assert order.status == OrderStatus.ACCEPTED  # the market is closed

    simulator.advance(2)
    filled = client.get_order_by_client_id("mine")
    position = client.get_open_position("AAPL")

    assert (filled.status, filled.filled_avg_price) == (OrderStatus.FILLED, "100")
    assert (position.qty, position.avg_entry_price) == ("10", "100")
    assert client.get_account().cash == "99000"


def test_an_order_sent_while_open_is_pending_in_the_answer_and_new_afterwards(
    client: Any, simulator: RunningSimulator
) -> None:
    simulator.advance(3)

    order = client.submit_order(a_market_buy())

    assert order.status == OrderStatus.PENDING_NEW
    assert client.get_order_by_id(order.id).status == OrderStatus.NEW


def test_a_limit_order_fills_only_when_traded_through(
    client: Any, simulator: RunningSimulator
) -> None:
    touched = client.submit_order(
        LimitOrderRequest(
            symbol="AAPL", qty=1, side=OrderSide.BUY, time_in_force="day", limit_price=99
        )
    )
    passed = client.submit_order(
        LimitOrderRequest(
            symbol="AAPL", qty=1, side=OrderSide.BUY, time_in_force="day", limit_price=99.01
        )
    )
    simulator.advance(3)

    assert client.get_order_by_id(touched.id).status == OrderStatus.NEW
    assert client.get_order_by_id(passed.id).filled_avg_price == "99.01"


def test_a_stop_order_waits_for_its_touch(client: Any, simulator: RunningSimulator) -> None:
    client.submit_order(a_market_buy())
    simulator.advance(3)
    stop = client.submit_order(
        StopOrderRequest(
            symbol="AAPL", qty=10, side=OrderSide.SELL, time_in_force="gtc", stop_price=100.2
        )
    )
    simulator.advance(3)

    filled = client.get_order_by_id(stop.id)
    assert (filled.status, filled.filled_avg_price) == (OrderStatus.FILLED, "100.2")


def test_a_bracket_arms_its_legs_and_its_target_cancels_its_stop(
    client: Any, simulator: RunningSimulator
) -> None:
    parent = client.submit_order(a_bracket())
    assert [leg.status for leg in parent.legs] == [OrderStatus.HELD, OrderStatus.HELD]

    simulator.advance(3)
    armed = client.get_order_by_id(parent.id, GetOrderByIdRequest(nested=True))
    assert {leg.status for leg in armed.legs} == {OrderStatus.NEW}
    assert client.get_open_position("AAPL").qty_available == "0"

    simulator.advance(9)
    done = client.get_order_by_id(parent.id, GetOrderByIdRequest(nested=True))
    assert {(leg.type.value, leg.status.value) for leg in done.legs} == {
        ("limit", "filled"),
        ("stop", "canceled"),
    }
    assert client.get_all_positions() == []
    assert client.get_account().cash == "100100"


def test_orders_are_listed_by_status_and_nested_under_their_parent(
    client: Any, simulator: RunningSimulator
) -> None:
    parent = client.submit_order(a_bracket())
    other = client.submit_order(a_market_buy(symbol="MSFT"))
    simulator.advance(2)

    flat = client.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN))
    nested = client.get_orders(GetOrdersRequest(status=QueryOrderStatus.ALL, nested=True))
    closed = client.get_orders(
        GetOrdersRequest(status=QueryOrderStatus.CLOSED, symbols=["MSFT"], side=OrderSide.BUY)
    )

    assert len(flat) == 2  # the armed legs
    assert [order.id for order in nested] == [other.id, parent.id]
    assert len(nested[1].legs) == 2
    assert [order.id for order in closed] == [other.id]


def test_all_orders_can_be_walked_page_by_page(client: Any) -> None:
    sent = [client.submit_order(a_market_buy(qty=1)) for _ in range(5)]

    seen: list[Any] = []
    after = None
    while page := client.get_orders(
        GetOrdersRequest(status=QueryOrderStatus.ALL, limit=2, direction="asc", after=after)
    ):
        seen += page
        after = page[-1].submitted_at

    assert [order.id for order in seen] == [order.id for order in sent]


def test_canceling_is_silent_twice_and_refused_after_a_fill(
    client: Any, simulator: RunningSimulator
) -> None:
    order = client.submit_order(a_market_buy())
    client.cancel_order_by_id(order.id)
    client.cancel_order_by_id(order.id)
    assert client.get_order_by_id(order.id).status == OrderStatus.CANCELED

    filled = client.submit_order(a_market_buy())
    simulator.advance(2)
    with pytest.raises(APIError) as error:
        client.cancel_order_by_id(filled.id)
    assert error.value.status_code == 422
    assert error.value.message == 'order is already in "filled" state'


def test_cancel_all_answers_for_each_order(client: Any) -> None:
    client.submit_order(a_bracket())
    client.submit_order(a_market_buy(symbol="MSFT"))

    answers = client.cancel_orders()

    assert [answer.status for answer in answers] == [200, 200, 200, 200]
    assert client.get_orders() == []


def test_a_limit_is_replaced_by_a_new_order_that_names_the_old(
    client: Any, simulator: RunningSimulator
) -> None:
    simulator.advance(1)
    old = client.submit_order(
        LimitOrderRequest(
            symbol="AAPL", qty=5, side=OrderSide.BUY, time_in_force="gtc", limit_price=90
        )
    )
    new = client.replace_order_by_id(old.id, ReplaceOrderRequest(limit_price=91, qty=6))

    assert (str(new.replaces), new.limit_price, new.qty) == (str(old.id), "91", "6")
    ended = client.get_order_by_id(old.id)
    assert (ended.status, ended.replaced_by) == (OrderStatus.REPLACED, new.id)


def test_a_waiting_order_cannot_be_replaced(client: Any) -> None:
    order = client.submit_order(a_market_buy())
    with pytest.raises(APIError) as error:
        client.replace_order_by_id(order.id, ReplaceOrderRequest(qty=11))
    assert error.value.message == "cannot replace order in accepted status"


def test_a_position_is_closed_at_the_market(client: Any, simulator: RunningSimulator) -> None:
    client.submit_order(a_market_buy())
    simulator.advance(3)

    half = client.close_position("AAPL", ClosePositionRequest(percentage="50"))
    assert (half.side, half.qty) == (OrderSide.SELL, "5")
    simulator.advance(3)
    assert client.get_open_position("AAPL").qty == "5"

    answers = client.close_all_positions(cancel_orders=True)
    simulator.advance(3)
    assert [(answer.symbol, answer.status) for answer in answers] == [("AAPL", 200)]
    assert client.get_all_positions() == []


def test_a_short_bracket_goes_out_at_its_stop_above_and_is_told_as_a_short_sale(
    make_tape: Callable[..., Tape],
) -> None:
    rules = BookRules(Decimal(100_000), allow_short=True, not_lent=frozenset({Symbol("MSFT")}))
    with running_simulator(make_tape(MINUTES, ["AAPL", "MSFT"]), rules=rules) as simulator:
        client: Any = TradingClient("K", "S", url_override=simulator.url)
        assert client.get_account().shorting_enabled
        assert [client.get_asset(name).shortable for name in ("AAPL", "MSFT")] == [True, False]
        simulator.advance(3)
        wish = MarketOrderRequest(
            symbol="AAPL", qty=10, side=OrderSide.SELL, time_in_force=TimeInForce.GTC,
            order_class=OrderClass.BRACKET, take_profit=TakeProfitRequest(limit_price=90),
            stop_loss=StopLossRequest(stop_price=105),
        )  # fmt: skip
        parent = client.submit_order(wish)
        assert parent.position_intent == "sell_to_open"
        assert {leg.position_intent for leg in parent.legs} == {"buy_to_close"}
        simulator.advance(3)
        held = client.get_open_position("AAPL")
        assert (held.side, held.qty, held.qty_available) == ("short", "-10", "0")
        assert Decimal(held.market_value) < 0
        with pytest.raises(APIError, match="insufficient qty available"):
            client.submit_order(a_market_buy(10))
        with pytest.raises(APIError, match="cannot be sold short"):
            client.submit_order(wish.model_copy(update={"symbol": "MSFT"}))
        simulator.advance(6)
        assert client.get_all_positions() == []
        [bought, sold] = client.get("/account/activities/FILL")
        assert (sold["side"], sold["price"]) == ("sell_short", "100.5")
        assert (bought["side"], bought["price"]) == ("buy", "105")


def test_a_used_client_order_id_is_refused_for_ever(
    client: Any, simulator: RunningSimulator
) -> None:
    client.submit_order(a_market_buy(client_order_id="once"))
    simulator.advance(3)

    with pytest.raises(APIError) as error:
        client.submit_order(a_market_buy(client_order_id="once"))

    assert (error.value.status_code, error.value.code) == (422, 40010001)
    assert error.value.message == "client_order_id must be unique"


@pytest.mark.parametrize(
    ("order", "status", "code", "words"),
    [
        (a_market_buy(qty=10_000), 403, 40310000, "insufficient buying power"),
        (a_market_buy(symbol="NVDA"), 422, 42210000, 'asset "NVDA" not found'),
        (
            MarketOrderRequest(symbol="AAPL", qty=1, side=OrderSide.SELL, time_in_force="day"),
            403,
            40310000,
            "account is not allowed to short",
        ),
        (
            LimitOrderRequest(
                symbol="AAPL", qty=1, side=OrderSide.BUY, time_in_force="day", limit_price=99.001
            ),
            422,
            42210000,
            "sub-penny increment",
        ),
    ],
    ids=["too dear", "unknown share", "short", "sub-penny"],
)
def test_a_refusal_carries_status_code_and_words(
    client: Any, order: Any, status: int, code: int, words: str
) -> None:
    with pytest.raises(APIError) as error:
        client.submit_order(order)

    assert (error.value.status_code, error.value.code) == (status, code)
    assert words in error.value.message


def test_the_suspension_fence_refuses_new_orders_and_lets_cancels_pass(
    client: Any,
) -> None:
    waiting = client.submit_order(a_market_buy())
    configuration = client.get_account_configurations()
    configuration.suspend_trade = True
    client.set_account_configurations(configuration)

    with pytest.raises(APIError) as error:
        client.submit_order(a_market_buy())
    client.cancel_order_by_id(waiting.id)

    assert error.value.status_code == 403
    assert client.get_account().trade_suspended_by_user


def test_fills_are_listed_as_activities_page_by_page(make_tape: Callable[..., Tape]) -> None:
    rules = BookRules(cash=Decimal(1_000_000))
    with running_simulator(make_tape(MINUTES, ["AAPL", "MSFT"]), rules=rules) as running:
        client: Any = TradingClient("K", "S", url_override=running.url)
        client.submit_order(a_market_buy(qty=1_500))  # more than a tenth of the bar's volume
        client.submit_order(a_market_buy(qty=200, symbol="MSFT"))
        running.advance(6)

        query = {"page_size": 2, "direction": "asc"}
        first = client.get("/account/activities/FILL", query)
        rest = client.get("/account/activities/FILL", query | {"page_token": first[-1]["id"]})

    assert [(a["symbol"], a["type"], a["qty"]) for a in first + rest] == [
        ("AAPL", "partial_fill", "1000"),
        ("MSFT", "fill", "200"),
        ("AAPL", "fill", "500"),
    ]


def test_too_many_requests_are_answered_with_429_and_headers(
    make_tape: Callable[..., Tape],
) -> None:
    with running_simulator(make_tape(MINUTES), requests_per_minute=3) as running:
        client: Any = TradingClient("K", "S", url_override=running.url)
        client._retry = 0
        for _ in range(3):
            client.get_account()

        with pytest.raises(APIError) as error:
            client.get_account()

        assert error.value.status_code == 429
        headers = error.value.response.headers
        assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("3", "0")
        assert int(headers["X-RateLimit-Reset"]) > 0
        # Another key has its own allowance.
        other: Any = TradingClient("other", "S", url_override=running.url)
        assert other.get_account().id


# ---------------------------------------------------------------------- market data


@pytest.fixture
def history(simulator: RunningSimulator) -> Any:
    return StockHistoricalDataClient("K", "S", url_override=simulator.url)


def test_history_shows_what_has_ended_and_nothing_more(
    history: Any, simulator: RunningSimulator
) -> None:
    request = StockBarsRequest(
        symbol_or_symbols=["AAPL", "MSFT", "NVDA"],
        timeframe=TimeFrame.Minute,
        start=datetime(2026, 1, 5, tzinfo=UTC),
        end=datetime(2026, 1, 6, tzinfo=UTC),
    )
    simulator.advance(5)  # the second bar is being filled, and has not ended

    bars = history.get_stock_bars(request)

    assert [(bar.timestamp.minute, bar.open, bar.volume) for bar in bars["AAPL"]] == [
        (30, 100.0, 10_000)
    ]
    assert "NVDA" not in bars.data


def test_history_comes_in_pages_that_the_client_follows(
    history: Any, simulator: RunningSimulator
) -> None:
    simulator.advance(15)
    pages = []
    token = None
    while True:
        query = {"symbols": "AAPL,MSFT", "timeframe": "1Min", "limit": 3, "start": "2026-01-05"}
        page = history.get("/stocks/bars", query | ({"page_token": token} if token else {}))
        pages.append({symbol: len(bars) for symbol, bars in page["bars"].items()})
        if (token := page["next_page_token"]) is None:
            break

    assert pages == [{"AAPL": 3}, {"AAPL": 2, "MSFT": 1}, {"MSFT": 3}, {"MSFT": 1}]


def test_latest_bar_quote_trade_and_snapshot_show_the_last_close(
    history: Any, simulator: RunningSimulator
) -> None:
    simulator.advance(3)

    bar = history.get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols="AAPL"))["AAPL"]
    quote = history.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols="AAPL"))
    trade = history.get_stock_latest_trade(StockLatestTradeRequest(symbol_or_symbols="AAPL"))
    snapshot = history.get_stock_snapshot(StockSnapshotRequest(symbol_or_symbols="AAPL"))["AAPL"]

    assert bar.close == trade["AAPL"].price == snapshot.latest_trade.price == 100.5
    assert quote["AAPL"].bid_price < 100.5 < quote["AAPL"].ask_price
    assert (snapshot.daily_bar.high, snapshot.previous_daily_bar) == (101.0, None)


ACTIONS = (
    Split(Symbol("AAPL"), date(2026, 1, 6), Decimal(7), Decimal(1)),
    Split(Symbol("MSFT"), date(2026, 1, 2), Decimal(1), Decimal(20)),
    CashDividend(Symbol("AAPL"), date(2025, 12, 30), Decimal("0.47")),
    CashDividend(Symbol("AAPL"), date(2026, 3, 30), Decimal("0.5")),
)


@pytest.fixture
def told(make_tape: Callable[..., Tape]) -> Iterator[Any]:
    with running_simulator(make_tape(MINUTES, ["AAPL", "MSFT"]), actions=ACTIONS) as running:
        yield CorporateActionsClient("K", "S", url_override=running.url)


def test_a_tape_by_itself_has_no_corporate_actions(simulator: RunningSimulator) -> None:
    client: Any = CorporateActionsClient("K", "S", url_override=simulator.url)

    found = client.get_corporate_actions(CorporateActionsRequest(symbols=["AAPL"]))

    assert found.data == {}


def test_splits_and_dividends_are_told_as_the_client_knows_them(told: Any) -> None:
    request = CorporateActionsRequest(start=date(2025, 12, 1), end=date(2026, 12, 1))

    found = told.get_corporate_actions(request).data

    assert {kind: len(rows) for kind, rows in found.items()} == {
        "reverse_splits": 1,
        "forward_splits": 1,
        "cash_dividends": 1,  # the one of March is not announced yet
    }
    (split,), (reverse,), (dividend,) = (
        found[kind] for kind in ("forward_splits", "reverse_splits", "cash_dividends")
    )
    assert (split.symbol, split.new_rate, split.old_rate) == ("AAPL", 7, 1)
    assert split.ex_date == split.process_date == date(2026, 1, 6)
    assert (reverse.symbol, reverse.new_rate, reverse.old_rate) == ("MSFT", 1, 20)
    assert (dividend.rate, dividend.ex_date) == (0.47, date(2025, 12, 30))
    assert dividend.process_date == dividend.payable_date == date(2026, 1, 13)


def test_the_query_goes_by_the_day_of_processing_symbols_and_types(told: Any) -> None:
    def kinds(**query: Any) -> list[str]:
        return sorted(told.get_corporate_actions(CorporateActionsRequest(**query)).data)

    year = {"start": date(2026, 1, 1), "end": date(2026, 12, 31)}
    # The dividend went ex in December and is paid in January.
    assert kinds(start=date(2025, 12, 1), end=date(2025, 12, 31)) == []
    assert kinds(symbols=["MSFT"], **year) == ["reverse_splits"]
    assert kinds(types=[CorporateActionsType.CASH_DIVIDEND], **year) == ["cash_dividends"]
    assert kinds() == ["reverse_splits"]  # what is processed today


def test_corporate_actions_come_in_pages_that_the_client_follows(told: Any) -> None:
    year = {"start": "2026-01-01", "end": "2026-12-31", "limit": 1}
    pages = []
    token = None
    while True:
        page = told.get("/corporate-actions", year | ({"page_token": token} if token else {}))
        pages.append(list(page["corporate_actions"]))
        if (token := page["next_page_token"]) is None:
            break

    assert pages == [["reverse_splits"], ["forward_splits"], ["cash_dividends"]]
    with pytest.raises(APIError, match="invalid types"):
        told.get("/corporate-actions", {"types": "gift"})


# ---------------------------------------------------------------------- streams


class Listening:
    """One of the client's streams in a thread of its own, with what it heard."""

    def __init__(self, stream: Any, subscribe: Callable[[Any, Any], None]) -> None:
        self.heard: list[Any] = []
        self._enough = threading.Condition()
        self._stream = stream
        subscribe(stream, self._hear)
        self._thread = threading.Thread(target=lambda: asyncio.run(stream._run_forever()))

    async def _hear(self, message: Any) -> None:
        with self._enough:
            self.heard.append(message)
            self._enough.notify_all()

    def wait_for(self, count: int) -> list[Any]:
        with self._enough:
            assert self._enough.wait_for(lambda: len(self.heard) >= count, timeout=20), self.heard
            return list(self.heard)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stream._should_run = False
        self._stream._stop_stream_queue.put_nowait({"should_stop": True})


def wait_for_listeners(simulator: RunningSimulator, **wanted: int) -> None:
    deadline = threading.Event()
    for _ in range(400):
        state = simulator.state()
        if all(state[name] == count for name, count in wanted.items()):
            return
        deadline.wait(0.02)
    raise AssertionError(f"never had {wanted} listeners")


def test_the_trading_stream_hears_an_order_from_new_to_fill(
    client: Any, simulator: RunningSimulator
) -> None:
    stream = TradingStream("K", "S", url_override=f"{simulator.stream_url}/stream")
    with Listening(stream, lambda s, hear: s.subscribe_trade_updates(hear)) as listening:
        wait_for_listeners(simulator, trade_streams=1)
        client.submit_order(a_bracket())
        simulator.advance(2)
        heard = listening.wait_for(5)

        assert [str(getattr(h.event, "value", h.event)) for h in heard] == [
            "accepted",
            "new",
            "fill",
            "new",
            "new",
        ]
        fill = heard[2]
        assert (fill.price, fill.qty, fill.position_qty) == (100.0, 10.0, 10.0)
        assert fill.timestamp == datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
        simulator.fault(kind="drop_stream")  # ends the client's read, which otherwise waits for 5 s


def test_the_data_stream_hears_each_minute_of_each_symbol(simulator: RunningSimulator) -> None:
    stream = StockDataStream(
        "K", "S", feed=DataFeed.IEX, url_override=f"{simulator.stream_url}/v2/iex"
    )
    with Listening(stream, lambda s, hear: s.subscribe_bars(hear, "*")) as listening:
        wait_for_listeners(simulator, data_subscribers=1)
        simulator.advance(6)
        heard = listening.wait_for(4)

        assert [(bar.symbol, bar.open, bar.timestamp) for bar in heard] == [
            (symbol, price, datetime(2026, 1, 5, 14, minute, tzinfo=UTC))
            for minute, price in ((30, 100.0), (31, 100.5))
            for symbol in ("AAPL", "MSFT")
        ]
        simulator.fault(kind="drop_stream")


def test_a_generated_session_trades_with_the_official_client(calendar: Any) -> None:
    tape = make_synthetic_tape(calendar, seed=7, symbols=[Symbol("AAPL")], sessions=1)
    with running_simulator(tape) as running:
        client: Any = TradingClient("K", "S", url_override=running.url)
        client.submit_order(a_market_buy())
        running.advance(3)

        assert client.get_open_position("AAPL").qty == "10"
        assert running.state()["synthetic"]
        assert (
            client.get_clock().timestamp - datetime(2026, 1, 5, 14, 31, tzinfo=UTC) == timedelta()
        )


def of_every_kind() -> list[Any]:
    """One wish of each kind that the official client can send, for a market at about 100."""
    buy = {"symbol": "AAPL", "side": OrderSide.BUY, "time_in_force": TimeInForce.DAY}
    sell = {**buy, "side": OrderSide.SELL}
    return [
        a_market_buy(),
        MarketOrderRequest(notional=250.5, **buy),
        MarketOrderRequest(qty=1.5, **buy),
        LimitOrderRequest(qty=1, limit_price=99, **buy),
        LimitOrderRequest(qty=1, limit_price=99, extended_hours=True, **buy),
        LimitOrderRequest(qty=1, limit_price=99, **{**buy, "time_in_force": TimeInForce.IOC}),
        MarketOrderRequest(qty=1, **{**buy, "time_in_force": TimeInForce.FOK}),
        MarketOrderRequest(qty=1, **{**buy, "time_in_force": TimeInForce.CLS}),
        StopOrderRequest(qty=1, stop_price=130, **buy),
        StopLimitOrderRequest(qty=1, stop_price=130, limit_price=131, **buy),
        TrailingStopOrderRequest(qty=1, trail_price=4, **buy),
        TrailingStopOrderRequest(qty=1, trail_percent=4, **buy),
        a_bracket(),
        MarketOrderRequest(
            qty=1, order_class=OrderClass.OTO, stop_loss=StopLossRequest(stop_price=90), **buy
        ),
        LimitOrderRequest(
            qty=5,
            order_class=OrderClass.OCO,
            take_profit=TakeProfitRequest(limit_price=140),
            stop_loss=StopLossRequest(stop_price=80, limit_price=79),
            **sell,
        ),
    ]


def test_the_official_client_sends_every_kind_of_order_and_reads_it_back(
    client: Any, simulator: RunningSimulator
) -> None:
    simulator.advance(3)
    client.submit_order(a_market_buy())
    simulator.advance(2)
    for number, wish in enumerate(of_every_kind()):
        wish.client_order_id = f"kind-{number}"
        sent = client.submit_order(wish)
        again = client.get_order_by_client_id(f"kind-{number}")
        terms = wish.to_request_fields()
        assert again.id == sent.id
        for name in (
            "qty",
            "notional",
            "limit_price",
            "stop_price",
            "trail_price",
            "trail_percent",
        ):
            if terms.get(name) is not None and again.order_class != OrderClass.OCO:
                assert Decimal(getattr(again, name)) == Decimal(str(terms[name])), (number, name)
        assert again.time_in_force == wish.time_in_force
        assert again.extended_hours == bool(wish.extended_hours)
        if again.status != OrderStatus.FILLED:
            client.cancel_order_by_id(again.id)
    assert client.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN)) == []
