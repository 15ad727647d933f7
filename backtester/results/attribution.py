"""Where did the profit come from, and what did it cost to get there?

Splits what an account earned by the clock (overnight, of that in gaps, and within sessions), by month and by symbol; says
how much of the market it was, and how much of each bar's volume it took. Pure functions of a finished backtest; dollars
and fractions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from backtester.results.trades import Trade
from backtester.run import Result
from backtester.terms import ENTRY, EXIT, FLAT, SPLIT

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# An overnight move of more than this is a gap: about four times what a large share moves in an ordinary night.
GAP = 0.02
# Beyond this an overnight move is rarely news: more often a split that the prices were not adjusted for.
JUMP = 0.35
# More of them say no more.
MOST_JUMPS = 20


@dataclass(frozen=True, slots=True)
class Jump:
    """An overnight move beyond `JUMP` in a symbol that was traded, held or not: indicators saw it, too."""

    symbol: str
    on: str
    ratio: float


@dataclass(frozen=True)
class Attribution:
    """What `attribute` found. Exposures have one value per bar, fractions of equity; fills' arrays one per fill.

    `overnight` + `intraday` is what the account earned before costs; `gaps` is part of `overnight`.
    """

    overnight: float
    gaps: float
    intraday: float
    long_exposure: Floats
    short_exposure: Floats
    by_symbol: Mapping[str, float]
    by_month: Mapping[str, float]
    # Shares filled over the bar's volume, dollars filled, whether the order was filled in parts.
    participation: Floats
    fill_value: Floats
    is_partial: NDArray[np.bool_]
    # Fills later than the symbol's next bar after the decision, and fills in bars that only repeat a price.
    late_fills: int
    stale_fills: int
    jumps: tuple[Jump, ...]

    @property
    def gross_exposure(self) -> Floats:
        """Long and short together."""
        return self.long_exposure + self.short_exposure

    @property
    def net_exposure(self) -> Floats:
        """Long less short."""
        return self.long_exposure - self.short_exposure

    def capacity(self, equity: float, share: float) -> float | None:
        """The account, dollars, at which a twentieth of the fills would take more than `share` of their bar's volume.

        Orders grow with the account, so their part of the volume does; None without a fill.
        """
        known = self.participation[self.participation > 0.0]
        if not len(known):
            return None
        return equity * share / float(np.quantile(known, 0.95))


def attribute(result: Result, trades: list[Trade]) -> Attribution:
    """Take a finished backtest apart."""
    history, outcome = result.history, result.outcome
    # All in the shares of the last day, so that a split is neither a jump nor a trade.
    panel, session = history.in_newest_shares.panel, history.session
    is_trade = outcome.fill_kind != SPLIT
    signed = np.where(is_trade, outcome.fill_side * outcome.fill_shares, 0.0)
    factor = history.actions_as_arrays.factor
    if factor.size:
        signed *= (factor[-1] / factor)[outcome.fill_row, outcome.fill_column]
    longs, shorts = np.zeros(len(history)), np.zeros(len(history))
    overnight = gaps = 0.0
    jumps: list[Jump] = []
    stale = 0
    for column in np.unique(outcome.fill_column).tolist():
        mine = outcome.fill_column == column
        has_bar = ~np.isnan(panel.close[:, column])
        own = np.flatnonzero(has_bar)
        opens, closes = panel.open[own, column], panel.close[own, column]
        changes = np.zeros(len(history))
        np.add.at(changes, outcome.fill_row[mine], signed[mine])
        held = np.cumsum(changes)
        worth = held * _carried(panel.close[:, column], has_bar)
        longs += np.maximum(worth, 0.0)
        shorts += np.maximum(-worth, 0.0)
        # ------------------------------------------------------ from one session's close to the next one's open
        nights = np.flatnonzero(np.diff(session[own])) + 1
        before = held[own[nights - 1]]
        moves = opens[nights] - closes[nights - 1]
        relative = moves / closes[nights - 1]
        earned = before * moves
        overnight += float(np.sum(earned))
        gaps += float(np.sum(earned[np.abs(relative) > GAP]))
        for i in np.flatnonzero(np.abs(relative) > JUMP).tolist():
            on = history.day(int(own[nights[i]])).isoformat()
            jumps.append(
                Jump(panel.symbols[column], on, float(opens[nights[i]] / closes[nights[i] - 1]))
            )
        # ------------------------------------------------------ prices that nobody made
        is_flat = panel.high[own, column] == panel.low[own, column]
        is_flat[1:] &= opens[1:] == closes[:-1]
        is_flat[:1] = False
        stale += int(np.count_nonzero(np.isin(outcome.fill_row[mine], own[is_flat])))
    equity = np.where(outcome.equity > 0.0, outcome.equity, inf)
    costs = float(np.sum(outcome.fill_fee)) + float(np.sum(outcome.fill_slippage))
    earned_in_all = float(outcome.equity[-1]) - result.plan.cash + costs + outcome.borrow_fees
    # A dividend belongs to who holds through the night before its day, when the price falls by as much.
    overnight += outcome.dividends
    volume = history.panel.volume[outcome.fill_row, outcome.fill_column]
    in_parts, begins = _parts(result)
    return Attribution(
        overnight=overnight,
        gaps=gaps,
        intraday=earned_in_all - overnight,
        long_exposure=longs / equity,
        short_exposure=shorts / equity,
        by_symbol=_by_symbol(trades),
        by_month=monthly(result),
        participation=np.where(is_trade, outcome.fill_shares, 0.0)
        / np.where(volume > 0.0, volume, inf),
        fill_value=outcome.fill_shares * outcome.fill_price,
        is_partial=in_parts,
        late_fills=_late(result, begins),
        stale_fills=stale,
        jumps=tuple(jumps[:MOST_JUMPS]),
    )


def _carried(prices: Floats, is_known: NDArray[np.bool_]) -> Floats:
    """Prices with each gap filled by the last one before it, 0 before the first."""
    at = np.maximum.accumulate(np.where(is_known, np.arange(len(prices)), -1))
    carried: Floats = np.where(at >= 0, prices[at], 0.0)
    return carried


def _by_symbol(trades: list[Trade]) -> dict[str, float]:
    earned: dict[str, float] = {}
    for trade in trades:
        earned[trade.symbol] = earned.get(trade.symbol, 0.0) + trade.profit
    return dict(sorted(earned.items()))


def monthly(result: Result) -> dict[str, float]:
    """Dollars that equity changed in each calendar month, e.g. `2023-01`."""
    history = result.history
    closing = result.outcome.equity[history.session_ends]
    months = [history.day(row).strftime("%Y-%m") for row in history.session_ends.tolist()]
    earned: dict[str, float] = {}
    before = result.plan.cash
    for month, worth in zip(months, closing.tolist(), strict=True):
        earned[month] = earned.get(month, 0.0) + worth - before
        before = worth
    return earned


def _parts(result: Result) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which fills were one of several of their order, and which began theirs.

    Fills of one symbol and purpose with no other fill of that symbol between are one order's; a stop that goes on is
    the same order.
    """
    outcome = result.outcome
    order = np.lexsort((np.arange(len(outcome.fill_row)), outcome.fill_column))
    column, kind = outcome.fill_column[order], outcome.fill_kind[order]
    goes_on = np.zeros(len(order) + 1, np.bool_)
    goes_on[1:-1] = (column[1:] == column[:-1]) & (kind[1:] == kind[:-1])
    in_parts, begins = np.zeros(len(order), np.bool_), np.zeros(len(order), np.bool_)
    in_parts[order] = goes_on[:-1] | goes_on[1:]
    begins[order] = ~goes_on[:-1]
    return in_parts, begins


def _late(result: Result, begins: NDArray[np.bool_]) -> int:
    """Orders whose first fill no wish of the symbol's bar before explains: they had to wait."""
    wishes = result.wished.wishes
    rows, columns = wishes.row, wishes.column
    outcome, close = result.outcome, result.history.panel.close
    late = 0
    for column in np.unique(outcome.fill_column).tolist():
        own = np.flatnonzero(~np.isnan(close[:, column]))
        for kind in (ENTRY, EXIT):
            mine = (outcome.fill_column == column) & (outcome.fill_kind == kind) & begins
            # A wish for the other side is an exit as well.
            decided = rows[(columns == column) & ((wishes.direction != FLAT) | (kind == EXIT))]
            if kind == ENTRY and result.plan.sizing.name == "limits":
                # One that turns a position around is decided where the last of that went.
                left = (outcome.fill_column == column) & (outcome.fill_kind == EXIT)
                decided = np.concatenate((decided, outcome.fill_row[left]))
            at = np.searchsorted(own, outcome.fill_row[mine])
            before = own[np.maximum(at - 1, 0)]
            late += int(np.count_nonzero(~np.isin(before, decided)))
    return late
