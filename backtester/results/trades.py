"""What does each round trip look like to a person?

A trip of the engine (rows and sums) becomes a trade with its times, prices, reasons, its first stop and target, and
how far it went against and for us on the way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtester import kernel
from backtester.run import Result
from risk_manager import sizing
from shared.domain.bar_blocks import from_epoch_us

# Why the last share went, in words that need no strategy.
_KINDS = {
    kernel.ENTRY: "entry",
    kernel.EXIT: "signal",
    kernel.STOP: "stop",
    kernel.TARGET: "target",
}


@dataclass(frozen=True, slots=True)
class Trade:
    """One round trip; prices are averages over its fills, money is dollars.

    An open one has no exit, and its profit is what it would be at the last close. `worst` and `best`: the lowest and
    highest price on the way against the average entry, as a fraction (also called MAE and MFE). `entry_row`,
    `exit_row`: bars; for an open one the last.
    """

    symbol: str
    side: str
    entry_at: str
    exit_at: str | None
    quantity: float
    entry_price: float
    exit_price: float | None
    profit: float
    fraction: float
    fees: float
    slippage_cost: float
    bars: int
    entry_reason: str
    exit_reason: str | None
    stop: float | None
    target: float | None
    worst: float
    best: float
    entry_row: int
    exit_row: int

    def document(self) -> dict[str, object]:
        """As reports in JSON have it."""
        named = {name: getattr(self, name) for name in self.__slots__ if not name.endswith("_row")}
        named["return"] = named.pop("fraction")
        return named

    @property
    def is_open(self) -> bool:
        """Whether it is still held at the last bar."""
        return self.exit_at is None


def trades_of(result: Result) -> list[Trade]:
    """All trades of a result, closed ones in the order of their ends, then those still open."""
    trips, history = result.trips, result.history
    panel = history.panel
    decided = _deciding_rows(result)
    terms = result.plan.terms(panel.timeframe, result.strategy.name, has_gaps=history.has_gaps)
    found = []
    last = len(history) - 1
    for i in range(len(trips.column)):
        column, entry_row = int(trips.column[i]), int(trips.entry_row[i])
        is_closed = i < trips.closed
        exit_row = int(trips.exit_row[i]) if is_closed else last
        shares, bought, sold = (
            float(values[i]) for values in (trips.shares, trips.bought, trips.sold)
        )
        worth = sold
        if not is_closed:
            closes = panel.close[:, column]
            left = shares - _sold_shares(result, column, entry_row)
            worth = sold + left * float(closes[~np.isnan(closes)][-1])
        profit = worth - bought - float(trips.fees[i])
        entry_price = bought / shares
        lows, highs = (
            values[entry_row : exit_row + 1, column] for values in (panel.low, panel.high)
        )
        kind = int(trips.kind[i])
        why = result.wished.exit_reason if kind == kernel.EXIT else _KINDS.get(kind)
        close = panel.close[decided[i], column] if decided[i] >= 0 else np.nan
        is_guarded = terms.bracket and not np.isnan(close)
        found.append(
            Trade(
                symbol=panel.symbols[column],
                side="long",
                entry_at=_at(int(history.open_us[entry_row])),
                exit_at=_at(int(history.open_us[exit_row])) if is_closed else None,
                quantity=shares,
                entry_price=entry_price,
                exit_price=sold / shares if is_closed else None,
                profit=profit,
                fraction=profit / bought,
                fees=float(trips.fees[i]),
                slippage_cost=float(trips.slippage[i]),
                bars=(exit_row if is_closed else len(panel)) - entry_row,
                entry_reason=result.wished.entry_reason,
                exit_reason=why if is_closed else None,
                stop=sizing.stop_price(float(close), terms.stop_loss) if is_guarded else None,
                target=sizing.target_price(float(close), terms.take_profit) if is_guarded else None,
                worst=float(np.nanmin(lows)) / entry_price - 1.0,
                best=float(np.nanmax(highs)) / entry_price - 1.0,
                entry_row=entry_row,
                exit_row=exit_row,
            )
        )
    return found


def _at(us: int) -> str:
    return from_epoch_us(us).isoformat()


def _deciding_rows(result: Result) -> list[int]:
    """For each trip the row at whose close its entry was decided; -1 when no wish explains it.

    An order fills in the symbol's next bar with volume, so what was decided since that of before the entry, the first
    of it, is what filled.
    """
    wishes = result.wished.wishes
    rows, columns, is_entry = wishes.row, wishes.column, wishes.is_entry
    tradable = result.history.panel.volume > 0.0
    wished_in = {
        int(k): rows[(columns == k) & is_entry] for k in np.unique(result.trips.column).tolist()
    }
    found = []
    for column, entry in zip(
        result.trips.column.tolist(), result.trips.entry_row.tolist(), strict=True
    ):
        before = entry - 1
        while before > 0 and not tradable[before, column]:
            before -= 1
        mine = wished_in[column]
        i = int(np.searchsorted(mine, before))
        found.append(int(mine[i]) if i < len(mine) and mine[i] < entry else -1)
    return found


def _sold_shares(result: Result, column: int, since: int) -> float:
    outcome = result.outcome
    mine = (
        (outcome.fill_column == column)
        & (outcome.fill_row >= since)
        & (outcome.fill_kind != kernel.ENTRY)
    )
    return float(np.sum(outcome.fill_shares[mine]))
