"""How long a fault of the trade stream goes unnoticed, on the machine's own time."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.prove


async def took_s(desk: Any, holds: Any, what: str) -> float:
    began_s = desk.timer.monotonic_s()
    while not await holds():
        assert desk.timer.monotonic_s() - began_s < 180, what
        await desk.timer.sleep(0.05)
    took = float(desk.timer.monotonic_s() - began_s)
    print(f"{what}: {took:.1f} s")
    return took


def test_lost_lines_and_a_lost_stream_are_made_good_within_their_bounds(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk() as desk:
            await desk.step(3)
            await desk.review(desk.approved("sig-1", stop_loss=None, take_profit=None))
            await desk.rest()

            async def is_filled() -> bool:
                return bool((await desk.intents())[0][1] == "FILLED")

            desk.sim.fault(kind="drop_event", match={"event": "fill"})
            for _ in range(2):
                await asyncio.to_thread(desk.sim.advance)
            assert await took_s(desk, is_filled, "an order's lost fill booked") <= 10

            async def is_held() -> bool:
                rows = await desk.rows(
                    "SELECT quantity FROM trade_executor.v_positions WHERE account = :a"
                )
                return [row.quantity for row in rows] == [Decimal(17)]

            desk.sim.fault(kind="drop_event", count=10)
            async with httpx.AsyncClient(base_url=desk.sim.url) as venue:
                order = {
                    "symbol": "AAPL", "side": "buy", "qty": "7", "type": "market",
                    "time_in_force": "day", "client_order_id": "by-somebody-else",
                }  # fmt: skip
                (await venue.post("/admin/trade", json=order)).raise_for_status()
            for _ in range(3):
                await asyncio.to_thread(desk.sim.advance)
            assert await took_s(desk, is_held, "a position's lost fill booked") <= 30

            desk.sim.fault(kind="drop_stream", match={"path": "/stream"}, delay_s=90)

            async def is_reconciling() -> bool:
                status = await desk.store.terms.status()
                return bool(status.state.value == "RECONCILING")

            assert await took_s(desk, is_reconciling, "the lost stream noticed") <= 10
            await desk.review(desk.approved("sig-2", stop_loss=None, take_profit=None))

            async def is_ready() -> bool:
                status = await desk.store.terms.status()
                return bool(status.state.value == "READY")

            assert await took_s(desk, is_ready, "a stream refused for 90 s had back") <= 125
            [_, entry] = await desk.rows(
                "SELECT state, reason FROM trade_executor.v_intents WHERE account = :a ORDER BY sequence"
            )
            # Meanwhile the symbol was paused for somebody else's order, so the entry never left.
            assert (entry.state, "paused" in (entry.reason or "")) == ("CANCELLED_UNSENT", True)

    asyncio.run(scenario())
