"""What may be sold short is asked once a day, kept for the risk manager, and forgotten where nobody asks any more."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson

from simulator.orders import BookRules
from trade_executor.service import Executor

LENDS = BookRules(Decimal(100_000), allow_short=True)
TWO = ("AAPL", "MSFT")


async def known(desk: Any) -> tuple[bool | None, dict[str, bool]]:
    """As the risk manager reads it, once the executor has done what it has to."""
    await desk.rest()
    [account] = await desk.rows("SELECT * FROM trade_executor.v_accounts WHERE account = :a")
    shares = await desk.rows("SELECT * FROM trade_executor.v_lending WHERE account = :a")
    assert all(row.seen_at == account.lending_seen_at for row in shares)
    return account.may_short, {row.symbol: row.is_lent for row in shares}


def test_when_a_term_begins_it_is_known_what_may_be_sold_short(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk(symbols=TWO, rules=LENDS, sells_short=True) as desk:
            assert await known(desk) == (True, {"AAPL": True, "MSFT": True})

    asyncio.run(scenario())


def test_an_account_is_never_known_without_what_may_be_sold_short_in_it(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk(rules=LENDS, sells_short=True, started=False) as desk:
            # The account is opened, and nothing after that gets an answer.
            desk.sim.fault(
                kind="status",
                status=503,
                count=1_000,
                match={"method": "GET", "path": "/v2/orders"},
            )
            desk._task = asyncio.create_task(desk.executor.run())

            async def is_opened() -> bool:
                return await desk.store.opening.pinned_account() is not None

            await desk.until(is_opened, "the account is opened")
            [account] = await desk.rows(
                "SELECT * FROM trade_executor.v_accounts WHERE account = :a"
            )
            assert account.may_short is True

    asyncio.run(scenario())


def test_an_account_is_opened_though_nobody_says_what_may_be_sold_short(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk(rules=LENDS, sells_short=True, hurry=20.0, started=False) as desk:
            desk.sim.fault(kind="status", status=503, count=20, match={"path": "/v2/assets"})
            await desk.start()
            assert await known(desk) == (True, {"AAPL": True})

    asyncio.run(scenario())


def test_an_account_that_may_not_sell_short_says_no_and_no_share_is_lent(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk(sells_short=True) as desk:
            assert await known(desk) == (False, {"AAPL": False})

    asyncio.run(scenario())


def test_a_new_day_is_work_until_the_broker_was_asked_again(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk(symbols=TWO, rules=LENDS, sells_short=True, hurry=20.0) as desk:
            assert await known(desk) == (True, {"AAPL": True, "MSFT": True})
            only_one = [{"symbol": "AAPL", "shortable": True, "easy_to_borrow": False}]
            await asyncio.to_thread(
                desk.sim.fault, kind="status", status=503, count=1, match={"path": "/v2/assets"}
            )
            await asyncio.to_thread(
                desk.sim.fault, kind="status", status=200, count=1, match={"path": "/v2/assets"},
                body=orjson.dumps(only_one).decode(),
            )  # fmt: skip
            desk.clock.set(desk.clock.now() + timedelta(days=1))
            assert await desk.has_work(desk.clock.now())
            # MSFT is named no more, so it is not lent any more.
            assert await known(desk) == (True, {"AAPL": False, "MSFT": False})

    asyncio.run(scenario())


def test_where_short_positions_are_not_allowed_any_more_nothing_is_known(make_desk: Any) -> None:
    async def scenario() -> None:
        async with make_desk(rules=LENDS, sells_short=True) as desk:
            assert (await known(desk))[0] is True
            await desk.kill()
            desk.executor = Executor(replace(desk.parts, lender=None))
            await desk.start()
            [row] = await desk.rows("SELECT * FROM trade_executor.v_accounts WHERE account = :a")
            assert (row.may_short, row.lending_seen_at) == (None, None)
            # And no day's look is waited for.
            assert not await desk.has_work(desk.clock.now() + timedelta(days=30))

    asyncio.run(scenario())
