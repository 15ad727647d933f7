"""What did a person ask of orders that stand?

A cancel is a mark beside the order which the sender works off; a replacement is an intent of its own. Both are
stored before anything goes to the broker, so that a crash in between forgets nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.postgres import lock
from shared.domain.decisions import TradingMode
from shared.domain.orders import IntentState, OrderChange
from shared.domain.symbols import Symbol
from trade_executor.changes import exits_moved, obstacle_to_cancel, obstacle_to_moving, replacement
from trade_executor.lifecycle import Intent, IntentPurpose
from trade_executor.preflight import Problem
from trade_executor.store.tables import (
    FINAL,
    INSERT_INTENT,
    INTENT_COLUMNS,
    LIVE,
    ORDER_COLUMNS,
    SCHEMA,
    Tables,
    intent_of,
    order_of,
)

_BY_A_PERSON = "cancelled by a person"
NOT_FOUND = Problem("order_not_found", "no order of ours has this id", "GET /orders lists them")
OTHER_CHANGE = Problem(
    "idempotency_conflict", "this key was used for another change", "take a new one"
)


class Requests(Tables):
    """Cancels and replacements."""

    async def cancel(self, intent_id: str, *, at: datetime) -> Problem | None:
        """Withdraw it if it waits here, ask to cancel it if the broker has it; or why not."""

        async def work(connection: AsyncConnection) -> Problem | None:
            intent = await self._locked(connection, intent_id)
            if intent is None:
                return NOT_FOUND
            problem = obstacle_to_cancel(intent)
            if problem is None:
                await self._take_back(connection, intent, at)
            return problem

        return await self._db.run(work)

    async def cancel_all(self, *, symbol: Symbol | None, at: datetime) -> list[str]:
        """Take back every entry and exit that can be, of one symbol or all; returns their client ids."""

        async def work(connection: AsyncConnection) -> list[str]:
            rows = await self._all(
                connection,
                f"""SELECT {INTENT_COLUMNS} FROM {SCHEMA}.intents
                    WHERE account = :account AND state IN {LIVE}
                      AND (CAST(:symbol AS text) IS NULL OR symbol = :symbol)
                    ORDER BY client_order_id FOR UPDATE""",
                symbol=symbol,
            )
            able = [i for i in map(intent_of, rows) if obstacle_to_cancel(i) is None]
            for intent in able:
                await self._take_back(connection, intent, at)
            return [intent.client_order_id for intent in able]

        return await self._db.run(work)

    async def replace(
        self, intent_id: str, change: OrderChange, *, key: str, actor: str, at: datetime
    ) -> str | Problem:
        """Store the intent that takes its place and return its client id; or why there is none.

        The same change under the same key is stored once.
        """
        digest = _digest({"order": intent_id, **asdict(change)})

        async def work(connection: AsyncConnection) -> str | Problem:
            intent = await self._locked(connection, intent_id)
            if intent is None:
                return NOT_FOUND
            known = await self._known(connection, key, digest)
            if known is not None:
                return known
            found = await self._replacement(connection, intent, change, at)
            if isinstance(found, Problem):
                return found
            await connection.execute(INSERT_INTENT, [_row(self.account, found, at)])
            await self._remember(connection, key, digest, found.client_order_id, actor, at)
            return found.client_order_id

        return await self._db.run(work)

    async def move_exits(
        self,
        order_id: str,
        *,
        take_profit: Decimal | None,
        stop_loss: Decimal | None,
        last_price: Decimal | None,
        halt_note: str | None,
        key: str,
        actor: str,
        at: datetime,
    ) -> str | Problem:
        """Keep another target or stop with the entry that `order_id` belongs to, and ask to cancel what rests there.

        Where that has ended, protection is planned with the new ones. Returns the entry's client id. The shared lock on
        the account keeps the mode as it is seen here until this commits.

        Args:
            last_price: dollars per share of that symbol, None where nobody knows.
            halt_note: what the halt switch says, None where it is not thrown.
        """
        digest = _digest({"order": order_id, "target": take_profit, "stop": stop_loss})

        async def work(connection: AsyncConnection) -> str | Problem:
            await lock(connection, f"account:{self.account}", shared=True)
            named = await self._locked(connection, order_id)
            if named is None:
                return NOT_FOUND
            known = await self._known(connection, key, digest)
            if known is not None:
                return known
            obstacle = obstacle_to_moving(await self._mode(connection), halt_note)
            if obstacle is not None:
                return obstacle
            entry = named
            if named.purpose is IntentPurpose.PROTECT:
                row = await self._one(
                    connection,
                    f"""SELECT {INTENT_COLUMNS} FROM {SCHEMA}.intents
                        WHERE account = :account AND decision_id = :decision AND purpose = 'entry'
                        ORDER BY sequence DESC LIMIT 1 FOR UPDATE""",
                    decision=named.decision_id,
                )
                entry = named if row is None else intent_of(row)
            held = await self._position(connection, entry.symbol)
            others = await self._one(
                connection,
                f"""SELECT
                        coalesce(bool_or(order_class = 'bracket' AND purpose = 'entry'
                            AND filled_quantity > 0 AND sequence > (
                                SELECT sequence FROM {SCHEMA}.intents
                                WHERE account = :account AND client_order_id = :id)), false) AS newer,
                        coalesce(bool_or(state IN {LIVE}
                            AND (purpose <> 'protect' OR state IN ('SENDING', 'UNKNOWN'))), false) AS busy
                    FROM {SCHEMA}.intents
                    WHERE account = :account AND symbol = :symbol AND client_order_id <> :id""",
                symbol=entry.symbol,
                id=entry.client_order_id,
            )
            assert others is not None
            moved = exits_moved(
                entry,
                held=held,
                is_newest=not others.newer,
                is_alone=not others.busy,
                take_profit=take_profit,
                stop_loss=stop_loss,
                last_price=last_price,
            )
            if isinstance(moved, Problem):
                return moved
            await self._move(connection, moved, at)
            await self._remember(connection, key, digest, moved.client_order_id, actor, at)
            return moved.client_order_id

        return await self._db.run(work)

    async def _mode(self, connection: AsyncConnection) -> TradingMode | None:
        row = await self._one(
            connection, "SELECT mode FROM risk_manager.v_mode WHERE account = :account"
        )
        return None if row is None else TradingMode(row.mode)

    async def _move(self, connection: AsyncConnection, entry: Intent, at: datetime) -> None:
        await self._do(
            connection,
            f"""UPDATE {SCHEMA}.intents SET stop_loss = :stop, take_profit = :target,
                    limit_price = CASE purpose WHEN 'protect' THEN :target ELSE limit_price END
                WHERE account = :account AND decision_id = :decision
                  AND (client_order_id = :id OR purpose = 'protect' AND state = 'PENDING')""",
            stop=entry.stop_loss,
            target=entry.take_profit,
            decision=entry.decision_id,
            id=entry.client_order_id,
        )
        await self._do(
            connection,
            f"""UPDATE {SCHEMA}.orders SET cancel_asked_at = coalesce(cancel_asked_at, :at)
                WHERE account = :account AND status NOT IN {FINAL} AND side = :side AND intent_id IN (
                    SELECT client_order_id FROM {SCHEMA}.intents
                    WHERE account = :account AND decision_id = :decision AND purpose <> 'exit')""",
            at=at,
            side=entry.side.opposite.value,
            decision=entry.decision_id,
        )

    async def _known(
        self, connection: AsyncConnection, key: str, digest: str
    ) -> str | Problem | None:
        """What was asked under that key before: the order it led to, or that it was something else."""
        row = await self._one(
            connection,
            f"""SELECT digest, client_order_id FROM {SCHEMA}.replacements
                WHERE account = :account AND key = :key""",
            key=key,
        )
        if row is None:
            return None
        return str(row.client_order_id) if row.digest == digest else OTHER_CHANGE

    async def _remember(
        self,
        connection: AsyncConnection,
        key: str,
        digest: str,
        order_id: str,
        actor: str,
        at: datetime,
    ) -> None:
        await self._do(
            connection,
            f"""INSERT INTO {SCHEMA}.replacements
                    (account, key, digest, client_order_id, actor, asked_at)
                VALUES (:account, :key, :digest, :id, :actor, :at)""",
            key=key,
            digest=digest,
            id=order_id,
            actor=actor,
            at=at,
        )

    async def _locked(self, connection: AsyncConnection, intent_id: str) -> Intent | None:
        row = await self._one(
            connection,
            f"""SELECT {INTENT_COLUMNS} FROM {SCHEMA}.intents
                WHERE account = :account AND client_order_id = :id FOR UPDATE""",
            id=intent_id,
        )
        return None if row is None else intent_of(row)

    async def _take_back(self, connection: AsyncConnection, intent: Intent, at: datetime) -> None:
        if intent.state is IntentState.PENDING:
            states = (IntentState.PENDING,)
            await self._end(
                connection, intent, states, IntentState.CANCELLED_UNSENT, _BY_A_PERSON, at
            )
            return
        # Its first order alone: legs guard what is held, and the broker ends them where they must end.
        await self._do(
            connection,
            f"""UPDATE {SCHEMA}.orders SET cancel_asked_at = coalesce(cancel_asked_at, :at)
                WHERE account = :account AND client_order_id = :id AND status NOT IN {FINAL}""",
            id=intent.client_order_id,
            at=at,
        )

    async def _replacement(
        self, connection: AsyncConnection, intent: Intent, change: OrderChange, at: datetime
    ) -> Intent | Problem:
        rows: Sequence[Any] = await self._all(
            connection,
            f"""SELECT client_order_id, generation, state FROM {SCHEMA}.intents
                WHERE account = :account AND signal_id = :signal AND leg = :leg""",
            signal=intent.signal_id,
            leg=intent.purpose.value,
        )
        order = await self._one(
            connection,
            f"""SELECT {ORDER_COLUMNS} FROM {SCHEMA}.orders
                WHERE account = :account AND client_order_id = :id""",
            id=intent.client_order_id,
        )
        if any(row.state in ("PENDING", "SENDING", "UNKNOWN") for row in rows):
            return Problem(
                "being_replaced", "the order is being replaced already", "wait for that to end"
            )
        collar = await self._one(
            connection,
            """SELECT CAST(checked ->> 'limit' AS numeric) AS of
                FROM risk_manager.v_decisions d, jsonb_array_elements(d.checks) checked
                WHERE d.account = :account AND d.decision_id = :decision AND d.outcome = 'approved'
                  AND checked ->> 'code' = 'PRICE_COLLAR'""",
            decision=intent.decision_id,
        )
        return replacement(
            intent,
            None if order is None else order_of(order),
            change,
            account=self.account,
            generation=1 + max(int(row.generation) for row in rows),
            collar=None if collar is None else collar.of,
            at=at,
        )


def _digest(wish: dict[str, Any]) -> str:
    """Which change it is, so that one key never names two."""
    raw = orjson.dumps(wish, default=str, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(raw).hexdigest()


def _row(account: str, intent: Intent, at: datetime) -> dict[str, Any]:
    assert intent.purpose is not IntentPurpose.PROTECT
    values = asdict(intent)
    return {
        **values,
        "account": account,
        "id": intent.client_order_id,
        "leg": intent.purpose.value,
        "at": at,
    }
