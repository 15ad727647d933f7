"""An account in a real database, with the executor and the strategies played under their own roles."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import text

from risk_manager.store import PostgresStore
from risk_manager.testing import NOW
from shared.adapters.postgres import Cursor, Database, Outbox
from shared.domain.decisions import Approved, Review
from shared.domain.signals import Evaluation, ManualOrder, Signal
from shared.messages import EVALUATION, EVALUATIONS, MANUAL_ORDER, MANUAL_ORDERS, REVIEW, REVIEWS


class PostgresWorld:
    """The executor and the strategies are played under their own roles, on their own tables."""

    def __init__(self, account: str, databases: dict[str, Database]) -> None:
        self.account = account
        self.databases = databases
        self.store = PostgresStore(databases["risk_manager"], account)
        self._orders = 0

    async def execute(self, role: str, statement: str, **values: Any) -> list[Any]:
        async def work(connection: Any) -> list[Any]:
            result = await connection.execute(text(statement), {"account": self.account, **values})
            return list(result) if result.returns_rows else []

        return await self.databases[role].run(work)

    async def adopt(self, cash: int) -> None:
        await self.execute(
            "trade_executor",
            "INSERT INTO trade_executor.accounts (account, broker_account_id, adopted_at, ledger_from) "
            "VALUES (:account, 'b', :at, :at)",
            at=NOW,
        )
        await self.execute(
            "trade_executor",
            "INSERT INTO trade_executor.cash_entries (account, key, amount, reason, evidence, entered_at) "
            "VALUES (:account, 'opening', :cash, 'opening balance', '{}', :at)",
            cash=Decimal(cash),
            at=NOW,
        )

    async def pay_in(self, dollars: int) -> None:
        await self.book_cash("CSD" if dollars > 0 else "CSW", dollars)

    async def book_cash(self, kind: str, dollars: int) -> None:
        await self.execute(
            "trade_executor",
            "INSERT INTO trade_executor.cash_entries (account, key, amount, reason, evidence, entered_at) "
            "VALUES (:account, :key, :dollars, :kind, '{}', :at)",
            key=f"activity:{kind}:{dollars}",
            dollars=Decimal(dollars),
            kind=kind,
            at=NOW,
        )

    async def send(self, approved: Approved, state: str, filled: Decimal = Decimal(0)) -> None:
        await self.execute(
            "trade_executor",
            "INSERT INTO trade_executor.intents (account, client_order_id, decision_id, signal_id, symbol, "
            "side, purpose, leg, generation, type, time_in_force, order_class, quantity, filled_quantity, "
            "limit_price, stop_price, stop_loss, take_profit, reference_price, state, act_from, "
            "act_until, created_at) VALUES (:account, :id, :decision_id, :signal_id, :symbol, :side, "
            ":purpose, :purpose, 0, :type, :tif, 'bracket', :quantity, :filled, :limit, :stop, "
            ":stop_loss, :take_profit, :reference, :state, :act_from, :act_until, :act_from)",
            id=f"fat-{approved.signal_id}"[:48],
            decision_id=approved.decision_id,
            signal_id=approved.signal_id,
            symbol=approved.symbol,
            side=approved.side,
            purpose=approved.purpose,
            type=approved.type,
            tif=approved.time_in_force,
            quantity=approved.quantity,
            filled=filled,
            limit=approved.limit_price,
            stop=approved.stop_price,
            stop_loss=approved.stop_loss,
            take_profit=approved.take_profit,
            reference=approved.reference_price,
            state=state,
            act_from=approved.act_from,
            act_until=approved.act_until,
        )

    async def fill(self, approved: Approved, price: str, quantity: str | None = None) -> None:
        filled = Decimal(quantity) if quantity else approved.quantity
        await self.send(approved, "FILLED" if filled == approved.quantity else "PARTIAL", filled)
        intent = f"fat-{approved.signal_id}"[:48]
        await self.order(approved.symbol, filled, price, intent, side=approved.side)

    async def lends(self, *symbols: str, account: bool = True, seen_at: datetime = NOW) -> None:
        await self.execute(
            "trade_executor",
            "UPDATE trade_executor.accounts SET may_short = :may, lending_seen_at = :at "
            "WHERE account = :account",
            may=account,
            at=seen_at,
        )
        for symbol in symbols:
            await self.execute(
                "trade_executor",
                "INSERT INTO trade_executor.lending (account, symbol, is_lent, seen_at) "
                "VALUES (:account, :symbol, true, :at)",
                symbol=symbol,
                at=seen_at,
            )

    async def order(
        self,
        symbol: str,
        filled: Decimal,
        price: str,
        intent: str | None,
        status: str = "filled",
        side: str = "buy",
        kind: str = "trailing_stop",
    ) -> None:
        self._orders += 1
        values = {
            "order_id": f"{self.account}-{self._orders}",
            "intent": intent,
            "symbol": symbol,
            "quantity": filled or Decimal(10),
            "filled": filled,
            "price": Decimal(price),
            "status": status,
            "side": side,
            "kind": kind,
            "at": NOW,
        }
        await self.execute(
            "trade_executor",
            "INSERT INTO trade_executor.orders (account, broker_order_id, client_order_id, intent_id, "
            "symbol, side, type, order_class, status, quantity, filled_quantity, booked_quantity, "
            "limit_price, updated_at, first_seen_at) VALUES (:account, :order_id, :order_id, :intent, "
            ":symbol, :side, :kind, 'simple', :status, :quantity, :filled, :filled, :price, "
            ":at, :at)",
            **values,
        )
        if filled:
            await self.execute(
                "trade_executor",
                "INSERT INTO trade_executor.fills (account, execution_id, broker_order_id, intent_id, "
                "symbol, side, quantity, price, executed_at, booked_at) VALUES (:account, :order_id, "
                ":order_id, :intent, :symbol, :side, :filled, :price, :at, :at)",
                **values,
            )

    async def executor_reads_all(self) -> None:
        async def work(connection: Any) -> None:
            found = await connection.execute(
                text("SELECT max(id) FROM risk_manager.v_outbox WHERE account = :account"),
                {"account": self.account},
            )
            cursor = Cursor("trade_executor", "risk_manager", self.account)
            await cursor.move(connection, found.scalar_one())

        await self.databases["trade_executor"].run(work)

    async def announce(self, body: Evaluation | ManualOrder) -> None:
        async def work(connection: Any) -> None:
            if isinstance(body, Evaluation):
                payload = EVALUATION.encode(body)
                topic, key = EVALUATIONS, f"{body.timeframe}:{body.instant_at.isoformat()}"
            else:
                topic, key, payload = MANUAL_ORDERS, body.signal_id, MANUAL_ORDER.encode(body)
            outbox = Outbox(owner, self.account)
            await outbox.append(connection, topic=topic, key=key, payload=payload, at=NOW)

        owner = "strategy_engine" if isinstance(body, Evaluation) else "trade_executor"
        await self.databases[owner].run(work)
        for signal in body.signals if isinstance(body, Evaluation) else ():
            await self._keep(signal)

    async def _keep(self, signal: Signal) -> None:
        await self.execute(
            "strategy_engine",
            "INSERT INTO strategy_engine.signals (signal_id, account, batch_id, strategy, symbol, timeframe, "
            "bar_start_at, bar_end_at, direction, conviction, reason, reference_price, figures, created_at) "
            "VALUES (:signal_id, :account, 1, :strategy, :symbol, :timeframe, :start, :end, :direction, "
            ":conviction, :reason, :price, CAST(:figures AS jsonb), :end) ON CONFLICT DO NOTHING",
            signal_id=signal.signal_id,
            strategy=signal.strategy,
            symbol=signal.symbol,
            timeframe=signal.timeframe,
            start=signal.bar_start_at,
            end=signal.bar_end_at,
            direction=signal.direction,
            conviction=signal.conviction,
            reason=signal.reason,
            price=signal.reference_price,
            figures=json.dumps(signal.figures),
        )

    async def announced_reviews(self) -> list[Review]:
        rows = await self.execute(
            "trade_executor",
            "SELECT payload FROM risk_manager.v_outbox "
            "WHERE account = :account AND topic = :topic ORDER BY id",
            topic=REVIEWS,
        )
        return [REVIEW.decode(row.payload) for row in rows]
