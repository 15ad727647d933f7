"""An approval may be sent as several orders; today nobody does, and everything behind it could."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from shared.domain.decisions import Approved
from trade_executor.service import Executor
from trade_executor.slicing import Child
from trade_executor.store import Store


def in_halves(approved: Approved) -> tuple[Child, ...]:
    half = approved.quantity / 2
    later = approved.act_from + timedelta(minutes=1)
    return Child(half, approved.act_from), Child(approved.quantity - half, later)


def test_the_parts_of_an_approval_leave_at_their_times_and_are_booked_as_all_of_it(
    make_desk: Any,
) -> None:
    async def scenario() -> None:
        async with make_desk(started=False) as desk:
            desk.store = Store(desk.db, desk.account, in_halves)
            desk.parts = replace(desk.parts, store=desk.store)
            desk.executor = Executor(desk.parts)
            await desk.start()
            await desk.step(3)
            await desk.review(desk.approved("sig-1", stop_loss=None, take_profit=None))
            await desk.rest()
            assert [(state, quantity) for _, state, _, quantity in await desk.intents()] == [
                ("ACKED", Decimal(5)), ("PENDING", Decimal(5)),
            ]  # fmt: skip
            await desk.step(6)
            rows = await desk.rows(
                "SELECT client_order_id, decision_id, state FROM trade_executor.v_intents "
                "WHERE account = :a ORDER BY sequence"
            )
            assert [r.state for r in rows] == ["FILLED", "FILLED"]
            assert {r.decision_id for r in rows} == {"dec-sig-1"}
            assert len({r.client_order_id for r in rows}) == 2
            assert desk.sim.book()["positions"]["AAPL"]["quantity"] == "10"

    asyncio.run(scenario())
