"""What every store of the risk manager does; a test class inherits it and gives a `world` fixture."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Protocol

import pytest

from risk_manager.modes import Change
from risk_manager.ports import (
    Decide,
    Enabling,
    Inbound,
    LimitsConflict,
    Store,
    ThrottleConflict,
    VersionConflict,
    WantedLimits,
)
from risk_manager.reports import StoredReport
from risk_manager.review import (
    Decision,
    Outcome,
    review_evaluation,
    review_flatten,
    review_manual,
    source_of,
)
from risk_manager.snapshot import Book
from risk_manager.testing import (
    AAPL,
    MSFT,
    NOW,
    a_manual_order,
    a_market,
    a_signal,
    a_venue,
    an_evaluation,
    some_limits,
)
from shared.domain.decisions import Approved, Purpose, Refused, Review, TradingMode
from shared.domain.errors import InvalidInput, Unavailable
from shared.domain.signals import Evaluation, ManualOrder
from shared.domain.symbols import Symbol

CASH = Decimal(100_000)
PRICES = {"AAPL": 100.0, "MSFT": 100.0}


class World(Protocol):
    """The store with the rooms around it, played by the test."""

    @property
    def account(self) -> str:
        """Whose store it is."""

    @property
    def store(self) -> Store:
        """The store under test."""

    async def adopt(self, cash: int) -> None:
        """The executor has found the account with so much cash."""

    async def pay_in(self, dollars: int) -> None:
        """The executor has booked a payment of the owner, out of the account where it is below zero."""

    async def fill(self, approved: Approved, price: str, quantity: str | None = None) -> None:
        """The executor has made an intent of `approved`, and (some of) it was filled."""

    async def lends(self, *symbols: str) -> None:
        """The broker has said that the account may sell short, and that `symbols` are lent."""

    async def send(self, approved: Approved, state: str) -> None:
        """The executor has made an intent of `approved`, which is in that state."""

    async def executor_reads_all(self) -> None:
        """The executor's cursor stands at the newest review."""

    async def announce(self, body: Evaluation | ManualOrder) -> None:
        """The strategies, or the executor for a manual order, have sent `body`."""

    async def announced_reviews(self) -> list[Review]:
        """All reviews the store has sent, oldest first."""


def an_answer_to(body: Evaluation | ManualOrder) -> Decide:
    """The pure review of `body` at fixed prices."""

    def decide(book: Book) -> Outcome:
        market = a_market(PRICES)
        if isinstance(body, Evaluation):
            return review_evaluation(body, book, market, some_limits(), a_venue(), NOW)
        return review_manual(body, book, market, some_limits(), a_venue(), NOW)

    return decide


async def take(world: World, body: Evaluation | ManualOrder) -> Approved | None:
    """Send `body`, have it answered, and return the first approval."""
    await world.announce(body)
    inbound = await world.store.next_inbound()
    assert inbound is not None
    outcome = await record(world, inbound)
    return outcome.approved[0] if outcome is not None and outcome.approved else None


async def record(world: World, inbound: Inbound) -> Review | None:
    outcome = await world.store.record(
        source_of(inbound.body),
        an_answer_to(inbound.body),
        NOW,
        inbound=inbound,
        marks_equity=isinstance(inbound.body, Evaluation),
    )
    return None if outcome is None else outcome.review


@pytest.mark.anyio
class StoreContract:
    """The promises of `ports.Store`."""

    async def test_an_account_nobody_adopted_is_waited_for(self, world: World) -> None:
        with pytest.raises(Unavailable, match="has not adopted it"):
            await world.store.book(NOW)

    async def test_nothing_sent_is_nothing_to_answer(self, world: World) -> None:
        assert await world.store.next_inbound() is None

    async def test_messages_come_in_order_and_a_persons_first(self, world: World) -> None:
        await world.adopt(100_000)
        first, second = an_evaluation(), an_evaluation(at=NOW + timedelta(minutes=1))
        order = a_manual_order()
        for body in (first, second, order):
            await world.announce(body)

        seen = []
        while (inbound := await world.store.next_inbound()) is not None:
            seen.append(inbound.body)
            await record(world, inbound)

        assert seen == [order, first, second]

    async def test_a_message_is_answered_once_however_often_it_is_tried(self, world: World) -> None:
        await world.adopt(100_000)
        await world.announce(an_evaluation(a_signal()))
        inbound = await world.store.next_inbound()
        assert inbound is not None

        answers = [await record(world, inbound) for _ in range(3)]

        assert [answer is None for answer in answers] == [False, True, True]
        assert await world.announced_reviews() == [answers[0]]
        assert len(await world.store.decisions(limit=10)) == 1

    async def test_a_source_is_reviewed_once_even_when_sent_again(self, world: World) -> None:
        await world.adopt(100_000)
        evaluation = an_evaluation(a_signal())
        await take(world, evaluation)

        again = await world.store.record(source_of(evaluation), an_answer_to(evaluation), NOW)

        assert again is None
        assert len(await world.announced_reviews()) == 1

    async def test_an_empty_evaluation_is_announced_too(self, world: World) -> None:
        await world.adopt(100_000)
        await take(world, an_evaluation())

        (review,) = await world.announced_reviews()
        assert review.source == f"evaluation:1Min:{NOW.isoformat()}"
        assert (review.approved, review.refused) == ((), ())

    async def test_a_decision_that_fails_leaves_everything_as_it_was(self, world: World) -> None:
        await world.adopt(100_000)
        await world.announce(an_evaluation())
        inbound = await world.store.next_inbound()
        assert inbound is not None

        def fail(_: Book) -> Outcome:
            raise Unavailable("no price")

        with pytest.raises(Unavailable):
            await world.store.record("x", fail, NOW, inbound=inbound)

        assert await world.store.next_inbound() == inbound
        assert await world.announced_reviews() == []

    async def test_an_approval_is_reserved_until_it_is_an_intent_and_never_counted_twice(
        self, world: World
    ) -> None:
        await world.adopt(100_000)
        approved = await take(world, an_evaluation(a_signal()))
        assert approved is not None

        reserved = await world.store.book(NOW)
        await world.send(approved, "PENDING")
        await world.executor_reads_all()
        open_ = await world.store.book(NOW)

        assert [(w.symbol, w.quantity) for w in reserved.working] == [(AAPL, Decimal(50))]
        assert open_.working == reserved.working
        assert open_.entries_by_day == {date(2026, 1, 15): 1}

    async def test_a_filled_entry_is_held_with_the_stop_it_was_decided_with(
        self, world: World
    ) -> None:
        await world.adopt(100_000)
        approved = await take(world, an_evaluation(a_signal()))
        assert approved is not None

        await world.fill(approved, "101.5")
        await world.executor_reads_all()
        book = await world.store.book(NOW)

        (holding,) = book.holdings
        assert (holding.symbol, holding.quantity) == (AAPL, Decimal(50))
        assert holding.last_fill_price == Decimal("101.5")
        assert [(e.quantity, e.stop) for e in holding.entries] == [(Decimal(50), Decimal(95))]
        assert book.cash == 100_000 - 50 * Decimal("101.5")
        assert book.working == ()

    async def test_a_partly_filled_entry_counts_once_held_and_once_open(self, world: World) -> None:
        await world.adopt(100_000)
        approved = await take(world, an_evaluation(a_signal()))
        assert approved is not None

        await world.fill(approved, "100", quantity="20")
        await world.executor_reads_all()
        book = await world.store.book(NOW)

        assert [h.quantity for h in book.holdings] == [20]
        assert [w.quantity for w in book.working] == [30]

    async def test_an_order_of_unknown_outcome_counts_whole(self, world: World) -> None:
        await world.adopt(100_000)
        approved = await take(world, an_evaluation(a_signal()))
        assert approved is not None

        await world.send(approved, "UNKNOWN")
        await world.executor_reads_all()
        book = await world.store.book(NOW)

        assert [w.quantity for w in book.working] == [50]
        assert book.unknown == {AAPL: 1}

    @pytest.mark.parametrize("ended", ["CANCELED", "EXPIRED_UNSENT", "REJECTED", "NEVER_EXISTED"])
    async def test_an_order_that_ended_reserves_nothing(self, world: World, ended: str) -> None:
        await world.adopt(100_000)
        approved = await take(world, an_evaluation(a_signal()))
        assert approved is not None

        await world.send(approved, ended)
        await world.executor_reads_all()
        book = await world.store.book(NOW)

        assert book.working == ()
        # It was approved for that day all the same.
        assert book.entries_by_day == {date(2026, 1, 15): 1}

    async def test_the_mark_of_each_evaluation_carries_the_peak_on(self, world: World) -> None:
        await world.adopt(100_000)
        approved = await take(world, an_evaluation(a_signal()))
        assert approved is not None
        await world.fill(approved, "120")
        await world.executor_reads_all()
        await take(world, an_evaluation(at=NOW + timedelta(minutes=1)))

        last = (await world.store.book(NOW)).last_mark

        assert last is not None
        assert (last.equity, last.peak_equity) == (Decimal(99_000), Decimal(100_000))
        assert last.drawdown == pytest.approx(0.01)
        assert last.gross_exposure == last.net_exposure == 5_000

    async def test_a_manual_order_marks_no_equity(self, world: World) -> None:
        await world.adopt(100_000)
        await take(world, a_manual_order())

        assert (await world.store.book(NOW)).last_mark is None

    async def test_decisions_are_read_back_as_they_were_taken(self, world: World) -> None:
        await world.adopt(100_000)
        evaluation = an_evaluation(a_signal(), a_signal("MSFT"), a_signal("TSLA"))
        decided: list[Decision] = []

        def decide(book: Book) -> Outcome:
            outcome = an_answer_to(evaluation)(book)
            decided[:] = outcome.decisions
            return outcome

        await world.store.record(source_of(evaluation), decide, NOW)
        stored = await world.store.decisions(limit=10)

        assert [s.decision for s in reversed(stored)] == decided
        assert [s.decision.answer.symbol for s in stored] == ["TSLA", MSFT, AAPL]
        refused = await world.store.decisions(limit=10, outcome="refused")
        assert [s.decision.answer.symbol for s in refused] == ["TSLA"]
        (only,) = await world.store.decisions(limit=10, symbol=MSFT)
        assert [s.id for s in await world.store.decisions(limit=1, before=only.id)] == [only.id - 1]
        assert await world.store.decisions(limit=10, source="manual:x") == []

    async def test_flatten_is_recorded_under_its_own_source(self, world: World) -> None:
        await world.adopt(100_000)
        approved = await take(world, an_evaluation(a_signal()))
        assert approved is not None
        await world.fill(approved, "100")
        await world.executor_reads_all()

        await world.store.record(
            "flatten:k",
            lambda book: review_flatten(
                "k", {}, book, a_market(PRICES), some_limits(), a_venue(), NOW
            ),
            NOW,
        )
        (stored,) = await world.store.decisions(limit=5, source="flatten:k")
        book = await world.store.book(NOW)

        assert stored.decision.answer.purpose is Purpose.EXIT
        assert [(w.purpose, w.quantity) for w in book.working] == [(Purpose.EXIT, Decimal(50))]

    async def test_a_new_account_is_active(self, world: World) -> None:
        mode = await world.store.mode(NOW)

        assert (mode.mode, mode.version) == (TradingMode.ACTIVE, 1)

    async def test_halting_is_stored_with_who_and_why_and_stays(self, world: World) -> None:
        await world.adopt(100_000)
        change = Change(TradingMode.HALTED, "fire drill", "token:kill", NOW)

        changed = await world.store.change_mode(change, some_limits())
        again = await world.store.change_mode(change, some_limits())

        assert (changed.mode, changed.version) == (TradingMode.HALTED, 2)
        assert again == changed
        assert (await world.store.book(NOW)).mode == changed
        assert await world.store.mode(NOW) == changed

    async def test_resuming_needs_the_current_version(self, world: World) -> None:
        await world.store.change_mode(Change(TradingMode.HALTED, "drill", "a", NOW), some_limits())

        for version in (None, 1, 3):
            with pytest.raises(VersionConflict) as caught:
                await world.store.change_mode(
                    Change(TradingMode.ACTIVE, "over", "b", NOW, version), some_limits()
                )
            assert caught.value.current.version == 2
        resumed = await world.store.change_mode(
            Change(TradingMode.ACTIVE, "over", "b", NOW, 2), some_limits()
        )

        assert (resumed.mode, resumed.version) == (TradingMode.ACTIVE, 3)

    async def test_a_halt_is_not_weakened_by_asking_to_reduce(self, world: World) -> None:
        await world.store.change_mode(Change(TradingMode.HALTED, "drill", "a", NOW), some_limits())

        with pytest.raises(VersionConflict):
            await world.store.change_mode(
                Change(TradingMode.REDUCING, "less", "a", NOW), some_limits()
            )

    async def test_a_breach_is_written_down_once_where_a_person_had_reduced_trading(
        self, world: World
    ) -> None:
        await world.adopt(100_000)
        approved = await take(world, an_evaluation(a_signal()))
        assert approved is not None
        await world.fill(approved, "500")
        await world.executor_reads_all()
        await world.store.change_mode(
            Change(TradingMode.REDUCING, "less", "token:kill", NOW), some_limits()
        )
        found = []
        for minute in (1, 2):
            await take(world, an_evaluation(at=NOW + timedelta(minutes=minute)))
            found.append(await world.store.mode(NOW))

        assert [(mode.mode, mode.version, mode.actor) for mode in found] == [
            (TradingMode.REDUCING, 3, "risk_manager")
        ] * 2

    async def test_a_breach_of_drawdown_reduces_in_the_same_transaction(self, world: World) -> None:
        await world.adopt(100_000)
        approved = await take(world, an_evaluation(a_signal()))
        assert approved is not None
        # Bought far too dear: at 100 the account has lost a fifth.
        await world.fill(approved, "500")
        await world.executor_reads_all()
        await take(world, an_evaluation(at=NOW + timedelta(minutes=1)))

        mode = await world.store.mode(NOW)
        resumed = await world.store.change_mode(
            Change(TradingMode.ACTIVE, "looked at it", "b", NOW, mode.version), some_limits()
        )

        assert (mode.mode, mode.version, mode.actor) == (TradingMode.REDUCING, 2, "risk_manager")
        assert "below its peak" in mode.reason
        assert resumed.restarts_peak
        assert resumed.restarts_day

    async def test_a_breach_that_an_order_by_hand_has_found_is_not_found_again_by_who_resumes(
        self, world: World
    ) -> None:
        await world.adopt(100_000)
        approved = await take(world, an_evaluation(a_signal()))
        assert approved is not None
        await world.fill(approved, "500")
        await world.executor_reads_all()
        await take(world, a_manual_order())
        mode = await world.store.mode(NOW)
        await world.store.change_mode(
            Change(TradingMode.ACTIVE, "looked at it", "b", NOW, mode.version), some_limits()
        )
        await take(world, an_evaluation(at=NOW + timedelta(minutes=1)))

        assert mode.mode is TradingMode.REDUCING
        assert (await world.store.mode(NOW)).mode is TradingMode.ACTIVE
        last = (await world.store.book(NOW)).last_mark
        assert last is not None
        assert (last.peak_equity, last.day_equity) == (last.equity, last.equity)

    async def test_a_days_loss_and_a_resume_leave_the_peak(self, world: World) -> None:
        await world.adopt(100_000)
        approved = await take(world, an_evaluation(a_signal()))
        assert approved is not None
        # At 100 the account has lost 6 %.
        await world.fill(approved, "220")
        await world.executor_reads_all()
        await take(world, an_evaluation(at=NOW + timedelta(minutes=1)))
        mode = await world.store.mode(NOW)
        resumed = await world.store.change_mode(
            Change(TradingMode.ACTIVE, "looked at it", "b", NOW, mode.version), some_limits()
        )
        await take(world, an_evaluation(at=NOW + timedelta(minutes=2)))

        book = await world.store.book(NOW)
        assert mode.mode is TradingMode.REDUCING
        assert book.mode == resumed
        assert (resumed.restarts_peak, resumed.restarts_day) == (False, True)
        assert book.last_mark is not None
        marked = book.last_mark
        assert (marked.peak_equity, marked.day_equity) == (Decimal(100_000), Decimal(94_000))

    async def test_what_the_owner_takes_out_is_no_loss(self, world: World) -> None:
        await world.adopt(100_000)
        await take(world, an_evaluation())
        await world.pay_in(-20_000)
        await take(world, an_evaluation(at=NOW + timedelta(minutes=1)))

        book = await world.store.book(NOW)
        report = await world.store.day(NOW - timedelta(hours=1), NOW + timedelta(hours=1))

        assert book.mode.mode is TradingMode.ACTIVE
        assert book.paid_in == -20_000
        assert book.last_mark is not None
        assert (book.last_mark.equity, book.last_mark.peak_equity) == (
            Decimal(80_000),
            Decimal(80_000),
        )
        assert (book.last_mark.day_equity, book.last_mark.drawdown) == (Decimal(80_000), 0.0)
        assert (report.equity, report.paid_in) == (Decimal(80_000), None)
        since = await world.store.day(NOW, NOW + timedelta(hours=1))
        assert (since.equity_before, since.paid_in) == (Decimal(100_000), Decimal(-20_000))

    async def test_a_validation_reserves_nothing(self, world: World) -> None:
        await world.adopt(100_000)
        decision = an_answer_to(a_manual_order())(await world.store.book(NOW)).decisions[0]

        await world.store.record_validation("val-1", decision, "token:operate", NOW)

        book = await world.store.book(NOW)
        assert book.working == ()
        assert book.entries_by_day == {}
        assert await world.store.decisions(limit=10) == []

    async def test_approved_entries_are_remembered_for_an_hour_with_their_strategy(
        self, world: World
    ) -> None:
        await world.adopt(100_000)
        await take(world, an_evaluation(a_signal(), a_signal("MSFT", strategy="another")))

        recent = (await world.store.book(NOW)).recent.entries
        later = await world.store.book(NOW + timedelta(hours=1))

        assert {(e.strategy, e.symbol, e.decided_at) for e in recent} >= {
            ("moving_average", AAPL, NOW)
        }
        assert later.recent.entries == ()

    async def test_what_is_held_and_on_order_knows_its_strategy(self, world: World) -> None:
        await world.adopt(100_000)
        approved = await take(world, an_evaluation(a_signal()))
        assert approved is not None
        reserved = await world.store.book(NOW)
        await world.fill(approved, "100", "20")
        await world.executor_reads_all()
        filled = await world.store.book(NOW)

        assert [w.strategy for w in reserved.working] == ["moving_average"]
        assert [w.strategy for w in filled.working] == ["moving_average"]
        assert filled.holdings[0].by_strategy() == {"moving_average": Decimal(20)}

    async def test_a_lowered_limit_holds_from_the_next_decision_on(self, world: World) -> None:
        await world.adopt(100_000)
        change = await world.store.change_limits(
            WantedLimits({"max_position_size": 0.01}, 0, "nervous", "token:admin", NOW),
            some_limits(),
        )
        approved = await take(world, an_evaluation(a_signal()))

        assert approved is not None
        assert approved.quantity == 10
        (decided,) = await world.store.decisions(limit=1)
        assert decided.decision.figures["limits_version"] == str(change.version) == "1"

    async def test_limits_are_changed_by_who_has_seen_them_and_every_change_is_kept(
        self, world: World
    ) -> None:
        async def change(changes: dict[str, float | None], version: int) -> None:
            wanted = WantedLimits(changes, version, "why", "token:admin", NOW)
            await world.store.change_limits(wanted, some_limits())

        await change({"max_positions": 5, "max_daily_loss": 0.01}, 0)
        with pytest.raises(LimitsConflict) as caught:
            await change({"max_positions": 9}, 0)
        await change({"max_positions": None}, 1)
        for wrong in (
            {"max_positions": 0.0},
            {"max_positions": 1.5},
            {"stop_loss": 0.1},
            {"no_such": 1.0},
        ):
            with pytest.raises(InvalidInput):
                await change(dict(wrong), 2)

        assert caught.value.version == 1
        assert [(c.version, dict(c.changes)) for c in await world.store.limit_history(10)] == [
            (2, {"max_daily_loss": 0.01}),
            (1, {"max_positions": 5, "max_daily_loss": 0.01}),
        ]

    async def test_a_strategy_that_repeats_itself_stays_stopped_until_a_person_enables_it(
        self, world: World
    ) -> None:
        await world.adopt(100_000)
        limits = some_limits(max_repeats=1)

        async def buy(signal_id: str, at: datetime) -> str | None:
            order = replace(a_manual_order(signal_id=signal_id, quantity=1), requested_at=at)
            market = a_market(PRICES, at=at)

            def decide(book: Book) -> Outcome:
                return review_manual(order, book, market, limits, a_venue(), at)

            outcome = await world.store.record(f"manual:{signal_id}", decide, at)
            assert outcome is not None
            answer = outcome.decisions[0].answer
            return answer.reason_code if isinstance(answer, Refused) else None

        hour = timedelta(hours=1)
        codes = [await buy(f"man-{n}", NOW + n * timedelta(minutes=1)) for n in range(3)]
        much_later = await buy("man-4", NOW + hour)
        (stopped,) = await world.store.throttles()
        wish = Enabling(
            "manual", AAPL, stopped.version, "looked at it", "token:operate", NOW + hour
        )
        with pytest.raises(ThrottleConflict):
            await world.store.enable(replace(wish, version=7))
        with pytest.raises(ThrottleConflict):
            await world.store.enable(replace(wish, symbol=Symbol("MSFT")))
        enabled = await world.store.enable(wish)
        with pytest.raises(ThrottleConflict):
            await world.store.enable(wish)
        again = [await buy(f"man-{n}", NOW + hour + n * timedelta(minutes=1)) for n in (5, 6)]
        (stopped_anew,) = await world.store.throttles()

        assert codes == [None, "REPEATED_EXECUTION", "REPEATED_EXECUTION"]
        # The window was over long ago.
        assert much_later == "REPEATED_EXECUTION"
        assert (stopped.version, stopped.is_stopped, stopped.changed_at) == (
            1,
            True,
            NOW + timedelta(minutes=1),
        )
        assert (enabled.version, enabled.is_stopped, enabled.actor) == (2, False, "token:operate")
        assert again == [None, "REPEATED_EXECUTION"]
        assert (stopped_anew.version, stopped_anew.is_stopped) == (3, True)

    async def test_a_day_is_told_from_what_was_stored_in_it(self, world: World) -> None:
        await world.adopt(100_000)
        approved = await take(world, an_evaluation(a_signal("AAPL"), a_signal("MSFT")))
        assert approved is not None
        await world.fill(approved, "100")
        later_at = NOW + timedelta(minutes=1)
        await take(world, an_evaluation(a_signal("AAPL", at=later_at), at=later_at))
        await world.store.change_limits(
            WantedLimits({"max_positions": 3}, 0, "calm", "token:admin", NOW), some_limits()
        )

        day = await world.store.day(NOW - timedelta(hours=1), NOW + timedelta(hours=1))
        later = await world.store.day(NOW + timedelta(hours=1), NOW + timedelta(hours=2))

        assert (day.equity_before, day.equity, day.lowest_equity) == (None, CASH, CASH)
        assert (day.entries, day.gross_exposure) == (2, approved.quantity * 100)
        assert day.refused == {"ALREADY_HELD": 1}
        assert day.modes == ("ACTIVE by risk_manager: first start",)
        assert [text.split(" {")[0] for text in day.limits] == ["token:admin: calm"]
        assert (later.equity_before, later.equity, later.entries) == (CASH, None, 0)

    async def test_reports_and_snapshots_are_kept_as_they_were_written_first(
        self, world: World
    ) -> None:
        on = NOW.date()
        for pnl in ("1", "2"):
            await world.store.record_report(StoredReport(on, NOW, {"pnl": pnl}))
            await world.store.record_snapshot(NOW, {"equity": pnl})

        assert await world.store.reports(limit=5) == [StoredReport(on, NOW, {"pnl": "1"})]
        assert await world.store.reports(limit=5, on=on) == await world.store.reports(limit=1)
        assert await world.store.reports(limit=5, before=on) == []
        assert await world.store.newest_snapshot(NOW) == {"equity": "1"}
        assert await world.store.newest_snapshot(NOW - timedelta(minutes=1)) is None
