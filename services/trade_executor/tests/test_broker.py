"""The broker's client against servers that misbehave: one POST per call, whatever comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from decimal import Decimal
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from shared.adapters.clocks import MonotonicTimer
from shared.domain.errors import (
    AccountMismatch,
    OrderRejected,
    OutcomeUnknown,
    RateLimited,
    Unavailable,
)
from shared.domain.orders import OrderRequest, OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from trade_executor.adapters import alpaca
from trade_executor.adapters.alpaca import AlpacaBroker, open_alpaca
from trade_executor.adapters.gate import Gate

KEY = SecretStr("PKTEST")
ORDER = OrderRequest(
    "fat-1", Symbol("AAPL"), Side.BUY, Decimal(1), OrderType.MARKET, TimeInForce.DAY
)
ACCEPTED = {
    "id": "b-1",
    "client_order_id": "fat-1",
    "symbol": "AAPL",
    "status": "new",
    "side": "buy",
}
Asked = list[tuple[str, str]]


def unhurried() -> None:
    """A last look that has nothing against it."""


def an_answer(status: int, body: bytes | object, *headers: str) -> bytes:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    lines = [
        f"HTTP/1.1 {status} X",
        f"Content-Length: {len(content)}",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + content


@contextlib.asynccontextmanager
async def a_broker(
    answers: Callable[[str, str], bytes | None],
) -> AsyncIterator[tuple[AlpacaBroker, Asked]]:
    """A client, and what its server was asked; `answers` gives the bytes sent back, None for silence."""
    asked: Asked = []
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, path, _ = head.split(" ", 2)
            length = [
                line for line in head.lower().split("\r\n") if line.startswith("content-length:")
            ]
            if length:
                await reader.readexactly(int(length[0].split(":")[1]))
            asked.append((method, path))
            answer = answers(method, path)
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        gate = Gate(10_000, MonotonicTimer())
        async with open_alpaca(f"http://127.0.0.1:{port}", KEY, KEY, gate) as broker:
            yield broker, asked
    finally:
        server.close()
        await asyncio.gather(*(task for task in serving if task is not None))


def with_broker(
    answers: Callable[[str, str], bytes | None],
    scenario: Callable[[AlpacaBroker, Asked], Coroutine[Any, Any, None]],
) -> None:
    async def run() -> None:
        async with a_broker(answers) as (broker, asked):
            await scenario(broker, asked)

    asyncio.run(run())


@pytest.mark.parametrize(
    "answer",
    [
        an_answer(500, {"code": 40310000, "message": "insufficient buying power"}),
        an_answer(503, b"<html>maintenance</html>"),
        an_answer(504, b""),
        an_answer(429, {"message": "too many requests."}, "Retry-After: 0"),
        an_answer(302, b"", "Location: http://127.0.0.1:1/"),
        an_answer(200, b"<html>ok</html>"),
        an_answer(200, {**ACCEPTED, "id": None}),
        an_answer(200, {**ACCEPTED, "client_order_id": "another"}),
        an_answer(200, [ACCEPTED]),
        an_answer(403, b"<html>forbidden</html>"),
        an_answer(422, {"code": 40010001, "message": "client_order_id must be unique"}),
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"id\":\"b-1\",",
        b"",
        b"nonsense\r\n\r\n",
    ],
    ids=[
        "500", "html-503", "504", "429", "redirect", "html-200", "no-id", "other-order", "list", "html-403",
        "taken-id", "truncated", "reset", "nonsense",
    ],
)  # fmt: skip
def test_an_answer_that_proves_nothing_leaves_the_outcome_unknown_after_one_post(
    answer: bytes,
) -> None:
    async def scenario(broker: AlpacaBroker, asked: Asked) -> None:
        with pytest.raises(OutcomeUnknown):
            await broker.submit(ORDER, unhurried)
        assert asked == [("POST", "/v2/orders")]

    with_broker(lambda _m, _p: answer, scenario)


def test_a_server_that_says_nothing_is_given_up_after_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alpaca, "TOTAL_S", 0.2)

    async def scenario(broker: AlpacaBroker, asked: Asked) -> None:
        with pytest.raises(OutcomeUnknown, match="TimeoutError"):
            await broker.submit(ORDER, unhurried)
        assert len(asked) == 1

    with_broker(lambda _m, _p: None, scenario)


def test_a_definite_no_carries_status_code_and_the_brokers_words() -> None:
    async def scenario(broker: AlpacaBroker, _asked: Asked) -> None:
        with pytest.raises(OrderRejected, match="insufficient buying power") as caught:
            await broker.submit(ORDER, unhurried)
        assert (caught.value.status, caught.value.code) == (403, 40310000)

    body = {"code": 40310000, "message": "insufficient buying power", "buying_power": "1"}
    with_broker(lambda _m, _p: an_answer(403, body), scenario)


def test_an_accepted_order_comes_back_with_its_id() -> None:
    async def scenario(broker: AlpacaBroker, _asked: Asked) -> None:
        assert (await broker.submit(ORDER, unhurried)).broker_order_id == "b-1"

    with_broker(lambda _m, _p: an_answer(200, ACCEPTED), scenario)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (
            an_answer(401, {"code": 40110000, "message": "request is not authorized"}),
            AccountMismatch,
        ),
        (an_answer(429, {"message": "too many requests."}, "Retry-After: 3"), RateLimited),
        (an_answer(500, b""), Unavailable),
        (an_answer(200, b"<html>"), Unavailable),
        (an_answer(200, {"not": "a list"}), Unavailable),
        (an_answer(200, [{"symbol": "AAPL"}]), Unavailable),
        (b"", Unavailable),
    ],
    ids=["401", "429", "500", "html", "no list", "no quantity", "reset"],
)
def test_a_read_without_an_answer_is_never_an_empty_account(
    answer: bytes, error: type[Exception]
) -> None:
    async def scenario(broker: AlpacaBroker, _asked: Asked) -> None:
        with pytest.raises(error):
            await broker.positions()

    with_broker(lambda _m, _p: answer, scenario)


def test_a_404_of_the_broker_is_none_and_a_404_of_anything_else_is_no_answer() -> None:
    async def scenario(broker: AlpacaBroker, _asked: Asked) -> None:
        assert await broker.order("known-to-nobody") is None
        with pytest.raises(Unavailable):
            await broker.order("proxy")

    def answers(_method: str, path: str) -> bytes:
        if "proxy" in path:
            return an_answer(404, b"<html>no route</html>")
        return an_answer(404, {"code": 40410000, "message": "order not found"})

    with_broker(answers, scenario)


def a_fill(number: int) -> dict[str, str]:
    return {
        "id": f"20260105::{number}", "transaction_time": "2026-01-05T15:00:00Z", "price": "1",
        "qty": "1", "side": "buy", "symbol": "AAPL", "order_id": "b",
    }  # fmt: skip


def test_pages_of_fills_are_read_to_the_end_each_once() -> None:
    def answers(_method: str, path: str) -> bytes:
        begin = int(path.rsplit("%3A%3A", 1)[1]) + 1 if "page_token" in path else 0
        return an_answer(200, [a_fill(n) for n in range(begin, min(begin + 100, 230))])

    async def scenario(broker: AlpacaBroker, asked: Asked) -> None:
        names = [execution.execution_id for execution in await broker.executions()]
        assert names == [str(n) for n in range(230)]
        assert len(asked) == 3

    with_broker(answers, scenario)


def test_a_list_of_fills_that_does_not_move_on_is_no_answer() -> None:
    page = [a_fill(n) for n in range(100)]

    async def scenario(broker: AlpacaBroker, _asked: Asked) -> None:
        with pytest.raises(Unavailable, match="does not move on"):
            await broker.executions()

    with_broker(lambda *_: an_answer(200, page), scenario)


def test_what_the_last_look_forbids_is_not_written() -> None:
    def forbid() -> None:
        raise OutcomeUnknown(ORDER.client_order_id, "another process executes now")

    async def scenario(broker: AlpacaBroker, asked: Asked) -> None:
        with pytest.raises(OutcomeUnknown, match="another process"):
            await broker.submit(ORDER, forbid)
        assert asked == []
        assert (await broker.submit(ORDER, unhurried)).broker_order_id == "b-1"

    with_broker(lambda _m, _p: an_answer(200, ACCEPTED), scenario)
