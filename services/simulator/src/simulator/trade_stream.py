"""What happened to the account's orders, as it happens (`/stream`)?

Alpaca's trade_updates protocol: JSON in binary frames as its paper server sends it, msgpack when the handshake
asks for it, text frames with `?frames=text`. There is no replay: who was away asks by REST.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.websockets import WebSocket

from shared.ports import Timer
from simulator import wire
from simulator.connection import Connection, received
from simulator.crowd import Crowd
from simulator.faults import EVENTS, Fault, Faults
from simulator.orders import TradeEvent

PATH = "/stream"
_AUTH_S = 10.0


class _Listener:
    """One client with its encoding and what it listens to."""

    def __init__(self, socket: WebSocket) -> None:
        self.connection = Connection(socket)
        self.path = PATH
        self.is_authorized = False
        self.streams: list[str] = []
        self._as_msgpack = "msgpack" in socket.headers.get("content-type", "")
        self._as_text = socket.query_params.get("frames") == "text"

    def encode(self, message: dict[str, Any]) -> bytes | str:
        if self._as_msgpack:
            return wire.msgpack_bytes(message)
        raw = wire.json_text(message)
        return raw.decode() if self._as_text else raw

    def tell(self, message: dict[str, Any]) -> None:
        self._put(self.encode(message))

    def tell_broken(self, message: dict[str, Any]) -> None:
        """Half of the message, as after a fault on the way."""
        whole = self.encode(message)
        self._put(whole[: len(whole) // 2])

    def _put(self, message: bytes | str) -> None:
        if not self.connection.send(message):
            error = {"action": "error", "data": {"error_message": "slow client"}}
            self.connection.give_up(self.encode(error))


class TradeStream:
    """All listeners of the account."""

    def __init__(self, faults: Faults, timer: Timer) -> None:
        self._faults = faults
        self._crowd: Crowd[_Listener] = Crowd(timer, (PATH,))

    @property
    def listeners(self) -> int:
        """How many clients listen to trade_updates."""
        return sum("trade_updates" in listener.streams for listener in self._crowd)

    def publish(self, events: Sequence[TradeEvent]) -> None:
        """Tell every client that listens to trade_updates."""
        for event in events:
            fault = self._faults.take(EVENTS, event=event.event)
            if fault is not None and fault.kind == "drop_event":
                continue
            message = wire.trade_update(event)
            for listener in self._crowd:
                if "trade_updates" not in listener.streams:
                    continue
                if fault is not None and fault.kind == "malformed_event":
                    listener.tell_broken(message)
                    continue
                listener.tell(message)
                if fault is not None:  # duplicate_event
                    listener.tell(message)

    def drop_all(self, fault: Fault) -> int:
        """Break off every connection that the fault matches; returns how many."""
        return self._crowd.drop(fault)

    def end_all(self) -> None:
        """Say goodbye to everybody, as a server that stops does."""
        self._crowd.end()

    async def endpoint(self, socket: WebSocket) -> None:
        """One client, from its handshake to its end."""
        await self._crowd.serve(socket, _Listener, self._read)

    async def _read(self, socket: WebSocket, listener: _Listener) -> None:
        try:
            async with asyncio.timeout(_AUTH_S):
                while not listener.is_authorized:
                    self._answer(listener, await received(socket))
        except TimeoutError:
            listener.tell(_authorization("unauthorized", "authenticate", "auth timeout"))
            listener.connection.end()
            return
        while True:
            self._answer(listener, await received(socket))

    @staticmethod
    def _answer(listener: _Listener, message: object) -> None:
        if not isinstance(message, dict):
            error = {"action": "error", "data": {"error_message": "invalid syntax"}}
            listener.tell(error)
            return
        action, data = message.get("action"), message.get("data")
        fields = data if isinstance(data, dict) else {}
        match action:
            case "authenticate" | "auth":
                key = fields.get("key_id") or message.get("key")
                secret = fields.get("secret_key") or message.get("secret")
                listener.is_authorized = bool(key) and bool(secret)
                status = "authorized" if listener.is_authorized else "unauthorized"
                listener.tell(_authorization(status, "authenticate"))
            case "listen" if not listener.is_authorized:
                listener.tell(_authorization("unauthorized", "listen"))
            case "listen":
                wanted = fields.get("streams")
                streams = [str(s)[:64] for s in wanted[:16]] if isinstance(wanted, list) else []
                listener.streams = [s for s in streams if s == "trade_updates"]
                listener.tell({"stream": "listening", "data": {"streams": listener.streams}})
            case _:
                error = {"action": "error", "data": {"error_message": "unknown action"}}
                listener.tell(error)


def _authorization(status: str, action: str, why: str | None = None) -> dict[str, Any]:
    data = {"status": status, "action": action}
    if why is not None:
        data["message"] = why
    return {"stream": "authorization", "data": data}
