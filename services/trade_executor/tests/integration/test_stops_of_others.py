"""Stops and targets that somebody gave at the broker meet our exits.

An exit of all that is held takes them out of its way, and what it leaves gets them back; any other exit leaves them.
The judge is the venue's own book, which refuses a sale of shares that another order holds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.trade_executor.tests.integration.given_at_the_broker import (
    CAME,
    Before,
    bracketed,
    dying_at,
    go_out,
    paired,
    short,
    stopped,
    stopped_with_a_limit,
    trailed,
)
from services.trade_executor.tests.integration.recordkeeping import (
    AAPL,
    TEN,
    Desk,
    Play,
    play,
    some_now,
)
from shared.domain.errors import OrderRejected
from shared.domain.orders import OrderClass, OrderType, Side, TimeInForce
from simulator.orders import Replace, Submit
from trade_executor.lifecycle import Intent
from trade_executor.store.outgoing import Obstacles

__all__ = ["play"]

FOUR, SIX = Decimal(4), Decimal(6)


# ---------------------------------------------------------------------- an exit of everything


@pytest.mark.parametrize(
    ("kind", "lists_what_stands"), some_now(list(itertools.product(CAME, (False, True))), {1, 4})
)
def test_an_exit_of_all_that_came_with_the_account_is_taken_and_nothing_else_is_left(
    play: Play, kind: Before, lists_what_stands: bool
) -> None:
    async def scenario(desk: Desk) -> None:
        assert [d[0] for d in await desk.differences()] == ["EXTERNAL_ORDER"]
        await go_out(desk)
        assert desk.resting() == [("simple", "sell", "market", TEN, None)]
        desk.floor.bar()
        report = await desk.compare()
        assert (report.positions_agree, report.cash_agrees) == (True, True)
        assert (await desk.store.ledger.holdings())[0] == {}
        assert await desk.states() == [("exit", "FILLED", TEN)]

    play(scenario, kind, lists_what_stands=lists_what_stands)


@pytest.mark.parametrize("kind", some_now([bracketed, paired, stopped], {0}))
def test_a_short_position_that_came_with_the_account_is_bought_back(
    play: Play, kind: Callable[..., None]
) -> None:
    async def scenario(desk: Desk) -> None:
        await go_out(desk, side=Side.BUY)
        assert desk.resting() == [("simple", "buy", "market", TEN, None)]
        desk.floor.bar()
        assert (await desk.compare()).positions_agree
        assert (await desk.store.ledger.holdings())[0] == {}

    play(scenario, short(kind), allow_short=True)


def test_somebodys_entry_that_has_not_filled_keeps_its_stop_and_target(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        desk.floor.do(
            Submit(
                AAPL, Side.BUY, TEN, OrderType.LIMIT, TimeInForce.GTC, order_class=OrderClass.BRACKET,
                limit_price=Decimal(50), stop_loss=Decimal(40), take_profit=Decimal(60),
            )
        )  # fmt: skip
        await desk.compare()
        waiting = desk.resting()[-3:]
        assert [one[0] for one in waiting] == ["entry", "target", "stop"]
        await go_out(desk)
        assert desk.resting() == [*waiting, ("simple", "sell", "market", TEN, None)]

    play(scenario, stopped)


def test_an_exit_sells_nothing_that_somebodys_stop_sold_while_its_way_was_looked_at(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(desk: Desk) -> None:
        make_way = desk.store.outgoing.make_way

        async def and_the_stop_fills(intent: Intent, *, at: datetime) -> Obstacles:
            found = await make_way(intent, at=at)
            if desk.resting():
                desk.floor.bar(80)
                await desk.booker.book_lines(desk.floor.frames())
            return found

        monkeypatch.setattr(desk.store.outgoing, "make_way", and_the_stop_fills)
        await go_out(desk)
        assert await desk.states() == [("exit", "CANCELLED_UNSENT", Decimal(0))]
        assert desk.resting() == []

    play(scenario, stopped, allow_short=True)


# ---------------------------------------------------------------------- what it leaves


@pytest.mark.parametrize(
    ("kind", "back"),
    some_now(
        [
            (
                bracketed,
                [("target", "sell", "limit", SIX, None), ("stop", "sell", "stop", SIX, "90")],
            ),
            (paired, [("target", "sell", "limit", SIX, None), ("stop", "sell", "stop", SIX, "90")]),
            (stopped, [("simple", "sell", "stop", SIX, "90")]),
            (stopped_with_a_limit, [("simple", "sell", "stop_limit", SIX, "90")]),
            (trailed, [("simple", "sell", "stop", SIX, "90")]),
        ],
        {0, 3},
    ),
)
def test_what_an_exit_of_everything_did_not_sell_gets_its_stop_back(
    play: Play, kind: Before, back: list[Any]
) -> None:
    async def scenario(desk: Desk) -> None:
        await go_out(desk)
        desk.floor.bar(volume=40, ends=True)
        await desk.compare()
        await desk.work()
        assert desk.resting() == back
        # And once more: what was put back gives way to the next exit, and comes back for what that leaves.
        await desk.leaving("out-again", SIX)
        await desk.work()
        desk.floor.bar(volume=40, ends=True)
        await desk.compare()
        await desk.work()
        two = Decimal(2)
        assert desk.resting() == [(*one[:3], two, one[4]) for one in back]

    play(scenario, kind)


def test_what_a_short_exit_left_gets_its_stop_back_above_the_price(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await go_out(desk, side=Side.BUY)
        desk.floor.bar(volume=40, ends=True)
        await desk.compare()
        await desk.work()
        assert desk.resting() == [
            ("target", "buy", "limit", SIX, None), ("stop", "buy", "stop", SIX, "110"),
        ]  # fmt: skip

    play(scenario, short(bracketed), allow_short=True)


@pytest.mark.parametrize("kind", some_now([bracketed, stopped], {1}))
def test_an_exit_that_the_broker_refuses_gives_back_what_it_had_taken_away(
    play: Play, kind: Before
) -> None:
    def refuses(call: str) -> None:
        if call == "submit":
            desk_of[0].broker.before = lambda _: None
            raise OrderRejected("not now", status=403, code=40310000)

    desk_of: list[Desk] = []

    async def scenario(desk: Desk) -> None:
        desk_of.append(desk)
        before = desk.resting()
        desk.broker.before = refuses
        await go_out(desk)
        assert await desk.states() == [
            ("exit", "REJECTED", Decimal(0)), ("protect", "ACKED", Decimal(0)),
        ]  # fmt: skip
        assert desk.resting() == before

    play(scenario, kind)


def test_an_exit_that_is_too_late_once_its_way_is_clear_gives_back_what_it_took(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.leaving()
        with dying_at("cancel.committed"):
            await desk.work()
        assert desk.resting() == []
        desk.clock.advance(timedelta(minutes=10))
        await desk.restart()
        await desk.work()
        assert await desk.states() == [
            ("exit", "EXPIRED_UNSENT", Decimal(0)), ("protect", "ACKED", Decimal(0)),
        ]  # fmt: skip
        assert desk.resting() == [("simple", "sell", "stop", TEN, "90")]
        back = (await desk.store.reads.find_orders(limit=1))[0]
        assert (back["purpose"], back["decision_id"]) == ("protect", "dec-out")

    play(scenario, stopped)


# ---------------------------------------------------------------------- an exit of a part


@pytest.mark.parametrize("kind", some_now(CAME, {0}))
def test_an_exit_of_a_part_leaves_somebodys_stop_and_says_what_holds_the_shares(
    play: Play, kind: Before
) -> None:
    async def scenario(desk: Desk) -> None:
        before = desk.resting()
        await go_out(desk, FOUR)
        assert desk.resting() == before
        [row] = await desk.store.reads.find_orders()
        assert row["state"] == "REJECTED"
        assert "orders given at the broker hold shares of AAPL" in row["reason"]
        assert "or leave all 10 shares" in row["reason"]

    play(scenario, kind)


def test_an_exit_that_may_rest_leaves_somebodys_stop(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        before = desk.resting()
        await go_out(desk, type=OrderType.LIMIT, limit_price=Decimal(150))
        assert desk.resting() == before
        [row] = await desk.store.reads.find_orders()
        assert "or leave all 10 shares at the market" in row["reason"]

    play(scenario, stopped)


@pytest.mark.parametrize(
    "auction", some_now([TimeInForce.OPG, TimeInForce.CLS], {1}), ids=lambda force: force.value
)
def test_an_exit_that_waits_for_an_auction_leaves_somebodys_stop(
    play: Play, auction: TimeInForce
) -> None:
    async def scenario(desk: Desk) -> None:
        before = desk.resting()
        await go_out(desk, time_in_force=auction)
        assert desk.resting() == before
        [row] = await desk.store.reads.find_orders()
        assert "or leave all 10 shares at the market, at once" in row["reason"]

    play(scenario, stopped)


def test_an_exit_of_a_part_sells_our_own_shares_beside_somebodys_stop(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.store.differences.acknowledge([AAPL], actor="t", at=desk.clock.now())
        await desk.held("ours", stop_loss=Decimal(80), take_profit=Decimal(130))
        await go_out(desk, FOUR)
        desk.floor.bar()
        await desk.compare()
        await desk.work()
        assert [one[1:] for one in desk.resting() if one[2] == "stop"] == [
            ("sell", "stop", TEN, "90"), ("sell", "stop", SIX, "80"),
        ]  # fmt: skip

    play(scenario, stopped)


# ---------------------------------------------------------------------- dying on the way


_PLACES = ("cancel.sending", "cancel.replied", "cancel.committed", "post.replied")


@pytest.mark.parametrize(
    ("place", "kind"),
    some_now(list(itertools.product(_PLACES, (bracketed, paired, stopped))), {4, 6, 11}),
)
def test_whoever_comes_after_a_death_sells_once_and_leaves_nothing(
    play: Play, kind: Before, place: str
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.leaving()
        with dying_at(place):
            await desk.work()
        await desk.restart()
        await desk.compare()
        await desk.work()
        assert desk.resting() == [("simple", "sell", "market", TEN, None)]
        desk.floor.bar()
        assert (await desk.compare()).positions_agree
        assert await desk.states() == [("exit", "FILLED", TEN)]

    play(scenario, kind)


@pytest.mark.parametrize("place", some_now(["intent.sending", "post.replied"], {1}))
def test_a_stop_that_is_being_put_back_at_a_death_is_put_back_once(play: Play, place: str) -> None:
    async def scenario(desk: Desk) -> None:
        await go_out(desk)
        desk.floor.bar(volume=40, ends=True)
        await desk.compare()
        with dying_at(place):
            await desk.work()
        await desk.restart()
        await desk.compare()
        await desk.work()
        assert len(desk.resting()) == (place == "post.replied")
        assert [state for purpose, state, _ in await desk.states() if purpose == "protect"] == [
            "UNKNOWN" if place == "intent.sending" else "ACKED"
        ]

    play(scenario, stopped)


# ---------------------------------------------------------------------- people beside the machine


@pytest.mark.parametrize("lists_what_stands", some_now([False, True], {1}))
def test_a_stop_that_a_person_moved_at_the_broker_is_known_and_comes_back_where_they_put_it(
    play: Play, lists_what_stands: bool
) -> None:
    async def scenario(desk: Desk) -> None:
        [stop] = [o for o in desk.floor.book.orders.values() if o.type is OrderType.STOP]
        desk.floor.do(Replace(stop.id, stop_price=Decimal(95)))
        await desk.compare()
        known = await desk.rows(
            "SELECT status, stop_price FROM trade_executor.orders WHERE account = :a AND type = 'stop' "
            "ORDER BY sequence"
        )
        assert [(row.status, row.stop_price) for row in known] == [
            ("replaced", Decimal(90)), ("new", Decimal(95)),
        ]  # fmt: skip
        await go_out(desk)
        desk.floor.bar(volume=40, ends=True)
        await desk.compare()
        await desk.work()
        assert desk.resting()[-1] == ("stop", "sell", "stop", SIX, "95")

    play(scenario, bracketed, lists_what_stands=lists_what_stands)


def test_a_sale_that_somebody_gave_later_gives_way_to_an_exit_of_everything_alone(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held(stop_loss=None, take_profit=None)
        desk.by_somebody_else(Side.SELL, 10, OrderType.LIMIT, limit_price=Decimal(150))
        await desk.compare()
        await go_out(desk, FOUR)
        assert [one[2] for one in desk.resting()] == ["limit"]
        await desk.leaving("all", TEN)
        await desk.work()
        assert [one[2] for one in desk.resting()] == ["market"]

    play(scenario)
