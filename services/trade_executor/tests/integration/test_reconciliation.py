"""Each way in which our records and the broker's may differ, and what one comparison makes of it.

The judge is the venue's own book. The scenarios are those that other engines list for their start-up and runtime
reconciliation, and those of a desk where people trade beside the machine.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from services.trade_executor.tests.floor import CLOSE_AT, Floor
from services.trade_executor.tests.integration.recordkeeping import (
    AAPL,
    MSFT,
    TEN,
    Desk,
    Play,
    play,
)
from shared.domain.errors import AccountMismatch
from shared.domain.orders import OrderStatus, OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from simulator.orders import Cancel, Replace, Submit
from trade_executor.lifecycle import ExecutorState

__all__ = ["play"]

# ---------------------------------------------------------------------- orders and fills


def test_where_nothing_differs_nothing_is_changed(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        report = await desk.compare()
        assert (report.positions_agree, report.cash_agrees, report.fills_booked) == (True, True, 0)
        status = await desk.store.terms.status()
        assert status is not None
        assert status.state is ExecutorState.READY

    play(scenario)


def test_an_order_that_filled_unseen_is_filled_here(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.sent("sig")
        desk.floor.bar()
        await desk.compare()
        assert await desk.states() == [("entry", "FILLED", TEN)]
        assert await desk.fills() == [("AAPL", "buy", TEN)]

    play(scenario)


def test_the_one_missed_of_two_fills_is_added_to_the_other(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.sent("sig")
        desk.floor.bar(volume=60)
        await desk.compare()
        assert await desk.states() == [("entry", "PARTIAL", Decimal(6))]
        desk.floor.bar(volume=60)
        await desk.compare()
        assert await desk.fills() == [("AAPL", "buy", Decimal(6)), ("AAPL", "buy", Decimal(4))]

    play(scenario)


def test_many_fills_missed_at_once_are_all_booked_each_once(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.sent("sig")
        for _ in range(5):
            desk.floor.bar(volume=20)
        await desk.compare()
        assert await desk.fills() == [("AAPL", "buy", Decimal(2))] * 5
        assert (await desk.compare()).fills_booked == 0

    play(scenario)


def test_fills_that_the_stream_told_are_not_booked_again(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.sent("sig")
        desk.floor.bar()
        await desk.booker.book_lines(desk.floor.frames())
        assert len(await desk.fills()) == 1
        assert (await desk.compare()).fills_booked == 0

    play(scenario)


def test_lines_that_come_after_the_comparison_change_nothing(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        before = await desk.store.reads.find_orders()
        await desk.booker.book_lines(desk.floor.frames())
        assert await desk.store.reads.find_orders() == before

    play(scenario)


def test_an_order_that_was_cancelled_there_is_cancelled_here(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        intent = await desk.sent("sig")
        desk.floor.do(Cancel(desk.floor.book.order_named(intent.client_order_id).id))
        await desk.compare()
        assert await desk.states() == [("entry", "CANCELED", Decimal(0))]

    play(scenario)


def test_what_filled_before_a_cancel_is_kept_and_guarded(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        intent = await desk.sent("sig")
        desk.floor.bar(volume=60)
        desk.floor.do(Cancel(desk.floor.book.order_named(intent.client_order_id).id))
        await desk.compare()
        assert await desk.states() == [
            ("entry", "CANCELED", Decimal(6)),
            ("protect", "PENDING", Decimal(0)),
        ]

    play(scenario)


def test_an_order_that_expired_with_its_day_is_expired_here(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.sent(
            "sig", type=OrderType.LIMIT, limit_price=Decimal(50), time_in_force=TimeInForce.DAY,
            stop_loss=None, take_profit=None,
        )  # fmt: skip
        desk.floor.bar(ends=True)
        await desk.compare()
        assert await desk.states() == [("entry", "EXPIRED", Decimal(0))]

    play(scenario)


def test_an_order_that_was_taken_and_rejected_later_reserves_nothing(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        intent = await desk.sent("sig", stop_loss=None, take_profit=None)
        order = desk.floor.book.order_named(intent.client_order_id)
        desk.floor.book._set(replace(order, status=OrderStatus.REJECTED))
        await desk.compare()
        assert await desk.states() == [("entry", "REJECTED", Decimal(0))]

    play(scenario)


def test_an_order_that_a_person_replaced_there_ends_here_and_pauses_its_symbol(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        intent = await desk.sent(
            "sig", type=OrderType.LIMIT, limit_price=Decimal(90), stop_loss=None, take_profit=None
        )
        order = desk.floor.book.order_named(intent.client_order_id)
        desk.floor.do(Replace(order.id, limit_price=Decimal(91)))
        await desk.compare()
        assert (await desk.states())[0][:2] == ("entry", "REPLACED")
        assert [d[0] for d in await desk.differences()] == ["EXTERNAL_ORDER"]
        assert await desk.new_entry_in(AAPL) == "CANCELLED_UNSENT"

    play(scenario)


def test_legs_that_nobody_saw_become_rows_of_their_own(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        intent = await desk.sending("sig")
        sent = await desk.broker.submit(intent.request(), lambda: None)
        await desk.booker.book([replace(sent, legs=())])
        await desk.compare()
        [row] = await desk.store.reads.find_orders()
        assert [(o["type"], o["status"]) for o in row["orders"]] == [
            ("market", "new"), ("limit", "held"), ("stop", "held"),
        ]  # fmt: skip

    play(scenario)


def test_a_stop_that_was_hit_unseen_ends_the_position_and_its_target(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        desk.floor.bar(80)
        await desk.compare()
        assert await desk.fills() == [("AAPL", "buy", TEN), ("AAPL", "sell", TEN)]
        [row] = await desk.store.reads.find_orders()
        assert [o["status"] for o in row["orders"]] == ["filled", "canceled", "filled"]

    play(scenario)


def test_a_target_filled_in_part_leaves_a_smaller_stop(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        desk.floor.bar(130, volume=40)
        await desk.compare()
        [row] = await desk.store.reads.find_orders()
        assert {o["type"]: o["quantity"] for o in row["orders"]}["stop"] == Decimal(6)

    play(scenario)


def test_fractions_of_a_share_are_kept_to_the_last_decimal(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        shares = Decimal("3.333333333")
        await desk.held(
            quantity=shares, time_in_force=TimeInForce.DAY, stop_loss=None, take_profit=None
        )
        assert (await desk.store.ledger.holdings())[0] == {AAPL: shares}
        assert await desk.differences() == []

    play(scenario)


# ---------------------------------------------------------------------- unknown outcomes


def test_an_order_that_was_being_sent_and_arrived_is_adopted(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        intent = await desk.sending("sig")
        await desk.broker.submit(intent.request(), lambda: None)
        await desk.compare()
        assert await desk.states() == [("entry", "ACKED", Decimal(0))]

    play(scenario)


def test_an_order_that_arrived_and_filled_before_anybody_looked_is_adopted_whole(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        intent = await desk.sending("sig")
        await desk.store.outgoing.record_unknown(intent, "no answer", at=desk.clock.now())
        await desk.broker.submit(intent.request(), lambda: None)
        desk.floor.bar()
        await desk.compare()
        assert await desk.states() == [("entry", "FILLED", TEN)]

    play(scenario)


def test_an_order_that_is_not_there_stays_unknown_while_its_session_lasts(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        intent = await desk.sending("sig")
        await desk.store.outgoing.record_unknown(intent, "no answer", at=desk.clock.now())
        await desk.compare()
        assert await desk.states() == [("entry", "UNKNOWN", Decimal(0))]
        other = await desk.decided("sig-2")
        answer = await desk.store.outgoing.verdict(other, epoch=desk.epoch, now=desk.clock.now())
        assert "unknown outcome" in str(answer)

    play(scenario)


def test_an_order_that_no_list_knows_after_its_session_never_existed(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        intent = await desk.sending("sig")
        await desk.store.outgoing.record_unknown(intent, "no answer", at=desk.clock.now())
        desk.clock.set(CLOSE_AT)
        report = await desk.compare()
        assert report.never_existed == [intent.client_order_id]
        [row] = await desk.store.reads.find_orders()
        assert (row["state"], "closed; 0 orders" in row["reason"]) == ("NEVER_EXISTED", True)

    play(scenario)


def test_another_order_under_our_id_is_never_taken_for_ours(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        intent = await desk.sending("sig")
        await desk.store.outgoing.record_unknown(intent, "no answer", at=desk.clock.now())
        await desk.broker.submit(intent.with_quantity(Decimal(7)).request(), lambda: None)
        await desk.compare()
        assert (await desk.states())[0][1] == "UNKNOWN"
        assert [d[:2] for d in await desk.differences()] == [("EXTERNAL_ORDER", "AAPL")]
        assert desk.halt.thrown is None

    play(scenario)


def test_orders_of_ours_that_the_database_forgot_halt_everything(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        desk.by_somebody_else(Side.BUY, 5, client_order_id="fat-from-before-the-restore")
        await desk.compare()
        assert "restored from an older backup" in (desk.halt.thrown or "")

    play(scenario)


# ---------------------------------------------------------------------- people beside the machine


def test_somebody_elses_open_order_is_shown_with_its_evidence_and_pauses_its_symbol_alone(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        desk.by_somebody_else(Side.BUY, 5, OrderType.LIMIT, limit_price=Decimal(50))
        await desk.compare()
        [found] = await desk.store.differences.all_open()
        assert (found["kind"], found["theirs"]) == ("EXTERNAL_ORDER", "buy 5 limit new")
        assert found["evidence"]["limit_price"] == "50"
        assert await desk.new_entry_in(AAPL) == "CANCELLED_UNSENT"
        assert await desk.new_entry_in(MSFT) == "SENDING"

    play(scenario)


def test_somebody_elses_fill_is_in_our_ledger_and_the_position_agrees(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        desk.by_somebody_else(Side.BUY, 5)
        desk.floor.bar()
        report = await desk.compare()
        assert (report.positions_agree, report.cash_agrees) == (True, True)
        assert await desk.fills() == [("AAPL", "buy", Decimal(5))]

    play(scenario)


def test_a_person_who_has_looked_lets_entries_go_again(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        desk.by_somebody_else(Side.BUY, 5)
        desk.floor.bar()
        await desk.compare()
        await desk.store.differences.acknowledge([AAPL], actor="t", at=desk.clock.now())
        assert await desk.new_entry_in(AAPL) == "SENDING"
        await desk.compare()
        assert await desk.differences() == []

    play(scenario)


def test_shares_that_somebody_else_sold_are_gone_here_too_and_nothing_is_bought_back(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held(stop_loss=None, take_profit=None)
        desk.by_somebody_else(Side.SELL, 4)
        desk.floor.bar()
        await desk.compare()
        assert (await desk.store.ledger.holdings())[0] == {AAPL: Decimal(6)}
        assert [purpose for purpose, _, _ in await desk.states()] == ["entry"]

    play(scenario)


def test_a_stop_that_somebody_cancelled_is_planned_anew_since_it_only_reduces(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        intent = await desk.held()
        parent = desk.floor.book.order_named(intent.client_order_id)
        desk.floor.do(Cancel(desk.floor.book.legs_of(parent)[0].id))
        await desk.compare()
        assert (await desk.states())[1] == ("protect", "PENDING", Decimal(0))

    play(scenario)


def test_what_ended_before_the_account_was_adopted_is_inside_the_opening_figures(
    play: Play,
) -> None:
    def before(floor: Floor) -> None:
        floor.do(Submit(AAPL, Side.BUY, TEN, OrderType.MARKET, TimeInForce.DAY))
        floor.bar()

    async def scenario(desk: Desk) -> None:
        await desk.compare()
        assert (await desk.store.ledger.holdings())[0] == {AAPL: TEN}
        assert await desk.fills() == []
        assert await desk.differences() == []

    play(scenario, before)


# ---------------------------------------------------------------------- positions and cash


def put(desk: Desk, symbol: Symbol, quantity: Decimal | None) -> None:
    """Make the venue hold so much, without an order that would explain it."""
    held = desk.floor.book.positions
    if quantity is None:
        held.pop(symbol, None)
        return
    from shared.domain.ledger import Position

    held[symbol] = Position(symbol, quantity, Decimal(100))


@pytest.mark.parametrize(
    ("theirs", "shown"),
    [(Decimal(12), "12"), (Decimal(-10), "-10"), (None, "0")],
    ids=["another quantity", "the other direction", "flat there"],
)
def test_a_position_that_nothing_explains_is_shown_with_what_we_booked_and_never_traded_away(
    play: Play, theirs: Decimal | None, shown: str
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held(stop_loss=None, take_profit=None)
        put(desk, AAPL, theirs)
        report = await desk.compare()
        assert report.positions_agree is False
        assert await desk.differences() == [("POSITION", "AAPL", "10", shown)]
        [found] = await desk.store.differences.all_open()
        assert [fill["side"] for fill in found["evidence"]["fills"]] == ["buy"]
        assert len(await desk.states()) == 1
        assert await desk.new_entry_in(AAPL) == "CANCELLED_UNSENT"

    play(scenario)


def test_a_position_that_only_the_broker_knows_is_shown(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        put(desk, MSFT, Decimal(3))
        await desk.compare()
        assert await desk.differences() == [("POSITION", "MSFT", "0", "3")]

    play(scenario)


def test_a_difference_that_goes_away_closes_itself(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        put(desk, MSFT, Decimal(3))
        await desk.compare()
        put(desk, MSFT, None)
        await desk.compare()
        assert await desk.differences() == []
        assert await desk.new_entry_in(MSFT) == "SENDING"

    play(scenario)


def test_one_empty_answer_does_not_make_a_position_flat(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held(stop_loss=None, take_profit=None)
        kept, looks = desk.floor.book.positions, 0

        def before(call: str) -> None:
            nonlocal looks
            if call == "positions":
                looks += 1
                desk.floor.book.positions = {} if looks == 1 else kept

        desk.broker.before = before
        report = await desk.compare()
        assert (looks, report.positions_agree) == (2 + 1, True)
        assert await desk.differences() == []

    play(scenario)


def test_a_fill_in_the_middle_of_the_comparison_is_no_difference(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.sent("sig")
        filled = False

        def before(call: str) -> None:
            nonlocal filled
            if call == "positions" and not filled:
                filled = True
                desk.floor.bar()

        desk.broker.before = before
        report = await desk.compare()
        assert report.positions_agree
        assert await desk.differences() == []

    play(scenario)


def test_cash_that_differs_by_more_than_a_cent_is_shown(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        desk.floor.book.cash += Decimal("0.02")
        await desk.compare()
        assert await desk.differences() == [("CASH", None, "100000", "100000.02")]

    play(scenario)


def test_a_cent_of_rounding_in_cash_is_no_difference(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        desk.floor.book.cash += Decimal("0.01")
        assert (await desk.compare()).cash_agrees

    play(scenario)


def test_a_position_that_went_through_zero_agrees_on_the_other_side(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held(stop_loss=None, take_profit=None)
        desk.by_somebody_else(Side.SELL, 10)
        desk.floor.bar()
        desk.by_somebody_else(Side.SELL, 5)
        desk.floor.bar()
        report = await desk.compare()
        assert report.positions_agree
        assert (await desk.store.ledger.holdings())[0] == {AAPL: Decimal(-5)}

    play(scenario, allow_short=True)


# ---------------------------------------------------------------------- the account, and doing it twice


def test_the_keys_of_another_account_stop_everything(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        desk.floor.book.account = "somebody-elses"
        with pytest.raises(AccountMismatch, match="is pinned to broker account"):
            await desk.compare()

    play(scenario)


def test_comparing_twice_changes_nothing_the_second_time(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held("sig")
        await desk.sent("sig-2", symbol=MSFT)
        desk.by_somebody_else(Side.SELL, 1, OrderType.LIMIT, limit_price=Decimal(150))
        desk.floor.bar(80)
        await desk.compare()
        before = (
            await desk.store.reads.find_orders(),
            await desk.store.reads.fills(),
            await desk.differences(),
        )
        await desk.compare()
        assert before == (
            await desk.store.reads.find_orders(),
            await desk.store.reads.fills(),
            await desk.differences(),
        )

    play(scenario)
