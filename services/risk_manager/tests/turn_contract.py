"""What every store promises about positions that are turned around: out first, and in at a later bar or never."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from risk_manager.limits import Code
from risk_manager.modes import Change
from risk_manager.review import Outcome, review_evaluation, review_flatten, review_manual, source_of
from risk_manager.snapshot import Book
from risk_manager.testing import (
    AAPL,
    NOW,
    a_manual_order,
    a_market,
    a_signal,
    a_venue,
    an_evaluation,
    some_limits,
)
from services.risk_manager.tests.store_contract import World
from shared.domain.decisions import Approved, Purpose, Refused, TradingMode
from shared.domain.orders import Side
from shared.domain.signals import Direction, ManualOrder, Signal

LIMITS = some_limits(allow_short=True)
LONG, FLAT, SHORT = Direction.LONG, Direction.FLAT, Direction.SHORT


def minute(number: int) -> datetime:
    """The end of that bar."""
    return NOW + timedelta(minutes=number)


def wish(world: World, direction: Direction, number: int, price: float = 100) -> Signal:
    """A wish of that bar; named after the account, since signals of all accounts lie in one table."""
    return a_signal(
        direction=direction, at=minute(number), price=price, strategy=f"of-{world.account}"
    )


async def close(world: World, number: int, *signals: Signal, price: float = 100) -> Outcome:
    """The bar closes, its wishes are announced and answered, and the executor reads the answer."""
    at = minute(number)
    evaluation = an_evaluation(*signals, at=at)
    await world.announce(evaluation)
    inbound = await world.store.next_inbound()
    assert inbound is not None

    def decide(book: Book) -> Outcome:
        market = a_market({"AAPL": price}, at)
        return review_evaluation(evaluation, book, market, LIMITS, a_venue(), at)

    outcome = await world.store.record(
        source_of(evaluation), decide, at, inbound=inbound, marks_equity=True
    )
    assert outcome is not None
    await world.executor_reads_all()
    return outcome


async def by_hand(world: World, order: ManualOrder, number: int) -> Outcome:
    """A person's order is announced and answered."""
    await world.announce(order)
    inbound = await world.store.next_inbound()
    assert inbound is not None
    at = minute(number)

    def decide(book: Book) -> Outcome:
        return review_manual(order, book, a_market({"AAPL": 100.0}, at), LIMITS, a_venue(), at)

    outcome = await world.store.record(source_of(order), decide, at, inbound=inbound)
    assert outcome is not None
    await world.executor_reads_all()
    return outcome


def the_answer(outcome: Outcome) -> Approved | Refused:
    (decision,) = outcome.decisions
    return decision.answer


async def turned(world: World, filled: str | None = None) -> Signal:
    """A long position whose strategy wishes to be short on bar 1; its exit has filled, or a part of it."""
    await world.adopt(100_000)
    await world.lends("AAPL")
    bought = the_answer(await close(world, 0, wish(world, LONG, 0)))
    assert isinstance(bought, Approved)
    await world.fill(bought, "100")
    wished = wish(world, SHORT, 1)
    leaving = the_answer(await close(world, 1, wished))
    assert isinstance(leaving, Approved)
    assert (leaving.purpose, leaving.side) == (Purpose.EXIT, Side.SELL)
    await world.fill(leaving, "100", filled)
    return wished


@pytest.mark.anyio
class TurnContract:
    """`world` is given by whoever keeps the promises."""

    async def test_the_entry_of_a_turn_is_answered_once_at_the_bar_after_its_exit(
        self, world: World
    ) -> None:
        wished = await turned(world)

        waiting = (await world.store.book(minute(2))).turns
        entry = the_answer(await close(world, 2, price=98))
        again = await close(world, 3)

        assert [(t.because, t.is_superseded) for t in waiting] == [(wished.signal_id, False)]
        assert isinstance(entry, Approved)
        assert (entry.symbol, entry.side, entry.purpose) == (AAPL, Side.SELL, Purpose.ENTRY)
        assert (entry.reference_price, entry.stop_loss) == (Decimal(98), Decimal("102.9"))
        assert again.decisions == ()
        assert (await world.store.book(minute(3))).turns == ()

    async def test_what_is_left_of_an_exit_stays_one_and_its_entry_grows_too_old(
        self, world: World
    ) -> None:
        await turned(world, filled="20")

        still = await close(world, 2)
        too_late = the_answer(await close(world, 4))

        assert still.decisions == ()
        assert isinstance(too_late, Refused)
        assert too_late.reason_code == Code.SIGNAL_AGE
        book = await world.store.book(minute(4))
        assert [(w.purpose, w.quantity) for w in book.working] == [(Purpose.EXIT, Decimal(30))]

    async def test_an_unread_exit_is_waited_for(self, world: World) -> None:
        await world.adopt(100_000)
        await world.lends("AAPL")
        bought = the_answer(await close(world, 0, wish(world, LONG, 0)))
        assert isinstance(bought, Approved)
        await world.fill(bought, "100")
        leaving = the_answer(await close(world, 1, wish(world, SHORT, 1)))
        assert isinstance(leaving, Approved)
        await world.send(leaving, "UNKNOWN")

        assert (await close(world, 2)).decisions == ()

    async def test_a_crash_before_the_answer_is_kept_changes_nothing(self, world: World) -> None:
        await turned(world)
        evaluation = an_evaluation(at=minute(2))

        def crash(book: Book) -> Outcome:
            assert len(book.turns) == 1
            raise RuntimeError("the power fails")

        with pytest.raises(RuntimeError):
            await world.store.record(source_of(evaluation), crash, minute(2))
        entry = the_answer(await close(world, 2))

        assert isinstance(entry, Approved)
        assert entry.side is Side.SELL

    @pytest.mark.parametrize("newer", [LONG, FLAT])
    async def test_a_newer_wish_supersedes_the_entry_of_a_turn(
        self, world: World, newer: Direction
    ) -> None:
        wished = await turned(world)

        outcome = await close(world, 2, wish(world, newer, 2))

        refused = {r.signal_id: r.reason_code for r in outcome.review.refused}
        assert refused[wished.signal_id.replace("sig-", "trn-")] == Code.SUPERSEDED
        assert [a.side for a in outcome.review.approved] == ([Side.BUY] if newer is LONG else [])
        assert (await world.store.book(minute(3))).turns == ()

    async def test_what_a_person_asks_for_in_the_symbol_supersedes_it(self, world: World) -> None:
        await turned(world)
        order = a_manual_order(signal_id="man-sale", side=Side.SELL, at=minute(2))
        assert isinstance(the_answer(await by_hand(world, order, 2)), Refused)

        answer = the_answer(await close(world, 2))

        assert isinstance(answer, Refused)
        assert answer.reason_code == Code.SUPERSEDED

    async def test_a_flatten_supersedes_it_though_nothing_is_held(self, world: World) -> None:
        await turned(world)

        def flatten(book: Book) -> Outcome:
            market = a_market({"AAPL": 100.0}, minute(2))
            return review_flatten("key", {}, book, market, LIMITS, a_venue(), minute(2))

        outcome = await world.store.record("flatten:key", flatten, minute(2))
        assert outcome is not None
        assert outcome.decisions == ()
        answer = the_answer(await close(world, 2))

        assert isinstance(answer, Refused)
        assert answer.reason_code == Code.SUPERSEDED

    @pytest.mark.parametrize("stopped", [TradingMode.HALTED, TradingMode.REDUCING])
    async def test_what_was_stopped_and_resumed_since_opens_nothing_from_before(
        self, world: World, stopped: TradingMode
    ) -> None:
        await turned(world)
        for mode, version in ((stopped, None), (TradingMode.ACTIVE, 2)):
            change = Change(mode, "a look first", "token:admin", minute(2), version)
            await world.store.change_mode(change, LIMITS)

        answer = the_answer(await close(world, 2))

        assert isinstance(answer, Refused)
        assert answer.reason_code == Code.SUPERSEDED

    async def test_a_breach_in_the_review_of_its_exit_ends_a_turn_though_trading_is_resumed(
        self, world: World
    ) -> None:
        await world.adopt(100_000)
        await world.lends("AAPL")
        bought = the_answer(await close(world, 0, wish(world, LONG, 0)))
        assert isinstance(bought, Approved)
        await world.fill(bought, "100")
        # Fifty shares that were worth half as much as all else are worth nothing any more.
        await close(world, 1, price=1_000)
        leaving = the_answer(await close(world, 2, wish(world, SHORT, 2, price=1), price=1))
        assert isinstance(leaving, Approved)
        await world.fill(leaving, "1")
        assert (await world.store.mode(minute(3))).mode is TradingMode.REDUCING
        resumed = Change(TradingMode.ACTIVE, "seen", "token:admin", minute(3), 2)
        await world.store.change_mode(resumed, LIMITS)

        answer = the_answer(await close(world, 3))

        assert isinstance(answer, Refused)
        assert answer.reason_code == Code.SUPERSEDED
