"""What is held, and what did it earn?

A fold over immutable fills, carried on from where it stood, so that a look costs the new fills and not the whole
ledger. Forgotten with the process, since the ledger makes it again.
"""

from __future__ import annotations

from shared.domain.ledger import Fill, Position
from shared.domain.orders import Side
from shared.domain.symbols import Symbol
from trade_executor.store import Store

_PAGE = 5_000


class PositionFold:
    """Positions as a fold over fills, which is carried on from where it stood."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._positions: dict[Symbol, Position] | None = None
        self._last = 0

    async def now(self) -> dict[Symbol, Position]:
        """All symbols ever traded, flat ones with what they earned."""
        if self._positions is None:
            opening = await self._store.ledger.opening_positions()
            self._positions = {s: Position(s, quantity) for s, quantity in opening.items()}
        while True:
            page = await self._store.reads.fills(after=self._last, limit=_PAGE, oldest_first=True)
            for row in page:
                if row["id"] <= self._last:
                    continue  # another request folded it meanwhile
                symbol = Symbol(row["symbol"])
                held = self._positions.get(symbol, Position(symbol))
                fill = Fill(
                    row["execution_id"], row["client_order_id"] or "", symbol, Side(row["side"]),
                    row["quantity"], row["price"], row["fee"],
                )  # fmt: skip
                self._positions[symbol] = held.after(fill)
                self._last = row["id"]
            if len(page) < _PAGE:
                return self._positions
