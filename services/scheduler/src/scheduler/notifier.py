"""How are people told, without anybody ever waiting for it?

Every few seconds it looks at what the services have stored, keeps a message for each new event in the outbox, and hands
on what is due. A dead receiver costs nothing but its messages' age: each is tried again with growing pauses, then given
up and counted. Nothing that trades knows that this exists.
"""

from __future__ import annotations

from datetime import timedelta

import structlog

from scheduler.market import words_of_next
from scheduler.notices import Rules, notices_of
from scheduler.ports import NoticeBox, Receiver, Watch
from shared.domain.calendar import TradingCalendar
from shared.domain.errors import Retryable
from shared.ports import Clock, Timer

_log = structlog.get_logger(__name__)
LOOK_EVERY_S = 2.0
# Limits are asked of the risk manager, which reckons a while; they change slowly.
LIMITS_EVERY_S = 30.0
# What is older than this when it is first seen is history, and no news.
NEWS = timedelta(hours=12)
MOST_TRIES = 12
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 900.0
MOST_AT_ONCE = 20


def pause_after(tries: int) -> float:
    """Seconds until a message that has failed `tries` times is tried again."""
    return min(FIRST_PAUSE_S * 2.0 ** (tries - 1), LONGEST_PAUSE_S)


class Notifier:
    """Watches, keeps and sends."""

    def __init__(
        self,
        watch: Watch,
        box: NoticeBox,
        receiver: Receiver | None,
        rules: Rules,
        calendar: TradingCalendar,
        clock: Clock,
        timer: Timer,
    ) -> None:
        """Without a `receiver` messages are kept for the dashboard and counted as told to nobody."""
        self._watch = watch
        self._box = box
        self._receiver = receiver
        self._rules = rules
        self._calendar = calendar
        self._clock = clock
        self._timer = timer
        self._limits_at_s: float | None = None

    def follow(self, rules: Rules) -> None:
        """Tell by other rules from now on; what is kept already goes out as it was kept."""
        self._rules = rules

    async def keep_telling(self) -> None:
        """Look and send again and again, until cancelled."""
        failing = False
        while True:
            try:
                await self.look()
                await self.send()
                failing = False
            except Retryable as error:
                if not failing:
                    _log.warning("notices wait", reason=str(error))
                failing = True
            await self._timer.sleep(LOOK_EVERY_S)

    async def look(self) -> int:
        """Keep a message for everything new; returns how many there were."""
        now = self._clock.now()
        now_s = self._timer.monotonic_s()
        with_limits = self._limits_at_s is None or now_s - self._limits_at_s >= LIMITS_EVERY_S
        if with_limits:
            self._limits_at_s = now_s
        seen = await self._watch.happenings(now - NEWS, now, with_limits=with_limits)
        told = 0
        for notice in notices_of(seen, now, words_of_next(self._calendar, now)):
            message = self._rules.message(notice, now)
            if message is not None and await self._box.keep(
                message, now, is_wanted=self._receiver is not None
            ):
                told += 1
        return told

    async def send(self) -> int:
        """Hand on what is due; returns how many arrived."""
        if self._receiver is None:
            return 0
        arrived = 0
        for kept in await self._box.due(self._clock.now(), self._timer.monotonic_s(), MOST_AT_ONCE):
            failure = await self._receiver.send(kept.title, kept.text, kept.priority)
            tries = kept.tries + 1
            if failure is None:
                await self._box.sent(kept.number, self._clock.now())
                arrived += 1
                continue
            is_last = tries >= MOST_TRIES
            if is_last:
                _log.error("notice given up", about=kept.event.value, reason=failure)
            await self._box.failed(kept.number, failure, pause_after(tries), is_last=is_last)
        return arrived
