"""Dividends, fees and corporate actions are booked once, and shares move only where that explains the broker's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

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
from shared.adapters.executions import executions_of
from shared.domain.activities import moves_between
from shared.domain.decisions import Purpose
from shared.domain.ledger import Position
from shared.domain.lots import Matching, match
from shared.domain.orders import OrderTerms, OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from shared.testing.time import FakeClock
from simulator.orders import Cancel
from trade_executor.positions import PositionFold

__all__ = ["play"]

SHORT: dict[str, Any] = {
    "side": Side.SELL,
    "stop_loss": Decimal(110),
    "take_profit": Decimal(80),
}


def told(desk: Desk, kind: str, number: int = 1, **fields: Any) -> None:
    """The broker's list of activities holds one more."""
    desk.broker.activities_told.append(
        {
            "id": f"20261120000000000::{kind.lower()}-{number}",
            "activity_type": kind,
            "date": "2026-11-20",
            "status": "executed",
            **fields,
        }
    )


def holds(desk: Desk, symbol: Symbol, quantity: int) -> None:
    """The broker's own book after the action."""
    desk.floor.book.positions[symbol] = Position(symbol, Decimal(quantity), Decimal(1))


async def cash_entries(desk: Desk) -> list[tuple[str, Decimal]]:
    async def read(connection: Any) -> Any:
        return await desk.store.ledger._all(
            connection,
            "SELECT reason, amount FROM trade_executor.v_cash_entries WHERE account = :account "
            "AND key <> 'opening' ORDER BY id",
        )

    return [(row.reason, row.amount) for row in await desk.risk.run(read)]


async def matching(desk: Desk) -> Matching:
    """Every lot of the ledger, closed and open."""

    async def read(connection: Any) -> Matching:
        return match(await executions_of(connection, desk.account))

    return await desk.risk.run(read)


def test_dividends_fees_and_transfers_are_cash_and_each_is_booked_once(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        told(desk, "DIV", symbol="AAPL", qty="10", per_share_amount="0.51", net_amount="5.10")
        told(desk, "FEE", net_amount="-0.07")
        told(desk, "CSD", net_amount="1000")
        desk.floor.book.cash += Decimal("1005.03")
        for _ in range(2):
            assert (await desk.compare()).cash_agrees
        assert await cash_entries(desk) == [
            ("DIV", Decimal("5.10")), ("FEE", Decimal("-0.07")), ("CSD", Decimal(1000)),
        ]  # fmt: skip
        assert await desk.differences() == []

    play(scenario)


def test_what_the_broker_takes_back_is_taken_back(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        told(desk, "DIV", symbol="AAPL", net_amount="5.10")
        desk.floor.book.cash += Decimal("5.10")
        await desk.compare()
        desk.broker.activities_told[0]["status"] = "canceled"
        desk.floor.book.cash -= Decimal("5.10")
        for _ in range(2):
            assert (await desk.compare()).cash_agrees
        assert await cash_entries(desk) == [
            ("DIV", Decimal("5.10")), ("DIV_TAKEN_BACK", Decimal("-5.10")),
        ]  # fmt: skip

    play(scenario)


@pytest.mark.parametrize("legs", [("10",), ("-10", "20"), ("20", "-10")])
def test_a_split_moves_shares_and_exits_keeps_the_cost_and_waits_for_a_person_however_it_is_told(
    play: Play, legs: tuple[str, ...]
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        fold = PositionFold(desk.store)
        assert (await fold.now())[AAPL].average_price == 100
        for number, shares in enumerate(legs):
            told(desk, "SPLIT", number, symbol="AAPL", qty=shares)
        holds(desk, AAPL, 20)
        assert (await desk.compare()).positions_agree
        assert await desk.differences() == [
            ("CORPORATE_ACTION", "AAPL", "10 shares before", "20 shares after")
        ]
        [entry, *_] = reversed(await desk.store.reads.find_orders(limit=50))
        assert (entry["stop_loss"], entry["take_profit"]) == (Decimal(45), Decimal(60))
        held = (await fold.now())[AAPL]
        assert (held.quantity, held.average_price) == (Decimal(20), Decimal(50))
        [lot] = (await matching(desk)).open_lots
        assert (lot.quantity, lot.amount) == (Decimal(20), Decimal(1000))

    play(scenario)


def test_a_short_position_keeps_what_it_brought_in_a_split_of_two_legs(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held(**SHORT)
        for number, shares in enumerate(("10", "-20")):
            told(desk, "SPLIT", number, symbol="AAPL", qty=shares)
        holds(desk, AAPL, -20)
        assert (await desk.compare()).positions_agree
        held = (await PositionFold(desk.store).now())[AAPL]
        assert (held.quantity, held.average_price) == (Decimal(-20), Decimal(50))
        [lot] = (await matching(desk)).open_lots
        assert (lot.quantity, lot.amount) == (Decimal(20), Decimal(1000))

    play(scenario, allow_short=True)


@pytest.mark.parametrize("legs", [("-7.5",), ("-10", "2.5")])
def test_a_fraction_that_a_reverse_split_leaves_is_sold_and_the_others_keep_their_cost(
    play: Play, legs: tuple[str, ...]
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        for number, shares in enumerate(legs):
            told(desk, "SPLIT", number, symbol="AAPL", qty=shares)
        desk.broker.activities_told[-1]["net_amount"] = "210"
        desk.floor.book.cash += 210
        holds(desk, AAPL, 2)
        desk.floor.book.prices[AAPL] = Decimal(400)
        for _ in range(3):
            report = await desk.compare()
            assert (report.positions_agree, report.cash_agrees) == (True, True)
            await desk.work()
        # Four old shares are a new one, whatever became of the half.
        assert guarded(desk) == [(Decimal(2), "360")]
        held = (await PositionFold(desk.store).now())[AAPL]
        assert (held.quantity, held.average_price, held.realised_pnl) == (
            Decimal(2), Decimal(400), TEN,
        )  # fmt: skip
        found = await matching(desk)
        assert [(one.quantity, one.gain) for one in found.closings] == [(Decimal("0.5"), TEN)]
        assert [(lot.quantity, lot.amount) for lot in found.open_lots] == [
            (Decimal(2), Decimal(800))
        ]

    play(scenario)


@pytest.mark.parametrize("legs", [("20",), ("-10", "30")])
def test_a_split_is_told_by_what_was_held_before_it_whatever_is_booked_at_the_same_instant(
    play: Play, legs: tuple[str, ...]
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        for number, shares in enumerate(legs):
            told(desk, "SPLIT", number, symbol="AAPL", qty=shares)
        holds(desk, AAPL, 30)
        assert (await desk.compare()).positions_agree

        async def ratio_after_a_sale(connection: Any) -> Any:
            # The venue's clock stands still in a replay.
            await desk.store.ledger._do(
                connection,
                """INSERT INTO trade_executor.fills
                       (account, execution_id, broker_order_id, symbol, side, quantity, price, executed_at, booked_at)
                   SELECT f.account, 'later', f.broker_order_id, f.symbol, 'sell', 5, f.price, a.entered_at, a.entered_at
                   FROM trade_executor.fills f, trade_executor.adjustments a
                   WHERE f.account = :account AND a.account = :account LIMIT 1""",
            )
            return await desk.store.ledger._all(
                connection,
                "SELECT held_before, ratio FROM trade_executor.v_splits WHERE account = :account",
            )

        [split] = await desk.store.ledger._db.run(ratio_after_a_sale)
        assert (split.held_before, split.ratio) == (Decimal(10), Decimal(3))

    play(scenario)


def test_a_split_that_an_earlier_release_booked_is_told_by_all_that_came_before_it(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()

        async def booked(connection: Any) -> Any:
            await desk.store.ledger._do(
                connection,
                """INSERT INTO trade_executor.adjustments
                       (account, key, symbol, quantity, reason, evidence, entered_at)
                   VALUES (:account, 'activity:old', 'AAPL', 20, 'SPLIT', '{}', :at)""",
                at=desk.clock.now(),
            )
            return await desk.store.ledger._one(
                connection,
                "SELECT held_before, ratio FROM trade_executor.v_splits WHERE account = :account",
            )

        told_split = await desk.store.ledger._db.run(booked)
        assert (told_split.held_before, told_split.ratio) == (Decimal(10), Decimal(3))

    play(scenario)


def test_a_split_moves_the_limit_of_a_stop_and_protection_that_waits_to_be_sent(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        intent = await desk.sent("sig", terms=OrderTerms(stop_loss_limit=Decimal(88)))
        desk.floor.bar(volume=60)
        desk.floor.do(Cancel(desk.floor.book.order_named(intent.client_order_id).id))
        await desk.compare()
        told(desk, "SPLIT", symbol="AAPL", qty="6")
        holds(desk, AAPL, 12)
        assert (await desk.compare()).positions_agree
        rows = list(reversed(await desk.store.reads.find_orders(limit=50)))
        assert [(row["purpose"], row["state"]) for row in rows] == [
            ("entry", "CANCELED"), ("protect", "CANCELLED_UNSENT"), ("protect", "PENDING"),
        ]  # fmt: skip
        [planned] = (await desk.store.outgoing.work_at(desk.clock.now())).due
        assert (planned.stop_loss, planned.stop_loss_limit) == (Decimal(45), Decimal(44))
        assert (planned.limit_price, planned.take_profit) == (Decimal(60), Decimal(60))

    play(scenario)


def test_shares_that_are_transferred_in_leave_stop_and_target_where_they_are(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        told(desk, "JNLS", symbol="AAPL", qty="10")
        holds(desk, AAPL, 20)
        assert (await desk.compare()).positions_agree
        [entry, *_] = reversed(await desk.store.reads.find_orders(limit=50))
        assert (entry["stop_loss"], entry["take_profit"]) == (Decimal(90), Decimal(120))

    play(scenario)


def test_a_split_told_as_what_is_held_after_it_is_understood_as_well(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held(stop_loss=None, take_profit=None)
        told(desk, "SPLIT", symbol="AAPL", qty="30")
        holds(desk, AAPL, 30)
        assert (await desk.compare()).positions_agree

    play(scenario)


def test_an_action_that_does_not_explain_what_is_held_moves_nothing(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held(stop_loss=None, take_profit=None)
        told(desk, "SPLIT", symbol="AAPL", qty="7")
        holds(desk, AAPL, 20)
        assert not (await desk.compare()).positions_agree
        assert await desk.differences() == [("POSITION", "AAPL", "10", "20")]

    play(scenario)


class TickingClock(FakeClock):
    """Never says the same instant twice, as the machine's own."""

    def now(self) -> datetime:
        self.advance(0.001)
        return super().now()


def test_a_change_of_symbol_moves_the_lots_with_their_cost(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held(stop_loss=None, take_profit=None)
        desk.reconciler._clock = TickingClock(desk.clock.now())
        told(desk, "NC", 1, symbol="AAPL", qty="-10")
        told(desk, "NC", 2, symbol="MSFT", qty="10")
        del desk.floor.book.positions[AAPL]
        holds(desk, MSFT, 10)
        assert (await desk.compare()).positions_agree

        async def lots(connection: Any) -> Any:
            return match(await executions_of(connection, desk.account))

        matching = await desk.risk.run(lots)
        assert matching.closings == ()
        [lot] = matching.open_lots
        assert (lot.execution.symbol, lot.quantity, lot.amount) == (
            MSFT,
            Decimal(10),
            Decimal(1000),
        )

    play(scenario)


def test_a_merger_for_cash_sells_the_shares_at_what_was_paid(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held(stop_loss=None, take_profit=None)
        told(desk, "MA", symbol="AAPL", qty="-10", net_amount="1200")
        del desk.floor.book.positions[AAPL]
        desk.floor.book.cash += 1200
        report = await desk.compare()
        assert report.positions_agree
        assert report.cash_agrees

        async def closings(connection: Any) -> Any:
            return match(await executions_of(connection, desk.account)).closings

        [closing] = await desk.risk.run(closings)
        assert (closing.proceeds, closing.gain) == (Decimal(1200), Decimal(200))

    play(scenario)


def test_shares_of_a_spin_off_come_without_a_cost(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held(stop_loss=None, take_profit=None)
        told(desk, "SSO", symbol="MSFT", qty="5")
        holds(desk, MSFT, 5)
        assert (await desk.compare()).positions_agree

        async def lots(connection: Any) -> Any:
            return match(await executions_of(connection, desk.account)).open_lots

        by_symbol = {lot.execution.symbol: lot.amount for lot in await desk.risk.run(lots)}
        assert by_symbol == {AAPL: Decimal(1000), MSFT: None}

    play(scenario)


def test_fills_of_one_instant_stand_in_the_order_of_their_ids_whichever_side(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        bare: dict[str, Any] = {"stop_loss": None, "take_profit": None}
        await desk.sent("in", **bare)
        desk.floor.bar()
        await desk.sent("out", side=Side.SELL, purpose=Purpose.EXIT, **bare)
        desk.floor.bar()
        book = desk.floor.book.executions
        book[-1] = replace(book[-1], at=book[0].at, id="ffffffff")
        assert (await desk.compare()).positions_agree

        async def executions(connection: Any) -> Any:
            return await executions_of(connection, desk.account)

        first, second = await desk.risk.run(executions)
        assert first.executed_at == second.executed_at
        assert (first.side, second.side) == (Side.BUY, Side.SELL)

    play(scenario)


# ---------------------------------------------------------------------- what guards shares after a split


def guarded(desk: Desk) -> list[tuple[Decimal, str | None]]:
    """(shares, stop) of each stop at the venue, the lowest first."""
    return sorted((shares, stop) for _, _, kind, shares, stop in desk.resting() if kind == "stop")


async def is_split(desk: Desk, before: int, after: int) -> None:
    """The broker tells of a split, and holds what is left of it."""
    told(desk, "SPLIT", len(desk.broker.activities_told), symbol="AAPL", qty=str(after - before))
    holds(desk, AAPL, after)
    price = desk.floor.book.prices[AAPL] * before / after
    desk.floor.book.prices[AAPL] = price.quantize(Decimal("0.01"))
    for _ in range(3):
        assert (await desk.compare()).positions_agree
        await desk.work()


def ends_them(desk: Desk, shares: Decimal) -> None:
    for order in list(desk.floor.book.open_orders()):
        desk.floor.do(Cancel(order.id))


def leaves_them(desk: Desk, shares: Decimal) -> None:
    pass


def puts_them_into_new_shares(desk: Desk, shares: Decimal) -> None:
    book = desk.floor.book
    for order in list(book.orders.values()):
        if not order.status.is_final:
            book.orders[order.id] = replace(order, quantity=shares)


BROKERS = [ends_them, leaves_them, puts_them_into_new_shares]


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
