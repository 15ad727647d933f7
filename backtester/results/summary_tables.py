"""The tables of a backtest: per symbol, open positions, reasons, periods.

Pure functions of trades; the columns are freqtrade's: trades, average profit, total profit, average duration, and how
often they won.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from backtester.results.figures import Column, Kind, Table
from backtester.results.trades import Trade

# A table that nobody reads to its end; the best and the worst are kept.
MOST_ROWS = 40

_STATS = (
    Column("trades", "Trades", Kind.COUNT),
    Column("average_return", "Avg profit", Kind.FRACTION),
    Column("profit", "Profit USD", Kind.MONEY),
    Column("of_cash", "Of cash", Kind.FRACTION),
    Column("average_duration_s", "Avg duration", Kind.DURATION),
    Column("wins", "Win", Kind.COUNT),
    Column("draws", "Draw", Kind.COUNT),
    Column("losses", "Loss", Kind.COUNT),
    Column("win_rate", "Win rate", Kind.FRACTION),
)


def duration_s(trade: Trade, until: str) -> float:
    """Seconds from the entry's bar to the exit's, or to `until`."""
    end = datetime.fromisoformat(trade.exit_at or until)
    return (end - datetime.fromisoformat(trade.entry_at)).total_seconds()


def tables_of(trades: Sequence[Trade], cash: float, until: str) -> list[Table]:
    """Every table in the order of the report; `until` is the last bar's time."""
    closed = [trade for trade in trades if not trade.is_open]
    left = [trade for trade in trades if trade.is_open]
    kinds = (
        ("by_symbol", "Per symbol", "Symbol", closed, lambda t: t.symbol),
        ("open", "Left open", "Symbol", left, lambda t: t.symbol),
        ("by_entry", "Entry reasons", "Reason", closed, lambda t: t.entry_reason),
        ("by_exit", "Exit reasons", "Reason", closed, lambda t: t.exit_reason or ""),
        (
            "by_both",
            "Entry and exit reasons",
            "Reasons",
            closed,
            lambda t: f"{t.entry_reason} → {t.exit_reason}",
        ),
    )
    found = [
        _table(name, title, key, rows, of, cash, until)
        for name, title, key, rows, of in kinds
        if rows or name == "by_symbol"
    ]
    for name, title, length in (("by_year", "Per year", 4), ("by_month", "Per month", 7)):
        found.append(
            _table(
                name,
                title,
                "Closed in",
                closed,
                lambda t, length=length: (t.exit_at or "")[:length],  # type: ignore[misc]
                cash,
                until,
                by_key=True,
            )
        )
    return found


def _table(
    name: str,
    title: str,
    key: str,
    trades: Sequence[Trade],
    of: Callable[[Trade], str],
    cash: float,
    until: str,
    *,
    by_key: bool = False,
) -> Table:
    groups: dict[str, list[Trade]] = {}
    for trade in trades:
        groups.setdefault(of(trade), []).append(trade)
    rows = [_row(group, members, cash, until) for group, members in groups.items()]
    rows.sort(key=lambda row: row["key"] if by_key else -row["profit"])
    left_out = max(0, len(rows) - MOST_ROWS)
    if left_out:
        half = MOST_ROWS // 2
        rows = rows[-MOST_ROWS:] if by_key else rows[:half] + rows[-half:]
    if not by_key and len(rows) > 1:
        rows.append(_row("Total", trades, cash, until))
    return Table(name, title, (Column("key", key, Kind.TEXT), *_STATS), rows, left_out)


def _row(key: str, trades: Sequence[Trade], cash: float, until: str) -> Mapping[str, Any]:
    n = len(trades)
    profits = [trade.profit for trade in trades]
    wins, losses = sum(p > 0 for p in profits), sum(p < 0 for p in profits)
    return {
        "key": key,
        "trades": n,
        "average_return": sum(trade.fraction for trade in trades) / n if n else None,
        "profit": sum(profits),
        "of_cash": sum(profits) / cash,
        "average_duration_s": sum(duration_s(t, until) for t in trades) / n if n else None,
        "wins": wins,
        "draws": n - wins - losses,
        "losses": losses,
        "win_rate": wins / n if n else None,
    }
