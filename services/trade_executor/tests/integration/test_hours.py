"""An exchange day over whose hours we and the broker differ takes no entry, until they agree again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from services.trade_executor.tests.integration.test_api_on_postgres import api_of
from shared.adapters.clocks import MonotonicTimer
from shared.domain.calendar import NEW_YORK, Session
from trade_executor.hours import HoursCheck
from trader.testing.servers import SettingsFor


@dataclass
class Hours:
    """A broker whose exchange closes `early` today, and whose clock is ahead of ours by `ahead`."""

    desk: Any
    early: timedelta = timedelta(0)
    ahead: timedelta = timedelta(0)

    async def clock(self) -> datetime:
        now: datetime = self.desk.clock.now()
        return now + self.ahead

    async def sessions(self, first_on: date, last_on: date) -> list[Session]:
        first, *rest = self.desk.parts.calendar.between(first_on, last_on)
        return [Session(first.on, first.open_at, first.close_at - self.early), *rest]


def check(desk: Any, hours: Hours) -> HoursCheck:
    calendar, timer = desk.parts.calendar, MonotonicTimer()
    return HoursCheck(desk.store, hours, calendar, desk.clock, timer, is_replay=False)


@pytest.mark.parametrize(
    ("wrong", "kind", "subject"),
    [
        ({"early": timedelta(hours=3)}, "SESSION", None),
        ({"ahead": timedelta(seconds=10)}, "CLOCK", "this machine's clock"),
    ],
)
def test_no_entry_leaves_on_a_disputed_day_an_exit_does_and_agreement_ends_it(
    make_desk: Any, wrong: dict[str, timedelta], kind: str, subject: str | None
) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            await desk.step(3)
            await desk.review(desk.approved("before"))
            await desk.step(3)

            await check(desk, Hours(desk, **wrong)).run()
            [found] = await desk.store.differences.all_open()
            today = f"{desk.clock.now().astimezone(NEW_YORK):%Y-%m-%d}"
            assert (found["kind"], found["subject"]) == (kind, subject or today)

            await desk.review(desk.approved("meanwhile"), desk.exit("out"))
            await desk.rest()
            states = {signal: state for signal, _, state, _ in await ended(desk)}
            assert states["dec-meanwhile"] == "CANCELLED_UNSENT"
            assert states["dec-out"] != "CANCELLED_UNSENT"

            await check(desk, Hours(desk)).run()
            assert await desk.store.differences.all_open() == []
            await desk.review(desk.approved("after"))
            await desk.rest()
            assert {d: s for d, _, s, _ in await ended(desk)}["dec-after"] != "CANCELLED_UNSENT"

    asyncio.run(scenario())


def test_a_disputed_day_that_is_over_or_is_nobodys_session_any_more_stays_open_no_longer(
    make_desk: Any,
) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            now = desk.clock.now()
            today = now.astimezone(NEW_YORK).date()
            for day in (today - timedelta(1), today + timedelta(5)):
                await desk.store.differences.settle(
                    "SESSION", f"{day}", None,
                    ours="no session", theirs="a half day", differs=True, since=now, at=now,
                )  # fmt: skip

            await check(desk, Hours(desk, early=timedelta(hours=3))).run()

            [found] = await desk.store.differences.all_open()
            assert found["subject"] == f"{today}"
            closed = await desk.rows(
                "SELECT closed_by FROM trade_executor.v_differences "
                "WHERE account = :a AND closed_at IS NOT NULL ORDER BY subject"
            )
            assert [row[0] for row in closed] == ["day over", "agreement"]

    asyncio.run(scenario())


async def ended(desk: Any) -> list[tuple[str, str, str, datetime]]:
    rows = await desk.rows(
        "SELECT decision_id, symbol, state, created_at FROM trade_executor.v_intents WHERE account = :a"
    )
    return [tuple(row) for row in rows]


def test_asked_over_http_the_venues_own_calendar_agrees_with_ours(
    make_desk: Any, settings_for: SettingsFor
) -> None:
    async def scenario() -> None:
        async with make_desk() as desk, api_of(desk, settings_for, "operate-token") as api:
            said = (await api.post("/hours/check")).json()

            assert said["agree"] is True, said
            assert said["sessions"] >= 15
            assert said["said"] == "calendar and clock agree with the broker's"

    asyncio.run(scenario())
