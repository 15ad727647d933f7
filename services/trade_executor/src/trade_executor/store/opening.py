"""With what does an account's ledger begin?

Once, in one commit: whose account it is, the cash and shares it holds, and what may be sold short in it; whoever
decides about the account finds all of it from the first moment. What happened before is inside these figures; orders
that stand then are booked by the first comparison, like those that people give later.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.postgres import Database, lock
from shared.domain.money import plain
from shared.domain.symbols import Symbol
from shared.ports import BrokerAccount
from trade_executor.store.lending import Lendings, Lent
from trade_executor.store.tables import SCHEMA, Tables, as_json


class Opening(Tables):
    """The first rows of a ledger."""

    def __init__(self, db: Database, account: str, lendings: Lendings) -> None:
        super().__init__(db, account)
        self._lendings = lendings

    async def pinned_account(self) -> str | None:
        """The broker account this label belongs to; None before the first adoption."""

        async def work(connection: AsyncConnection) -> str | None:
            row = await self._one(
                connection,
                f"SELECT broker_account_id FROM {SCHEMA}.accounts WHERE account = :account",
            )
            return None if row is None else str(row.broker_account_id)

        return await self._db.run(work)

    async def adopt(
        self,
        account: BrokerAccount,
        positions: Mapping[Symbol, Decimal],
        *,
        ledger_from: datetime,
        lent: Lent | None,
        at: datetime,
    ) -> None:
        """Pin the broker's account and open the ledger with what it holds now. Once; later calls do nothing.

        Args:
            lent: what may be sold short; None where nobody asks, or the broker gave no answer.
        """

        async def work(connection: AsyncConnection) -> None:
            await lock(connection, f"account:{self.account}")
            row = await self._one(
                connection,
                f"""INSERT INTO {SCHEMA}.accounts (account, broker_account_id, adopted_at, ledger_from)
                    VALUES (:account, :broker_id, :at, :ledger_from)
                    ON CONFLICT (account) DO NOTHING RETURNING account""",
                broker_id=account.account_id,
                at=at,
                ledger_from=ledger_from,
            )
            if row is None:
                return
            if lent is not None:
                await self._lendings.write(connection, lent)
            await self._do(
                connection,
                f"""INSERT INTO {SCHEMA}.cash_entries (account, key, amount, reason, evidence, entered_at)
                    VALUES (:account, 'opening', :cash, 'OPENING_BALANCE', CAST(:evidence AS jsonb), :at)""",
                cash=account.cash,
                evidence=as_json(dict(account.raw)),
                at=at,
            )
            for symbol, quantity in sorted(positions.items()):
                await self._do(
                    connection,
                    f"""INSERT INTO {SCHEMA}.adjustments
                            (account, key, symbol, quantity, reason, evidence, entered_at)
                        VALUES (:account, :key, :symbol, :quantity, 'OPENING_POSITION',
                                CAST(:evidence AS jsonb), :at)""",
                    key=f"opening:{symbol}",
                    symbol=symbol,
                    quantity=quantity,
                    evidence=as_json({"broker_quantity": plain(quantity)}),
                    at=at,
                )

        await self._db.run(work)
