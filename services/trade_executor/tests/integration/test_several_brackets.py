"""Several brackets of ours in one symbol: each keeps its own stop for its own shares, and a person sees what is not put back."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.trade_executor.tests.floor import Floor
from services.trade_executor.tests.integration.given_at_the_broker import (
    buy,
    go_out,
    stopped,
    trailed,
)
from services.trade_executor.tests.integration.recordkeeping import (
    AAPL,
    TEN,
    Desk,
    Play,
    play,
)
from shared.domain.errors import OrderRejected
from shared.domain.ledger import Position
from shared.domain.orders import OrderType, Side, TimeInForce
from simulator.orders import Cancel, Submit
from trade_executor.store import protection

__all__ = ["play"]

FOUR, SIX = Decimal(4), Decimal(6)


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
