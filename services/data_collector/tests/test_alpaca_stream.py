"""Tests of Alpaca's live bars, against a scripted WebSocket server on the loopback address."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from data_collector.adapters.alpaca_stream import AlpacaFeed
from data_collector.boundary import RawBar
from data_collector.ports import FeedEvent, FeedLost, InstantEnded
from shared.config import load_settings
from shared.domain.errors import Misconfigured
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.testing.bar_stores import NOON

CONNECTED = {"T": "success", "msg": "connected"}
AUTHENTICATED = {"T": "success", "msg": "authenticated"}
BAR = {"T": "b", "S": "AAPL", "o": 1, "h": 2, "l": 1, "c": 2, "v": 9, "t": "2026-01-15T15:00:00Z"}
MARKER = {"T": "end", "tf": "1Min", "t": "2026-01-15T15:01:00Z"}
Script = Callable[[ServerConnection], Awaitable[None]]


async def say(socket: ServerConnection, *messages: Any) -> None:
    await socket.send(json.dumps(list(messages)))


async def welcome(socket: ServerConnection, heard: list[Any], channel: str = "bars") -> None:
    """Let a client in as Alpaca does."""
    await say(socket, CONNECTED)
    heard.append(json.loads(await socket.recv()))
    await say(socket, AUTHENTICATED)
    heard.append(json.loads(await socket.recv()))
    await say(socket, {"T": "subscription", channel: heard[-1][channel], "trades": []})


def listen(
    script: Script, timeframe: Timeframe = Timeframe.MINUTE
) -> tuple[list[FeedEvent], Exception | None]:
    """What a client hears from `script` until it is cut off, and by what."""
    heard: list[FeedEvent] = []

    async def story() -> Exception | None:
        async with serve(script, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            settings = load_settings(
                {
                    "ALPACA_DATA_API_KEY": "key",
                    "ALPACA_DATA_SECRET_KEY": "secret",
                    "ALPACA_DATA_STREAM_URL": f"ws://127.0.0.1:{port}/v2/iex",
                }
            )
            feed = AlpacaFeed(settings, timeframe)
            try:
                async with feed.connect([Symbol("AAPL"), Symbol("MSFT")]) as events:
                    async for event in events:
                        heard.append(event)  # noqa: PERF401  # what was heard before the loss counts
            except (FeedLost, Misconfigured) as error:
                return error
        return None

    error = asyncio.run(story())
    return heard, error


def test_it_logs_in_subscribes_and_hands_over_bars_and_markers() -> None:
    client: list[Any] = []

    async def script(socket: ServerConnection) -> None:
        await welcome(socket, client)
        await say(socket, BAR, {"T": "x"}, MARKER)

    heard, error = listen(script)

    assert client == [
        {"action": "auth", "key": "key", "secret": "secret"},
        {"action": "subscribe", "bars": ["AAPL", "MSFT"]},
    ]
    bar, marker = heard
    assert isinstance(bar, RawBar)
    assert (bar.symbol, bar.start, bar.close) == ("AAPL", BAR["t"], 2)
    assert marker == InstantEnded(Timeframe.MINUTE, NOON + timedelta(minutes=1))
    assert isinstance(error, FeedLost)


def test_daily_bars_come_on_their_own_channel() -> None:
    client: list[Any] = []

    async def script(socket: ServerConnection) -> None:
        await welcome(socket, client, "dailyBars")
        await say(socket, BAR, {**BAR, "T": "d"})

    heard, _ = listen(script, Timeframe.DAY)

    assert client[1] == {"action": "subscribe", "dailyBars": ["AAPL", "MSFT"]}
    assert len(heard) == 1


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (402, Misconfigured, "ALPACA_DATA_SECRET_KEY"),
        (405, Misconfigured, "shorten TRADING_SYMBOLS"),
        (409, Misconfigured, "ALPACA_DATA_STREAM_URL"),
        (406, FeedLost, "90 s"),
        (407, FeedLost, "407"),
        (500, FeedLost, "500"),
        ("odd", FeedLost, "odd"),
    ],
)
def test_a_refusal_names_its_mend_or_is_waited_out(
    code: Any, kind: type[Exception], words: str
) -> None:
    async def script(socket: ServerConnection) -> None:
        await say(socket, CONNECTED)
        await socket.recv()
        await say(socket, {"T": "error", "code": code, "msg": "no\x1b[31m"})

    heard, error = listen(script)

    assert heard == []
    assert isinstance(error, kind)
    assert words in str(error)
    assert "\x1b" not in str(error)


def test_what_is_no_json_ends_the_connection() -> None:
    async def script(socket: ServerConnection) -> None:
        await welcome(socket, [])
        await socket.send("<html>")

    _, error = listen(script)

    assert isinstance(error, FeedLost)
    assert "no JSON" in str(error)


def test_messages_of_no_use_are_passed_over() -> None:
    async def script(socket: ServerConnection) -> None:
        await welcome(socket, [])
        for odd in (
            "7",
            "[7]",
            "[]",
            '{"T":"q"}',
            '[{"T":"end"}]',
            '[{"T":"end","tf":"1Min","t":"?"}]',
        ):
            await socket.send(odd)
        await say(socket, {**MARKER, "t": "2026-01-15T15:01:00"}, MARKER)

    heard, _ = listen(script)

    assert heard == [InstantEnded(Timeframe.MINUTE, NOON + timedelta(minutes=1))]


def test_a_venue_that_is_not_there_is_a_lost_feed() -> None:
    settings = load_settings(
        {
            "ALPACA_DATA_API_KEY": "key",
            "ALPACA_DATA_SECRET_KEY": "secret",
            "ALPACA_DATA_STREAM_URL": "ws://127.0.0.1:1/v2/iex",
        }
    )

    async def story() -> None:
        async with AlpacaFeed(settings, Timeframe.MINUTE).connect([Symbol("AAPL")]):
            pytest.fail("nobody listens there")

    with pytest.raises(FeedLost, match="cannot be reached"):
        asyncio.run(story())


def test_an_address_that_is_none_names_its_setting() -> None:
    settings = load_settings(
        {
            "ALPACA_DATA_API_KEY": "key",
            "ALPACA_DATA_SECRET_KEY": "secret",
            "ALPACA_DATA_STREAM_URL": "https://stream.test",
        }
    )

    with pytest.raises(Misconfigured, match="ALPACA_DATA_STREAM_URL"):
        AlpacaFeed(settings, Timeframe.MINUTE)
