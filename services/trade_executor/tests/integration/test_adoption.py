"""An account comes with positions and orders: what the ledger begins with, and what it finds of before and later."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from decimal import Decimal

import pytest

from services.trade_executor.tests.floor import Floor
from services.trade_executor.tests.integration.given_at_the_broker import (
    Died,
    bracketed,
    buy,
    go_out,
    long_ago,
    prices,
    stopped,
)
from services.trade_executor.tests.integration.recordkeeping import (
    AAPL,
    TEN,
    Desk,
    Play,
    play,
    some_now,
)
from shared.domain.errors import Unavailable
from shared.domain.orders import OrderClass, OrderType, Side, TimeInForce
from simulator.orders import Submit

__all__ = ["play"]

FOUR, SIX = Decimal(4), Decimal(6)


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
