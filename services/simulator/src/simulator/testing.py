"""A simulator inside a test's own process, on a free port.

For tests of anything that talks to a broker: real sockets, real protocols, and the venue at hand. The server
runs in a thread of its own; `advance` and the like go through HTTP, so that nothing is touched from two threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from shared.adapters.clocks import MonotonicTimer, WallClock
from shared.domain.bar_blocks import to_epoch_us
from shared.domain.calendar import TradingCalendar
from shared.domain.corporate_actions import CorporateAction
from shared.domain.money import MICROS
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.ports import Clock
from simulator.app import make_doors
from simulator.clock_file import ClockFile
from simulator.orders import BookRules
from simulator.server import Server, bind
from simulator.tape import Segment, Tape
from simulator.venue import open_venue

_START_S = 20.0
DEFAULT_RULES = BookRules(cash=Decimal(100_000))
# A Monday in winter.
OPEN_AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def tape_of(
    minutes: Sequence[tuple[float, float, float, float, int]],
    symbols: Sequence[str],
    calendar: TradingCalendar,
    *,
    history: int = 0,
) -> Tape:
    """Minutes from `OPEN_AT` on, each (open, high, low, close, volume) for every symbol.

    Args:
        history: how many of the first instants are known before the replay begins.
    """
    names = sorted(symbols)
    count = len(names)
    rows = np.array([row for row in minutes for _ in names])
    start_us = to_epoch_us(OPEN_AT) + 60 * MICROS * np.repeat(np.arange(len(minutes)), count)
    micros = np.rint(rows[:, :4] * MICROS).astype(np.int64)
    segment = Segment(
        symbol=np.tile(np.arange(count, dtype=np.int32), len(minutes)),
        start_us=start_us,
        opens_us=start_us,
        end_us=start_us + 60 * MICROS,
        session=np.zeros(len(start_us), dtype=np.int64),
        open=micros[:, 0],
        high=micros[:, 1],
        low=micros[:, 2],
        close=micros[:, 3],
        volume=rows[:, 4].astype(np.int64),
    )
    return Tape(
        source="invented",
        timeframe=Timeframe.MINUTE,
        symbols=[Symbol(name) for name in names],
        calendar=calendar,
        digest=str(hash(tuple(minutes))),
        first=segment,
        history=history,
    )


@dataclass
class RunningSimulator:
    """Where it listens, and its admin API."""

    url: str
    stream_url: str
    admin: httpx.Client

    def advance(self, steps: int = 1) -> dict[str, Any]:
        """Make the next `steps` steps; returns what the last one answered."""
        answered: dict[str, Any] = {}
        step = self.state()["step"]
        for number in range(step + 1, step + 1 + steps):
            response = self.admin.post("/admin/advance", json={"step": number})
            answered = response.raise_for_status().json()
        return answered

    def state(self) -> dict[str, Any]:
        """`GET /admin/state`."""
        state: dict[str, Any] = self.admin.get("/admin/state").raise_for_status().json()
        return state

    def book(self) -> dict[str, Any]:
        """`GET /admin/book`."""
        book: dict[str, Any] = self.admin.get("/admin/book").raise_for_status().json()
        return book

    def fault(self, **wish: Any) -> dict[str, Any]:
        """`POST /admin/faults`."""
        response = self.admin.post("/admin/faults", json=wish)
        answered: dict[str, Any] = response.raise_for_status().json()
        return answered


@contextlib.contextmanager
def running_simulator(
    tape: Tape,
    *,
    rules: BookRules = DEFAULT_RULES,
    account: str = "test",
    requests_per_minute: int = 0,
    state_dir: Path | None = None,
    admin_token: str | None = None,
    credits_per_minute: int = 0,
    machine_clock: Clock | None = None,
    actions: Sequence[CorporateAction] = (),
    clock_file: Path | None = None,
) -> Iterator[RunningSimulator]:
    """Run a lock-step simulator as long as the context lasts."""
    venue = open_venue(tape, account, rules, state_dir)
    if clock_file is not None:
        venue.attach_clock(ClockFile(clock_file, venue.venue_at))
    doors = make_doors(
        venue,
        timer=MonotonicTimer(),
        machine_clock=machine_clock or WallClock(),
        requests_per_minute=requests_per_minute,
        admin_token=admin_token,
        credits_per_minute=credits_per_minute,
        actions=actions,
    )
    door = bind("127.0.0.1", 0)
    server, started = _ServerThatTells(doors), threading.Event()
    server.started_event = started
    loop = asyncio.new_event_loop()
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(server.serve(sockets=[door])), daemon=True
    )
    thread.start()
    try:
        if not started.wait(_START_S):
            raise TimeoutError("the simulator did not start")
        host = f"127.0.0.1:{door.getsockname()[1]}"
        headers = {} if admin_token is None else {"Authorization": f"Bearer {admin_token}"}
        with httpx.Client(
            base_url=f"http://{host}", headers=headers, trust_env=False, timeout=60
        ) as admin:
            yield RunningSimulator(f"http://{host}", f"ws://{host}", admin)
    finally:
        loop.call_soon_threadsafe(server.stop)
        thread.join(_START_S)
        loop.close()
        door.close()
        venue.close()


class _ServerThatTells(Server):
    """Sets an event once it listens."""

    started_event: threading.Event

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.started_event.set()
