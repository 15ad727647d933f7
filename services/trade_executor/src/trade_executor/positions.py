"""What is held, and what did it earn?

A fold over immutable fills and adjustments in the order in which they were booked, carried on from where it stood, so that
a look costs the new rows and not the whole ledger. Forgotten with the process, since the ledger makes it again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from shared.domain.activities import SPLITS
from shared.domain.ledger import ZERO, Fill, Position
from shared.domain.orders import Side
from shared.domain.symbols import Symbol
from trade_executor.store import Store

_PAGE = 5_000


class PositionFold:
    """Positions as a fold over fills, which is carried on from where it stood."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._positions: dict[Symbol, Position] = {}
        self._last_fill = 0
        self._last_adjustment = 0

    async def now(self) -> dict[Symbol, Position]:
        """All symbols ever traded, flat ones with what they earned."""
        rows = await self._store.ledger.adjustments(after=self._last_adjustment)
        adjustments = deque(_whole_splits(rows))
        while True:
            page = await self._store.reads.fills(
                after=self._last_fill, limit=_PAGE, oldest_first=True
            )
            for row in page:
                self._adjust(adjustments, row["booked_at"])
                self._fill(row)
            if len(page) < _PAGE:
                self._adjust(adjustments, None)
                return self._positions

    def _fill(self, row: Mapping[str, Any]) -> None:
        if row["id"] <= self._last_fill:
            return  # another request folded it meanwhile
        symbol = Symbol(row["symbol"])
        fill = Fill(
            row["execution_id"], row["client_order_id"] or "", symbol, Side(row["side"]),
            row["quantity"], row["price"], row["fee"],
        )  # fmt: skip
        self._positions[symbol] = self._held(symbol).after(fill)
        self._last_fill = row["id"]

    def _adjust(self, adjustments: deque[dict[str, Any]], until: datetime | None) -> None:
        """Fold the adjustments that were booked before `until`, or all that are left."""
        while adjustments and (until is None or adjustments[0]["entered_at"] <= until):
            row = adjustments.popleft()
            if row["id"] <= self._last_adjustment:
                continue
            self._last_adjustment = row["id"]
            symbol = Symbol(row["symbol"])
            self._positions[symbol] = _adjusted(self._held(symbol), row)

    def _held(self, symbol: Symbol) -> Position:
        return self._positions.get(symbol, Position(symbol))


def _whole_splits(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """`rows` with what the legs of a split do, old shares that leave and new ones that come, at the first of them.

    They are booked in one commit, at one instant.
    """
    nets: dict[tuple[str, datetime], Decimal] = {}
    for row in rows:
        if row["reason"] in SPLITS:
            key = (row["symbol"], row["entered_at"])
            nets[key] = nets.get(key, ZERO) + row["quantity"]
    return [
        {**row, "quantity": nets.pop((row["symbol"], row["entered_at"]), ZERO)}
        if row["reason"] in SPLITS
        else row
        for row in rows
    ]


def _adjusted(held: Position, row: Mapping[str, Any]) -> Position:
    """`held` after shares moved without a trade; what they cost is known of a split alone, or of a price paid."""
    quantity = held.quantity + row["quantity"]
    if row["price"] is not None:
        side = Side.BUY if row["quantity"] > 0 else Side.SELL
        paid = Fill("", "", held.symbol, side, abs(row["quantity"]), row["price"])
        return held.after(paid)
    if row["reason"] in SPLITS and held.quantity and quantity:
        average = held.average_price * held.quantity / quantity
        return Position(held.symbol, quantity, average, held.realised_pnl)
    average = held.average_price if quantity else quantity
    return Position(held.symbol, quantity, average, held.realised_pnl)
