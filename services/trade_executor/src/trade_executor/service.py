"""Which tasks make up an executor, and when may they run?

One process per account holds the lease and works; others stand by and serve reads. Whoever takes over compares with
the broker before anything is sent. When the lease is lost all work of the term is cancelled at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial

import structlog

from shared.crashpoints import crashpoint
from shared.domain.calendar import TradingCalendar
from shared.domain.errors import Retryable, Unavailable
from shared.messages import BELL_CLOCK, BELL_REVIEWS
from shared.ports import Bells, Broker, Clock, Ear, HaltSwitch, Timer
from shared.stage import keep_working
from trade_executor.adapters.gate import Gate
from trade_executor.adapters.trade_updates import (
    Connected,
    Disconnected,
    StreamItem,
    TradeUpdates,
)
from trade_executor.booking import Booker
from trade_executor.lease import Holder, Lease, LeaseLost, Leases, take_lease
from trade_executor.lending import Lender, LendingDesk
from trade_executor.lifecycle import ExecutorState
from trade_executor.market import Bounds, Market
from trade_executor.recovery import Reconciler, Report
from trade_executor.sending import Sender
from trade_executor.store import Store
from trade_executor.unguarded import Watch
from trade_executor.vetting import Vetting
from trade_executor.wake import Wake

_log = structlog.get_logger(__name__)
_INBOX = 1_000
_BATCH = 100
# Held orders leave this soon after their instant even when no bell rings.
_SEND_POLL_S = 0.25
_STAND_BACK_S = 1.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What an executor is made of."""

    store: Store
    leases: Leases
    broker: Broker
    gate: Gate
    updates: TradeUpdates
    bells: Bells
    calendar: TradingCalendar
    clock: Clock
    timer: Timer
    halt: HaltSwitch
    holder: Holder
    market: Market
    bounds: Bounds
    # None where the settings allow no short positions.
    lender: Lender | None


class Executor:
    """One process's part: working or standing by."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._reconciler: Reconciler | None = None
        self._wake: Wake | None = None

    @property
    def is_leading(self) -> bool:
        """Whether this process holds the account's lease."""
        return self._reconciler is not None

    def wake(self) -> None:
        """Something was stored that the sender may work off at once; elsewhere its poll finds it."""
        if self._wake is not None:
            self._wake.set()

    async def reconcile_now(self) -> Report:
        """Compare everything now, as a person asked.

        Raises:
            Unavailable: another process is the executor, or the broker gave no answer.
        """
        if self._reconciler is None:
            raise Unavailable("this process stands by; ask the one that executes")
        return await self._reconciler.reconcile(deep=True)

    async def run(self) -> None:
        """Wait for the lease, work, and stand back when it is lost; until cancelled."""
        parts = self._parts
        while True:
            try:
                await self._lead(await take_lease(parts.leases, parts.holder, parts.timer))
            except* LeaseLost as lost:
                _log.error("no longer the executor", reason=str(lost.exceptions[0]))
            except* Retryable as waits:
                _log.warning("cannot take over yet", reason=str(waits.exceptions[0]))
            await parts.timer.sleep(_STAND_BACK_S)

    async def _lead(self, held: Lease) -> None:
        parts, epoch = self._parts, held.epoch
        _log.info("executing", account=parts.store.account, epoch=epoch)
        wake = Wake()
        lending = LendingDesk(parts.store, parts.lender, parts.clock, parts.timer)
        reconciler = Reconciler(
            parts.store,
            parts.broker,
            parts.calendar,
            parts.clock,
            parts.timer,
            wake,
            parts.halt,
            lending,
            Watch(
                parts.store,
                parts.market,
                parts.calendar,
                parts.clock,
                max_quote_age_s=parts.bounds.max_quote_age_s,
            ),
            epoch=epoch,
        )
        booker = Booker(parts.store, parts.bells, parts.clock, wake, reconciler.ask)
        reconciler.use(booker)
        sender = Sender(
            parts.store, parts.broker, parts.gate, booker, held, parts.clock, parts.timer, wake,
            reconciler.ask, parts.halt, Vetting(parts.market, parts.clock, parts.timer, parts.bounds),
            epoch=epoch,
        )  # fmt: skip
        self._reconciler, self._wake = reconciler, wake
        inbox: asyncio.Queue[StreamItem] = asyncio.Queue(_INBOX)
        try:
            async with AsyncExitStack() as stack:
                reviews = await stack.enter_async_context(parts.bells.listen(BELL_REVIEWS))
                clock_bell = await stack.enter_async_context(parts.bells.listen(BELL_CLOCK))
                day_bell = await stack.enter_async_context(parts.bells.listen(BELL_CLOCK))
                tasks = await stack.enter_async_context(asyncio.TaskGroup())
                tasks.create_task(held.keep(), name="lease")
                tasks.create_task(parts.updates.follow(inbox), name="stream")
                tasks.create_task(self._listen(inbox, booker, reconciler), name="listen")
                tasks.create_task(reconciler.run(), name="reconcile")
                await reconciler.compared.wait()
                tasks.create_task(self._take_reviews(reviews, wake), name="reviews")
                tasks.create_task(_pass_on(clock_bell, wake), name="clock")
                tasks.create_task(
                    keep_working("lending", lending.work, day_bell, parts.timer), name="lending"
                )
                tasks.create_task(
                    keep_working("sender", sender.work, wake, parts.timer, poll_s=_SEND_POLL_S),
                    name="sender",
                )
        finally:
            self._reconciler = self._wake = None
            with suppress(Retryable, TimeoutError):
                async with asyncio.timeout(1):
                    await parts.store.terms.set_state(
                        ExecutorState.STANDBY, "stopped", epoch=epoch, at=parts.clock.now()
                    )
                    await parts.leases.release(epoch)

    async def _take_reviews(self, ear: Ear, wake: Wake) -> None:
        async def work() -> bool:
            crashpoint("exec.received")
            taken = await self._parts.store.reviews.take(
                at=self._parts.clock.now(), halt_note=self._parts.halt.note()
            )
            if taken.made_work:
                crashpoint("intent.committed")
                wake.set()
            return taken.are_more

        await keep_working("reviews", work, ear, self._parts.timer)

    async def _listen(
        self, inbox: asyncio.Queue[StreamItem], booker: Booker, reconciler: Reconciler
    ) -> None:
        """Book what the stream brings, all that waits in one commit."""
        while True:
            items = [await inbox.get()]
            while not inbox.empty() and len(items) < _BATCH:
                items.append(inbox.get_nowait())
            lines: list[str | bytes] = []
            for item in items:
                match item:
                    case Connected():
                        reconciler.stream_came_up()
                    case Disconnected(why):
                        await self._insist(partial(reconciler.stream_went_down, why))
                    case line:
                        lines.append(line)
            if lines:
                await self._insist(partial(booker.book_lines, lines))

    async def _insist(self, step: Callable[[], Awaitable[None]]) -> None:
        """Do `step` until the database has answered; the lines wait meanwhile, in bounds."""
        while True:
            try:
                await step()
            except Retryable as error:
                _log.warning("stream waits", reason=str(error))
                await self._parts.timer.sleep(0.2)
            else:
                return


async def _pass_on(ear: Ear, wake: Wake) -> None:
    """A bell of the venue's clock wakes the sender."""
    while True:
        if await ear.wait(60.0):
            wake.set()
