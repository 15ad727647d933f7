"""The shell around the review: what it reads, when it waits, and whom it wakes."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
import structlog.testing

from risk_manager.limits import Limits
from risk_manager.management import ManagementPlan
from risk_manager.ports import Inbound
from risk_manager.service import Halted, RiskManager
from risk_manager.snapshot import Book, LimitChange, Market, Price
from risk_manager.testing import (
    AAPL,
    ACCOUNT,
    CLOSE,
    MSFT,
    NOW,
    a_holding,
    a_lending,
    a_manual_order,
    a_mark,
    a_mode,
    a_signal,
    a_venue,
    an_evaluation,
    some_closes,
    some_limits,
)
from services.risk_manager.tests.memory_store import MemoryStore
from shared.domain.decisions import TradingMode
from shared.domain.errors import Unavailable
from shared.domain.orders import Side
from shared.domain.signals import Direction
from shared.domain.symbols import Symbol
from shared.messages import BELL_REVIEWS
from shared.ports import Ear
from shared.testing.halt import FakeHalt
from shared.testing.time import FakeClock, FakeTimer

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Bells:
    rung: list[str] = field(default_factory=list)

    async def ring(self, *names: str) -> None:
        self.rung += names

    def listen(self, *names: str) -> AbstractAsyncContextManager[Ear]:
        raise AssertionError("the stage listens, not the service")


@dataclass
class Prices:
    """A market in which everything costs 100; remembers what it was asked."""

    asked: list[tuple[datetime, frozenset[Symbol], bool]] = field(default_factory=list)
    missing: frozenset[Symbol] = frozenset()
    unread: str | None = None
    hasty: list[bool] = field(default_factory=list)

    async def at(
        self,
        instant_at: datetime,
        symbols: Iterable[Symbol],
        *,
        with_history: bool,
        in_haste: bool = False,
    ) -> Market:
        wanted = frozenset(symbols)
        self.asked.append((instant_at, wanted, with_history))
        self.hasty.append(in_haste)
        known = sorted(wanted - self.missing)
        return Market(
            wanted,
            {symbol: Price(Decimal(100), instant_at) for symbol in known},
            {symbol: some_closes(i) for i, symbol in enumerate(known)} if with_history else {},
            volumes={symbol: {0: 1e9} for symbol in known} if with_history else {},
            unread=self.unread,
        )

    async def follow(self, instant_at: datetime) -> None:
        """Nothing is kept."""


@dataclass
class Room:
    store: MemoryStore = field(default_factory=lambda: MemoryStore(ACCOUNT, cash=Decimal(100_000)))
    prices: Prices = field(default_factory=Prices)
    bells: Bells = field(default_factory=Bells)
    halt: FakeHalt = field(default_factory=FakeHalt)
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))
    timer: FakeTimer = field(default_factory=FakeTimer)
    limits: Limits = field(default_factory=some_limits)

    def __post_init__(self) -> None:
        self.manager = RiskManager(
            self.store,
            self.prices,
            self.limits,
            a_venue(),
            self.bells,
            self.clock,
            self.halt,
            self.timer,
        )

    def send(self, body: object) -> None:
        number = len(self.store.inbox) + 1
        self.store.inbox.append(Inbound("strategy_engine", number, body))  # type: ignore[arg-type]  # either kind


async def test_what_is_held_is_read_ahead_once_before_the_first_message_comes() -> None:
    room = Room()
    room.store.holdings.append(a_holding("AAPL", stop=95))

    assert [await room.manager.follow_bars() for _ in range(3)] == [False] * 3

    assert room.prices.asked == [(NOW, frozenset({AAPL}), True)]
    room.send(an_evaluation(a_signal()))
    assert await room.manager.work() is True


async def test_an_account_that_nobody_adopted_yet_is_looked_at_until_somebody_has() -> None:
    room = Room(store=MemoryStore(ACCOUNT))
    room.store.holdings.append(a_holding("AAPL", stop=95))

    assert await room.manager.follow_bars() is False
    room.store.cash = Decimal(100_000)
    await room.timer.advance(60)
    assert await room.manager.follow_bars() is False

    assert len(room.prices.asked) == 1


async def test_new_bars_have_the_account_looked_at_now_and_then_also_before_it_is_adopted() -> None:
    looks: list[datetime] = []

    class Seen(MemoryStore):
        async def book(self, at: datetime) -> Book:
            looks.append(at)
            return await super().book(at)

    room = Room(store=Seen(ACCOUNT))

    for _ in range(3):
        assert await room.manager.follow_bars() is False
    assert looks == [NOW]
    await room.timer.advance(20)
    assert await room.manager.follow_bars() is False
    assert looks == [NOW, NOW]


async def test_one_message_is_answered_at_a_time_and_the_executor_woken() -> None:
    room = Room()
    room.send(an_evaluation(a_signal()))

    assert await room.manager.work() is True
    assert await room.manager.work() is False

    assert [a.symbol for a in room.store.reviews[0].approved] == [AAPL]
    assert room.bells.rung == [BELL_REVIEWS]
    assert len(room.store.marks) == 1


async def test_prices_are_those_of_the_evaluations_instant_also_when_read_later() -> None:
    room = Room()
    room.store.holdings.append(a_holding("MSFT", stop=95))
    room.send(an_evaluation(a_signal()))
    room.clock.advance(timedelta(seconds=30))

    await room.manager.work()

    assert room.prices.asked == [(NOW, frozenset({AAPL, MSFT}), True)]


async def test_a_turn_has_its_history_at_hand_though_its_bar_brings_no_wish() -> None:
    room = Room(limits=some_limits(allow_short=True))
    room.store.holdings += [a_holding("AAPL", stop=95), a_holding("MSFT", stop=95)]
    room.store.lending = a_lending("AAPL")
    later = NOW + timedelta(minutes=1)
    room.send(an_evaluation(a_signal(direction=Direction.SHORT)))
    await room.manager.work()
    room.store.executor_reads()
    room.store.holdings.pop(0)
    room.send(an_evaluation(at=later))

    await room.manager.work()

    # First read as for any bar without wishes; the turn was seen under the lock, and then with history.
    assert room.prices.asked[-2:] == [
        (later, frozenset({AAPL, MSFT}), False),
        (later, frozenset({AAPL, MSFT}), True),
    ]
    (decision,) = await room.store.decisions(limit=1, source=room.store.reviews[-1].source)
    assert (decision.decision.is_approved, decision.decision.answer.side) == (True, Side.SELL)


async def test_an_account_valued_by_the_last_known_prices_leaves_no_mark_and_still_lets_go() -> (
    None
):
    room = Room()
    room.store.holdings.append(a_holding("AAPL", 10, stop=95))
    room.prices.unread = "it has not answered"
    room.send(an_evaluation(a_signal(direction=Direction.FLAT), a_signal("MSFT")))
    room.send(an_evaluation(a_signal("MSFT"), at=NOW + timedelta(minutes=1)))

    await room.manager.work()
    await room.manager.work()

    assert [a.symbol for a in room.store.reviews[0].approved] == [AAPL]
    assert room.store.marks == []
    # Whoever only wants to get in has time.
    assert room.prices.hasty == [True, False]


@pytest.mark.parametrize("shares", [10, -10])
async def test_shares_of_no_known_price_are_said_once_and_owed_ones_leave_no_mark(
    shares: int,
) -> None:
    room = Room()
    room.store.holdings.append(a_holding("AAPL", shares, paid=None))
    room.prices.missing = frozenset({AAPL})
    for minute in range(3):
        room.send(an_evaluation(at=NOW + timedelta(minutes=minute)))

    with structlog.testing.capture_logs() as told:
        await room.manager.work()
        await room.manager.work()
        kept = [mark.equity for mark in room.store.marks]
        room.prices.missing = frozenset()
        await room.manager.work()

    assert kept == ([] if shares < 0 else [Decimal(100_000)] * 2)
    assert room.store.marks[-1].equity == 100_000 + 100 * shares
    assert [line.get("reason") for line in told if "estimate" in line["event"]] == [
        "no price of AAPL is known, so it counts 0",
        None,
    ]


async def test_a_stored_limit_that_this_release_does_not_know_is_named_once() -> None:
    room = Room()
    change = LimitChange(1, {"max_of_tomorrow": 3.0}, "x", "token:admin", NOW)
    room.store.limit_changes.append(change)
    for minute in range(2):
        room.send(an_evaluation(at=NOW + timedelta(minutes=minute)))

    with structlog.testing.capture_logs() as told:
        await room.manager.work()
        await room.manager.work()

    assert [line.get("names") for line in told if "limits" in line["event"]] == ["max_of_tomorrow"]


@pytest.mark.parametrize("allow_short", [False, True])
async def test_a_purchase_that_may_buy_back_what_is_owed_does_not_wait_for_long_either(
    allow_short: bool,
) -> None:
    room = Room(limits=some_limits(allow_short=allow_short))
    room.send(a_manual_order("MSFT", at=NOW))
    room.send(an_evaluation(a_signal("MSFT"), at=NOW + timedelta(minutes=1)))

    await room.manager.work()
    await room.manager.work()

    assert room.prices.hasty == [True, allow_short]


async def test_a_day_end_exit_among_purchases_does_not_wait_for_long_either() -> None:
    plan = ManagementPlan(day_strategies=frozenset({"moving_average"}))
    room = Room(limits=some_limits(management=plan))
    room.send(an_evaluation(a_signal("MSFT")))

    await room.manager.work()

    assert room.prices.hasty == [True]


async def test_long_histories_are_read_only_where_an_entry_may_need_them() -> None:
    room = Room()
    room.send(an_evaluation(a_signal(direction=Direction.FLAT)))
    room.send(an_evaluation(at=NOW + timedelta(minutes=1)))

    while await room.manager.work():
        pass

    assert [with_history for _, _, with_history in room.prices.asked] == [False, False]


async def test_an_account_that_is_not_adopted_yet_is_waited_for_and_nothing_decided() -> None:
    room = Room()
    room.store.cash = None
    room.send(an_evaluation(a_signal()))

    with pytest.raises(Unavailable):
        await room.manager.work()
    assert room.store.reviews == []

    room.store.cash = Decimal(100_000)
    assert await room.manager.work() is True
    assert len(room.store.reviews[0].approved) == 1


async def test_a_symbol_that_appears_between_look_and_lock_is_priced_before_deciding() -> None:
    room = Room()

    class Racing(MemoryStore):
        async def record(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
            if not self.holdings:
                self.holdings.append(a_holding("MSFT", stop=95))
            return await super().record(*args, **kwargs)  # type: ignore[arg-type]

    room.store = Racing(ACCOUNT, cash=Decimal(100_000))
    room.__post_init__()
    room.send(an_evaluation())

    await room.manager.work()

    assert [symbols for _, symbols, _ in room.prices.asked] == [frozenset(), frozenset({MSFT})]
    assert room.store.marks[0].equity == 101_000


async def test_a_question_is_answered_and_stored_and_reserves_nothing() -> None:
    room = Room()

    first = await room.manager.validate(a_manual_order(quantity=50))
    second = await room.manager.validate(a_manual_order(quantity=50, signal_id="man-2"))

    assert first.is_approved
    assert second.is_approved
    assert len(room.store.validations) == 2
    assert room.store.reviews == []


async def test_question_and_pipeline_give_the_same_answer() -> None:
    room = Room()
    order = a_manual_order(quantity=51)
    asked = await room.manager.validate(order)
    room.send(order)
    await room.manager.work()

    (decided,) = await room.store.decisions(limit=5)

    # The question's answer also keeps what was asked for.
    same = {name: asked.figures[name] for name in decided.decision.figures}
    assert decided.decision == replace(asked, figures=same)


async def test_a_question_is_answered_by_its_own_order_also_where_a_breach_would_flatten() -> None:
    room = Room(limits=some_limits(flatten_on_breach=True))
    room.store.holdings.append(a_holding("MSFT", 10, stop=95))
    room.store.marks.append(a_mark(200_000, 200_000))

    answered = await room.manager.validate(a_manual_order(quantity=5))

    assert (answered.answer.symbol, answered.is_approved) == (AAPL, False)
    assert len(room.store.validations) == 1
    assert room.store.reviews == []


async def test_a_breach_flattens_whatever_keys_were_given_to_a_flatten_before() -> None:
    room = Room(limits=some_limits(flatten_on_breach=True))
    room.store.holdings.append(a_holding("MSFT", 10, stop=95))
    await room.manager.flatten("breach-2", "holiday", "token:operate")
    # It came to nothing, and the shares are still there when much is lost.
    room.store.executor_reads()
    room.store.marks.append(a_mark(200_000, 200_000))

    room.send(an_evaluation())
    await room.manager.work()

    given = [stored.decision for stored in await room.store.decisions(limit=5)]
    assert [decision.is_approved for decision in given] == [True, True]
    assert len({decision.answer.decision_id for decision in given}) == 2


async def test_flatten_decides_once_per_key() -> None:
    room = Room()
    room.store.holdings.append(a_holding("MSFT"))

    first = await room.manager.flatten("key", "holiday", "token:operate")
    again = await room.manager.flatten("key", "holiday", "token:operate")
    other = await room.manager.flatten("other", "holiday", "token:operate")

    assert [s.decision.answer.symbol for s in first] == [MSFT]
    assert again == first
    # The exit of the first is under way.
    assert [s.decision.is_approved for s in other] == [False]
    assert len(room.store.reviews) == 2


async def test_flatten_works_without_a_price() -> None:
    room = Room()
    room.prices.missing = frozenset({MSFT})
    room.store.holdings.append(a_holding("MSFT", paid=80))

    (stored,) = await room.manager.flatten("key", "holiday", "token:operate")

    assert stored.decision.is_approved


async def test_flatten_under_halted_is_refused_and_stored_nowhere() -> None:
    room = Room()
    room.store.modes.append(a_mode(TradingMode.HALTED, 2))

    with pytest.raises(Halted):
        await room.manager.flatten("key", "holiday", "token:operate")
    assert room.store.reviews == []


async def test_a_mode_change_wakes_whoever_sends() -> None:
    room = Room()

    mode = await room.manager.change_mode(TradingMode.HALTED, "drill", "token:kill")

    assert (mode.mode, mode.reason, mode.actor) == (TradingMode.HALTED, "drill", "token:kill")
    assert room.bells.rung == [BELL_REVIEWS]


async def test_a_kill_while_the_database_was_down_is_recorded_once() -> None:
    room = Room()
    room.halt.thrown = "the database was gone"

    await room.manager.work()
    await room.manager.work()

    mode = await room.manager.mode()
    assert (mode.mode, mode.version, mode.reason, mode.actor) == (
        TradingMode.HALTED, 2, "the database was gone", "halt file",
    )  # fmt: skip
    assert room.bells.rung == [BELL_REVIEWS]


async def test_a_days_report_is_written_once_five_minutes_after_its_close() -> None:
    room = Room()
    room.store.holdings.append(a_holding("MSFT", stop=95))
    for body in (
        an_evaluation(at=CLOSE - timedelta(days=1)),
        an_evaluation(a_signal("MSFT"), a_signal("AAPL"), at=NOW),
    ):
        room.send(body)
        await room.manager.work()
    await room.manager.change_mode(TradingMode.REDUCING, "nervous", "token:kill")
    room.clock.set(CLOSE + timedelta(minutes=4))
    await room.manager.keep_records()
    today = NOW.date()
    assert await room.manager.reports(limit=5, on=today) == []

    room.clock.set(CLOSE + timedelta(minutes=5))
    await room.manager.keep_records()
    await room.manager.keep_records()

    (stored,) = await room.manager.reports(limit=5, on=today)
    told = stored.document
    assert (told["equity_before"], told["equity"], told["pnl"]) == ("101000", "101000", "0")
    assert (told["entries"], told["refused"]) == (1, {"ALREADY_HELD": 1})
    assert told["modes"] == [
        "ACTIVE by risk_manager: first start",
        "REDUCING by token:kill: nervous",
    ]
    assert told["snapshot"] is None
    # That of the day before came late, when it was looked for first.
    assert [r.on for r in await room.manager.reports(limit=5)] == [today, today - timedelta(days=1)]


async def test_a_day_without_any_bar_has_no_report() -> None:
    room = Room()
    room.clock.set(CLOSE + timedelta(hours=1))

    await room.manager.keep_records()

    assert await room.manager.reports(limit=5) == []


async def test_snapshots_are_taken_every_quarter_of_an_open_hour_and_no_faster_than_the_machine_likes() -> (
    None
):
    room = Room()
    room.store.holdings.append(a_holding("MSFT", stop=95))
    await room.manager.keep_records()
    room.clock.advance(timedelta(minutes=15))
    await room.manager.keep_records()
    assert list(room.store.snapshots) == [NOW]

    await room.timer.advance(60)
    await room.manager.keep_records()
    room.clock.set(CLOSE)
    await room.timer.advance(60)
    await room.manager.keep_records()

    assert list(room.store.snapshots) == [NOW, NOW + timedelta(minutes=15)]
    newest = await room.store.newest_snapshot(CLOSE)
    assert newest is not None
    assert (newest["equity"], newest["gross_exposure"]) == ("101000", "1000")
    assert newest["losses"]["observations"] == 20


async def test_a_store_that_is_away_ends_no_records() -> None:
    room = Room(store=MemoryStore(ACCOUNT))

    assert await room.manager.keep_records() is False


async def test_a_wish_that_is_refused_again_for_the_same_reason_is_kept_short() -> None:
    room = Room()
    await room.manager.change_mode(TradingMode.REDUCING, "drill", "token:kill")
    for minute in range(3):
        at = NOW + timedelta(minutes=minute)
        room.send(an_evaluation(a_signal(at=at), at=at))
        await room.manager.work()

    stored = await room.store.decisions(limit=5)

    assert [len(s.decision.answer.checks) == 1 for s in stored] == [True, True, False]
    assert stored[0].decision.figures["repeats"] == "3"
