"""What do we need from outside?

Each Protocol is one thing the pure code cannot make itself: time, wake-ups, stored bars, prices, a broker.
Backtest, replay, paper and live differ only in which adapter is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Protocol

from shared.domain.activities import Activity
from shared.domain.bar_blocks import BarBlock
from shared.domain.bars import Bar
from shared.domain.calendar import Session
from shared.domain.corporate_actions import Adjustment, CorporateAction
from shared.domain.orders import OrderChange, OrderRequest
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe


class Clock(Protocol):
    """The venue's time: bar times, phases, ages, dates. In a replay it is the replay's."""

    def now(self) -> datetime:
        """The present instant, aware UTC."""
        ...


class Timer(Protocol):
    """Monotonic machine time: timeouts, probes, leases, heartbeats. Never waits for the venue."""

    def monotonic_s(self) -> float:
        """Seconds since some fixed point; only differences mean anything."""
        ...

    async def sleep(self, pause_s: float) -> None:
        """Return after `pause_s` seconds."""
        ...


class Ids(Protocol):
    """Names for what no pure function can name, e.g. a request; never for orders."""

    def new(self) -> str:
        """A fresh, unguessable id."""
        ...


class Ear(Protocol):
    """Somebody listening for bells."""

    async def wait(self, timeout_s: float) -> bool:
        """Return True as soon as a bell has rung since the last call, False after `timeout_s`."""
        ...


class Folder(Protocol):
    """Named files, each there as a whole or not at all. Synchronous: call it in a thread.

    Every call raises Unavailable where the place gives no answer, and Misconfigured where it refuses us.
    """

    def names(self) -> list[str]:
        """The files in it, in no order; none where it was never written to."""
        ...

    def folders(self) -> list[str]:
        """The folders in it that hold something, sorted."""
        ...

    def inside(self, name: str) -> Folder:
        """The folder `name` in this one; nothing is made."""
        ...

    def put(self, name: str, content: bytes | memoryview) -> None:
        """Make the file hold `content`, all of it or what was there before, and lastingly."""
        ...

    def get(self, name: str) -> bytes:
        """What the file holds. Raises FileNotFoundError without one."""
        ...

    def remove(self, name: str) -> None:
        """Take the file away, where it is there."""
        ...

    def sole_writer(self) -> AbstractContextManager[None]:
        """Wait for one's turn to write here, and have it until the end of the block, or of the process."""
        ...

    def address(self, name: str) -> str:
        """Where a reader of tables finds the file, with `options`."""
        ...

    @property
    def options(self) -> Mapping[str, str] | None:
        """What such a reader needs to be told beside the address; may hold keys."""
        ...


class HaltSwitch(Protocol):
    """The halt of last resort: it works while databases are down, and a person alone takes it back."""

    def note(self) -> str | None:
        """Why nothing may leave; None while the switch is not thrown."""
        ...

    def throw(self, note: str) -> None:
        """Halt everything until a person takes it back; thrown already, it keeps the first note."""
        ...


class Bells(Protocol):
    """Wake-ups after a commit. A bell may be lost; the slow poll behind it then does the work."""

    async def ring(self, *names: str) -> None:
        """Wake whoever listens for one of `names`; never raises, since nothing depends on it."""
        ...

    def listen(self, *names: str) -> AbstractAsyncContextManager[Ear]:
        """Listen for `names` as long as the context lasts, across lost connections."""
        ...


class BarStore(Protocol):
    """Market history: one bar per (symbol, timeframe, start). Synchronous: call it in a thread."""

    def append(self, block: BarBlock, *, provider: str, fetched_at: datetime) -> int:
        """Store `block`; a bar already there with the same figures stays. Return bars new or revised.

        Atomic: a reader sees all of it or nothing, also after a crash.
        """
        ...

    def last(
        self,
        timeframe: Timeframe,
        symbols: Sequence[Symbol],
        count: int,
        until_at: datetime,
        *,
        adjustment: Adjustment = Adjustment.NONE,
        as_of_on: date | None = None,
    ) -> BarBlock:
        """The newest `count` bars of each symbol with end_at <= `until_at`.

        `adjustment` puts them into the shares of `as_of_on` (see `shared.domain.corporate_actions`), which is the New
        York day of `until_at` when left out: what happened later is not known then.
        """
        ...

    def version(self, timeframe: Timeframe, until_at: datetime) -> Hashable:
        """What answers rest on: while it is the same, `last` of the same symbols and count gives the same raw bars."""
        ...

    def between(
        self,
        timeframe: Timeframe,
        symbols: Sequence[Symbol],
        start_at: datetime,
        end_at: datetime,
        *,
        adjustment: Adjustment = Adjustment.NONE,
        as_of_on: date | None = None,
    ) -> BarBlock:
        """Bars with start_at >= `start_at` and bar end <= `end_at`, adjusted as `last` does it."""
        ...


class ActionStore(Protocol):
    """Splits and cash dividends: one of each per symbol and day. Synchronous: call it in a thread."""

    def put(
        self, actions: Sequence[CorporateAction], *, provider: str, fetched_at: datetime
    ) -> int:
        """Store `actions`; of one symbol, kind and day the one fetched last counts. Return how many are news.

        Several of one kind and day within `actions` are one together.
        """
        ...

    def actions(
        self,
        symbols: Sequence[Symbol] | None = None,
        until_on: date | None = None,
        since_on: date | None = None,
    ) -> list[CorporateAction]:
        """What counts, by symbol, kind and day: of `symbols` (None: all), with an ex-date from `since_on` up to `until_on`."""
        ...


@dataclass(frozen=True, slots=True)
class LatestBar:
    """A symbol's newest bar with where it came from and when it was fetched."""

    bar: Bar
    provider: str
    fetched_at: datetime


class LatestBars(Protocol):
    """The newest bar per symbol, for whoever needs a price now."""

    async def replace(self, block: BarBlock, *, provider: str, fetched_at: datetime) -> None:
        """Make `block` (at most one bar per symbol) the newest of its symbols."""
        ...

    async def get(self, timeframe: Timeframe, symbols: Sequence[Symbol]) -> dict[Symbol, LatestBar]:
        """The newest bar of each symbol that has one; a symbol without one is left out."""
        ...


class BarStream(Protocol):
    """The bars of announced batches, for whoever is quick; the store has them for everybody else."""

    async def publish(self, batch_id: int, block: BarBlock) -> None:
        """Offer the bars of batch `batch_id`; never raises, since the store has them."""
        ...

    async def fetch(self, batch_id: int) -> BarBlock | None:
        """The bars of that batch, or None when they are not on the stream."""
        ...


@dataclass(frozen=True, slots=True)
class BrokerExecution:
    """One execution in the broker's words; `raw` is kept as evidence.

    `cumulative` is what the order had filled right after it, where the broker says so.
    """

    execution_id: str
    broker_order_id: str
    symbol: Symbol
    side: str
    quantity: Decimal
    price: Decimal
    executed_at: datetime
    raw: Mapping[str, Any]
    cumulative: Decimal | None = None


@dataclass(frozen=True, slots=True)
class BrokerOrder:
    """One order in the broker's words. Every field but ids, symbol and status may be absent there."""

    broker_order_id: str
    client_order_id: str
    symbol: Symbol
    side: str
    type: str
    order_class: str
    status: str
    quantity: Decimal | None
    filled_quantity: Decimal
    filled_average_price: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    submitted_at: datetime | None
    legs: tuple[BrokerOrder, ...]
    raw: Mapping[str, Any]
    updated_at: datetime | None = None
    # Dollars to spend; `quantity` is then not known before it has filled.
    notional: Decimal | None = None


@dataclass(frozen=True, slots=True)
class BrokerAccount:
    """The account in the broker's words; dollars."""

    account_id: str
    status: str
    cash: Decimal
    equity: Decimal
    buying_power: Decimal
    raw: Mapping[str, Any]


class VenueHours(Protocol):
    """What the broker says of time. Raises Unavailable or RateLimited where it says nothing."""

    async def clock(self) -> datetime:
        """Its clock now."""
        ...

    async def sessions(self, first_on: date, last_on: date) -> list[Session]:
        """Its sessions with first_on <= day <= last_on, oldest first."""
        ...


class Broker(Protocol):
    """Where approved orders go. Raises Unavailable or RateLimited on reads that gave no answer."""

    async def account(self) -> BrokerAccount:
        """The account behind the keys."""
        ...

    async def submit(self, order: OrderRequest, last_look: Callable[[], None]) -> BrokerOrder:
        """Send once. Raises OrderRejected on a definite no, else OutcomeUnknown: look it up.

        `last_look` is called when the connection stands, right before the first byte is written; what it raises
        is raised here, and nothing was sent.
        """
        ...

    async def replace(
        self,
        broker_order_id: str,
        client_order_id: str,
        change: OrderChange,
        last_look: Callable[[], None],
    ) -> BrokerOrder:
        """Put another order in the place of one, once; the rest as `submit`."""
        ...

    async def find(self, client_order_id: str) -> BrokerOrder | None:
        """The order of that id with its legs, or None on a 404, which is not proof of absence."""
        ...

    async def order(self, broker_order_id: str) -> BrokerOrder | None:
        """The order of the broker's id with its legs, or None on a 404."""
        ...

    async def cancel(self, broker_order_id: str) -> bool:
        """Ask to cancel; True when asked, False when it can no longer be cancelled or is not there."""
        ...

    async def orders(self, *, status: str, after: datetime | None = None) -> list[BrokerOrder]:
        """All orders of `status` (open, closed, all), every page of them, legs nested."""
        ...

    async def executions(self, *, after: datetime | None = None) -> list[BrokerExecution]:
        """All fills, oldest first, every page of them."""
        ...

    async def activities(self, *, after: datetime) -> list[Activity]:
        """Dividends, fees, transfers and corporate actions, oldest first, every page of them."""
        ...

    async def positions(self) -> dict[Symbol, Decimal]:
        """Signed shares held, by symbol."""
        ...
