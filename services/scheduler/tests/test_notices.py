"""What is told, when, how loudly, and what happens when nobody answers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.adapters.receivers import read_templates, receiver_of
from scheduler.notices import Happenings, Message, Notice, QuietHours, Rules, notices_of
from scheduler.notifier import LIMITS_EVERY_S, MOST_TRIES, Notifier, pause_after
from scheduler.ports import KeptMessage
from scheduler.testing import a_week_in_march
from shared.config import load_settings
from shared.domain.errors import Misconfigured
from shared.domain.notices import Event, Manner, Priority
from shared.testing.time import FakeClock, FakeTimer

NEW_YORK = ZoneInfo("America/New_York")
YEAR = datetime(2026, 1, 1)  # noqa: DTZ001  # hypothesis wants a naive one
NOON = datetime(2026, 3, 4, 17, 0, tzinfo=UTC)
NIGHT = QuietHours(time(22), time(7), NEW_YORK)


def rules(*chosen: tuple[str, str], quiet: QuietHours | None = None, **templates: str) -> Rules:
    made = Rules.of(chosen, None, NEW_YORK, {Event(name): text for name, text in templates.items()})
    return replace(made, quiet=quiet)


def notice(event: Event = Event.STOP_HIT, key: str = "o-1", **figures: str) -> Notice:
    return Notice(event, key, "Stop hit: AAPL", "sell 10 AAPL at 95 USD", NOON, figures)


def mode(version: int, name: str = "HALTED") -> dict[str, Any]:
    return {
        "version": version,
        "mode": name,
        "reason": "drawdown",
        "actor": "risk",
        "changed_at": NOON,
    }


def limit(code: str, usage: float, most: float = 1.0) -> dict[str, Any]:
    return {"code": code, "usage": usage, "limit": most, "text": "near its end"}


def tell(**rows: Any) -> list[Notice]:
    return notices_of(Happenings(**rows), NOON, "Thursday 2026-03-05")


def test_a_halt_is_told_urgently_and_the_first_start_is_no_change() -> None:
    told = tell(modes=[mode(2), mode(1, "ACTIVE")])

    assert [(each.event, each.key, each.title) for each in told] == [
        (Event.MODE, "2", "Trading is HALTED")
    ]
    message = rules().message(told[0], NOON)
    assert message is not None
    assert message.priority is Priority.URGENT


def test_a_limit_is_told_when_it_is_near_and_again_when_it_is_full_but_not_each_time_anew() -> None:
    near = tell(limits=[limit("DRAWDOWN", 0.85), limit("POSITION_SIZE", 1.0)])
    full = tell(limits=[limit("DRAWDOWN", 1.02)])

    assert [each.key for each in near] == ["DRAWDOWN:2026-03-04:near"]
    assert [each.key for each in full] == ["DRAWDOWN:2026-03-04:full"]
    assert tell(limits=[limit("DRAWDOWN", 0.5)]) == []


def test_the_digest_tells_result_exceptions_and_the_next_session() -> None:
    run = {
        "run_id": "due-1", "job_id": "end_of_day_report", "state": "DONE", "due_at": NOON, "detail": "",
        "figures": {
            "session_on": "2026-03-04", "pnl": "12.5", "equity": "100012.5", "fees": "0.1", "signals": 3,
            "approved": 1, "refused": 2, "refused_by_code": {"DAILY_TRADES": 2}, "orders": 1, "fills": 1,
        },
    }  # fmt: skip
    unknown = {
        "client_order_id": "c", "symbol": "AAPL", "side": "buy", "quantity": Decimal(1), "sent_at": NOON,
    }  # fmt: skip

    digest = next(
        each for each in tell(runs=[run], unknown=[unknown]) if each.event is Event.DIGEST
    )

    assert digest.title == "2026-03-04: +12.5 USD"
    assert "Refused: DAILY_TRADES 2." in digest.text
    assert "unknown order in AAPL" in digest.text
    assert "Next session: Thursday 2026-03-05." in digest.text


@pytest.mark.parametrize(
    ("manner", "priority"), [("on", Priority.NORMAL), ("silent", Priority.LOW), ("off", None)]
)
def test_each_event_is_told_as_its_setting_says(manner: str, priority: Priority | None) -> None:
    message = rules(("stop_hit", manner)).message(notice(), NOON)

    assert (message and message.priority) == priority


@pytest.mark.parametrize(
    ("local", "over"),
    [
        (time(21, 59), None),
        (time(22, 0), (5, time(7))),
        (time(23, 30), (5, time(7))),
        (time(6, 59), (4, time(7))),
        (time(7, 0), None),
    ],
)
def test_quiet_hours_over_midnight_end_in_the_morning(local: time, over: Any) -> None:
    now = datetime.combine(NOON.date(), local, NEW_YORK)
    expected = now if over is None else datetime(2026, 3, over[0], 7, tzinfo=NEW_YORK)

    assert NIGHT.over_at(now) == expected


@given(st.datetimes(YEAR, YEAR + timedelta(days=364)), st.times(), st.times())
def test_quiet_hours_end_within_a_day_and_never_in_the_past(
    at: datetime, start: time, end: time
) -> None:
    now = at.replace(tzinfo=UTC)

    over = QuietHours(start, end, NEW_YORK).over_at(now)

    # A day whose clocks are put back has 25 hours.
    assert now <= over <= now + timedelta(hours=25)


def test_what_cannot_wait_is_told_in_quiet_hours_and_the_rest_when_they_are_over() -> None:
    at = datetime(2026, 3, 4, 23, 0, tzinfo=NEW_YORK)
    quiet = rules(quiet=NIGHT)
    loud, soft = quiet.message(notice(Event.UNKNOWN_ORDER), at), quiet.message(notice(), at)

    assert loud is not None and soft is not None  # noqa: PT018
    assert loud.due_at == at
    assert soft.due_at == datetime(2026, 3, 5, 7, 0, tzinfo=NEW_YORK)


def test_a_template_takes_the_place_of_our_words_and_an_unknown_field_stays() -> None:
    own = rules(stop_hit="$symbol gone\nat $price, $nonsense")

    message = own.message(notice(symbol="AAPL", price="95"), NOON)

    assert message is not None
    assert (message.title, message.text) == ("AAPL gone", "at 95, $nonsense")


@dataclass
class Box:
    """An outbox in memory."""

    kept: dict[tuple[Event, str], Message] = field(default_factory=dict)
    waiting: dict[int, tuple[Message, int]] = field(default_factory=dict)
    arrived: list[str] = field(default_factory=list)
    given_up: list[int] = field(default_factory=list)
    not_before: dict[int, float] = field(default_factory=dict)
    now_s: float = 0.0

    async def keep(self, message: Message, now: datetime, *, is_wanted: bool) -> bool:
        name = (message.event, message.key)
        if name in self.kept:
            return False
        self.kept[name] = message
        if is_wanted:
            self.waiting[len(self.kept)] = (message, 0)
        return True

    async def due(self, now: datetime, now_s: float, limit: int) -> list[KeptMessage]:
        self.now_s = now_s
        return [
            KeptMessage(number, m.event, m.title, m.text, m.priority, tries)
            for number, (m, tries) in self.waiting.items()
            if m.due_at <= now and self.not_before.get(number, 0.0) <= now_s
        ][:limit]

    async def sent(self, number: int, at: datetime) -> None:
        self.arrived.append(self.waiting.pop(number)[0].title)

    async def failed(self, number: int, why: str, pause_s: float, *, is_last: bool) -> None:
        message, tries = self.waiting[number]
        self.waiting[number] = (message, tries + 1)
        self.not_before[number] = self.now_s + pause_s
        if is_last:
            del self.waiting[number]
            self.given_up.append(number)


@dataclass
class Seen:
    """What there is to be seen, and how often limits were asked for."""

    rows: dict[str, Any] = field(default_factory=dict)
    limits_asked: int = 0

    async def happenings(
        self, since_at: datetime, now: datetime, *, with_limits: bool
    ) -> Happenings:
        self.limits_asked += with_limits
        return Happenings(**self.rows)


@dataclass
class Phone:
    """Receives, or does not."""

    dead: bool = False
    rang: list[str] = field(default_factory=list)

    async def send(self, title: str, text: str, priority: Priority) -> str | None:
        self.rang.append(title)
        return "no answer" if self.dead else None


class Desk:
    """A notifier with everything around it."""

    def __init__(self, *, dead: bool = False, nobody: bool = False, **rows: Any) -> None:
        self.box, self.seen, self.phone = Box(), Seen(rows), Phone(dead)
        self.timer, self.clock = FakeTimer(), FakeClock(NOON)
        self.notifier = Notifier(
            self.seen, self.box, None if nobody else self.phone, rules(), a_week_in_march(), self.clock, self.timer
        )  # fmt: skip

    async def turn(self, after_s: float = 0.0) -> None:
        await self.timer.advance(after_s)
        await self.notifier.look()
        await self.notifier.send()


def test_an_event_that_is_seen_again_and_again_is_told_once() -> None:
    async def main() -> list[str]:
        desk = Desk(modes=[mode(2)])
        for _ in range(5):
            await desk.turn(2.0)
        return desk.phone.rang

    assert asyncio.run(main()) == ["Trading is HALTED"]


def test_a_dead_receiver_is_tried_with_growing_pauses_and_then_given_up() -> None:
    async def main() -> tuple[int, list[int]]:
        desk = Desk(dead=True, modes=[mode(2)])
        for _ in range(5_000):
            await desk.turn(2.0)
        return len(desk.phone.rang), desk.box.given_up

    assert asyncio.run(main()) == (MOST_TRIES, [1])


def test_a_receiver_that_comes_back_gets_what_it_missed() -> None:
    async def main() -> list[str]:
        desk = Desk(dead=True, modes=[mode(2)])
        await desk.turn()
        desk.phone.dead = False
        await desk.turn(pause_after(1))
        return desk.box.arrived

    assert asyncio.run(main()) == ["Trading is HALTED"]


def test_without_a_receiver_notices_are_kept_for_the_dashboard_and_nothing_is_late() -> None:
    async def main() -> tuple[int, int]:
        desk = Desk(nobody=True, modes=[mode(2)])
        await desk.turn()
        return len(desk.box.kept), len(desk.box.waiting)

    assert asyncio.run(main()) == (1, 0)


def test_limits_are_asked_for_now_and_then_only() -> None:
    async def main() -> int:
        desk = Desk()
        for _ in range(31):
            await desk.turn(2.0)
        return desk.seen.limits_asked

    assert asyncio.run(main()) == int(60 / LIMITS_EVERY_S) + 1


def test_the_settings_say_who_is_told_what_and_when() -> None:
    settings = load_settings(
        {"NOTIFY_EVENTS": "fill=on,digest=off", "NOTIFY_QUIET_HOURS": "22:00-07:00"}
    )

    made = Rules.of(settings.notify_events, settings.quiet_hours, NEW_YORK, {})

    assert (made.manners[Event.FILL], made.manners[Event.DIGEST]) == (Manner.ON, Manner.OFF)
    assert made.quiet == NIGHT


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("NOTIFY_EVENTS", "fil=on"),
        ("NOTIFY_EVENTS", "fill=loud"),
        ("NOTIFY_QUIET_HOURS", "25:00-07:00"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(setting: str, value: str) -> None:
    with pytest.raises(Misconfigured, match=setting):
        load_settings({setting: value})


@pytest.mark.parametrize(
    "told",
    [
        {"GOTIFY_URL": "http://127.0.0.1:1"},
        {"GOTIFY_TOKEN": "canary"},
        {"GOTIFY_URL": "127.0.0.1", "GOTIFY_TOKEN": "canary"},
        {"NOTIFY_URLS": "nonsense://canary"},
    ],
)
def test_a_receiver_that_cannot_be_is_refused_without_repeating_its_address(
    told: dict[str, str],
) -> None:
    with pytest.raises(Misconfigured) as refused:
        receiver_of(load_settings(told))

    assert "canary" not in str(refused.value)


def test_nobody_to_tell_is_no_error() -> None:
    assert receiver_of(load_settings({})) is None


def test_templates_are_read_from_their_folder(tmp_path: Path) -> None:
    (tmp_path / "stop_hit.txt").write_text("$symbol\ngone")

    assert read_templates(tmp_path) == {Event.STOP_HIT: "$symbol\ngone"}
    with pytest.raises(Misconfigured, match="NOTIFY_TEMPLATES"):
        read_templates(tmp_path / "nowhere")


def test_a_service_is_told_to_be_down_when_it_is_found_so_twice_and_not_while_it_starts() -> None:
    def health(checked_at: datetime) -> dict[str, Any]:
        return {
            "service": "risk_manager", "alive": False, "detail": "does not answer", "since_at": NOON,
            "checked_at": checked_at,
        }  # fmt: skip

    assert tell(services=[health(NOON)]) == []
    assert [each.title for each in tell(services=[health(NOON + timedelta(seconds=30))])] == [
        "The risk manager is down"
    ]


def test_a_blocked_provider_is_told_by_its_name_once_a_day_and_key() -> None:
    rows = [
        {"provider": f"alpaca {digest}", "blocked_why": "429", "blocked_until_at": NOON}
        for digest in ("2b5d1d787b81", "aaaaaaaaaaaa")
    ]

    told = tell(providers=rows)

    assert {each.title for each in told} == {"alpaca gives nothing now"}
    assert len({each.key for each in told}) == 2


def test_a_short_sale_and_what_buys_it_back_are_called_that() -> None:
    def told_of(side: str, opens: bool | None) -> str:
        fill = {
            "execution_id": "x", "symbol": "AAPL", "side": side, "quantity": "10", "price": "100", "fee": "0",
            "executed_at": NOON, "opens": opens,
        }  # fmt: skip
        return next(each.title for each in tell(fills=[fill]) if each.event is Event.FILL)

    assert told_of("sell", True) == "Filled: sell short 10 AAPL"
    assert told_of("buy", False) == "Filled: buy back 10 AAPL"
    assert (told_of("buy", True), told_of("sell", False)) == (
        "Filled: buy 10 AAPL", "Filled: sell 10 AAPL",
    )  # fmt: skip
    # Somebody else's: nobody says what it was meant for.
    assert told_of("buy", None) == "Filled: buy 10 AAPL"


def test_shares_without_a_stop_are_told_of_and_again_once_they_are_guarded() -> None:
    row = {"id": 4, "kind": "UNGUARDED", "subject": "AAPL", "opened_at": NOON}
    figures = {"ours": "a stop for 10 shares", "theirs": "none: refused"}
    [bare] = tell(differences=[{**row, **figures}])
    [guarded] = tell(guarded=[{**row, "closed_at": NOON}])

    assert (bare.event, bare.key, bare.title) == (
        Event.DIFFERENCE, "4", "Shares without a stop: AAPL",
    )  # fmt: skip
    assert (guarded.event, guarded.key, guarded.title) == (
        Event.DIFFERENCE, "4:guarded", "Guarded again: AAPL",
    )  # fmt: skip


def test_what_is_down_refused_missed_or_differs_is_told_with_the_figures() -> None:
    order = {"client_order_id": "c1", "symbol": "AAPL", "side": "buy", "quantity": "10.00"}
    told = tell(
        rejected=[{**order, "reason": "no shares to borrow", "ended_at": NOON}],
        unknown=[{**order, "client_order_id": "c2", "sent_at": NOON}],
        differences=[
            {"id": 4, "kind": "POSITION", "subject": "AAPL", "ours": "1", "theirs": "2", "opened_at": NOON}
        ],
        runs=[
            {"run_id": "r1", "job_id": "reconcile", "state": "MISSED", "due_at": NOON, "detail": "", "figures": {}}
        ],
    )  # fmt: skip

    assert {each.event: each.title for each in told} == {
        Event.UNKNOWN_ORDER: "Order of unknown outcome: AAPL",
        Event.REJECTED: "Order refused by the broker: AAPL",
        Event.DIFFERENCE: "Difference with the broker: AAPL",
        Event.JOB_FAILED: "Job missed: reconcile",
    }
    assert {each.key for each in told} == {"c1", "c2", "4", "r1"}
    [refused] = [each for each in told if each.event is Event.REJECTED]
    assert refused.text == "buy 10 AAPL: no shares to borrow"
