"""The protocols as plain clients speak them: REST, both streams, the admin's doors and faults."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgpack
import orjson
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from simulator.tape import Tape
from simulator.testing import RunningSimulator, running_simulator
from trader.runtime.waiting import wait_until

KEYS = {"APCA-API-KEY-ID": "K", "APCA-API-SECRET-KEY": "S"}
MINUTES = [(100.0, 101.0, 99.0, 100.5, 10_000), (100.5, 102.0, 100.0, 101.0, 10_000)] * 3
BUY = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"}


@pytest.fixture
def simulator(make_tape: Callable[..., Tape]) -> Iterator[RunningSimulator]:
    with running_simulator(make_tape(MINUTES, ["AAPL", "MSFT"])) as running:
        yield running


@pytest.fixture
def http(simulator: RunningSimulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=simulator.url, headers=KEYS, trust_env=False, timeout=60) as client:
        yield client


# ---------------------------------------------------------------------- REST


def test_requests_without_keys_are_refused_and_health_needs_none(
    simulator: RunningSimulator,
) -> None:
    with httpx.Client(base_url=simulator.url, trust_env=False, timeout=60) as nobody:
        trading, data = nobody.get("/v2/account"), nobody.get("/v2/stocks/bars")
        health = nobody.get("/health")

    assert (trading.status_code, trading.json()["code"]) == (401, 40110000)
    assert (data.status_code, data.json()) == (401, {"message": "forbidden."})
    assert health.json()["status"] == "ok"


def test_an_oauth_token_is_as_good_as_a_pair_of_keys(simulator: RunningSimulator) -> None:
    headers = {"Authorization": "Bearer t"}
    assert httpx.get(f"{simulator.url}/v2/account", headers=headers).status_code == 200


def test_the_fields_of_the_old_day_trading_rule_are_gone(http: httpx.Client) -> None:
    account = http.get("/v2/account").json()

    assert not {"pattern_day_trader", "daytrade_count", "daytrading_buying_power"} & set(account)
    assert isinstance(account["cash"], str)


def test_a_body_that_is_no_json_is_refused(http: httpx.Client) -> None:
    response = http.post("/v2/orders", content=b"{")

    assert (response.status_code, response.json()["code"]) == (422, 40010000)


def test_a_huge_body_is_refused_before_anything_happens(http: httpx.Client) -> None:
    assert http.post("/v2/orders", content=b" " * 300_000).status_code == 413


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v2/orders?status=odd", "invalid status"),
        ("/v2/orders?limit=501", "limit must be 1 to 500"),
        ("/v2/orders?after=yesterday", "invalid after"),
        ("/v2/orders?after=9999-12-31T23:59:59-14:00", "invalid after"),
        ("/v2/orders?direction=up", "invalid direction"),
        ("/v2/account/activities?page_size=0", "page_size must be 1 to 100"),
        ("/v2/calendar?start=x", "invalid start"),
    ],
)
def test_a_wrong_parameter_is_named(http: httpx.Client, path: str, words: str) -> None:
    response = http.get(path)

    assert (response.status_code, response.json()["message"]) == (422, words)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v2/stocks/bars?timeframe=1Min", "symbols is required"),
        ("/v2/stocks/bars?symbols=AAPL", "timeframe is required"),
        ("/v2/stocks/bars?symbols=AAPL&timeframe=5Min", "offers 1Min and 1Day"),
        ("/v2/stocks/bars?symbols=../x&timeframe=1Min", "invalid symbol: ../x"),
        ("/v2/stocks/bars?symbols=AAPL&timeframe=1Min&limit=10001", "maximum of 10000"),
        ("/v2/stocks/bars?symbols=AAPL&timeframe=1Min&start=x", "invalid start"),
        ("/v2/stocks/bars?symbols=AAPL&timeframe=1Min&page_token=x", "invalid page_token"),
    ],
)
def test_a_wrong_data_parameter_is_answered_with_400(
    http: httpx.Client, path: str, words: str
) -> None:
    response = http.get(path)

    assert response.status_code == 400
    assert words in response.json()["message"]


def test_a_day_of_minutes_becomes_a_daily_bar_once_its_session_has_closed(
    http: httpx.Client, simulator: RunningSimulator
) -> None:
    path = "/v2/stocks/AAPL/bars?timeframe=1Day&start=2026-01-01"
    simulator.advance(15)
    assert http.get(path).json()["bars"] == []

    simulator.advance(3)  # the last bar of the tape ends the session

    (day,) = http.get(path).json()["bars"]
    assert (day["t"], day["o"], day["h"], day["l"], day["c"], day["v"]) == (
        "2026-01-05T05:00:00Z",
        100.0,
        102.0,
        99.0,
        101.0,
        60_000,
    )


def test_history_can_be_read_newest_first_across_pages(
    http: httpx.Client, simulator: RunningSimulator
) -> None:
    simulator.advance(12)
    seen: list[str] = []
    token = ""
    for _ in range(4):
        query: dict[str, str | int] = {
            "timeframe": "1Min",
            "sort": "desc",
            "limit": 1,
            "page_token": token,
        }
        page = http.get("/v2/stocks/AAPL/bars", params=query).json()
        seen += [bar["t"][14:16] for bar in page["bars"]]
        token = page["next_page_token"] or ""

    assert seen == ["33", "32", "31", "30"]
    assert token == ""


def test_an_unknown_path_says_so_in_json(http: httpx.Client) -> None:
    response = http.get("/v2/nothing")

    assert (response.status_code, response.json()["code"]) == (404, 40410000)


# ---------------------------------------------------------------------- trade stream


def say(socket: ClientConnection, message: dict[str, Any]) -> None:
    socket.send(orjson.dumps(message).decode())


def hear(socket: ClientConnection) -> Any:
    return orjson.loads(socket.recv(timeout=10))


def listen(socket: ClientConnection) -> None:
    say(socket, {"action": "auth", "key": "K", "secret": "S"})
    assert hear(socket)["data"] == {"status": "authorized", "action": "authenticate"}
    say(socket, {"action": "listen", "data": {"streams": ["trade_updates"]}})
    assert hear(socket) == {"stream": "listening", "data": {"streams": ["trade_updates"]}}


def test_updates_come_as_json_in_binary_frames(
    simulator: RunningSimulator, http: httpx.Client
) -> None:
    with connect(f"{simulator.stream_url}/stream") as socket:
        listen(socket)
        http.post("/v2/orders", json=BUY)

        frame = socket.recv(timeout=10)

    assert isinstance(frame, bytes)
    message = orjson.loads(frame)
    assert message["stream"] == "trade_updates"
    assert (message["data"]["event"], message["data"]["order"]["symbol"]) == ("accepted", "AAPL")


def test_text_frames_and_msgpack_are_there_for_the_asking(
    simulator: RunningSimulator, http: httpx.Client
) -> None:
    as_msgpack = connect(
        f"{simulator.stream_url}/stream",
        additional_headers={"Content-Type": "application/msgpack"},
    )
    with connect(f"{simulator.stream_url}/stream?frames=text") as text, as_msgpack as packed:
        say(text, {"action": "auth", "key": "K", "secret": "S"})
        assert isinstance(text.recv(timeout=10), str)
        packed.send(
            msgpack.packb({"action": "authenticate", "data": {"key_id": "K", "secret_key": "S"}})
        )
        assert msgpack.unpackb(packed.recv(timeout=10))["data"]["status"] == "authorized"


def test_nothing_is_heard_before_authorization_or_after_listening_to_nothing(
    simulator: RunningSimulator, http: httpx.Client
) -> None:
    with connect(f"{simulator.stream_url}/stream") as socket:
        say(socket, {"action": "listen", "data": {"streams": ["trade_updates"]}})
        assert hear(socket)["data"] == {"status": "unauthorized", "action": "listen"}
        say(socket, {"action": "auth", "key": "K", "secret": ""})
        assert hear(socket)["data"]["status"] == "unauthorized"
        listen(socket)
        say(socket, {"action": "listen", "data": {"streams": []}})
        assert hear(socket)["data"] == {"streams": []}
        http.post("/v2/orders", json=BUY)
        say(socket, {"action": "listen", "data": {"streams": ["trade_updates"]}})

        assert hear(socket)["stream"] == "listening"  # and not the order's update


# ---------------------------------------------------------------------- data stream


def subscribed(socket: ClientConnection, **channels: list[str]) -> Any:
    assert hear(socket) == [{"T": "success", "msg": "connected"}]
    say(socket, {"action": "auth", "key": "K", "secret": "S"})
    assert hear(socket) == [{"T": "success", "msg": "authenticated"}]
    say(socket, {"action": "subscribe", **channels})
    return hear(socket)


def test_bars_of_an_instant_come_together_and_end_with_the_marker(
    simulator: RunningSimulator,
) -> None:
    with connect(f"{simulator.stream_url}/v2/iex") as socket:
        subscribed(socket, bars=["*"])
        simulator.advance(3)

        heard = hear(socket)

    assert [(m["T"], m.get("S")) for m in heard] == [("b", "AAPL"), ("b", "MSFT"), ("end", None)]
    assert heard[-1] == {"T": "end", "tf": "1Min", "t": "2026-01-05T14:31:00Z"}
    assert (heard[0]["t"], heard[0]["o"], heard[0]["v"]) == ("2026-01-05T14:30:00Z", 100.0, 10_000)


def test_who_subscribes_one_symbol_gets_that_one_and_its_ticks(
    simulator: RunningSimulator,
) -> None:
    with connect(f"{simulator.stream_url}/v2/sip") as socket:
        current = subscribed(socket, bars=["MSFT"], trades=["AAPL"], quotes=["AAPL"])
        assert current[0]["corrections"] == ["AAPL"]
        simulator.advance(3)

        assert [(m["T"], m.get("S")) for m in hear(socket)] == [
            ("t", "AAPL"),
            ("q", "AAPL"),
            ("b", "MSFT"),
            ("end", None),
        ]


def test_unsubscribing_answers_the_whole_current_set(simulator: RunningSimulator) -> None:
    with connect(f"{simulator.stream_url}/v2/test") as socket:
        subscribed(socket, bars=["AAPL", "MSFT"])
        say(socket, {"action": "unsubscribe", "bars": ["AAPL"]})

        assert hear(socket)[0]["bars"] == ["MSFT"]


def test_keys_in_the_handshake_authenticate(simulator: RunningSimulator) -> None:
    with connect(f"{simulator.stream_url}/v2/iex", additional_headers=KEYS) as socket:
        assert hear(socket)[0]["msg"] == "connected"
        assert hear(socket)[0]["msg"] == "authenticated"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", 400),
        ('{"action":"dance"}', 400),
        ('{"action":"auth","key":"K","secret":"S"}', 403),
        ('{"action":"subscribe","bars":"AAPL"}', 400),
        ('{"action":"subscribe","news":["AAPL"]}', 410),
    ],
)
def test_a_wrong_message_is_answered_with_its_code(
    simulator: RunningSimulator, message: str, code: int
) -> None:
    with connect(f"{simulator.stream_url}/v2/iex") as socket:
        subscribed(socket, bars=["*"])
        socket.send(message)

        assert hear(socket)[0]["code"] == code


def test_subscribing_before_authentication_and_wrong_keys_are_refused(
    simulator: RunningSimulator,
) -> None:
    with connect(f"{simulator.stream_url}/v2/iex") as socket:
        hear(socket)
        say(socket, {"action": "subscribe", "bars": ["*"]})
        assert hear(socket)[0]["code"] == 401
        say(socket, {"action": "auth", "key": "K"})
        assert hear(socket)[0]["code"] == 402
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)


def test_a_second_connection_of_the_same_key_is_refused(simulator: RunningSimulator) -> None:
    with connect(f"{simulator.stream_url}/v2/iex") as first:
        subscribed(first, bars=["*"])
        with connect(f"{simulator.stream_url}/v2/iex") as second:
            hear(second)
            say(second, {"action": "auth", "key": "K", "secret": "S"})
            assert hear(second)[0]["code"] == 406
        with connect(f"{simulator.stream_url}/v2/sip") as elsewhere:
            subscribed(elsewhere, bars=["*"])


# ---------------------------------------------------------------------- admin


def test_a_step_is_answered_alike_each_time_and_a_gap_is_a_conflict(
    simulator: RunningSimulator,
) -> None:
    first = simulator.admin.post("/admin/advance", json={"step": 1})
    again = simulator.admin.post("/admin/advance", json={"step": 1})
    gap = simulator.admin.post("/admin/advance", json={"step": 3})

    assert (
        first.json()
        == again.json()
        == {
            "step": 1,
            "phase": "OPEN",
            "venue_at": "2026-01-05T14:30:00Z",
            "instant_at": "2026-01-05T14:31:00Z",
            "timeframe": "1Min",
            "symbols": 2,
            "revision": 0,
            "finished": False,
        }
    )
    assert (gap.status_code, gap.json()["step"]) == (409, 1)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"step":"1"}', b'{"step":true}', b"{}"])
def test_a_malformed_step_is_refused(simulator: RunningSimulator, body: bytes) -> None:
    assert simulator.admin.post("/admin/advance", content=body).status_code == 422
    assert simulator.state()["step"] == 0


def test_changes_after_a_revision_are_listed_with_legs_of_their_own(
    simulator: RunningSimulator, http: httpx.Client
) -> None:
    bracket = {
        **BUY,
        "time_in_force": "gtc",
        "order_class": "bracket",
        "take_profit": {"limit_price": "110"},
        "stop_loss": {"stop_price": "95"},
    }
    http.post("/v2/orders", json=bracket)
    before = simulator.state()["revision"]
    after = simulator.advance(2)["revision"]

    changes = simulator.admin.get("/admin/changes", params={"after": before}).json()

    assert changes["revision"] == after
    assert [(o["status"], o["filled_qty"], o["fills"]) for o in changes["orders"]] == [
        ("filled", "1", 1),
        ("new", "0", 0),
        ("new", "0", 0),
    ]
    assert simulator.admin.get("/admin/changes", params={"after": after}).json()["orders"] == []


def test_somebody_else_may_trade_on_the_same_account(
    simulator: RunningSimulator, http: httpx.Client
) -> None:
    placed = simulator.admin.post("/admin/trade", json=BUY).json()
    simulator.advance(2)

    found = http.get(f"/v2/orders/{placed['id']}").json()
    assert (found["status"], found["source"]) == ("filled", "external")
    assert simulator.book()["positions"] == {"AAPL": {"quantity": "1", "average_price": "100"}}
    assert simulator.book()["cash"] == "99900"


def test_the_admin_token_is_demanded_when_there_is_one(make_tape: Callable[..., Tape]) -> None:
    with running_simulator(make_tape(MINUTES), admin_token="secret") as running:
        assert running.state()["step"] == 0
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            answered = httpx.get(f"{running.url}/admin/state", headers=headers)
            assert answered.status_code == 401


# ---------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://elsewhere.example"}, {"Host": "elsewhere.example"}], ids=str
)
def test_a_page_in_a_browser_may_not_conduct_a_simulator_without_a_token(
    simulator: RunningSimulator, headers: dict[str, str]
) -> None:
    assert httpx.get(f"{simulator.url}/admin/state").status_code == 200

    assert httpx.get(f"{simulator.url}/admin/state", headers=headers).status_code == 401


def test_a_status_fault_answers_before_anything_happens(
    simulator: RunningSimulator, http: httpx.Client
) -> None:
    simulator.fault(kind="status", match={"method": "POST", "path": "/v2/orders"}, status=504)

    assert http.post("/v2/orders", json=BUY).status_code == 504
    assert http.get("/v2/orders?status=all").json() == []
    assert http.post("/v2/orders", json=BUY).status_code == 200


def test_a_fault_may_answer_a_page_of_html(simulator: RunningSimulator, http: httpx.Client) -> None:
    simulator.fault(kind="status", status=502, body="<html>bad gateway</html>")

    assert http.get("/v2/account").text == "<html>bad gateway</html>"


def test_a_rate_limit_fault_looks_like_the_brokers(
    simulator: RunningSimulator, http: httpx.Client
) -> None:
    simulator.fault(kind="rate_limit")

    response = http.get("/v2/account")

    assert (response.status_code, response.json()["code"]) == (429, 42910000)
    assert "x-ratelimit-reset" in response.headers


def test_a_lost_reply_leaves_the_order_at_the_broker(
    simulator: RunningSimulator, http: httpx.Client
) -> None:
    simulator.fault(kind="lose_reply", match={"method": "POST", "path": "/v2/orders"})

    with pytest.raises(httpx.RemoteProtocolError):
        http.post("/v2/orders", json={**BUY, "client_order_id": "lost"})

    found = http.get("/v2/orders:by_client_order_id", params={"client_order_id": "lost"})
    assert found.json()["status"] == "accepted"
    assert http.post("/v2/orders", json={**BUY, "client_order_id": "lost"}).status_code == 422


def test_a_held_reply_comes_late_though_the_order_is_there(
    simulator: RunningSimulator, http: httpx.Client
) -> None:
    simulator.fault(kind="hold_reply", match={"method": "POST"}, delay_s=30)

    with pytest.raises(httpx.ReadTimeout):
        http.post(
            "/v2/orders",
            json={**BUY, "client_order_id": "held"},
            timeout=httpx.Timeout(60, read=0.2),
        )

    def is_there() -> bool:
        asked = {"client_order_id": "held"}
        return http.get("/v2/orders:by_client_order_id", params=asked).status_code == 200

    # Who gave up waiting may be quicker than a busy simulator, which has the order in hand.
    assert wait_until(is_there, 30)


def test_events_are_doubled_lost_and_broken(
    simulator: RunningSimulator, http: httpx.Client
) -> None:
    with connect(f"{simulator.stream_url}/stream") as socket:
        listen(socket)
        simulator.fault(kind="duplicate_event", match={"event": "accepted"})
        http.post("/v2/orders", json={**BUY, "client_order_id": "one"})
        simulator.fault(kind="drop_event", match={"event": "accepted"})
        http.post("/v2/orders", json={**BUY, "client_order_id": "two"})
        simulator.fault(kind="malformed_event", match={"event": "accepted"})
        http.post("/v2/orders", json={**BUY, "client_order_id": "three"})

        first, second = hear(socket), hear(socket)
        with pytest.raises(orjson.JSONDecodeError):
            hear(socket)

    assert first == second
    assert first["data"]["order"]["client_order_id"] == "one"


def test_a_dropped_stream_ends_without_a_word_and_may_be_refused_for_a_while(
    simulator: RunningSimulator,
) -> None:
    with connect(f"{simulator.stream_url}/stream") as socket:
        listen(socket)
        dropped = simulator.fault(kind="drop_stream", match={"path": "/stream"}, delay_s=60)
        with pytest.raises(ConnectionClosed) as ended:
            socket.recv(timeout=10)

    assert dropped["dropped"] == 1
    assert ended.value.rcvd is None  # no closing frame
    with pytest.raises(InvalidStatus) as refused, connect(f"{simulator.stream_url}/stream"):
        pass
    assert refused.value.response.status_code == 429
    with connect(f"{simulator.stream_url}/v2/iex") as other:
        subscribed(other, bars=["*"])


def test_faults_are_listed_and_cleared(simulator: RunningSimulator) -> None:
    simulator.fault(kind="status", count=3)

    (listed,) = simulator.admin.get("/admin/faults").json()
    assert (listed["kind"], listed["count"]) == ("status", 3)
    assert simulator.admin.delete("/admin/faults").json() == {"cleared": 1}
    assert simulator.admin.get("/admin/faults").json() == []


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"kind": "earthquake"},
        {"kind": ["status"]},
        {"kind": "status", "count": 0},
        {"kind": "status", "status": 200},
        {"kind": "status", "match": {"colour": "red"}},
        {"kind": "status", "surprise": 1},
        {"kind": "hold_reply", "delay_s": -1},
    ],
)
def test_a_malformed_fault_is_refused(simulator: RunningSimulator, wish: dict[str, Any]) -> None:
    response = simulator.admin.post("/admin/faults", json=wish)

    assert response.status_code == 422
    assert simulator.admin.get("/admin/faults").json() == []
