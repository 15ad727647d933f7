"""Our records on real PostgreSQL beside the venue's own book, compared step by step without a process or a socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.trade_executor.tests.floor import Floor, FloorBroker
from shared.adapters.clocks import MonotonicTimer
from shared.adapters.postgres import Database, open_database
from shared.domain.calendar import TradingCalendar
from shared.domain.decisions import Approved, Purpose, Review
from shared.domain.errors import Unavailable
from shared.domain.orders import OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from shared.testing.bus import CountedBells
from shared.testing.halt import FakeHalt
from shared.testing.reviews import COLLAR, announce_review
from shared.testing.time import FakeClock, InstantTimer
from simulator.orders import Submit
from simulator.testing import OPEN_AT
from trade_executor.adapters.gate import Gate
from trade_executor.booking import Booker
from trade_executor.lending import LendingDesk
from trade_executor.lifecycle import Go, Intent
from trade_executor.market import Asset, Bounds, Quote
from trade_executor.recovery import Reconciler, Report
from trade_executor.sending import Sender
from trade_executor.store import Store
from trade_executor.store.leases import PostgresLeases
from trade_executor.unguarded import Watch
from trade_executor.vetting import Vetting
from trade_executor.wake import Wake
from trader.testing.servers import SettingsFor

AAPL, MSFT = Symbol("AAPL"), Symbol("MSFT")
TEN = Decimal(10)


def some_now(cases: Sequence[Any], now: Collection[int]) -> list[Any]:
    """Those of `cases` at the places `now` are tried in every run, the others when all is proven."""
    return [
        case
        if n in now
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.prove)
        for n, case in enumerate(cases)
    ]


@dataclass
class Desk:
    """Our records on real PostgreSQL, the venue's book beside them, and one term of an executor."""

    store: Store
    floor: Floor
    broker: FloorBroker
    clock: FakeClock
    halt: FakeHalt
    calendar: TradingCalendar
    reconciler: Reconciler
    booker: Booker
    sender: Sender
    epoch: int
    risk: Database
    db: Database
    reviews: int = 0

    @property
    def account(self) -> str:
        return self.store.account

    async def compare(self) -> Report:
        self.clock.set(max(self.clock.now(), self.floor.book.now) + timedelta(seconds=1))
        report = await self.reconciler.reconcile(deep=True)
        if report.positions_agree:
            held = await self.broker.positions()
            assert (await self.store.ledger.holdings())[0] == held
        return report

    async def decided(self, signal: str, **changes: Any) -> Intent:
        """An intent as risk approved it: ten AAPL with stop and target unless told otherwise."""
        now = self.clock.now()
        approved = Approved(
            f"dec-{signal}", signal, self.account, AAPL, Side.BUY, Purpose.ENTRY, TEN,
            OrderType.MARKET, TimeInForce.GTC, None, None, Decimal(90), Decimal(120), Decimal(100),
            now, now + timedelta(minutes=5), (COLLAR,),
        )  # fmt: skip
        self.reviews += 1
        review = Review(
            self.account, f"manual:{self.reviews}", now, (replace(approved, **changes),), ()
        )

        async def write(connection: Any) -> None:
            await announce_review(connection, review, now)

        await self.risk.run(write)
        await self.store.reviews.take(at=now, halt_note=self.halt.note())
        found = (await self.store.outgoing.work_at(now)).due
        return next(intent for intent in found if intent.signal_id == signal)

    async def sending(self, signal: str, **changes: Any) -> Intent:
        """The same, marked SENDING; nobody knows whether it left."""
        intent = await self.decided(signal, **changes)
        verdict = await self.store.outgoing.begin_sending(
            intent, quantity=intent.quantity, epoch=self.epoch, now=self.clock.now()
        )
        assert isinstance(verdict, Go), verdict
        return intent

    async def sent(self, signal: str, **changes: Any) -> Intent:
        """The same, taken by the venue and booked as taken."""
        intent = await self.sending(signal, **changes)
        await self.booker.book([await self.broker.submit(intent.request(), lambda: None)])
        return intent

    async def held(self, signal: str = "sig", **changes: Any) -> Intent:
        """The same, filled and booked: ten shares with their stop and target at the venue."""
        intent = await self.sent(signal, **changes)
        self.floor.bar()
        await self.compare()
        return intent

    async def leaving(
        self, signal: str = "out", quantity: Decimal = TEN, *, side: Side = Side.SELL, **terms: Any
    ) -> Intent:
        """An exit as risk approved it."""
        return await self.decided(
            signal, side=side, purpose=Purpose.EXIT, quantity=quantity, stop_loss=None,
            take_profit=None, **{"time_in_force": TimeInForce.DAY, **terms},
        )  # fmt: skip

    async def work(self) -> None:
        """Have the sender do all that is due."""
        while await self.sender.work():
            pass

    async def restart(self) -> None:
        """Another process in the place of the one that died: it knows what is stored and nothing else."""
        leases = PostgresLeases(self.db, self.account, self.clock)
        epoch = await leases.take(await leases.look(), "t")
        assert epoch is not None
        self.epoch = epoch
        self.reconciler, self.booker, self.sender = a_term(
            self.store, self.broker, self.calendar, self.clock, self.halt, epoch
        )

    async def rows(self, statement: str, **values: Any) -> Sequence[Any]:
        """What the executor's own tables hold, or change of them behind its back."""

        async def read(connection: AsyncConnection) -> Sequence[Any]:
            result = await connection.execute(text(statement), {"a": self.account, **values})
            return result.all() if result.returns_rows else []

        return await self.db.run(read)

    def resting(self) -> list[tuple[str, str, str, Decimal, str | None]]:
        """(role, side, type, shares, stop) of what is open in the venue's own book, oldest first."""
        return [
            (
                o.role.value, o.side.value, o.type.value, o.remaining,
                None if o.stop_price is None else f"{o.stop_price.normalize():f}",
            )
            for o in self.floor.book.orders.values()
            if not o.status.is_final
        ]  # fmt: skip

    async def states(self) -> list[tuple[str, str, Decimal]]:
        """(purpose, state, filled), in the order they were decided."""
        rows = await self.store.reads.find_orders(limit=50)
        return [(r["purpose"], r["state"], r["filled_quantity"]) for r in reversed(rows)]

    async def fills(self) -> list[tuple[str, str, Decimal]]:
        rows = await self.store.reads.fills(oldest_first=True)
        return [(r["symbol"], r["side"], r["quantity"]) for r in rows]

    async def differences(self) -> list[tuple[str, str | None, str, str]]:
        found = await self.store.differences.all_open()
        return [(d["kind"], d["symbol"], d["ours"], d["theirs"]) for d in found]

    async def new_entry_in(self, symbol: Symbol) -> str:
        """What becomes of a new wish to enter `symbol`: its state after the last look before the wire."""
        intent = await self.decided(f"new-{symbol}-{self.reviews}", symbol=symbol)
        await self.store.outgoing.begin_sending(
            intent, quantity=TEN, epoch=self.epoch, now=self.clock.now()
        )
        rows = await self.store.reads.find_orders(any_id=intent.client_order_id)
        return str(rows[0]["state"])

    def by_somebody_else(
        self, side: Side, quantity: int, kind: OrderType = OrderType.MARKET, **terms: Any
    ) -> Any:
        return self.floor.do(Submit(AAPL, side, Decimal(quantity), kind, TimeInForce.DAY, **terms))


@dataclass
class Surely:
    """A lease that nobody else can have taken."""

    is_sure: bool = True


@dataclass
class FloorMarket:
    """Quotes at the floor's own prices, as of now; nobody to ask about shares."""

    floor: Floor
    clock: FakeClock

    async def asset(self, symbol: Symbol) -> Asset | None:
        raise Unavailable(f"nobody knows {symbol}")

    async def quotes(self, symbols: Sequence[Symbol]) -> dict[Symbol, Quote]:
        prices = self.floor.book.prices
        return {s: Quote(prices[s], prices[s], self.clock.now()) for s in symbols if s in prices}


def a_term(
    store: Store,
    broker: FloorBroker,
    calendar: TradingCalendar,
    clock: FakeClock,
    halt: FakeHalt,
    epoch: int,
) -> tuple[Reconciler, Booker, Sender]:
    """Who compares, books and sends in one term, the trade stream being up."""
    timer, wake = MonotonicTimer(), Wake()
    market = FloorMarket(broker.floor, clock)
    reconciler = Reconciler(
        store, broker, calendar, clock, InstantTimer(), wake, halt, LendingDesk(store, None, clock, InstantTimer()),
        Watch(store, market, calendar, clock, max_quote_age_s=60), epoch=epoch,
    )  # fmt: skip
    booker = Booker(store, CountedBells(), clock, wake, reconciler.ask)
    reconciler.use(booker)
    reconciler.stream_came_up()
    sender = Sender(
        store, broker, Gate(10_000, timer), booker, Surely(), clock, timer, wake, reconciler.ask, halt,
        Vetting(market, clock, timer, Bounds(Decimal("0.01"), Decimal("0.05"), 60)), epoch=epoch,
    )  # fmt: skip
    return reconciler, booker, sender


Scenario = Callable[[Desk], Awaitable[None]]
Play = Callable[..., None]


@pytest.fixture
def play(settings_for: SettingsFor, account: str, calendar: TradingCalendar) -> Play:
    """Runs a scenario on a desk that has compared once (unless told otherwise); `before` sets the venue up, `during` moves it meanwhile."""

    @contextlib.asynccontextmanager
    async def desk(
        before: Callable[[Floor], None],
        lists_what_stands: bool = False,
        during: Callable[[Floor, str], None] | None = None,
        has_compared: bool = True,
        **rules: Any,
    ) -> AsyncIterator[Desk]:
        timer = MonotonicTimer()
        async with (
            open_database(settings_for("trade_executor"), timer, application="t") as db,
            open_database(settings_for("risk_manager"), timer, application="t") as risk,
        ):
            floor = Floor(**rules)
            floor.open()
            before(floor)
            store, clock, halt = Store(db, account), FakeClock(OPEN_AT), FakeHalt()
            broker = FloorBroker(floor, lists_what_stands=lists_what_stands)
            if during is not None:
                broker.before = partial(during, floor)
            epoch = await PostgresLeases(db, account, clock).take(None, "t")
            assert epoch is not None
            term = a_term(store, broker, calendar, clock, halt, epoch)

            async def active(connection: Any) -> None:
                await connection.execute(
                    text(
                        "INSERT INTO risk_manager.modes (account, version, mode, reason, actor, "
                        "restarts_peak, changed_at) VALUES (:a, 1, 'ACTIVE', 't', 't', false, :at)"
                    ),
                    {"a": account, "at": clock.now()},
                )

            await risk.run(active)
            made = Desk(store, floor, broker, clock, halt, calendar, *term, epoch, risk, db)
            if has_compared:
                await made.compare()
            broker.before = lambda _: None
            yield made

    def run(
        scenario: Scenario, before: Callable[[Floor], None] = lambda _: None, **rules: Any
    ) -> None:
        async def main() -> None:
            async with desk(before, **rules) as made:
                await scenario(made)

        asyncio.run(main())

    return run
