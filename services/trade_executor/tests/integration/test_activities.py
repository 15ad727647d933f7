"""Dividends, fees and corporate actions are booked once, and shares move only where that explains the broker's."""

from __future__ import annotations

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
)
from services.trade_executor.tests.integration.splitting import (
    SHORT,
    cash_entries,
    guarded,
    holds,
    told,
)
from shared.adapters.executions import executions_of
from shared.domain.decisions import Purpose
from shared.domain.lots import Matching, match
from shared.domain.orders import OrderTerms, Side
from shared.testing.time import FakeClock
from simulator.orders import Cancel
from trade_executor.positions import PositionFold

__all__ = ["play"]


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
