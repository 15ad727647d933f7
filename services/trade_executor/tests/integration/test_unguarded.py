"""Shares whose stop is gone: when it is put back, when it waits, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from services.trade_executor.tests.floor import CLOSE_AT
from services.trade_executor.tests.integration.recordkeeping import AAPL, TEN, Desk, Play, play
from services.trade_executor.tests.integration.splitting import (
    ends_them,
    guarded,
    holds,
    leaves_them,
    puts_them_into_new_shares,
    told,
)
from shared.domain.decisions import Review, StopMove
from shared.domain.errors import OrderRejected
from shared.domain.orders import OrderClass, OrderTerms, Side, TimeInForce
from shared.testing.reviews import announce_review
from simulator.orders import Cancel

__all__ = ["play"]


async def look(desk: Desk, times: int = 1) -> None:
    """Compare and send what is due, so often."""
    for _ in range(times):
        await desk.compare()
        await desk.work()


def refuses(desk: Desk) -> list[str]:
    """From now on the broker refuses every order; each one that was tried is in the list."""
    tried: list[str] = []

    def before(call: str) -> None:
        if call == "submit":
            tried.append(call)
            raise OrderRejected("not now", status=422, code=42210000)

    desk.broker.before = before
    return tried


def takes_orders(desk: Desk) -> None:
    desk.broker.before = lambda _: None


async def told_of(desk: Desk) -> list[tuple[str, str]]:
    """What is told of shares without a stop: (ours, theirs)."""
    found = await desk.differences()
    return [(ours, theirs) for kind, _, ours, theirs in found if kind == "UNGUARDED"]


async def opened(desk: Desk) -> int:
    """How often a person was told that shares are unguarded."""
    rows = await desk.rows(
        "SELECT count(*) AS many FROM trade_executor.differences WHERE account = :a AND kind = 'UNGUARDED'"
    )
    return int(rows[0].many)


async def moves_the_stop(desk: Desk, stop: str, previous: str = "90") -> None:
    """A review that moves the stop of the ten shares, and that the executor has read."""
    now = desk.clock.now()
    move = StopMove("dec-sig", AAPL, Decimal(stop), Decimal(previous), "the bar closed at 100")
    review = Review(desk.account, f"evaluation:1Min:{stop}", now, (), (), (move,))
    await desk.risk.run(lambda connection: announce_review(connection, review, now))
    await desk.store.reviews.take(at=now, halt_note=desk.halt.note())


async def set_halt(desk: Desk, *, by_note: bool, is_on: bool) -> None:
    if by_note:
        desk.halt.thrown = "a person halts everything" if is_on else None
    else:
        await set_mode(desk, "HALTED" if is_on else "ACTIVE", 2 if is_on else 3)


async def set_mode(desk: Desk, mode: str, version: int) -> None:
    async def work(connection: Any) -> None:
        await connection.execute(
            text(
                "INSERT INTO risk_manager.modes (account, version, mode, previous, reason, actor, restarts_peak, "
                "changed_at) SELECT account, :v, :m, mode, 't', 't', false, :at FROM risk_manager.v_mode "
                "WHERE account = :a"
            ),
            {"a": desk.account, "v": version, "m": mode, "at": desk.clock.now()},
        )

    await desk.risk.run(work)


# ---------------------------------------------------------------------- refused


async def bare_after_refusals(desk: Desk) -> list[str]:
    """Ten shares whose stop somebody ended, and that the broker has refused three times."""
    await desk.held()
    ends_them(desk, TEN)
    tried = refuses(desk)
    await look(desk, 4)
    assert len(tried) == 3
    return tried


def test_a_guard_that_was_refused_is_tried_after_pauses_and_a_person_is_told_once_and_when_it_stands(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        tried = await bare_after_refusals(desk)
        [(ours, theirs)] = await told_of(desk)
        assert ours == "a stop for 10 shares"
        assert "refused it 3 times" in theirs
        desk.clock.advance(70)
        await look(desk, 2)
        assert len(tried) == 4
        desk.clock.advance(70)
        await look(desk)
        assert len(tried) == 4
        takes_orders(desk)
        desk.clock.advance(70)
        await look(desk)
        assert guarded(desk) == [(TEN, "90")]
        await look(desk)
        assert await told_of(desk) == []
        assert await opened(desk) == 1

    play(scenario)


def test_a_guard_that_was_refused_is_tried_at_once_when_shares_have_moved(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        tried = await bare_after_refusals(desk)
        takes_orders(desk)
        desk.by_somebody_else(Side.SELL, 4)
        desk.floor.bar()
        desk.clock.set(max(desk.clock.now(), desk.floor.book.now))
        await look(desk, 2)
        assert guarded(desk) == [(Decimal(6), "90")]
        assert len(tried) == 3

    play(scenario)


def test_a_guard_that_was_refused_is_tried_when_the_price_has_come_back(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await bare_after_refusals(desk)
        takes_orders(desk)
        desk.floor.book.prices[AAPL] = Decimal(89)
        await look(desk, 2)
        assert guarded(desk) == []
        desk.floor.book.prices[AAPL] = Decimal(95)
        await look(desk)
        assert guarded(desk) == [(TEN, "90")]

    play(scenario)


def test_a_guard_that_was_refused_is_tried_in_the_next_session(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await bare_after_refusals(desk)
        for again in range(4):
            desk.clock.advance(3600)
            refused = refuses(desk)
            await look(desk)
            assert len(refused) == 1, again
        desk.clock.set(CLOSE_AT + timedelta(hours=17, minutes=29))
        await look(desk)
        takes_orders(desk)
        desk.clock.set(CLOSE_AT + timedelta(hours=17, minutes=31))
        await look(desk, 2)
        assert guarded(desk) == [(TEN, "90")]

    play(scenario)


def test_a_guard_refused_before_a_split_is_tried_with_it(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await bare_after_refusals(desk)
        takes_orders(desk)
        told(desk, "SPLIT", symbol="AAPL", qty="10")
        holds(desk, AAPL, 20)
        desk.floor.book.prices[AAPL] = Decimal(50)
        await look(desk, 2)
        assert guarded(desk) == [(Decimal(20), "45")]

    play(scenario)


def test_an_exit_that_the_broker_has_taken_is_not_told_as_a_guard(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await bare_after_refusals(desk)
        takes_orders(desk)
        await desk.leaving(time_in_force=TimeInForce.CLS)
        await desk.work()
        await look(desk)
        assert (await desk.states())[-1][:2] == ("exit", "ACKED")
        assert guarded(desk) == []
        assert len(await told_of(desk)) == 1
        desk.floor.do(Cancel(next(iter(desk.floor.book.open_orders())).id))
        desk.clock.advance(70)
        await look(desk, 2)
        assert guarded(desk) == [(TEN, "90")]
        assert await told_of(desk) == []
        assert await opened(desk) == 1

    play(scenario)


# ---------------------------------------------------------------------- ended by the broker


def test_what_the_broker_ends_is_put_back_by_a_look_at_the_account_and_not_by_the_news_alone(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        ends_them(desk, TEN)
        await desk.booker.book_lines(desk.floor.frames())
        await desk.work()
        assert guarded(desk) == []
        # Asked for by the news, and not thirty seconds later.
        assert desk.reconciler._asked_deep
        await look(desk)
        assert guarded(desk) == [(TEN, "90")]

    play(scenario)


def test_a_stop_that_the_broker_ends_before_it_tells_of_a_split_is_not_put_back_at_the_old_price(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        ends_them(desk, TEN)
        desk.floor.book.prices[AAPL] = Decimal(50)
        await desk.booker.book_lines(desk.floor.frames())
        await look(desk, 3)
        assert guarded(desk) == []
        [(ours, theirs)] = await told_of(desk)
        assert ours == "a stop for 10 shares"
        assert "price of 50 is far past its stop of 90" in theirs
        told(desk, "SPLIT", symbol="AAPL", qty="10")
        holds(desk, AAPL, 20)
        await look(desk, 3)
        assert guarded(desk) == [(Decimal(20), "45")]
        assert await told_of(desk) == []
        assert await opened(desk) == 1

    play(scenario)


def test_a_target_that_the_broker_ends_before_a_reverse_split_is_not_put_back_at_the_old_price(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        ends_them(desk, TEN)
        desk.floor.book.prices[AAPL] = Decimal(400)
        await look(desk, 2)
        assert desk.resting() == []
        desk.floor.book.prices[AAPL] = Decimal(110)
        await look(desk, 2)
        assert guarded(desk) == [(TEN, "90")]

    play(scenario)


def test_a_stop_that_the_price_has_just_passed_is_put_back_and_sells(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held(stop_loss=Decimal(90))
        ends_them(desk, TEN)
        desk.floor.book.prices[AAPL] = Decimal("88.5")
        tried = refuses(desk)
        await look(desk)
        assert tried == ["submit"]

    play(scenario)


def test_what_the_broker_ends_at_night_is_put_back_in_the_session(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        desk.clock.set(CLOSE_AT + timedelta(hours=4))
        ends_them(desk, TEN)
        await look(desk, 2)
        assert guarded(desk) == []
        [(_, theirs)] = await told_of(desk)
        assert "waits for a session and a fresh quote" in theirs
        desk.clock.set(CLOSE_AT + timedelta(hours=17, minutes=30))
        await look(desk, 2)
        assert guarded(desk) == [(TEN, "90")]
        assert await told_of(desk) == []

    play(scenario)


# ---------------------------------------------------------------------- under a halt


@pytest.mark.parametrize("by_note", [False, True], ids=["mode", "note"])
@pytest.mark.parametrize("broker", [leaves_them, puts_them_into_new_shares])
def test_under_a_halt_stops_at_old_prices_are_withdrawn_told_of_and_given_anew_once_it_is_over(
    play: Play, broker: Callable[[Desk, Decimal], None], by_note: bool
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        if by_note:
            desk.halt.throw("a person halts everything")
        else:
            await set_mode(desk, "HALTED", 2)
        broker(desk, Decimal(20))
        told(desk, "SPLIT", symbol="AAPL", qty="10")
        holds(desk, AAPL, 20)
        desk.floor.book.prices[AAPL] = Decimal(50)
        await look(desk, 3)
        assert desk.resting() == []
        [(ours, theirs)] = await told_of(desk)
        assert ours == "a stop for 20 shares"
        assert "halted" in theirs
        if by_note:
            desk.halt.thrown = None
        else:
            await set_mode(desk, "ACTIVE", 3)
        await look(desk, 3)
        assert guarded(desk) == [(Decimal(20), "45")]
        assert await told_of(desk) == []
        assert await opened(desk) == 1

    play(scenario)


def test_under_a_halt_a_stop_that_the_broker_has_put_into_the_new_shares_stays(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        await set_mode(desk, "HALTED", 2)
        puts_them_into_new_shares(desk, Decimal(5), Decimal(2))
        told(desk, "SPLIT", symbol="AAPL", qty="-5")
        holds(desk, AAPL, 5)
        desk.floor.book.prices[AAPL] = Decimal(200)
        await look(desk, 3)
        assert guarded(desk) == [(Decimal(5), "180")]
        assert await told_of(desk) == []
        await set_mode(desk, "ACTIVE", 3)
        await look(desk, 3)
        assert guarded(desk) == [(Decimal(5), "180")]

    play(scenario)


@pytest.mark.parametrize("by_note", [False, True], ids=["mode", "note"])
def test_a_stop_that_is_moved_under_a_halt_rests_where_it_was_until_the_halt_is_over(
    play: Play, by_note: bool
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        await set_halt(desk, by_note=by_note, is_on=True)
        await moves_the_stop(desk, "93")
        await moves_the_stop(desk, "95", previous="93")
        await desk.work()
        await look(desk, 2)
        assert guarded(desk) == [(TEN, "90")]
        assert await told_of(desk) == []
        await set_halt(desk, by_note=by_note, is_on=False)
        await look(desk, 2)
        assert guarded(desk) == [(TEN, "95")]
        assert await opened(desk) == 0

    play(scenario)


@pytest.mark.parametrize("has_moved", [False, True])
def test_a_stop_that_the_broker_counts_anew_before_it_tells_of_a_split_stays_where_it_is(
    play: Play, has_moved: bool
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        if has_moved:
            await moves_the_stop(desk, "94")
            await look(desk, 2)
            assert guarded(desk) == [(TEN, "94")]
            desk.floor.bar()
        desk.floor.book.prices[AAPL] = Decimal(50)
        puts_them_into_new_shares(desk, TEN, Decimal("0.5"))
        await look(desk, 3)
        stop = Decimal("47" if has_moved else "45")
        assert guarded(desk) == [(TEN, f"{stop}")]
        rows = await desk.rows(
            "SELECT stop_price FROM trade_executor.orders WHERE account = :a AND type = 'stop' "
            "AND status IN ('new', 'held')"
        )
        assert [row.stop_price for row in rows] == [stop]

    play(scenario)


def test_a_stop_stays_while_the_broker_holds_another_number_than_the_ledger(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        holds(desk, AAPL, 20)
        await look(desk, 2)
        await moves_the_stop(desk, "95")
        await look(desk)
        assert guarded(desk) == [(TEN, "90")]
        holds(desk, AAPL, 10)
        await look(desk, 3)
        assert guarded(desk) == [(TEN, "95")]

    play(scenario)


def halted_once_a_cancel_has_gone_out(desk: Desk) -> None:
    cancel = desk.broker.cancel

    async def cancel_and_halt(broker_order_id: str) -> bool:
        is_taken = await cancel(broker_order_id)
        desk.broker.cancel = cancel  # type: ignore[method-assign]
        await set_mode(desk, "HALTED", 2)
        return is_taken

    desk.broker.cancel = cancel_and_halt  # type: ignore[method-assign]


def test_a_halt_while_an_exit_makes_its_way_is_told_and_the_exit_goes_once_it_is_over(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        await desk.leaving()
        halted_once_a_cancel_has_gone_out(desk)
        await desk.work()
        await look(desk, 2)
        assert desk.resting() == []
        [(ours, theirs)] = await told_of(desk)
        assert ours == "a stop for 10 shares"
        assert "halted" in theirs
        await set_mode(desk, "ACTIVE", 3)
        await desk.work()
        desk.floor.bar()
        await look(desk, 2)
        assert (await desk.store.ledger.holdings())[0] == {}
        assert await told_of(desk) == []

    play(scenario)


def test_an_exit_that_a_halt_outlasts_leaves_its_shares_guarded_once_the_halt_is_over(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        await desk.leaving()
        halted_once_a_cancel_has_gone_out(desk)
        await desk.work()
        desk.clock.advance(600)
        await look(desk, 2)
        assert desk.resting() == []
        assert len(await told_of(desk)) == 1
        await set_mode(desk, "ACTIVE", 3)
        await look(desk, 2)
        assert guarded(desk) == [(TEN, "90")]
        assert await told_of(desk) == []

    play(scenario)


def test_a_stop_without_a_target_stays_where_it_is_since_nothing_would_take_its_place(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held(take_profit=None, terms=OrderTerms(order_class=OrderClass.OTO))
        await moves_the_stop(desk, "95")
        await look(desk, 2)
        assert guarded(desk) == [(TEN, "90")]

    play(scenario)
