"""How does evidence get into the ledger?

Through one door, one piece after the other, whether it came over the stream, as an answer or by a look-up. What
cannot be explained by what is known asks for a full look; a line that cannot be booked is kept with its
problem and holds nobody up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from shared.crashpoints import crashpoint
from shared.domain.errors import InvalidInput
from shared.messages import BELL_EXECUTIONS
from shared.ports import Bells, BrokerExecution, BrokerOrder, Clock
from trade_executor.lifecycle import Intent
from trade_executor.store import Booked, Frame, Store
from trade_executor.told import Told
from trade_executor.wake import Wake
from trade_executor.wire import TradeUpdate, decode_frame, read_update

_log = structlog.get_logger(__name__)
# Called with True when only a full comparison can explain what was seen.
AskToReconcile = Callable[[bool], None]


class Booker:
    """The one writer of orders, fills and intents' outcomes."""

    def __init__(
        self, store: Store, bells: Bells, clock: Clock, wake: Wake, ask_to_reconcile: AskToReconcile
    ) -> None:
        self._store = store
        self._bells = bells
        self._clock = clock
        self._wake = wake
        self._ask = ask_to_reconcile
        self._told = Told(store)
        self._turn = asyncio.Lock()

    async def sent(self, intent: Intent, accepted: BrokerOrder) -> None:
        """Book the broker's answer to an order just sent, and say which way it had come."""
        await self.book([accepted])
        await self._told.order(intent, accepted.broker_order_id)

    async def book(
        self,
        orders: Sequence[BrokerOrder] = (),
        executions: Sequence[BrokerExecution] = (),
        frames: Sequence[Frame] = (),
        *,
        is_whole: bool = False,
    ) -> Booked:
        """Commit this evidence with all that follows from it, then tell whoever waits for it."""
        async with self._turn:
            booked = await self._store.ledger.book(
                orders, executions, frames, at=self._clock.now(), is_whole=is_whole
            )
        if booked.fills:
            await self._bells.ring(BELL_EXECUTIONS)
            await self._told.fills(booked.fills)
        if booked.unexplained or booked.has_held_back:
            self._ask(True)
        elif booked.incomplete:
            self._ask(False)
        self._wake.set()
        return booked

    async def book_lines(self, lines: Sequence[str | bytes]) -> None:
        """Book what the stream brought, in one commit if all is well and line by line if not."""
        read = [self._read(line) for line in lines]
        try:
            await self._book_read(read)
        except InvalidInput as error:
            _log.error("lines of the trade stream not booked together", reason=str(error)[:300])
        else:
            return
        for frame, update in read:
            try:
                await self._book_read([(frame, update)])
            except InvalidInput as error:
                _log.error("line not booked", order=frame.broker_order_id, reason=str(error)[:300])
                kept = Frame(
                    frame.raw, frame.event, frame.broker_order_id, f"not booked: {error}"[:500]
                )
                await self.book(frames=[kept])
                self._ask(True)

    async def _book_read(self, read: Sequence[tuple[Frame, TradeUpdate | None]]) -> None:
        updates = [update for _, update in read if update is not None]
        executions = [update.execution for update in updates if update.execution is not None]
        if executions:
            crashpoint("fill.received")
        await self.book(
            [update.order for update in updates], executions, [frame for frame, _ in read]
        )
        if executions:
            crashpoint("fill.committed")
        # A line that nobody understood, or an event not known to exist: ask what is true.
        if any(frame.problem is not None for frame, _ in read):
            self._ask(True)
        elif any(update.meaning is not None and update.meaning.asks for update in updates):
            self._ask(False)

    @staticmethod
    def _read(line: str | bytes) -> tuple[Frame, TradeUpdate | None]:
        raw = line if isinstance(line, str) else line.decode(errors="replace")
        try:
            update = read_update(decode_frame(line))
        except InvalidInput as error:
            return Frame(raw, None, None, str(error)[:500]), None
        if update is None:
            return Frame(raw), None
        problem = f"unknown event {update.event!r}" if update.meaning is None else None
        return Frame(raw, update.event, update.order.broker_order_id, problem), update
