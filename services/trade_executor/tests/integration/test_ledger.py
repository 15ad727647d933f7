"""The ledger's sums: bounded to read, and exact to the last decimal."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import text

from shared.adapters.clocks import MonotonicTimer
from shared.adapters.postgres import Database, open_database
from shared.domain.ledger import ZERO
from shared.domain.symbols import Symbol
from shared.ports import BrokerAccount, BrokerExecution, BrokerOrder
from trade_executor.store import Store
from trade_executor.store.ledger import FILLS_PER_MARK
from trader.testing.servers import SettingsFor

NOW = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
SYMBOLS = [Symbol(name) for name in ("AAPL", "MSFT", "NVDA")]


def an_order(number: int, shares: Decimal) -> BrokerOrder:
    return BrokerOrder(
        f"b-{number}", f"c-{number}", SYMBOLS[number % 3], "buy" if number % 2 else "sell", "market",
        "simple", "filled", shares, shares, None, None, None, NOW, (), {}, NOW,
    )  # fmt: skip


def a_price(order: BrokerOrder, number: int) -> Decimal:
    """All over the grid of a millionth of a dollar."""
    scattered = int(order.broker_order_id[2:]) * 7_919_003 + number * 104_729
    return Decimal(1 + scattered % 10**8).scaleb(-6)


def executions_of(order: BrokerOrder, count: int) -> list[BrokerExecution]:
    each = (order.filled_quantity / count).quantize(Decimal("0.000000001"))
    return [
        BrokerExecution(
            f"{order.broker_order_id}-{i}", order.broker_order_id, order.symbol, order.side, each,
            a_price(order, i), NOW + timedelta(seconds=i), {},
        )
        for i in range(count)
    ]  # fmt: skip


def test_sums_from_a_mark_on_are_the_sums_of_every_fill(
    settings_for: SettingsFor, account: str
) -> None:
    async def one(db: Database, statement: str) -> list[Any]:
        async def work(connection: Any) -> list[Any]:
            return list(await connection.execute(text(statement), {"a": account}))

        return await db.run(work)

    async def scenario() -> None:
        async with open_database(
            settings_for("trade_executor"), MonotonicTimer(), application="t"
        ) as db:
            store = Store(db, account)
            await store.opening.adopt(
                BrokerAccount("b-1", "ACTIVE", ZERO, ZERO, ZERO, {}), {},
                ledger_from=NOW - timedelta(days=1), lent=None, at=NOW,
            )  # fmt: skip
            for number in range(12):
                order = an_order(number, Decimal(900))
                await store.ledger.book([order], executions_of(order, 150), at=NOW, is_whole=True)
                held = await one(
                    db, "SELECT symbol, quantity FROM trade_executor.v_positions WHERE account = :a"
                )
                fills = await one(
                    db,
                    "SELECT symbol, sum(CASE side WHEN 'buy' THEN quantity ELSE -quantity END) FROM "
                    "trade_executor.v_fills WHERE account = :a GROUP BY symbol",
                )
                assert {r[0]: r[1] for r in held} == {r[0]: r[1] for r in fills if r[1]}
                [cash] = await one(db, "SELECT cash FROM trade_executor.v_cash WHERE account = :a")
                [sums] = await one(
                    db,
                    "SELECT sum(CASE side WHEN 'buy' THEN -quantity * price ELSE quantity * price END"
                    " - fee) FROM trade_executor.v_fills WHERE account = :a",
                )
                assert cash[0] == sums[0]
            marks = await one(
                db, "SELECT through_id FROM trade_executor.cash_marks WHERE account = :a"
            )
            assert len(marks) == 12 * 150 // FILLS_PER_MARK
            left = await one(
                db,
                "SELECT count(*) FROM trade_executor.v_fills WHERE account = :a AND id > "
                "(SELECT max(through_id) FROM trade_executor.cash_marks WHERE account = :a)",
            )
            assert left[0][0] < FILLS_PER_MARK

    asyncio.run(scenario())
