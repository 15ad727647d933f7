"""From review to ledger, with the simulator's own book as the judge (`rest` compares all of it)."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import text

from shared.domain.decisions import Purpose, Refused, StopMove
from shared.domain.orders import OrderClass, OrderRequest, OrderType, Side, TimeInForce
from shared.domain.signals import ManualOrder
from shared.domain.symbols import Symbol
from simulator.orders import BookRules

FLAT = (100.0, 101.0, 99.0, 100.0, 1_000_000)
THIN = (100.0, 101.0, 99.0, 100.0, 40)  # a tenth of it may be ours: 4 shares
SHORTS = BookRules(Decimal(100_000), allow_short=True)


def test_an_approved_entry_is_sent_filled_and_guarded_by_its_legs(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            await desk.step(3)
            await desk.review(desk.approved("sig-1"))
            await desk.rest()
            assert await desk.intents() == [("entry", "ACKED", "AAPL", Decimal(10))]
            await desk.step(2)
            assert await desk.intents() == [("entry", "FILLED", "AAPL", Decimal(10))]
            rows = await desk.rows(
                "SELECT type, status, parent_order_id IS NOT NULL AS leg FROM trade_executor.v_orders "
                "WHERE account = :a ORDER BY parent_order_id NULLS FIRST, type"
            )
            assert [(r.type, r.status, r.leg) for r in rows] == [
                ("market", "filled", False),
                ("limit", "new", True),
                ("stop", "new", True),
            ]

    asyncio.run(scenario())


def test_an_exit_cancels_the_legs_proves_it_and_sells_what_is_left(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            await desk.step(3)
            await desk.review(desk.approved("sig-1"))
            await desk.step(3)
            await desk.review(desk.exit("sig-2"))
            await desk.step(2)
            assert await desk.intents() == [
                ("entry", "FILLED", "AAPL", Decimal(10)),
                ("exit", "FILLED", "AAPL", Decimal(10)),
            ]
            assert desk.sim.book()["positions"] == {}

    asyncio.run(scenario())


def test_a_stop_that_the_broker_executes_leaves_nothing_to_do(make_desk: Any) -> None:
    crash = (95.0, 96.0, 80.0, 85.0, 1_000_000)

    async def scenario() -> None:
        async with make_desk((FLAT, FLAT, crash, FLAT)) as desk:
            await desk.step(3)
            await desk.review(desk.approved("sig-1"))
            await desk.step(8)
            assert await desk.intents() == [("entry", "FILLED", "AAPL", Decimal(10))]
            assert desk.sim.book()["positions"] == {}

    asyncio.run(scenario())


def test_a_bar_that_fills_an_entry_in_part_leaves_the_part_under_an_oco(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk((FLAT, THIN, FLAT, FLAT)) as desk:
            await desk.step(3)
            await desk.review(desk.approved("sig-1"))
            await desk.step(3)
            assert await desk.intents() == [("entry", "PARTIAL", "AAPL", Decimal(10))]
            await desk.review()  # the instant's review: nothing new, but the bar is over
            await desk.rest()
            assert await desk.intents() == [
                ("entry", "CANCELED", "AAPL", Decimal(10)),
                ("protect", "ACKED", "AAPL", Decimal(4)),
            ]
            guards = await desk.rows(
                "SELECT o.stop_price, o.limit_price FROM trade_executor.v_orders o "
                "WHERE account = :a AND status = 'new' AND order_class = 'oco' ORDER BY type"
            )
            assert {(g.limit_price, g.stop_price) for g in guards} == {
                (Decimal(120), None),
                (None, Decimal(90)),
            }

    asyncio.run(scenario())


def a_move(signal: str, stop: str) -> StopMove:
    return StopMove(
        f"dec-{signal}", Symbol("AAPL"), Decimal(stop), Decimal(90), "the bar closed at 100"
    )


def test_a_stop_that_moves_rests_where_it_was_moved_and_guards_the_same_shares(
    make_desk: Any,
) -> None:
    dip = (99.0, 99.0, 95.0, 97.0, 1_000_000)

    async def guards(desk: Any) -> list[tuple[Any, ...]]:
        rows = await desk.rows(
            "SELECT quantity, limit_price, stop_price FROM trade_executor.v_orders "
            "WHERE account = :a AND status IN ('new', 'held') ORDER BY type"
        )
        return [tuple(row) for row in rows]

    async def scenario() -> None:
        async with make_desk((FLAT, FLAT, FLAT, FLAT, dip)) as desk:
            await desk.step(3)
            await desk.review(desk.approved("sig-1"))
            await desk.step(3)

            await desk.review(moved=[a_move("sig-1", "94.5")])
            await desk.rest()

            assert await guards(desk) == [
                (Decimal(10), Decimal(120), None),
                (Decimal(10), None, Decimal("94.5")),
            ]
            # Once more, now that an OCO guards them; and what would loosen it does nothing.
            await desk.review(moved=[a_move("sig-1", "96")])
            await desk.rest()
            await desk.review(moved=[a_move("sig-1", "91")])
            await desk.rest()
            assert (await guards(desk))[1] == (Decimal(10), None, Decimal(96))

            await desk.step(9)
            assert desk.sim.book()["positions"] == {}
            assert desk.sim.book()["executions"][-1]["price"] == "96"

    asyncio.run(scenario())


def a_short(desk: Any, signal: str) -> Any:
    """Ten shares of AAPL sold short, their stop above and their target below."""
    return desk.approved(signal, side=Side.SELL, stop_loss=Decimal(110), take_profit=Decimal(80))


def test_the_stop_of_what_is_owed_moves_down_and_guards_the_same_shares(make_desk: Any) -> None:
    rise = (101.0, 107.0, 101.0, 104.0, 1_000_000)

    async def scenario() -> None:
        async with make_desk((FLAT, FLAT, FLAT, rise), rules=SHORTS) as desk:
            await desk.step(3)
            await desk.review(a_short(desk, "sig-1"))
            await desk.step(3)
            assert desk.sim.book()["positions"]["AAPL"]["quantity"] == "-10"

            for stop in ("106", "108"):  # the second one would loosen it
                move = StopMove(
                    "dec-sig-1", Symbol("AAPL"), Decimal(stop), Decimal(110), "the bar closed"
                )
                await desk.review(moved=[move])
                await desk.rest()

            rows = await desk.rows(
                "SELECT side, quantity, limit_price, stop_price FROM trade_executor.v_orders "
                "WHERE account = :a AND status IN ('new', 'held') ORDER BY type"
            )
            assert [tuple(row) for row in rows] == [
                ("buy", Decimal(10), Decimal(80), None),
                ("buy", Decimal(10), None, Decimal(106)),
            ]
            await desk.restart()
            await desk.step(6)
            assert desk.sim.book()["positions"] == {}
            assert desk.sim.book()["executions"][-1]["price"] == "106"

    asyncio.run(scenario())


def test_a_short_entry_that_fills_in_part_leaves_the_part_under_an_oco(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk((FLAT, THIN, FLAT, FLAT), rules=SHORTS) as desk:
            await desk.step(3)
            await desk.review(a_short(desk, "sig-1"))
            await desk.step(3)
            await desk.review()  # the instant's review: nothing new, but the bar is over
            await desk.rest()
            assert await desk.intents() == [
                ("entry", "CANCELED", "AAPL", Decimal(10)),
                ("protect", "ACKED", "AAPL", Decimal(4)),
            ]
            (stop,) = await desk.rows(
                "SELECT side, stop_price FROM trade_executor.v_orders "
                "WHERE account = :a AND status IN ('new', 'held') AND type = 'stop'"
            )
            assert tuple(stop) == ("buy", Decimal(110))

    asyncio.run(scenario())


def test_nothing_goes_through_zero_in_one_order(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk(rules=SHORTS) as desk:
            await desk.step(3)
            await desk.review(desk.approved("sig-1"))
            await desk.step(3)
            await desk.review(a_short(desk, "sig-2"))
            await desk.rest()
            (row,) = await desk.rows(
                "SELECT state, reason, posts FROM trade_executor.v_intents "
                "WHERE account = :a AND signal_id = 'sig-2'"
            )
            assert tuple(row) == (
                "CANCELLED_UNSENT",
                "10 shares are held: nothing goes through zero in one order",
                0,
            )
            assert desk.sim.book()["positions"]["AAPL"]["quantity"] == "10"

    asyncio.run(scenario())


def test_the_stop_of_an_entry_that_may_still_fill_stays(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk((FLAT, THIN, FLAT, FLAT)) as desk:
            await desk.step(3)
            await desk.review(desk.approved("sig-1"))
            await desk.step(3)

            await desk.review(moved=[a_move("sig-1", "94.5")], source="manual:man-9")
            await desk.rest()

            assert await desk.intents() == [("entry", "PARTIAL", "AAPL", Decimal(10))]
            await desk.review()
            await desk.rest()
            # Guarded as it was decided: the move was for shares whose entry had ended.
            rows = await desk.rows(
                "SELECT stop_loss FROM trade_executor.v_intents WHERE account = :a AND purpose = 'protect'"
            )
            assert [row.stop_loss for row in rows] == [Decimal(90)]

    asyncio.run(scenario())


def test_selling_a_part_by_hand_puts_the_rest_back_under_protection(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            await desk.step(3)
            await desk.review(desk.approved("sig-1"))
            await desk.step(3)
            await desk.review(desk.exit("man-1", quantity=Decimal(3)), source="manual:man-1")
            await desk.step(2)
            assert (await desk.intents())[1:] == [
                ("exit", "FILLED", "AAPL", Decimal(3)),
                ("protect", "ACKED", "AAPL", Decimal(7)),
            ]

    asyncio.run(scenario())


def test_a_held_decision_waits_for_its_instant_and_an_old_one_never_leaves(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            await desk.step(3)
            later = desk.clock.now() + timedelta(minutes=1)
            await desk.review(
                desk.approved("sig-1", act_from=later, act_until=later + timedelta(minutes=1)),
                desk.approved("sig-2", act_until=desk.clock.now()),
            )
            desk.clock.advance(1)
            await desk.rest()
            assert await desk.intents() == [
                ("entry", "PENDING", "AAPL", Decimal(10)),
                ("entry", "EXPIRED_UNSENT", "AAPL", Decimal(10)),
            ]
            await desk.step(3)
            assert (await desk.intents())[0] == ("entry", "ACKED", "AAPL", Decimal(10))

    asyncio.run(scenario())


async def change_limits(desk: Any) -> None:
    """A person sets limits for the first time: from then on version 1 holds."""

    async def work(connection: Any) -> None:
        await connection.execute(
            text(
                "INSERT INTO risk_manager.limit_changes (account, version, before, after, reason, actor, "
                "changed_at) VALUES (:a, 1, '{}', '{}', 'test', 'test', :at)"
            ),
            {"a": desk.account, "at": desk.clock.now()},
        )

    await desk.risk.run(work)


def test_an_entry_approved_under_limits_that_were_changed_since_is_withdrawn_and_exits_go(
    make_desk: Any,
) -> None:
    async def scenario() -> None:
        async with make_desk(symbols=("AAPL", "MSFT")) as desk:
            await desk.step(3)
            await desk.review(desk.approved("sig-1"))
            await desk.step(3)
            later = desk.clock.now() + timedelta(minutes=1)
            held = {"act_from": later, "act_until": later + timedelta(minutes=1)}
            before = desk.approved("sig-2", symbol=Symbol("MSFT"), **held)
            after = desk.approved("sig-3", symbol=Symbol("MSFT"), **held)
            out = desk.exit("sig-4", **held)
            await desk.review(before, after, out, limits_versions={"sig-3": 1})
            await change_limits(desk)
            await desk.step(3)

            assert [(purpose, state) for purpose, state, _, _ in await desk.intents()] == [
                ("entry", "FILLED"),
                ("entry", "CANCELLED_UNSENT"),
                ("entry", "ACKED"),
                ("exit", "ACKED"),
            ]
            rows = await desk.rows(
                "SELECT reason FROM trade_executor.v_intents WHERE account = :a AND signal_id = 'sig-2'"
            )
            assert rows[0].reason == "the limits it was approved under have been changed"

    asyncio.run(scenario())


def test_an_intent_that_was_changed_after_its_approval_is_never_sent(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            await desk.step(3)
            later = desk.clock.now() + timedelta(minutes=1)
            held = {"act_from": later, "act_until": later + timedelta(minutes=1)}
            await desk.review(desk.approved("sig-1", **held))
            await desk.rest()
            await desk.write("UPDATE trade_executor.intents SET quantity = 11 WHERE account = :a")
            await desk.step(3)

            assert await desk.intents() == [("entry", "CANCELLED_UNSENT", "AAPL", Decimal(11))]
            [row] = await desk.rows(
                "SELECT reason FROM trade_executor.v_intents WHERE account = :a"
            )
            assert row.reason == "its stored approval is for fewer shares"
            assert desk.sim.book()["orders"] == []

    asyncio.run(scenario())


def test_a_message_whose_approval_was_never_stored_is_never_sent(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            await desk.step(3)
            await desk.review(desk.approved("sig-1"), stores_decisions=False)
            await desk.rest()

            assert await desk.intents() == [("entry", "CANCELLED_UNSENT", "AAPL", Decimal(10))]
            assert desk.sim.book()["orders"] == []

    asyncio.run(scenario())


def test_reducing_withdraws_entries_and_lets_exits_go(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            await desk.step(3)
            await desk.review(desk.approved("sig-1"))
            await desk.step(3)
            await desk.set_mode("REDUCING", 2)
            await desk.review(desk.exit("sig-2"), desk.approved("sig-3", symbol=Symbol("AAPL")))
            await desk.step(2)
            assert await desk.intents() == [
                ("entry", "FILLED", "AAPL", Decimal(10)),
                ("exit", "FILLED", "AAPL", Decimal(10)),
                ("entry", "CANCELLED_UNSENT", "AAPL", Decimal(10)),
            ]

    asyncio.run(scenario())


def test_halted_sends_nothing_and_takes_nobodys_legs_away(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            await desk.step(3)
            await desk.review(desk.approved("sig-1"))
            await desk.step(3)
            await desk.set_mode("HALTED", 2)
            await desk.review(desk.exit("sig-2"))
            await desk.rest()
            assert (await desk.intents())[1] == ("exit", "PENDING", "AAPL", Decimal(10))
            statuses = [o["status"] for o in desk.sim.book()["orders"]]
            assert statuses == ["filled", "new", "new"]

    asyncio.run(scenario())


def test_a_refusal_of_the_broker_ends_the_intent_with_its_words(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            await desk.step(3)
            await desk.review(desk.approved("sig-1", quantity=Decimal(100_000)))
            await desk.rest()
            rows = await desk.rows("SELECT * FROM trade_executor.v_intents WHERE account = :a")
            assert rows[0].state == "REJECTED"
            assert "insufficient buying power" in rows[0].reason
            assert rows[0].posts == 1

    asyncio.run(scenario())


def test_a_refused_manual_order_keeps_its_reason_code(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            order = ManualOrder(
                "man-x", desk.account, Symbol("AAPL"), Side.BUY, Decimal(1), OrderType.MARKET,
                TimeInForce.DAY, None, None, None, None, desk.clock.now(), "test",
            )  # fmt: skip
            assert await desk.store.manual.add(order, key="k")
            assert await desk.store.manual.add(order, key="k")
            other = ManualOrder(
                "man-x", desk.account, Symbol("AAPL"), Side.BUY, Decimal(2), OrderType.MARKET,
                TimeInForce.DAY, None, None, None, None, desk.clock.now(), "test",
            )  # fmt: skip
            assert not await desk.store.manual.add(other, key="k")
            refusal = Refused(
                "dec-x", "man-x", desk.account, Symbol("AAPL"), Side.BUY, Purpose.ENTRY,
                "BUYING_POWER", "costs more than is free", (),
            )  # fmt: skip
            await desk.review(refused=[refusal], source="manual:man-x")
            await desk.rest()
            answer = await desk.store.manual.answer("man-x")
            assert (answer.reason_code, answer.reason) == (
                "BUYING_POWER",
                "costs more than is free",
            )

    asyncio.run(scenario())


def test_reducing_cancels_open_entries_withdraws_waiting_ones_and_leaves_protection(
    make_desk: Any,
) -> None:
    async def scenario() -> None:
        async with make_desk(symbols=("AAPL", "MSFT")) as desk:
            await desk.step(3)
            await desk.review(desk.approved("sig-1"))
            await desk.step(3)
            resting = desk.approved(
                "sig-2", symbol=Symbol("MSFT"), type=OrderType.LIMIT, limit_price=Decimal(50),
                stop_loss=Decimal(40), take_profit=Decimal(60),
            )  # fmt: skip
            later = desk.clock.now() + timedelta(hours=1)
            waiting = desk.approved("sig-3", symbol=Symbol("MSFT"), act_from=later, act_until=later)
            await desk.review(resting, waiting)
            await desk.rest()
            await desk.set_mode("REDUCING", 2)
            await desk.review()
            await desk.rest()
            assert await desk.intents() == [
                ("entry", "FILLED", "AAPL", Decimal(10)),
                ("entry", "CANCELED", "MSFT", Decimal(10)),
                ("entry", "CANCELLED_UNSENT", "MSFT", Decimal(10)),
            ]
            legs = await desk.rows(
                "SELECT status FROM trade_executor.v_orders WHERE account = :a AND symbol = 'AAPL' "
                "AND parent_order_id IS NOT NULL"
            )
            assert [row.status for row in legs] == ["new", "new"]

    asyncio.run(scenario())


def test_nothing_leaves_while_the_halt_of_last_resort_is_thrown(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            await desk.step(3)
            desk.parts.halt.thrown = "killed"
            await desk.review(desk.approved("sig-1"))
            await desk.until(desk.intents, "the intent is stored")
            looks = desk.parts.halt.looks
            await desk.until(lambda: _later(desk, looks + 2), "the sender has looked twice")
            assert await desk.intents() == [("entry", "PENDING", "AAPL", Decimal(10))]
            assert desk.sim.book()["orders"] == []
            desk.parts.halt.thrown = None
            await desk.rest()
            assert await desk.intents() == [("entry", "ACKED", "AAPL", Decimal(10))]

    asyncio.run(scenario())


async def _later(desk: Any, looks: int) -> bool:
    return int(desk.parts.halt.looks) >= looks


def test_shares_bought_bare_are_not_guarded_at_the_prices_of_an_older_bracket(
    make_desk: Any,
) -> None:
    async def scenario() -> None:
        high = (121.0, 122.0, 120.0, 121.0, 1_000_000)
        async with make_desk([FLAT, FLAT, high, high, high, high]) as desk:
            await desk.step(3)
            await desk.review(desk.approved("sig-1"))
            await desk.step(6)
            assert desk.sim.book()["positions"] == {}
            bare = desk.approved(
                "sig-2", quantity=Decimal(5), stop_loss=None, take_profit=None,
                reference_price=Decimal(121),
            )  # fmt: skip
            await desk.review(bare)
            await desk.step(6)
            assert [purpose for purpose, *_ in await desk.intents()] == ["entry", "entry"]
            assert desk.sim.book()["positions"]["AAPL"]["quantity"] == "5"

    asyncio.run(scenario())


def test_a_position_that_came_with_the_account_is_left_through_the_stop_that_guards_it(
    make_desk: Any,
) -> None:
    async def scenario() -> None:
        async with make_desk(started=False) as desk:
            bought = OrderRequest(
                "somebody-elses", Symbol("AAPL"), Side.BUY, Decimal(10), OrderType.MARKET,
                TimeInForce.GTC, OrderClass.BRACKET, take_profit=Decimal(120), stop_loss=Decimal(90),
            )  # fmt: skip
            for _ in range(3):
                await asyncio.to_thread(desk.sim.advance)
            await desk.parts.broker.submit(bought, lambda: None)
            for _ in range(3):
                answer = await asyncio.to_thread(desk.sim.advance)
            desk.clock.set(datetime.fromisoformat(answer["venue_at"]))
            await desk.start()
            await desk.review(desk.exit("sig-out"))

            async def is_taken() -> bool:
                return bool(await desk.intents() == [("exit", "ACKED", "AAPL", Decimal(10))])

            await desk.until(is_taken, "the exit is taken")
            for _ in range(3):
                await asyncio.to_thread(desk.sim.advance)

            async def is_flat() -> bool:
                return not await desk.rows(
                    "SELECT 1 FROM trade_executor.v_positions WHERE account = :a"
                )

            await desk.until(is_flat, "nothing is held any more")
            assert desk.sim.book()["positions"] == {}

    asyncio.run(scenario())
