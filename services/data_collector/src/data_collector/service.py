"""The collector at work: subscribe, catch up, then store and announce each instant as it closes.

There is one recovery path. Whatever goes wrong on the way (the stream is lost, PostgreSQL or the provider
gives no answer) ends the round; the next round subscribes first and then fetches what was missed, so nothing
falls between. A killed process starts with the same round. Either way a bar has to fit to the ones before it.

The order of one announcement: Parquet, newest bars, the batch row, the stream, the bell. Whoever sees the batch
finds its bars and prices; a crash in between repeats it from what is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NoReturn

import numpy as np
import structlog

from data_collector import batches as picture
from data_collector.boundary import RawBar, Refused, admit, refused, said_of
from data_collector.catching_up import by_instant, plan, warm_up_start
from data_collector.neighbours import WINDOW, Neighbours
from data_collector.ports import (
    Announced,
    CollectedBars,
    Doubt,
    Feed,
    FeedEvent,
    FeedLost,
    History,
    Hold,
    InstantEnded,
    Journal,
)
from shared.domain.bar_blocks import BarBlock, from_epoch_us, to_epoch_us
from shared.domain.calendar import TradingCalendar
from shared.domain.corporate_actions import has_split
from shared.domain.errors import Misconfigured, RateLimited, Retryable
from shared.domain.ids import source_of_instant
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.messages import BELL_BARS
from shared.ports import ActionStore, BarStream, Bells, Clock, LatestBars, Timer

_log = structlog.get_logger(__name__)
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
# A database restart takes seconds and hurts nobody when asked again.
_LONGEST_LOCAL_PAUSE_S = 5.0
# How often an open batch is looked at, and a silent feed.
_TICK_S = 0.1
_SILENCE_S = 60.0
# Beyond this the feed is faster than we are, and catching up by REST is the better way.
_MAX_WAITING = 200_000
# More instants than this (25 sessions of minutes) are not announced one by one after an absence.
_MAX_MISSED = 10_000


class FeedState(StrEnum):
    """What the collector is doing about its feed."""

    CONNECTING = "connecting"
    CATCHING_UP = "catching_up"
    LIVE = "live"
    WAITING = "waiting"


@dataclass(slots=True)
class Figures:
    """What was done since the process started; for people and dashboards, never decided on."""

    state: FeedState = FeedState.CONNECTING
    state_since_at: datetime | None = None
    last_error: str | None = None
    reconnects: int = 0
    bars_stored: int = 0
    batches_announced: int = 0
    late_bars: int = 0
    bars_refused: int = 0
    bars_passed_over: int = 0
    cache_hits: int = 0
    cache_misses: int = 0


@dataclass(frozen=True, slots=True)
class _Lost:
    """The last entry of a round's queue: why no more will come."""

    error: Exception


_Queue = asyncio.Queue["FeedEvent | _Lost"]


@dataclass(slots=True)
class Collector:
    """Follows one feed for one account and timeframe.

    `max_age_bars`: up to which age (in bars of open market) an instant may still be decided on.
    `grace_s`: see `Batches`; None in replays.
    """

    timeframe: Timeframe
    symbols: Sequence[Symbol]
    calendar: TradingCalendar
    clock: Clock
    timer: Timer
    feed: Feed
    history: History
    store: CollectedBars
    newest: LatestBars
    stream: BarStream
    bells: Bells
    journal: Journal
    actions: ActionStore
    max_age_bars: int
    grace_s: float | None = picture.GRACE_S
    # What is to be followed from the next round on; absent: `symbols`, for ever.
    tracking: Callable[[], Awaitable[Sequence[Symbol]]] | None = None
    figures: Figures = field(default_factory=Figures)
    _static: tuple[Symbol, ...] = field(init=False)
    _neighbours: Neighbours = field(init=False)
    _reconsider: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._static = tuple(self.symbols)
        self._neighbours = Neighbours(self.timeframe)

    async def is_live(self) -> bool:
        """Whether the stream is connected and everything before it is caught up with."""
        return self.figures.state is FeedState.LIVE

    async def run(self) -> None:
        """Do round after round until cancelled."""
        pause_s = _FIRST_PAUSE_S
        while True:
            self._enter(FeedState.CONNECTING)
            try:
                if self.tracking is not None:
                    self.symbols = await self.tracking()
                async with self.feed.connect(self.symbols) as events:
                    await self._round(events)
            except Misconfigured as error:
                if frozenset(self.symbols) <= frozenset(self._static):
                    raise
                # More than the plan allows, it may be; what was asked for by name comes first.
                _log.error("following the static list alone", reason=str(error))
                self.figures.last_error = str(error)
                self.tracking, self.symbols = None, self._static
                wait_s = pause_s
            except Retryable as error:
                if self.figures.state is FeedState.LIVE:
                    pause_s = _FIRST_PAUSE_S
                self.figures.last_error = str(error)
                longest_s = (
                    _LONGEST_PAUSE_S if isinstance(error, FeedLost) else _LONGEST_LOCAL_PAUSE_S
                )
                pause_s = min(pause_s, longest_s)
                wait_s = error.pause_s if isinstance(error, RateLimited) else pause_s
                _log.warning("collecting is interrupted", reason=str(error), again_in_s=wait_s)
            self._enter(FeedState.WAITING)
            self.figures.reconnects += 1
            await self.timer.sleep(wait_s)
            pause_s *= 2

    def reconsider(self) -> None:
        """Look soon whether there is more to follow."""
        self._reconsider = True

    async def _look_for_more(self) -> None:
        """End the round when there is; the next one subscribes to everything and catches up with the new."""
        if not self._reconsider or self.tracking is None:
            return
        self._reconsider = False
        more = frozenset(await self.tracking()).difference(self.symbols)
        if more:
            raise FeedLost(f"{len(more)} more symbols are to be followed")

    def _enter(self, state: FeedState) -> None:
        self.figures.state = state
        self.figures.state_since_at = self.clock.now()

    async def _round(self, events: AsyncIterator[FeedEvent]) -> NoReturn:
        """Catch up, then follow; ends by raising what interrupted it."""
        self._enter(FeedState.CATCHING_UP)
        waiting: _Queue = asyncio.Queue()
        # Read from the first moment on: a socket nobody reads is one the venue cuts off.
        reader = asyncio.create_task(_read(events, waiting), name="feed")
        try:
            collecting = await self._catch_up()
            self._enter(FeedState.LIVE)
            _log.info("live", timeframe=self.timeframe.value, symbols=len(self.symbols))
            await self._follow(waiting, collecting)
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    # ---------------------------------------------------------------- what was missed

    async def _catch_up(self) -> picture.Batches:
        """Fetch and announce what is missing up to now; returns the batches to go on with."""
        now = self.clock.now()
        announced = await self.journal.newest_batch(self.timeframe)
        await self._fetch_missing(announced, now)
        missed = await self._missed(announced, now)
        self._neighbours = await self._neighbours_before(self.symbols, now)
        collecting = picture.Batches(
            self.timeframe,
            self.symbols,
            grace_s=self.grace_s,
            announced_until=announced.end_at if announced is not None else None,
        )
        await self._remember_newest(missed, now)
        for block in missed:
            if self._may_still_grow(block, now):
                # REST may not have every symbol of an instant that has just ended.
                collecting.add(block, self.timer.monotonic_s())
                continue
            await self._announce(block)
            collecting.close_until(_end_of(block))
        return collecting

    async def _fetch_missing(self, announced: Announced | None, now: datetime) -> None:
        """Bring the store up to `now`."""
        announced_until = announced.end_at if announced is not None else None
        stored = await asyncio.to_thread(self.store.last, self.timeframe, self.symbols, 1, now)
        stored_until = {bar.symbol: bar.start_at for bar in stored}
        for wanted in plan(
            self.timeframe, self.symbols, stored_until, announced_until, now, self.calendar
        ):
            known = await self._neighbours_before(wanted.symbols, wanted.start_at)
            async for rows in self.history.pages(
                wanted.symbols, self.timeframe, wanted.start_at, wanted.end_at
            ):
                block = self._tracked(await self._let_in(rows, now))
                block = block.picked(block.end_us <= to_epoch_us(now))
                await self._store(await self._judged(block, known, rows, now))

    async def _neighbours_before(self, symbols: Sequence[Symbol], at: datetime) -> Neighbours:
        """What bars from `at` on are judged by."""
        known = Neighbours(self.timeframe)
        known.learn(await asyncio.to_thread(self.store.last, self.timeframe, symbols, WINDOW, at))
        return known

    async def _missed(self, announced: Announced | None, now: datetime) -> list[BarBlock]:
        """The stored instants that have to be announced, oldest first."""
        if announced is None:
            since_at = warm_up_start(self.timeframe, now, self.calendar)
        else:
            since_at = announced.start_at
        known = await asyncio.to_thread(
            self.store.between, self.timeframe, self.symbols, since_at, now
        )
        missed = [
            block
            for block in by_instant(known)
            if announced is None or from_epoch_us(int(block.end_us[0])) > announced.end_at
        ]
        if announced is None:
            # What only warms up needs no batch; strategies read it from the store.
            missed = [block for block in missed if self._is_decidable(_end_of(block))]
        if len(missed) > _MAX_MISSED:
            _log.error(
                "too much was missed to be announced; restart the strategy engine",
                instants=len(missed),
                announced=_MAX_MISSED,
            )
            missed = missed[-_MAX_MISSED:]
        return missed

    def _may_still_grow(self, block: BarBlock, now: datetime) -> bool:
        if self.grace_s is None:
            return False
        return (now - _end_of(block)).total_seconds() < self.grace_s

    async def _remember_newest(self, missed: Sequence[BarBlock], now: datetime) -> None:
        """Cache the newest bars from before what is about to be announced."""
        until_at = from_epoch_us(int(missed[0].start_us[0])) if missed else now
        block = await asyncio.to_thread(self.store.last, self.timeframe, self.symbols, 1, until_at)
        await self.newest.replace(block, provider=self.history.provider, fetched_at=now)

    # ---------------------------------------------------------------- what comes live

    async def _follow(self, waiting: _Queue, collecting: picture.Batches) -> NoReturn:
        looked_s, looked_at = self.timer.monotonic_s(), self.clock.now()
        while True:
            events = await _next_events(waiting, _TICK_S if collecting.pending else _SILENCE_S)
            lost = next((event for event in events if isinstance(event, _Lost)), None)
            await self._take([e for e in events if not isinstance(e, _Lost)], collecting)
            for block in collecting.due(self.clock.now(), self.timer.monotonic_s()):
                await self._store(block)
                await self._announce(block)
                looked_s, looked_at = self.timer.monotonic_s(), self.clock.now()
            if lost is not None:
                raise lost.error
            if not collecting.pending:
                await self._look_for_more()
            is_silent = self.timer.monotonic_s() - looked_s >= _SILENCE_S
            if is_silent and not collecting.pending:
                if self._may_have_missed(looked_at):
                    await self._doubt_silence()
                looked_s, looked_at = self.timer.monotonic_s(), self.clock.now()

    async def _take(self, events: Sequence[FeedEvent], collecting: picture.Batches) -> None:
        """Sort what came into batches; late bars are stored, markers close."""
        late: list[BarBlock] = []
        rows: list[RawBar] = []

        async def place() -> None:
            if rows:
                now = self.clock.now()
                came = await self._let_in(rows, now)
                block = self._tracked(came)
                self.figures.bars_passed_over += len(came) - len(block)
                block = await self._judged(block, self._neighbours, rows, now)
                late.append(collecting.add(block, self.timer.monotonic_s()))
            rows.clear()

        for event in events:
            if isinstance(event, InstantEnded):
                # Only what came before a marker belongs to it.
                await place()
                if event.timeframe is self.timeframe:
                    collecting.end(event.end_at)
            else:
                rows.append(event)
        await place()
        for block in late:
            self.figures.late_bars += await self._store(block)

    def _tracked(self, block: BarBlock) -> BarBlock:
        """The rows of tracked symbols."""
        ours = frozenset(self.symbols)
        mask = np.array([symbol in ours for symbol in block.symbols], dtype=np.bool_)
        return block if mask.all() else block.picked(mask)

    async def _doubt_silence(self) -> None:
        """End the round when REST has an instant that the stream did not bring: it is deaf.

        Symbols that hardly trade are silent for good reasons, so silence alone proves nothing.
        """
        now = self.clock.now()
        announced = await self.journal.newest_batch(self.timeframe)
        await self._fetch_missing(announced, now)
        if await self._missed(announced, now):
            raise FeedLost(
                f"the stream brought no {self.timeframe} bars for {_SILENCE_S:.0f} s, but there are"
            )

    def _may_have_missed(self, since_at: datetime) -> bool:
        """Whether a bar may have ended since then."""
        now = self.clock.now()
        if self.timeframe.is_intraday:
            return self.calendar.session_time_between(since_at, now) >= self.timeframe.length
        session = self.calendar.last_session(now)
        return session is not None and since_at < session.close_at <= now

    # ---------------------------------------------------------------- both

    async def _let_in(self, rows: Sequence[RawBar], now: datetime) -> BarBlock:
        """The rows that pass the boundary; refused ones are kept in quarantine."""
        admitted = admit(rows, self.timeframe, self.calendar, now)
        self.figures.bars_passed_over += admitted.passed_over
        await self._refuse(admitted.refused, now)
        return admitted.block

    async def _refuse(self, refused: Sequence[Refused], now: datetime) -> None:
        if refused:
            self.figures.bars_refused += await self.journal.quarantine(
                refused, self.timeframe, provider=self.history.provider, at=now
            )
            _log.warning("bars refused", count=len(refused), first=refused[0].reason)

    async def _judged(
        self, block: BarBlock, known: Neighbours, rows: Sequence[RawBar], now: datetime
    ) -> BarBlock:
        """The bars of `block`, which were read from `rows`, that fit to their neighbours."""
        verdict = known.judge(block)
        await self._refuse(
            [
                refused(bad.symbols[0], why, said_of(bad.bar(0), rows, self.calendar, now))
                for bad, why in verdict.misfits
            ],
            now,
        )
        if verdict.moved_again:
            await self.journal.end_holds(
                verdict.moved_again, Doubt.FROZEN, reason="its bars differ again", at=now
            )
        holds = [
            Hold(symbol, Doubt.FROZEN, "equal bars in a row: its feed stands still", now)
            for symbol in verdict.stood_still
        ]
        steps = {step.symbol: step for step in verdict.steps}
        if steps:
            actions = await asyncio.to_thread(self.actions.actions, list(steps))
            holds += [
                Hold(symbol, Doubt.SPLIT, step.reason, now, step.last_on, step.on)
                for symbol, step in steps.items()
                if not has_split(actions, symbol, step.last_on, step.on)
            ]
        if await self.journal.hold(holds):
            _log.warning("symbols held", count=len(holds), first=holds[0].reason)
        return verdict.good

    async def _store(self, block: BarBlock) -> int:
        if not len(block):
            return 0
        new = await asyncio.to_thread(
            self.store.append, block, provider=self.history.provider, fetched_at=self.clock.now()
        )
        self.figures.bars_stored += new
        return new

    async def _announce(self, block: BarBlock) -> None:
        """Make a stored instant the newest, commit its batch and tell whoever waits for it."""
        now = self.clock.now()
        await self.newest.replace(block, provider=self.history.provider, fetched_at=now)
        batch_id = await self.journal.announce(
            block,
            digest=picture.digest_of(block),
            decidable=self._is_decidable(_end_of(block)),
            at=now,
        )
        if batch_id is None:
            return
        self.figures.batches_announced += 1
        _log.info(
            "batch",
            correlation_id=source_of_instant(self.timeframe.value, _end_of(block)),
            batch_id=batch_id,
            bars=len(block),
        )
        await self.stream.publish(batch_id, block)
        await self.bells.ring(BELL_BARS)

    def _is_decidable(self, end_at: datetime) -> bool:
        age = picture.age_in_bars(end_at, self.clock.now(), self.timeframe, self.calendar)
        return age <= self.max_age_bars


async def _read(events: AsyncIterator[FeedEvent], waiting: _Queue) -> None:
    """Move events from the socket to the queue until the stream ends, and say why it did."""
    why: Exception = FeedLost("the feed ended")
    try:
        async for event in events:
            waiting.put_nowait(event)
            if waiting.qsize() > _MAX_WAITING:
                why = FeedLost(f"the feed is more than {_MAX_WAITING} bars ahead of the collector")
                break
    except Exception as error:  # noqa: BLE001  # handed on whole, to whoever follows the queue
        why = error
    waiting.put_nowait(_Lost(why))


async def _next_events(waiting: _Queue, timeout_s: float) -> list[FeedEvent | _Lost]:
    """Everything that waits, at least one event unless `timeout_s` passes without any."""
    events: list[FeedEvent | _Lost] = []
    try:
        async with asyncio.timeout(timeout_s):
            events.append(await waiting.get())
    except TimeoutError:
        return events
    while not waiting.empty():
        events.append(waiting.get_nowait())
    return events


def _end_of(block: BarBlock) -> datetime:
    return from_epoch_us(int(block.end_us[0]))
