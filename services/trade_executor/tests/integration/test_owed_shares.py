"""What is owed is kept, guarded and bought back as exactly as what is held."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.trade_executor.tests.integration.recordkeeping import (
    AAPL,
    MSFT,
    TEN,
    Desk,
    Play,
    play,
)
from services.trade_executor.tests.integration.splitting import (
    SHORT,
    cash_entries,
    holds,
    told,
)
from shared.adapters.clocks import MonotonicTimer
from shared.domain.decisions import Purpose
from shared.domain.orders import (
    IntentState,
    OrderClass,
    OrderStatus,
    OrderTerms,
    OrderType,
    Side,
    TimeInForce,
)
from trade_executor.lifecycle import End, ExecutorState, Go, Intent

__all__ = ["play"]

COVER: dict[str, Any] = {
    "side": Side.BUY,
    "purpose": Purpose.EXIT,
    "stop_loss": None,
    "take_profit": None,
}


_OCO = OrderTerms(order_class=OrderClass.OCO)
PAIR: dict[str, Any] = {
    "type": OrderType.LIMIT,
    "stop_loss": Decimal(110),
    "take_profit": Decimal(90),
    "terms": _OCO,
}
LIMIT: dict[str, Any] = {"type": OrderType.LIMIT, "limit_price": Decimal(90)}
STOP: dict[str, Any] = {"type": OrderType.STOP, "stop_price": Decimal(110)}
TRAIL: dict[str, Any] = {
    "type": OrderType.TRAILING_STOP,
    "terms": OrderTerms(trail_percent=Decimal(10)),
}


# Taken before the open, it rests until then.
OPEN: dict[str, Any] = {"type": OrderType.MARKET}


def mirrored(terms: dict[str, Any]) -> dict[str, Any]:
    """The same terms on the other side of a hundred dollars."""
    return {
        name: 200 - value if isinstance(value, Decimal) else value for name, value in terms.items()
    }


async def rests(desk: Desk, side: Side, terms: dict[str, Any], *, signal: str = "hand") -> Intent:
    """An exit of all ten shares that a person gave, once what guarded them has made way."""
    given = terms if side is Side.BUY else mirrored(terms)
    intent = await desk.decided(signal, **{**COVER, "side": side, **given})
    await desk.store.outgoing.make_way(intent, at=desk.clock.now())
    for order in (await desk.store.outgoing.work_at(desk.clock.now())).cancels:
        await desk.broker.cancel(order.broker_order_id)
    await desk.booker.book(await desk.broker.orders(status="all"))
    verdict = await desk.store.outgoing.begin_sending(
        intent, quantity=TEN, epoch=desk.epoch, now=desk.clock.now()
    )
    assert isinstance(verdict, Go), verdict
    await desk.booker.book([await desk.broker.submit(intent.request(), lambda: None)])
    return intent


async def closed_by_somebody_else(desk: Desk, side: Side, shares: int) -> None:
    """Shares go without us; a broker that buys in, for instance, asks no resting order."""
    book = desk.floor.book
    resting = book.open_orders()
    for order in resting:
        book.orders[order.id] = replace(order, status=OrderStatus.HELD)
    assert desk.by_somebody_else(side, shares) is not None
    desk.floor.bar(105 if side is Side.BUY else 95)
    for order in resting:
        book.orders[order.id] = order
    report = await desk.compare()
    assert report.positions_agree


async def guards(desk: Desk) -> list[tuple[str, Decimal, Decimal | None, Decimal | None]]:
    """(side, shares, target, stop) of what rests at the venue, targets first."""
    rows = await desk.store.reads.find_orders(limit=50)
    assert rows
    opened = [o for o in desk.floor.book.open_orders() if o.status is not OrderStatus.HELD]
    return sorted(
        ((o.side.value, o.quantity, o.limit_price, o.stop_price) for o in opened),
        key=lambda one: one[3] is not None,
    )


async def protect(desk: Desk) -> None:
    """Send the protection that was planned, as the sender would."""
    for intent in (await desk.store.outgoing.work_at(desk.clock.now())).due:
        await desk.store.outgoing.begin_sending(
            intent, quantity=intent.quantity, epoch=desk.epoch, now=desk.clock.now()
        )
        await desk.booker.book([await desk.broker.submit(intent.request(), lambda: None)])


async def reduce_only(desk: Desk) -> None:
    """Trading goes to REDUCING."""

    async def write(connection: AsyncConnection) -> None:
        await connection.execute(
            text(
                "INSERT INTO risk_manager.modes (account, version, mode, previous, reason, actor, "
                "restarts_peak, changed_at) VALUES (:a, 2, 'REDUCING', 'ACTIVE', 't', 't', false, :at)"
            ),
            {"a": desk.account, "at": desk.clock.now()},
        )

    await desk.risk.run(write)


async def cancel_what_was_asked(desk: Desk) -> int:
    """Cancel what the sender would; how many orders."""
    asked = (await desk.store.outgoing.work_at(desk.clock.now())).cancels
    for order in asked:
        await desk.broker.cancel(order.broker_order_id)
    await desk.compare()
    return len(asked)


def test_a_wish_to_be_out_makes_way_and_buys_back_what_is_owed_then(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held("sig-1", **SHORT)
        wish = await desk.decided("sig-2", **COVER)
        obstacles = await desk.store.outgoing.make_way(wish, at=desk.clock.now())
        assert {(o.side, o.type) for o in obstacles.open_orders} == {
            (Side.BUY, "limit"), (Side.BUY, "stop"),
        }  # fmt: skip
        # The target fills in part before the cancel arrives.
        desk.floor.bar(79, volume=40)
        await cancel_what_was_asked(desk)
        left = await desk.store.outgoing.make_way(wish, at=desk.clock.now())
        assert (left.none, left.position) == (True, Decimal(-6))
        await desk.store.outgoing.begin_sending(
            wish, quantity=Decimal(6), epoch=desk.epoch, now=desk.clock.now()
        )
        sent = replace(wish, quantity=Decimal(6))
        await desk.booker.book([await desk.broker.submit(sent.request(), lambda: None)])
        desk.floor.bar(90)
        report = await desk.compare()
        assert (report.positions_agree, report.cash_agrees) == (True, True)
        assert (await desk.store.ledger.holdings())[0] == {}

    play(scenario, allow_short=True)


def test_a_stop_that_was_lost_while_nobody_looked_stands_above_again(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held("sig-1", **SHORT)
        for order in desk.floor.book.open_orders():
            await desk.broker.cancel(order.id)
        await desk.compare()
        await protect(desk)
        assert await guards(desk) == [
            ("buy", TEN, Decimal(80), None),
            ("buy", TEN, None, Decimal(110)),
        ]

    play(scenario, allow_short=True)


def test_unless_trading_is_active_no_short_sale_leaves_and_what_is_owed_may_be_bought_back(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held("sig-1", **SHORT)
        entry = await desk.decided("sig-2", **{**SHORT, "symbol": MSFT})
        cover = await desk.decided("sig-3", **COVER)
        await reduce_only(desk)
        sold = await desk.store.outgoing.verdict(entry, epoch=desk.epoch, now=desk.clock.now())
        bought = await desk.store.outgoing.verdict(cover, epoch=desk.epoch, now=desk.clock.now())
        assert sold == End(IntentState.CANCELLED_UNSENT, "trading mode is REDUCING")
        assert not isinstance(bought, End)

    play(scenario, allow_short=True)


def test_a_short_position_that_the_broker_buys_in_is_booked_and_told_and_its_stops_are_withdrawn(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held("sig-1", **SHORT)
        book = desk.floor.book
        legs = book.open_orders()
        # A broker that buys in asks no resting order.
        for leg in legs:
            book.orders[leg.id] = replace(leg, status=OrderStatus.HELD)
        bought_in = desk.by_somebody_else(Side.BUY, 10)
        desk.floor.bar(105)
        for leg in legs:
            book.orders[leg.id] = leg
        report = await desk.compare()
        assert (report.positions_agree, report.cash_agrees) == (True, True)
        assert (await desk.fills())[-1] == ("AAPL", "buy", TEN)
        [difference] = await desk.differences()
        assert difference == ("EXTERNAL_ORDER", "AAPL", "no such order", "buy 10 market filled")
        assert bought_in is not None
        # Hit now, the stop would buy ten shares that nobody owes.
        assert await cancel_what_was_asked(desk) == 2
        assert book.open_orders() == []
        await protect(desk)
        assert book.open_orders() == []

    play(scenario, allow_short=True)


def test_stops_of_what_somebody_else_bought_back_in_part_guard_the_rest(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held("sig-1", **SHORT)
        book = desk.floor.book
        legs = book.open_orders()
        for leg in legs:
            book.orders[leg.id] = replace(leg, status=OrderStatus.HELD)
        desk.by_somebody_else(Side.BUY, 7)
        desk.floor.bar(105)
        for leg in legs:
            book.orders[leg.id] = leg
        await desk.compare()
        await cancel_what_was_asked(desk)
        await protect(desk)
        assert await guards(desk) == [
            ("buy", Decimal(3), Decimal(80), None),
            ("buy", Decimal(3), None, Decimal(110)),
        ]
        # And nothing is withdrawn that fits.
        await desk.compare()
        assert (await desk.store.outgoing.work_at(desk.clock.now())).cancels == ()

    play(scenario, allow_short=True)


@pytest.mark.parametrize(
    ("side", "by_hand"),
    [
        (Side.BUY, PAIR),
        (Side.SELL, PAIR),
        (Side.BUY, LIMIT),
        (Side.SELL, STOP),
        (Side.BUY, TRAIL),
        (Side.BUY, OPEN),
        (Side.SELL, OPEN),
    ],
    ids=[
        "buy-pair",
        "sell-pair",
        "buy-limit",
        "sell-stop",
        "buy-trail",
        "buy at the open",
        "sell at the open",
    ],
)
def test_what_a_person_let_rest_to_close_a_position_is_withdrawn_once_somebody_else_has_closed_it(
    play: Play, side: Side, by_hand: dict[str, Any]
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held("sig-1", **(SHORT if side is Side.BUY else {}))
        await rests(desk, side, by_hand)
        resting = desk.floor.book.open_orders()
        assert {order.side for order in resting} == {side}
        # It fits: both orders of a pair are for the same shares.
        await desk.compare()
        assert (await desk.store.outgoing.work_at(desk.clock.now())).cancels == ()
        await closed_by_somebody_else(desk, side, 10)
        # Hit now, it would open a position on the other side.
        assert await cancel_what_was_asked(desk) == len(resting)
        await protect(desk)
        assert desk.floor.book.open_orders() == []

    play(scenario, allow_short=True)


async def rests_too(desk: Desk, signal: str, shares: int) -> None:
    """An exit at the market that was taken beside others: its look at what stands in the way found nothing of them."""
    intent = await desk.leaving(signal, Decimal(shares))
    verdict = await desk.store.outgoing.begin_sending(
        intent, quantity=intent.quantity, epoch=desk.epoch, now=desk.clock.now()
    )
    assert isinstance(verdict, Go), verdict
    await desk.booker.book([await desk.broker.submit(intent.request(), lambda: None)])


def test_of_two_exits_that_wait_for_the_open_the_older_stays_when_less_is_held(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        for order in desk.floor.book.open_orders():
            await desk.broker.cancel(order.id)
        await rests_too(desk, "strategy", 6)
        await rests_too(desk, "day-end", 4)
        await desk.compare()
        assert (await desk.store.outgoing.work_at(desk.clock.now())).cancels == ()
        await closed_by_somebody_else(desk, Side.SELL, 3)
        assert await cancel_what_was_asked(desk) == 1
        assert [(kind, shares) for _, _, kind, shares, _ in desk.resting()] == [
            ("market", Decimal(6))
        ]
        [row] = [r for r in await desk.store.reads.find_orders() if r["signal_id"] == "day-end"]
        assert "more would be closed than is held" in row["reason"]

    play(scenario, allow_short=True)


def test_a_second_exit_waits_for_the_first_to_be_gone_and_both_never_sell_more_than_is_held(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        for signal, shares in (("strategy", 10), ("day-end", 4)):
            await desk.leaving(signal, Decimal(shares))
            await desk.work()
            assert sum(one[3] for one in desk.resting()) <= TEN
        desk.floor.bar()
        assert (await desk.compare()).positions_agree
        assert desk.floor.book.positions[AAPL].quantity == 6

    play(scenario, allow_short=True)


@pytest.mark.parametrize(
    "terms",
    [{}, {"type": OrderType.LIMIT, "limit_price": Decimal(130), "time_in_force": TimeInForce.GTC}],
    ids=["market", "limit"],
)
def test_exits_that_together_close_no_more_than_is_held_stand_beside_each_other(
    play: Play, terms: dict[str, Any]
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        for signal, shares in (("strategy", 6), ("day-end", 4)):
            await desk.leaving(signal, Decimal(shares), **terms)
            await desk.work()
        assert sum(shares for _, _, _, shares, _ in desk.resting()) == TEN
        desk.floor.bar(140)
        assert (await desk.compare()).positions_agree
        assert (await desk.store.ledger.holdings())[0] == {}

    play(scenario, allow_short=True)


@pytest.mark.prove
def test_an_exit_outlasts_an_entry_that_nobody_can_find_and_that_is_never_sent_again(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        entry = await desk.sending("sig-1")
        await desk.store.outgoing.record_unknown(entry, "timeout", at=desk.clock.now())
        wish = await desk.leaving("out")
        terms, timer = desk.store.terms, MonotonicTimer()
        for state in (ExecutorState.RECONCILING, ExecutorState.READY):
            await terms.set_state(state, "t", epoch=desk.epoch, at=desk.clock.now())
            # A round of look-ups takes fifteen seconds.
            give_up_s = timer.monotonic_s() + 17
            while timer.monotonic_s() < give_up_s:
                await desk.sender.work()
                await timer.sleep(0.1)
            assert [(kind, how) for kind, how, _ in await desk.states()] == [
                ("entry", "UNKNOWN"),
                ("exit", "PENDING"),
            ]
        # It has arrived after all.
        await desk.broker.submit(entry.request(), lambda: None)
        desk.floor.bar()
        await desk.compare()
        await desk.work()
        desk.floor.bar()
        assert (await desk.compare()).positions_agree
        assert (await desk.store.ledger.holdings())[0] == {}
        assert wish.signal_id in {row["signal_id"] for row in await desk.store.reads.find_orders()}

    play(scenario)


@pytest.mark.parametrize("is_later", [False, True], ids=["due", "due later"])
def test_an_exit_for_everything_takes_the_place_of_one_for_a_part(
    play: Play, is_later: bool
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        part = await desk.leaving("part", Decimal(4))
        if is_later:
            await desk.rows(
                "UPDATE trade_executor.intents SET act_from = act_from + interval '4 minutes' "
                "WHERE account = :a AND client_order_id = :part",
                part=part.client_order_id,
            )
        await desk.leaving("flatten", TEN)
        await desk.work()
        assert [(kind, shares) for _, _, kind, shares, _ in desk.resting()] == [("market", TEN)]
        # Nothing comes later that would take it off the market again.
        desk.clock.set(desk.clock.now() + timedelta(minutes=4, seconds=30))
        await desk.work()
        desk.floor.bar()
        assert (await desk.compare()).positions_agree
        assert (await desk.store.ledger.holdings())[0] == {}

    play(scenario, allow_short=True)


@pytest.mark.parametrize("entry", [{}, SHORT], ids=["long", "short"])
def test_what_a_resting_exit_by_hand_leaves_keeps_its_stop_until_the_exit_is_over(
    play: Play, entry: dict[str, Any]
) -> None:
    async def scenario(desk: Desk) -> None:
        held = await desk.held("sig-1", **entry)
        out, far = held.side.opposite, Decimal(150) if held.side is Side.BUY else Decimal(50)

        def stops() -> list[Decimal]:
            return [shares for _, _, kind, shares, _ in desk.resting() if kind == "stop"]

        await desk.leaving(
            "by-hand", Decimal(4), side=out, type=OrderType.LIMIT, limit_price=far,
            time_in_force=TimeInForce.GTC,
        )  # fmt: skip
        await desk.work()
        assert stops() == [Decimal(6)]
        assert sum(shares for *_, shares, stop in desk.resting() if stop is None) == 4 + 6
        # Where it is taken back, what it spoke for is guarded again.
        [by_hand] = [o for o in desk.floor.book.open_orders() if o.limit_price == far]
        await desk.broker.cancel(by_hand.id)
        await desk.compare()
        await desk.work()
        assert sorted(stops()) == [Decimal(4), Decimal(6)]

    play(scenario, allow_short=True)


def test_a_pair_by_hand_gives_way_to_stops_of_what_somebody_else_left(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held("sig-1", **SHORT)
        await rests(desk, Side.BUY, PAIR)
        await closed_by_somebody_else(desk, Side.BUY, 7)
        assert await cancel_what_was_asked(desk) == 2
        await protect(desk)
        assert await guards(desk) == [
            ("buy", Decimal(3), Decimal(80), None),
            ("buy", Decimal(3), None, Decimal(110)),
        ]

    play(scenario, allow_short=True)


def test_nothing_is_withdrawn_while_a_fill_is_not_booked(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held("sig-1", **SHORT)
        intent = await rests(desk, Side.BUY, LIMIT)
        ours = "WHERE account = :a AND intent_id = :i"

        async def is_surplus(told: int) -> bool:
            await desk.rows(
                f"UPDATE trade_executor.orders SET quantity = 12, filled_quantity = :n {ours}",
                i=intent.client_order_id,
                n=told,
            )
            return await desk.store.protection.withdraw_surplus(at=desk.clock.now())

        # How many are owed is not known before the share that was filled is booked.
        assert not await is_surplus(1)
        assert await is_surplus(0)

    play(scenario, allow_short=True)


def test_what_takes_the_place_of_a_resting_exit_is_not_counted_beside_it(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held("sig-1", **SHORT)
        first = await rests(desk, Side.BUY, LIMIT)
        second = await rests(desk, Side.BUY, LIMIT, signal="hand-2")
        # The broker has taken the new one, and has not yet told that the old one is replaced.
        await desk.rows(
            "UPDATE trade_executor.orders SET status = 'pending_replace', cancel_asked_at = NULL "
            "WHERE account = :a AND intent_id = :old",
            old=first.client_order_id,
        )
        assert await desk.store.protection.withdraw_surplus(at=desk.clock.now())
        await desk.rows(
            "UPDATE trade_executor.orders SET cancel_asked_at = NULL WHERE account = :a",
        )
        await desk.rows(
            "UPDATE trade_executor.intents SET replaces = :old WHERE account = :a AND client_order_id = :new",
            old=first.client_order_id,
            new=second.client_order_id,
        )
        assert not await desk.store.protection.withdraw_surplus(at=desk.clock.now())

    play(scenario, allow_short=True)


def test_legs_that_an_exit_brought_are_withdrawn_once_it_has_closed_the_position(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held("sig-1", **SHORT)
        # As one was approved before that was refused.
        bracket = {
            "stop_loss": Decimal(90),
            "take_profit": Decimal(120),
            "terms": OrderTerms(order_class=OrderClass.BRACKET),
        }
        intent = await rests(desk, Side.BUY, bracket)
        # Cancelled before it fills, they would take their order along.
        await desk.compare()
        assert (await desk.store.outgoing.work_at(desk.clock.now())).cancels == ()
        desk.floor.bar()
        await desk.compare()
        # The simulator has cancelled them by itself; a broker need not.
        await desk.rows(
            "UPDATE trade_executor.orders SET status = 'new' WHERE account = :a AND intent_id = :i "
            "AND parent_order_id IS NOT NULL",
            i=intent.client_order_id,
        )
        assert await desk.store.protection.withdraw_surplus(at=desk.clock.now())
        assert len((await desk.store.outgoing.work_at(desk.clock.now())).cancels) == 2

    play(scenario, allow_short=True)


def test_a_split_makes_what_is_owed_larger_and_moves_the_exits(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held("sig-1", **SHORT)
        holds(desk, AAPL, -20)
        told(desk, "SPLIT", symbol="AAPL", qty="-10")
        report = await desk.compare()
        assert report.positions_agree
        assert (await desk.store.ledger.holdings())[0] == {AAPL: Decimal(-20)}
        [entry] = await desk.store.reads.find_orders(limit=1)
        assert (entry["stop_loss"], entry["take_profit"]) == (Decimal(55), Decimal(40))

    play(scenario, allow_short=True)


def test_a_dividend_of_shares_sold_short_is_paid(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held("sig-1", **SHORT)
        told(desk, "DIV", symbol="AAPL", qty="-10", net_amount="-5.10", per_share_amount="0.51")
        desk.floor.book.cash -= Decimal("5.10")
        report = await desk.compare()
        assert report.cash_agrees
        assert ("DIV", Decimal("-5.10")) in await cash_entries(desk)

    play(scenario, allow_short=True)
