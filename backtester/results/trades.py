"""What does each round trip look like to a person?

A trip of the engine (rows and sums) becomes a trade with its times, prices, reasons, its first stop and target, and
how far it went against and for us on the way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backtester.run import Result
from backtester.terms import (
    DAY_END,
    ENTRY,
    EXIT,
    REBALANCE,
    SCALE_OUT,
    SHORT,
    SPLIT,
    STOP,
    TARGET,
)
from risk_manager import sizing
from shared.domain.bar_blocks import from_epoch_us

# Why the last share went, in words that need no strategy.
_KINDS = {
    ENTRY: "entry",
    # By a wish, whose reason says more, or when a limit on losses was passed.
    EXIT: "flattened",
    STOP: "stop",
    TARGET: "target",
    # Sales that the risk manager makes by itself.
    DAY_END: "day_end",
    REBALANCE: "rebalance",
    SCALE_OUT: "scale_out",
}


@dataclass(frozen=True, slots=True)
class Trade:
    """One round trip; prices are averages over its fills, money is dollars.

    An open one has no exit, and its profit is what it would be at the last close. `worst` and `best`: how far the price
    went against and for us from the average entry, as a fraction (also called MAE and MFE). `entry_row`,
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
    decided = _deciding_wishes(result)
    terms = result.plan.terms(panel.timeframe, result.strategy.name, has_gaps=history.has_gaps)
    # What happened on the way is seen in the shares of one day, the last.
    newest, factor = history.in_newest_shares.panel, history.actions_as_arrays.factor
    found = []
    last = len(history) - 1
    for i in range(len(trips.column)):
        column, entry_row = int(trips.column[i]), int(trips.entry_row[i])
        is_closed = i < trips.closed
        exit_row = int(trips.exit_row[i]) if is_closed else last
        shares, bought, sold = (
            float(values[i]) for values in (trips.shares, trips.bought, trips.sold)
        )
        is_short = int(trips.side[i]) == SHORT
        paid, got = (sold, bought) if is_short else (bought, sold)
        worth = sold - bought
        if not is_closed:
            closes = panel.close[:, column]
            left = _shares_left(result, column, entry_row)
            worth += left * float(closes[~np.isnan(closes)][-1])
        profit = worth - float(trips.fees[i])
        # In the shares of the trip's end, where a split lies between.
        entry_price = paid / shares
        way = slice(entry_row, exit_row + 1)
        lows, highs = newest.low[way, column], newest.high[way, column]
        in_newest = entry_price * (
            float(factor[exit_row, column] / factor[-1, column]) if factor.size else 1.0
        )
        kind = int(trips.kind[i])
        entered, decided_row, left_by = decided[i]
        why = _KINDS.get(kind)
        if kind == EXIT and left_by >= 0 and result.wished.wishes.row[left_by] < exit_row:
            why = result.wished.reason(left_by)
        if is_closed and why is not None:
            why = ", then ".join((*_sold_before(result, column, entry_row, exit_row, kind), why))
        into = result.wished.reason(entered) if entered >= 0 else ""
        close = panel.close[decided_row, column] if entered >= 0 else np.nan
        is_guarded = terms.bracket and not np.isnan(close)
        below, above = terms.stop_loss, terms.take_profit
        if is_short:
            below, above = above, below
        lower = sizing.stop_price(float(close), below) if is_guarded else None
        upper = sizing.target_price(float(close), above) if is_guarded else None
        lowest = float(np.nanmin(lows)) / in_newest - 1.0
        highest = float(np.nanmax(highs)) / in_newest - 1.0
        found.append(
            Trade(
                symbol=panel.symbols[column],
                side="short" if is_short else "long",
                entry_at=_at(int(history.open_us[entry_row])),
                exit_at=_at(int(history.open_us[exit_row])) if is_closed else None,
                quantity=shares,
                entry_price=entry_price,
                exit_price=got / shares if is_closed else None,
                profit=profit,
                fraction=profit / paid,
                fees=float(trips.fees[i]),
                slippage_cost=float(trips.slippage[i]),
                bars=(exit_row if is_closed else len(panel)) - entry_row,
                entry_reason=into,
                exit_reason=why if is_closed else None,
                stop=upper if is_short else lower,
                target=lower if is_short else upper,
                worst=-highest if is_short else lowest,
                best=-lowest if is_short else highest,
                entry_row=entry_row,
                exit_row=exit_row,
            )
        )
    return found


def _sold_before(
    result: Result, column: int, entry_row: int, exit_row: int, last: int
) -> tuple[str, ...]:
    """Why shares were sold before the last ones went, each reason of the risk manager's once, in order."""
    outcome = result.outcome
    mine = (
        (outcome.fill_column == column)
        & (outcome.fill_row > entry_row)
        & (outcome.fill_row <= exit_row)
        & (outcome.fill_kind > SPLIT)
        & (outcome.fill_kind != last)
    )
    return tuple(dict.fromkeys(_KINDS[kind] for kind in outcome.fill_kind[mine].tolist()))


def _at(us: int) -> str:
    return from_epoch_us(us).isoformat()


def _deciding_wishes(result: Result) -> list[tuple[int, int, int]]:
    """For each trip the wish that opened it, the row at whose close that was answered, and the wish that would close it.

    Wishes by their numbers, -1 where none explains it. An order fills in the symbol's next bar with volume, so what was
    decided since that of before the entry, the first of it, is what filled. Sized by the limits, one that turns a position around
    has waited for the bar before the entry, in which the last of that went. What closes is the first wish for something else
    after that.
    """
    wishes, trips = result.wished.wishes, result.trips
    tradable = result.history.panel.volume > 0.0
    waits = result.plan.sizing.name == "limits"
    of_column: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
    for k in np.unique(trips.column).tolist():
        mine = np.flatnonzero(wishes.column == k)
        of_column[k] = (mine, wishes.row[mine])
    found = []
    for column, entry, side in zip(
        trips.column.tolist(), trips.entry_row.tolist(), trips.side.tolist(), strict=True
    ):
        before = entry - 1
        while before > 0 and not tradable[before, column]:
            before -= 1
        numbers, rows = of_column[column]
        i = int(np.searchsorted(rows, before))
        while i < len(rows) and rows[i] < entry and wishes.direction[numbers[i]] != side:
            i += 1
        opened = int(numbers[i]) if i < len(rows) and rows[i] < entry else -1
        answered = int(rows[i]) if opened >= 0 else -1
        i = int(np.searchsorted(rows, before)) - 1
        if opened < 0 and waits and i >= 0 and wishes.direction[numbers[i]] == side:
            opened, answered = int(numbers[i]), before
        i = int(np.searchsorted(rows, entry))
        while i < len(rows) and wishes.direction[numbers[i]] == side:
            i += 1
        found.append((opened, answered, int(numbers[i]) if i < len(rows) else -1))
    return found


def _shares_left(result: Result, column: int, since: int) -> float:
    """Shares held at the end, below zero where they are owed."""
    outcome = result.outcome
    mine = (outcome.fill_column == column) & (outcome.fill_row >= since)
    signed = np.where(
        outcome.fill_kind == SPLIT, outcome.fill_shares, outcome.fill_side * outcome.fill_shares
    )
    return float(np.sum(signed[mine]))
