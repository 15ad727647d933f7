"""What guards shares after a split, whatever the broker makes of orders in it, and while one is not told yet."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from services.trade_executor.tests.integration.recordkeeping import (
    AAPL,
    MSFT,
    TEN,
    Desk,
    Play,
    play,
    some_now,
)
from services.trade_executor.tests.integration.splitting import (
    BROKERS,
    SHORT,
    ends_them,
    guarded,
    holds,
    is_split,
    puts_them_into_new_shares,
    told,
)
from shared.domain.activities import moves_between
from shared.domain.ledger import Position
from shared.domain.orders import OrderType, Side, TimeInForce

__all__ = ["play"]


@pytest.mark.parametrize(
    ("side", "broker", "after", "stop"),
    some_now(
        [
            (side, broker, after, stop)
            for broker in BROKERS
            for side, after, stop in (
                (Side.BUY, 20, "45"), (Side.BUY, 5, "180"), (Side.BUY, 3, "300"),
                (Side.SELL, 20, "55"), (Side.SELL, 5, "220"), (Side.SELL, 3, "366.67"),
            )
        ],
        {0, 16},
    ),
)  # fmt: skip
def test_every_share_is_guarded_after_a_split_and_none_twice(
    play: Play, side: Side, broker: Callable[[Desk, Decimal], None], after: int, stop: str
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held(**(SHORT if side is Side.SELL else {}))
        broker(desk, Decimal(after))
        await is_split(desk, 10 * side.sign, after * side.sign)
        assert guarded(desk) == [(Decimal(after), stop)]

    play(scenario, allow_short=side is Side.SELL)


@pytest.mark.prove
def test_two_splits_in_a_row_count_the_shares_of_today(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        await is_split(desk, 10, 5)
        await is_split(desk, 5, 15)
        assert guarded(desk) == [(Decimal(15), "60")]

    play(scenario)


@pytest.mark.prove
def test_fractions_of_several_brackets_that_make_a_share_are_guarded(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        for name in ("a", "b", "c"):
            await desk.sent(name, quantity=Decimal(5))
        desk.floor.bar()
        await desk.compare()
        # A half of each; what is left over is paid out.
        await is_split(desk, 15, 2)
        assert sum(shares for shares, _ in guarded(desk)) == 2

    play(scenario)


@pytest.mark.prove
def test_what_others_traded_before_a_split_is_counted_in_its_shares(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held(quantity=Decimal(30))
        ends_them(desk, Decimal(0))
        desk.by_somebody_else(Side.SELL, 12)
        desk.floor.bar()
        desk.by_somebody_else(Side.BUY, 12)
        desk.floor.bar()
        await is_split(desk, 30, 10)
        # Of ours are the six that were there all the time.
        assert guarded(desk) == [(Decimal(6), "270")]

    play(scenario)


def test_what_a_stop_sold_before_and_after_a_split_is_taken_off_once(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        desk.floor.bar(89, volume=40)
        await desk.compare()
        await is_split(desk, 6, 12)
        desk.floor.bar(44, volume=50)
        for _ in range(2):
            await desk.compare()
            await desk.work()
        assert desk.floor.book.positions[AAPL].quantity == 7
        assert guarded(desk) == [(Decimal(7), "45")]

    play(scenario)


def test_in_a_split_that_nobody_has_told_of_yet_no_stop_is_put_back_at_the_old_price(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        holds(desk, AAPL, 20)
        await desk.compare()
        ends_them(desk, TEN)
        for _ in range(2):
            await desk.compare()
            await desk.work()
        assert guarded(desk) == []
        told(desk, "SPLIT", symbol="AAPL", qty="10")
        for _ in range(2):
            await desk.compare()
            await desk.work()
        assert guarded(desk) == [(Decimal(20), "45")]

    play(scenario)


def test_an_exit_at_a_price_of_old_shares_is_withdrawn_in_a_split_though_another_symbol_differs(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        await desk.leaving(
            "by-hand", Decimal(4), type=OrderType.LIMIT, limit_price=Decimal(150),
            time_in_force=TimeInForce.GTC,
        )  # fmt: skip
        await desk.work()
        holds(desk, MSFT, 3)
        told(desk, "SPLIT", symbol="AAPL", qty="10")
        holds(desk, AAPL, 20)
        for _ in range(4):
            await desk.compare()
            await desk.work()
        assert sorted(guarded(desk)) == [(Decimal(20), "45")]
        assert {kind for _, _, kind, *_ in desk.resting()} == {"limit", "stop"}
        [row] = [r for r in await desk.store.reads.find_orders() if r["signal_id"] == "by-hand"]
        assert (row["state"], row["reason"]) == ("CANCELED", "withdrawn: given before a split")

    play(scenario)


@pytest.mark.parametrize(
    ("after", "quantity", "sold"),
    [(20, 10, "20"), (20, 4, "8"), (3, 10, "3")],
    ids=["all", "a part", "all of fewer"],
)
def test_an_exit_at_the_market_that_waits_over_a_split_sells_the_shares_of_today(
    play: Play, after: int, quantity: int, sold: str
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        await desk.leaving("way-out", Decimal(quantity), time_in_force=TimeInForce.GTC)
        told(desk, "SPLIT", symbol="AAPL", qty=str(after - 10))
        holds(desk, AAPL, after)
        await desk.compare()
        await desk.work()
        desk.floor.bar(50)
        await desk.compare()
        [row] = [r for r in await desk.store.reads.find_orders() if r["signal_id"] == "way-out"]
        assert (row["state"], row["filled_quantity"]) == ("FILLED", Decimal(sold))
        left = after - Decimal(sold)
        assert (await desk.store.ledger.holdings())[0] == ({AAPL: left} if left else {})

    play(scenario)


def test_an_exit_of_what_a_split_made_a_fraction_goes_out_for_the_day(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        await desk.leaving("way-out", time_in_force=TimeInForce.GTC)
        told(desk, "SPLIT", symbol="AAPL", qty="-7.5")
        desk.floor.book.positions[AAPL] = Position(AAPL, Decimal("2.5"), Decimal(1))
        await desk.compare()
        await desk.work()
        desk.floor.bar(400)
        await desk.compare()
        [row] = [r for r in await desk.store.reads.find_orders() if r["signal_id"] == "way-out"]
        assert (row["state"], row["filled_quantity"], row["time_in_force"]) == (
            "FILLED", Decimal("2.5"), "day",
        )  # fmt: skip
        assert (await desk.store.ledger.holdings())[0] == {}

    play(scenario)


def test_an_exit_at_a_price_that_waits_over_a_split_is_not_sent(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        await desk.leaving(
            "by-hand", type=OrderType.LIMIT, limit_price=Decimal(130), time_in_force=TimeInForce.GTC
        )
        told(desk, "SPLIT", symbol="AAPL", qty="-5")
        holds(desk, AAPL, 5)
        for _ in range(3):
            await desk.compare()
            await desk.work()
        [row] = [r for r in await desk.store.reads.find_orders() if r["signal_id"] == "by-hand"]
        assert (row["state"], row["reason"]) == (
            "CANCELLED_UNSENT", "withdrawn: given before a split",
        )  # fmt: skip
        assert guarded(desk) == [(Decimal(5), "180")]

    play(scenario)


def test_a_fill_that_comes_while_a_split_is_booked_is_not_lost_to_it(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        newest = (await desk.store.ledger.holdings())[2]
        told(desk, "SPLIT", symbol="AAPL", qty="10")
        activities = await desk.broker.activities(after=desk.clock.now())
        moves = moves_between(Decimal(10), Decimal(20), activities)
        assert not await desk.store.activities.book_moves(
            moves, ours=Decimal(10), after_fill=newest - 1, at=desk.clock.now()
        )
        assert (await desk.store.ledger.holdings())[0] == {AAPL: Decimal(10)}

    play(scenario)


def test_a_stop_that_the_broker_made_larger_in_a_split_is_booked_for_all_that_it_sold(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        puts_them_into_new_shares(desk, Decimal(20))
        holds(desk, AAPL, 20)
        told(desk, "SPLIT", symbol="AAPL", qty="10")
        desk.floor.bar(89)
        report = await desk.compare()
        assert (report.positions_agree, report.cash_agrees) == (True, True)
        assert await desk.fills() == [("AAPL", "buy", TEN), ("AAPL", "sell", Decimal(20))]

    play(scenario)
