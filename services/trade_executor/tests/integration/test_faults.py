"""What must not happen when the broker, the stream or we ourselves fail: an order doubled, lost or invented."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.domain.symbols import Symbol
from trade_executor.lifecycle import ExecutorState, Go, Intent, Wait
from trade_executor.service import Executor

POST_ORDERS = {"method": "POST", "path": "/v2/orders"}
OPEN_AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
FLAT = (100.0, 101.0, 99.0, 100.0, 1_000_000)


def unhurried() -> None:
    """A last look that has nothing against it."""


def our_orders(desk: Any) -> list[str]:
    """Client ids of first orders at the venue that bear our prefix."""
    return [
        o["client_order_id"]
        for o in desk.sim.book()["orders"]
        if o["client_order_id"].startswith("fat-")
    ]


async def sending_when_it_died(desk: Any) -> Intent:
    """The last holder's term, up to the commit that comes right before the POST."""
    await desk.store.reviews.take(at=desk.clock.now(), halt_note=None)
    [found] = (await desk.store.outgoing.work_at(desk.clock.now())).due
    intent: Intent = found
    now = desk.clock.now()
    epoch = await desk.parts.leases.take(await desk.parts.leases.look(), "the one that dies")
    await desk.store.terms.set_state(ExecutorState.READY, "compared", epoch=epoch, at=now)
    verdict = await desk.store.outgoing.begin_sending(
        intent, quantity=intent.quantity, epoch=epoch, now=now
    )
    assert isinstance(verdict, Go)
    await desk.parts.leases.release(epoch)
    return intent


def test_a_sending_under_an_epoch_that_is_over_does_not_begin(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            await desk.step(3)
            old = (await desk.store.terms.status()).epoch
            await desk.restart()
            await desk.kill()
            await desk.review(desk.approved("sig-1"))
            await desk.store.reviews.take(at=desk.clock.now(), halt_note=None)
            [intent] = (await desk.store.outgoing.work_at(desk.clock.now())).due
            answer = await desk.store.outgoing.begin_sending(
                intent, quantity=intent.quantity, epoch=old, now=desk.clock.now()
            )
            assert answer == Wait("another executor has taken over")
            assert [state for _, state, _, _ in await desk.intents()] == ["PENDING"]

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["lose_reply", "hold_reply"])
def test_an_order_whose_reply_is_lost_after_it_was_accepted_is_adopted_not_repeated(
    make_desk: Any, kind: str
) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            await desk.step(3)
            desk.sim.fault(kind=kind, match=POST_ORDERS, delay_s=8)
            await desk.review(desk.approved("sig-1"))
            await desk.rest()
            await desk.step(3)
            assert len(our_orders(desk)) == 1
            rows = await desk.rows("SELECT * FROM trade_executor.v_intents WHERE account = :a")
            assert (rows[0].state, rows[0].posts) == ("FILLED", 1)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 504, "body": "<html>gateway</html>"},
        {"kind": "rate_limit"},
    ],
    ids=["503", "html-504", "429"],
)
def test_an_order_that_never_arrived_goes_again_under_the_same_id_after_a_round_of_look_ups(
    make_desk: Any, fault: dict[str, Any]
) -> None:
    async def scenario() -> None:
        async with make_desk(hurry=8) as desk:
            await desk.step(3)
            desk.sim.fault(match=POST_ORDERS, **fault)
            await desk.review(desk.approved("sig-1"))
            await desk.rest()
            await desk.step(2)
            assert len(our_orders(desk)) == 1
            rows = await desk.rows("SELECT * FROM trade_executor.v_intents WHERE account = :a")
            # Hurried, the second in which it has to be written is short: a busy machine may need more tries.
            assert rows[0].state == "FILLED"
            assert rows[0].posts >= 2
            assert rows[0].probes >= 6

    asyncio.run(scenario())


def test_an_event_told_twice_counts_once(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            await desk.step(3)
            desk.sim.fault(kind="duplicate_event", count=20)
            await desk.review(desk.approved("sig-1"))
            await desk.step(3)
            fills = await desk.rows("SELECT * FROM trade_executor.v_fills WHERE account = :a")
            assert [f.quantity for f in fills] == [Decimal(10)]
            problems = await desk.rows(
                "SELECT problem FROM trade_executor.order_events WHERE account = :a AND problem IS NOT NULL"
            )
            assert problems == []

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["drop_event", "malformed_event"])
def test_a_fill_that_the_stream_swallowed_or_garbled_is_booked_from_the_activities(
    make_desk: Any, kind: str
) -> None:
    async def scenario() -> None:
        async with make_desk(hurry=8) as desk:
            await desk.step(3)
            await desk.review(desk.approved("sig-1"))
            await desk.rest()
            desk.sim.fault(kind=kind, match={"event": "fill"})
            await desk.step(2)
            fills = await desk.rows("SELECT * FROM trade_executor.v_fills WHERE account = :a")
            assert [f.quantity for f in fills] == [Decimal(10)]

    asyncio.run(scenario())


def test_fills_made_while_the_stream_was_down_are_found_when_it_is_back(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk(hurry=8) as desk:
            await desk.step(3)
            await desk.review(desk.approved("sig-1"))
            await desk.rest()
            desk.sim.fault(kind="drop_stream", match={"path": "/stream"}, delay_s=1)
            await desk.step(2)
            assert (await desk.intents())[0][1] == "FILLED"

    asyncio.run(scenario())


@pytest.mark.parametrize("has_arrived", [True, False])
def test_an_order_that_was_being_sent_when_its_sender_died_is_looked_up_not_repeated(
    make_desk: Any, has_arrived: bool
) -> None:
    async def scenario() -> None:
        async with make_desk(hurry=8) as desk:
            await desk.step(3)
            await desk.kill()
            await desk.review(desk.approved("sig-1"))
            intent = await sending_when_it_died(desk)
            if has_arrived:
                await desk.parts.broker.submit(intent.request(), unhurried)
            await desk.restart()
            await desk.rest()
            assert our_orders(desk) == [intent.client_order_id]
            rows = await desk.rows("SELECT * FROM trade_executor.v_intents WHERE account = :a")
            assert rows[0].state == "ACKED"
            # As above, a busy machine may need more tries to write it once.
            assert rows[0].posts == 1 if has_arrived else rows[0].posts >= 2

    asyncio.run(scenario())


def test_an_intent_that_was_stored_but_not_sent_is_sent_once_after_a_restart(
    make_desk: Any,
) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            await desk.step(3)
            await desk.kill()
            await desk.review(desk.approved("sig-1"))
            await desk.store.reviews.take(at=desk.clock.now(), halt_note=None)
            await desk.restart()
            await desk.rest()
            assert len(our_orders(desk)) == 1

    asyncio.run(scenario())


def test_fills_made_while_nobody_executed_are_booked_at_the_start(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            await desk.step(3)
            await desk.review(desk.approved("sig-1"))
            await desk.rest()
            await desk.kill()
            for _ in range(3):
                await asyncio.to_thread(desk.sim.advance)
            await desk.restart()
            await desk.rest()
            assert (await desk.intents())[0][1] == "FILLED"

    asyncio.run(scenario())


def test_somebody_elses_trade_is_adopted_shown_and_pauses_its_symbol(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk(symbols=("AAPL", "MSFT")) as desk:
            await desk.step(3)
            trade = {
                "symbol": "AAPL",
                "qty": "5",
                "side": "buy",
                "type": "market",
                "time_in_force": "day",
            }
            desk.sim.admin.post("/admin/trade", json=trade).raise_for_status()
            await desk.step(3)
            [difference] = await desk.store.differences.all_open()
            assert (difference["kind"], difference["symbol"]) == ("EXTERNAL_ORDER", "AAPL")
            await desk.review(desk.approved("sig-1"), desk.approved("sig-2", symbol=Symbol("MSFT")))
            await desk.rest()
            assert await desk.intents() == [
                ("entry", "CANCELLED_UNSENT", "AAPL", Decimal(10)),
                ("entry", "ACKED", "MSFT", Decimal(10)),
            ]
            assert (
                await desk.store.differences.acknowledge(
                    [Symbol("AAPL")], actor="test", at=desk.clock.now()
                )
                == 1
            )
            await desk.review(desk.approved("sig-3"))
            await desk.rest()
            assert (await desk.intents())[2] == ("entry", "ACKED", "AAPL", Decimal(10))

    asyncio.run(scenario())


def test_another_order_under_our_id_is_never_taken_for_ours(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            await desk.step(3)
            await desk.kill()
            await desk.review(desk.approved("sig-1"))
            intent = await sending_when_it_died(desk)
            await desk.parts.broker.submit(intent.with_quantity(Decimal(7)).request(), unhurried)
            await desk.restart()
            await desk.rest()
            rows = await desk.rows("SELECT * FROM trade_executor.v_intents WHERE account = :a")
            assert rows[0].state == "REJECTED"
            kinds = {d["kind"] for d in await desk.store.differences.all_open()}
            assert kinds == {"ORDER_MISMATCH", "EXTERNAL_ORDER"}

    asyncio.run(scenario())


def test_a_second_process_stands_by_until_the_first_is_gone(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            second = Executor(desk.parts)
            task = asyncio.create_task(second.run())
            await desk.step(3)
            assert not second.is_leading
            await desk.kill()

            async def leads() -> bool:
                return second.is_leading

            await desk.until(leads, "the second took over")
            await desk.until(desk._is_ready, "READY again")
            await desk.review(desk.approved("sig-1"))
            await desk.rest()
            assert len(our_orders(desk)) == 1
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())


def test_keys_of_another_account_send_nothing(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk(started=False) as desk:
            account = await desk.parts.broker.account()
            other = type(account)(
                "another", "ACTIVE", account.cash, account.equity, account.buying_power, {}
            )
            await desk.store.opening.adopt(
                other, {}, ledger_from=desk.clock.now(), lent=None, at=desk.clock.now()
            )
            desk._task = asyncio.create_task(desk.executor.run())

            async def says_so() -> bool:
                row = await desk.store.reads.account_row()
                return row is not None and row["state"] == "ACCOUNT_MISMATCH"

            await desk.until(says_so, "ACCOUNT_MISMATCH")
            await desk.review(desk.approved("sig-1"))
            assert our_orders(desk) == []

    asyncio.run(scenario())


def test_an_order_that_no_list_knows_after_its_session_never_existed(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk(hurry=8) as desk:
            await desk.step(3)
            desk.sim.fault(kind="status", status=503, match=POST_ORDERS, count=1)
            until = desk.clock.now() + timedelta(seconds=1)
            await desk.review(desk.approved("sig-1", act_until=until))

            async def is_unknown() -> bool:
                return [i[1] for i in await desk.intents()] == ["UNKNOWN"]

            await desk.until(is_unknown, "UNKNOWN")
            desk.clock.advance(timedelta(hours=1))
            report = await desk.executor.reconcile_now()
            assert report.never_existed == []
            assert await is_unknown()
            desk.clock.set(OPEN_AT.replace(hour=21, minute=1))
            report = await desk.executor.reconcile_now()
            assert len(report.never_existed) == 1
            assert [i[1] for i in await desk.intents()] == ["NEVER_EXISTED"]
            assert our_orders(desk) == []

    asyncio.run(scenario())


def test_an_account_that_already_holds_something_is_opened_with_it(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk(started=False) as desk:
            trade = {
                "symbol": "AAPL",
                "qty": "5",
                "side": "buy",
                "type": "market",
                "time_in_force": "gtc",
            }
            desk.sim.admin.post("/admin/trade", json=trade).raise_for_status()
            for _ in range(6):
                answer = await asyncio.to_thread(desk.sim.advance)
            desk.clock.set(datetime.fromisoformat(answer["venue_at"]))
            await desk.start()
            held, cash, _ = await desk.store.ledger.holdings()
            assert held == {"AAPL": Decimal(5)}
            assert cash == Decimal(desk.sim.book()["cash"])
            report = await desk.executor.reconcile_now()
            assert (report.positions_agree, report.cash_agrees) == (True, True)
            assert await desk.store.differences.all_open() == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("match", "state"),
    [(POST_ORDERS, "REJECTED"), ({"method": "GET", "path": "/v2/account"}, "PENDING")],
    ids=["an order is refused", "the account is closed to us"],
)
def test_keys_that_the_broker_refuses_halt_everything_until_a_person_resumes(
    make_desk: Any, match: dict[str, str], state: str
) -> None:
    async def scenario() -> None:
        async with make_desk(hurry=8) as desk:
            await desk.step(3)
            body = '{"code": 40110000, "message": "request is not authorized"}'
            desk.sim.fault(kind="status", status=401, body=body, match=match)

            async def is_halted() -> bool:
                return desk.parts.halt.thrown is not None

            if match is POST_ORDERS:
                await desk.review(desk.approved("sig-1"))
            else:
                desk.executor._reconciler.ask(True)
            await desk.until(is_halted, "the halt is thrown")
            await desk.review(desk.approved("sig-2", symbol=Symbol("MSFT")))

            async def is_taken() -> bool:
                return len(await desk.intents()) == (2 if match is POST_ORDERS else 1)

            await desk.until(is_taken, "the second wish is taken")
            assert "refuses the keys" in desk.parts.halt.thrown
            assert (await desk.intents())[0][1] == state
            assert our_orders(desk) == []

    asyncio.run(scenario())


def test_while_the_broker_is_ill_entries_wait_and_exits_go(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk(symbols=("AAPL", "MSFT")) as desk:
            await desk.step(3)
            await desk.review(desk.approved("sig-1"))
            await desk.step(3)
            for _ in range(5):
                desk.parts.gate.failed()
            await desk.review(desk.exit("sig-2"), desk.approved("sig-3", symbol=Symbol("MSFT")))

            async def has_left() -> bool:
                return ("exit", "ACKED", "AAPL", Decimal(10)) in await desk.intents()

            await desk.until(has_left, "the exit has left")
            assert (await desk.intents())[-1][:2] == ("entry", "PENDING")

    asyncio.run(scenario())
