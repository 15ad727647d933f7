"""An account that comes with positions, and stops and targets that somebody gave at the broker for them.

An exit of all that is held takes them out of its way, and what it leaves gets them back; any other exit leaves them.
The judge is the venue's own book, which refuses a sale of shares that another order holds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.trade_executor.tests.floor import Floor
from services.trade_executor.tests.integration.recordkeeping import (
    AAPL,
    MSFT,
    TEN,
    Desk,
    Play,
    play,
    some_now,
)
from shared import crashpoints
from shared.domain.errors import OrderRejected, Unavailable
from shared.domain.ledger import Position
from shared.domain.orders import OrderClass, OrderType, Side, TimeInForce
from simulator.orders import Cancel, Replace, Submit
from trade_executor.lifecycle import Intent
from trade_executor.store import protection
from trade_executor.store.outgoing import Obstacles

__all__ = ["play"]

FOUR, SIX = Decimal(4), Decimal(6)
Before = Callable[[Floor], None]


class Died(Exception):
    """The process ends here."""


@contextmanager
def dying_at(place: str) -> Iterator[None]:
    """The process ends at that place, once."""

    def listener(name: str) -> None:
        if name == place:
            raise Died(name)

    crashpoints.listen(listener)
    try:
        with pytest.raises(Died):
            yield
    finally:
        crashpoints.listen(lambda _: None)


def buy(floor: Floor, side: Side, quantity: int = 10, **terms: Any) -> None:
    floor.do(Submit(AAPL, side, Decimal(quantity), OrderType.MARKET, TimeInForce.GTC, **terms))
    floor.bar()


def prices(side: Side) -> dict[str, Any]:
    """Stop and target of a position that was opened with `side` at a hundred."""
    stop, target = (90, 120) if side is Side.BUY else (110, 80)
    return {"stop_loss": Decimal(stop), "take_profit": Decimal(target)}


def bracketed(floor: Floor, side: Side = Side.BUY, quantity: int = 10) -> None:
    buy(floor, side, quantity, order_class=OrderClass.BRACKET, **prices(side))


def paired(floor: Floor, side: Side = Side.BUY) -> None:
    buy(floor, side)
    pair = prices(side)
    floor.do(
        Submit(
            AAPL, side.opposite, TEN, OrderType.LIMIT, TimeInForce.GTC, order_class=OrderClass.OCO,
            limit_price=pair["take_profit"], **pair,
        )
    )  # fmt: skip


def stopped(floor: Floor, side: Side = Side.BUY) -> None:
    buy(floor, side)
    stop = prices(side)["stop_loss"]
    floor.do(Submit(AAPL, side.opposite, TEN, OrderType.STOP, TimeInForce.GTC, stop_price=stop))


def stopped_with_a_limit(floor: Floor) -> None:
    buy(floor, Side.BUY)
    floor.do(
        Submit(
            AAPL, Side.SELL, TEN, OrderType.STOP_LIMIT, TimeInForce.GTC, stop_price=Decimal(90),
            limit_price=Decimal(88),
        )
    )  # fmt: skip


def trailed(floor: Floor) -> None:
    buy(floor, Side.BUY)
    floor.do(
        Submit(AAPL, Side.SELL, TEN, OrderType.TRAILING_STOP, TimeInForce.GTC, trail_price=TEN)
    )


def long_ago(kind: Before) -> Before:
    """Given so long before the account's last fill that no list of new orders shows it."""

    def before(floor: Floor) -> None:
        kind(floor)
        for _ in range(3):
            floor.bar()
        floor.do(Submit(MSFT, Side.BUY, TEN, OrderType.MARKET, TimeInForce.DAY))
        floor.bar()

    return before


CAME = [bracketed, paired, stopped, stopped_with_a_limit, trailed]


def short(kind: Callable[..., None]) -> Before:
    return lambda floor: kind(floor, Side.SELL)


async def go_out(desk: Desk, quantity: Decimal = TEN, **terms: Any) -> None:
    await desk.leaving(quantity=quantity, **terms)
    await desk.work()


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


# ---------------------------------------------------------------------- what filled before


@pytest.mark.parametrize("minutes", some_now([0, 5], {0}))
def test_what_a_target_filled_before_the_ledger_began_is_not_booked_again(
    play: Play, minutes: int
) -> None:
    def before(floor: Floor) -> None:
        bracketed(floor)
        floor.bar(130, volume=40)
        for _ in range(minutes):
            floor.bar()

    async def scenario(desk: Desk) -> None:
        for _ in range(2):
            report = await desk.compare()
            assert (report.positions_agree, report.cash_agrees) == (True, True)
        assert await desk.fills() == []
        desk.floor.bar(130, volume=20)
        # The order list tells of it first.
        await desk.booker.book(await desk.broker.orders(status="open"))
        report = await desk.compare()
        assert (report.positions_agree, report.cash_agrees) == (True, True)
        assert await desk.fills() == [("AAPL", "sell", Decimal(2))]
        await go_out(desk, FOUR)
        desk.floor.bar()
        assert (await desk.compare()).positions_agree
        assert (await desk.store.ledger.holdings())[0] == {}

    play(scenario, before)


@pytest.mark.parametrize(
    ("call", "nth"),
    some_now(
        list(
            itertools.product(
                ("account", "positions", "executions", "activities", "orders"), (0, 1)
            )
        ),
        {5, 8},
    ),
)
def test_a_fill_while_the_account_is_being_taken_over_is_counted_once(
    play: Play, call: str, nth: int
) -> None:
    seen: list[str] = []

    def during(floor: Floor, name: str) -> None:
        seen.append(name)
        if name == call and seen.count(call) == nth + 1:
            floor.bar(130, volume=40)

    async def scenario(desk: Desk) -> None:
        report = await desk.compare()
        assert (report.positions_agree, report.cash_agrees) == (True, True)
        assert (await desk.store.ledger.holdings())[0] == {AAPL: SIX}
        await go_out(desk, SIX)
        assert desk.resting() == [("simple", "sell", "market", SIX, None)]

    play(scenario, bracketed, during=during)


@pytest.mark.parametrize("nth", some_now([1, 2], {0}))
def test_an_entry_that_fills_right_after_the_account_was_taken_over_is_booked_once(
    play: Play, nth: int
) -> None:
    def before(floor: Floor) -> None:
        floor.do(
            Submit(
                AAPL, Side.BUY, TEN, OrderType.LIMIT, TimeInForce.GTC, order_class=OrderClass.BRACKET,
                limit_price=Decimal(50), stop_loss=Decimal(40), take_profit=Decimal(60),
            )
        )  # fmt: skip
        for _ in range(3):
            floor.bar()

    seen: list[str] = []

    def during(floor: Floor, name: str) -> None:
        seen.append(name)
        if name == "orders" and seen.count(name) == nth:
            floor.bar(45)

    async def scenario(desk: Desk) -> None:
        report = await desk.compare()
        assert (report.positions_agree, report.cash_agrees) == (True, True)
        assert await desk.fills() == [("AAPL", "buy", TEN)]

    play(scenario, before, lists_what_stands=True, during=during)


@pytest.mark.parametrize("is_older", [False, True], ids=["given lately", "given long before"])
def test_what_fills_between_a_death_after_the_take_over_and_the_next_start_is_booked(
    play: Play, is_older: bool
) -> None:
    async def scenario(desk: Desk) -> None:
        def dies(call: str) -> None:
            if call == "orders":
                raise Died(call)

        desk.broker.before = dies
        with pytest.raises(Died):
            await desk.compare()
        desk.broker.before = lambda _: None
        desk.floor.bar(85)
        for _ in range(3):
            desk.floor.bar()
        await desk.restart()
        report = await desk.compare()
        assert (report.positions_agree, report.cash_agrees) == (True, True)
        assert await desk.fills() == [("AAPL", "sell", TEN)]
        # And nothing that happened before is told as news.
        kinds = [(kind, symbol) for kind, symbol, _, _ in await desk.differences()]
        assert kinds == [("EXTERNAL_ORDER", "AAPL")]

    play(scenario, long_ago(stopped) if is_older else stopped, has_compared=False)


def test_a_stop_that_came_with_the_account_fills_into_our_ledger(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        desk.floor.bar(80)
        await desk.booker.book_lines(desk.floor.frames())
        report = await desk.compare()
        assert (report.positions_agree, report.cash_agrees) == (True, True)
        assert await desk.fills() == [("AAPL", "sell", TEN)]

    play(scenario, bracketed)


# ---------------------------------------------------------------------- ledgers of before, and lost ones


def never_looking() -> Callable[[Floor, str], None]:
    """The first comparison finds open orders alone, as an earlier release did."""
    asked = 0

    def during(_floor: Floor, call: str) -> None:
        nonlocal asked
        asked += call == "orders"
        if (call, asked) == ("orders", 3):
            raise Unavailable("the long list does not come")

    return during


def test_a_ledger_begun_by_an_earlier_release_finds_what_its_orders_are_tied_to(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        known = await desk.rows("SELECT type FROM trade_executor.orders WHERE account = :a")
        assert [row.type for row in known] == ["limit"]
        await desk.store.differences.acknowledge([AAPL], actor="t", at=desk.clock.now())
        await desk.restart()
        await desk.compare()
        assert await desk.differences() == []
        await go_out(desk)
        desk.floor.bar(volume=40, ends=True)
        await desk.compare()
        await desk.work()
        assert desk.resting() == [
            ("target", "sell", "limit", SIX, None), ("stop", "sell", "stop", SIX, "90"),
        ]  # fmt: skip

    play(scenario, long_ago(bracketed), lists_what_stands=True, during=never_looking())


def test_a_target_whose_stop_is_not_found_is_left_and_the_refused_exit_says_so(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        before = desk.resting()
        await go_out(desk)
        assert desk.resting() == before
        [row] = await desk.store.reads.find_orders()
        assert (row["state"], "cancel them there" in row["reason"]) == ("REJECTED", True)

    play(scenario, long_ago(bracketed), lists_what_stands=True, during=never_looking())


def test_what_an_earlier_release_left_uncounted_of_an_order_holds_up_no_exit(play: Play) -> None:
    def before(floor: Floor) -> None:
        bracketed(floor)
        floor.bar(130, volume=40)

    async def scenario(desk: Desk) -> None:
        await desk.rows(
            "UPDATE trade_executor.orders SET booked_quantity = 0 WHERE account = :a AND type = 'limit'"
        )
        await desk.restart()
        assert (await desk.compare()).positions_agree
        await go_out(desk, SIX)
        assert desk.resting() == [("simple", "sell", "market", SIX, None)]

    play(scenario, before)


@pytest.mark.parametrize("lists_what_stands", some_now([False, True], {1}))
def test_a_bracket_of_ours_that_the_database_forgot_halts_everything(
    play: Play, lists_what_stands: bool
) -> None:
    def before(floor: Floor) -> None:
        buy(
            floor, Side.BUY, client_order_id="fat-from-a-lost-ledger", order_class=OrderClass.BRACKET,
            **prices(Side.BUY),
        )  # fmt: skip

    async def scenario(desk: Desk) -> None:
        assert "restored from an older backup" in (desk.halt.thrown or "")

    play(scenario, before, lists_what_stands=lists_what_stands)


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


# ---------------------------------------------------------------------- several brackets of ours


async def two_brackets(desk: Desk) -> None:
    await desk.held("one")
    await desk.held("two", stop_loss=Decimal(80), take_profit=Decimal(130))


def stops(desk: Desk) -> list[tuple[Decimal, str | None]]:
    return sorted((one[3], one[4]) for one in desk.resting() if one[0] == "stop")


def test_an_exit_of_a_part_leaves_each_of_several_brackets_guarded(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await two_brackets(desk)
        await go_out(desk, FOUR)
        await desk.restart()
        desk.floor.bar()
        await desk.compare()
        await desk.work()
        assert stops(desk) == [(SIX, "90"), (TEN, "80")]
        await desk.compare()
        await desk.work()
        assert stops(desk) == [(SIX, "90"), (TEN, "80")]

    play(scenario)


def test_the_older_of_two_brackets_is_guarded_anew_when_somebody_cancels_its_stop(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        await two_brackets(desk)
        first = next(o for o in desk.floor.book.orders.values() if o.role.value == "stop")
        desk.floor.do(Cancel(first.id))
        await desk.restart()
        await desk.compare()
        await desk.work()
        assert stops(desk) == [(TEN, "80"), (TEN, "90")]

    play(scenario)


def test_a_split_moves_the_stops_of_every_bracket_and_of_what_gave_way(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.store.differences.acknowledge([AAPL], actor="t", at=desk.clock.now())
        await two_brackets(desk)
        await go_out(desk, Decimal(30))
        desk.floor.bar(volume=20, ends=True)
        for order in list(desk.floor.book.orders.values()):
            desk.floor.do(Cancel(order.id))
        desk.broker.activities_told.append(
            {
                "id": "20261120000000000::split", "activity_type": "SPLIT", "date": "2026-11-20",
                "status": "executed", "symbol": "AAPL", "qty": "28",
            }
        )  # fmt: skip
        desk.floor.book.positions[AAPL] = Position(AAPL, Decimal(56), Decimal(50))
        await desk.compare()
        await desk.work()
        assert {price for _, price in stops(desk)} == {"40", "45"}
        # What the exit sold is taken from those that came first.
        assert [(one[3], one[4]) for one in desk.resting() if one[0] == "simple"] == [
            (Decimal(16), "45")
        ]
        assert sum(one[3] for one in desk.resting() if one[2] == "stop") == 56

    play(scenario, stopped)


def test_a_reverse_split_leaves_a_stop_to_what_one_that_gave_way_had_not_sold(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        def refuses(call: str) -> None:
            if call == "submit":
                desk.broker.before = lambda _: None
                raise OrderRejected("not now", status=403, code=40310000)

        desk.broker.before = refuses
        await go_out(desk)
        desk.floor.bar(80, volume=60)
        for order in list(desk.floor.book.orders.values()):
            desk.floor.do(Cancel(order.id))
        desk.broker.activities_told.append(
            {
                "id": "20261120000000000::split", "activity_type": "SPLIT", "date": "2026-11-20",
                "status": "executed", "symbol": "AAPL", "qty": "-2",
            }
        )  # fmt: skip
        desk.floor.book.positions[AAPL] = Position(AAPL, Decimal(2), Decimal(200))
        desk.floor.book.prices[AAPL] = Decimal(200)
        await desk.compare()
        await desk.work()
        assert desk.resting() == [("simple", "sell", "stop", Decimal(2), "180")]

    play(scenario, stopped)


@pytest.mark.prove
def test_more_brackets_than_are_put_back_are_a_persons_business_and_shown(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        for n in range(21):
            await desk.sent(f"sig-{n}", quantity=Decimal(1))
        desk.floor.bar()
        await desk.compare()
        assert [d[:2] for d in await desk.differences()] == [("PROTECTION_REFUSED", "AAPL")]
        assert "1 shares more" in (await desk.differences())[0][3]

    play(scenario)


def test_more_stops_that_gave_way_than_are_put_back_are_a_persons_business_and_shown(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protection, "_MOST_BRACKETS", 2)

    def before(floor: Floor) -> None:
        buy(floor, Side.BUY)
        for shares, price in ((2, 90), (3, 85), (5, 80)):
            floor.do(
                Submit(
                    AAPL, Side.SELL, Decimal(shares), OrderType.STOP, TimeInForce.GTC,
                    stop_price=Decimal(price),
                )
            )  # fmt: skip

    async def scenario(desk: Desk) -> None:
        await desk.store.differences.acknowledge([AAPL], actor="t", at=desk.clock.now())
        await go_out(desk)
        assert await desk.differences() == []
        desk.floor.bar(volume=10, ends=True)
        await desk.compare()
        await desk.work()
        assert len(desk.resting()) == 2
        [(kind, symbol, ours, theirs)] = await desk.differences()
        assert (kind, symbol) == ("PROTECTION_REFUSED", "AAPL")
        assert "newest 2" in ours
        back = sum(shares for _, _, _, shares, _ in desk.resting())
        assert theirs == f"{9 - back} shares more had one"

    play(scenario, before)


def test_more_brackets_than_are_put_back_are_shown_once_an_exit_has_left_them_and_not_before(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protection, "_MOST_BRACKETS", 2)

    async def scenario(desk: Desk) -> None:
        for n in range(3):
            await desk.sent(f"sig-{n}", quantity=Decimal(3))
        desk.floor.bar()
        await desk.compare()
        await desk.store.differences.acknowledge([AAPL], actor="t", at=desk.clock.now())
        await go_out(desk, Decimal(9))
        await desk.compare()
        # Their stops are cancelled, and all shares are on their way out.
        assert await desk.differences() == []
        desk.floor.bar(volume=20, ends=True)
        await desk.compare()
        [(kind, symbol, _, theirs)] = await desk.differences()
        assert (kind, symbol, theirs) == ("PROTECTION_REFUSED", "AAPL", "1 shares more are held")

    play(scenario)


def test_a_person_is_told_once_that_a_stop_that_trailed_came_back_where_it_stood(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.store.differences.acknowledge([AAPL], actor="t", at=desk.clock.now())
        await go_out(desk)
        assert await desk.differences() == []
        desk.floor.bar(volume=40, ends=True)
        await desk.compare()
        await desk.work()
        assert desk.resting() == [("simple", "sell", "stop", SIX, "90")]
        [(kind, symbol, ours, theirs)] = await desk.differences()
        assert (kind, symbol, ours) == (
            "PROTECTION_REFUSED", "AAPL", "a fixed stop at 90 for 6 shares"
        )  # fmt: skip
        assert "if it is to follow" in theirs
        await desk.store.differences.acknowledge([AAPL], actor="t", at=desk.clock.now())
        [stop] = desk.floor.book.open_orders()
        desk.floor.do(Cancel(stop.id))
        await desk.compare()
        await desk.work()
        assert desk.resting() == [("simple", "sell", "stop", SIX, "90")]
        assert await desk.differences() == []

    play(scenario, trailed)
