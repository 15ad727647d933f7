"""What does a person see of a running replay?

A live picture in the terminal, four times a second, read from the services' views: prices, positions, equity,
decisions with their reason codes, orders and fills. Where standard output is no terminal it says every few seconds
how far it is. Figures of a generated market are labelled wherever they stand.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from shared.adapters.clocks import MonotonicTimer
from shared.domain.calendar import NEW_YORK
from shared.domain.decisions import TradingMode
from shared.domain.errors import Retryable
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from trader.replay.rest import Step
from trader.replay.session import SYNTHETIC, Replay, Summary

_REFRESH_S = 0.25
_REPORT_EVERY_S = 5.0
_ROWS = 9
_BLOCKS = "▁▂▃▄▅▆▇█"
_DECISIONS = """
    SELECT decided_at, symbol, side, purpose, outcome, quantity, reason_code
    FROM risk_manager.v_decisions WHERE account = :account ORDER BY decided_at DESC, decision_id
    LIMIT :rows
"""
_SIGNALS = """
    SELECT bar_end_at, symbol, direction, conviction, reason
    FROM strategy_engine.v_signals WHERE account = :account ORDER BY bar_end_at DESC, symbol
    LIMIT :rows
"""
_ORDERS = """
    SELECT updated_at, symbol, side, type, quantity, filled_quantity, status, limit_price, stop_price
    FROM trade_executor.v_orders WHERE account = :account ORDER BY updated_at DESC, broker_order_id
    LIMIT :rows
"""
_FILLS = """
    SELECT executed_at, symbol, side, quantity, price
    FROM trade_executor.v_fills WHERE account = :account ORDER BY executed_at DESC, execution_id
    LIMIT :rows
"""
_POSITIONS = """
    SELECT symbol, quantity FROM trade_executor.v_positions
    WHERE account = :account AND quantity <> 0
"""


@dataclass(slots=True)
class _Picture:
    """Everything one refresh shows."""

    decisions: list[Any]
    signals: list[Any]
    orders: list[Any]
    fills: list[Any]
    positions: dict[str, Decimal]
    equity: list[tuple[datetime, Decimal, Decimal, float]]
    prices: dict[Symbol, Decimal]


class Screen:
    """Shows one replay while it runs."""

    def __init__(self, replay: Replay, *, live: bool) -> None:
        """`live` draws on standard output; otherwise a line goes to standard error now and then."""
        self._replay = replay
        self._console = Console() if live else None
        self._timer = MonotonicTimer()
        self._step: Step | None = None
        self._task: asyncio.Task[None] | None = None
        self._first_prices: dict[Symbol, Decimal] = {}
        self._began_s = self._timer.monotonic_s()

    async def __aenter__(self) -> Self:
        work = self._draw() if self._console is not None else self._report()
        self._task = asyncio.create_task(work, name="screen")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def note(self, step: Step) -> None:
        """Take in that `step` is over."""
        self._step = step

    async def _report(self) -> None:
        while True:
            await self._timer.sleep(_REPORT_EVERY_S)
            print(f"trader: {self._progress()}", file=sys.stderr, flush=True)

    async def _draw(self) -> None:
        with Live(console=self._console, refresh_per_second=8, transient=True) as live:
            while True:
                try:
                    live.update(self._layout(await self._look()))
                except Retryable as error:
                    live.update(Panel(Text(str(error)), title="waiting"))
                await self._timer.sleep(_REFRESH_S)

    async def _look(self) -> _Picture:
        truth, state = self._replay.truth, self._replay.state
        latest = await self._replay.latest.get(
            Timeframe(state.timeframe), [Symbol(name) for name in state.symbols]
        )
        prices = {symbol: found.bar.close for symbol, found in latest.items()}
        for symbol, price in prices.items():
            self._first_prices.setdefault(symbol, price)
        return _Picture(
            decisions=await truth.latest(_DECISIONS, rows=_ROWS),
            signals=await truth.latest(_SIGNALS, rows=_ROWS),
            orders=await truth.latest(_ORDERS, rows=_ROWS),
            fills=await truth.latest(_FILLS, rows=_ROWS),
            positions={row[0]: row[1] for row in await truth.latest(_POSITIONS)},
            equity=await truth.equity(60),
            prices=prices,
        )

    def _progress(self) -> str:
        replay, step = self._replay, self._step
        if step is None:
            return "waiting for the first bar"
        elapsed_s = max(self._timer.monotonic_s() - self._began_s, 0.001)
        at = step.venue_at.astimezone(NEW_YORK)
        total = replay.state.steps_total
        of = f"/{total // 3}" if total else ""
        rate = replay.instants / elapsed_s
        return (
            f"{replay.plan.source}  {replay.account}  {at:%a %Y-%m-%d %H:%M} New York  "
            f"bar {replay.instants}{of}  {rate:.0f} bars/s"
        )

    def _layout(self, picture: _Picture) -> Layout:
        top, left, right = Layout(size=3), Layout(), Layout()
        top.update(Panel(Text(self._progress(), style="bold"), border_style="yellow"))
        left.split_column(
            Layout(Panel(self._prices(picture), title="prices and positions")),
            Layout(
                Panel(
                    _rows(picture.signals, _signal_row, "time", "symbol", "wish", "why"),
                    title="signals",
                )
            ),
        )
        right.split_column(
            Layout(Panel(self._equity(picture), title="equity"), size=5),
            Layout(
                Panel(
                    _rows(picture.decisions, _decision_row, "time", "symbol", "order", "answer"),
                    title="decisions",
                )
            ),
            Layout(
                Panel(
                    _rows(picture.orders, _order_row, "time", "symbol", "order", "at", "state"),
                    title="orders",
                )
            ),
            Layout(
                Panel(
                    _rows(picture.fills, _fill_row, "time", "symbol", "fill", "price"),
                    title="fills",
                )
            ),
        )
        whole, below = Layout(), Layout()
        below.split_row(left, right)
        whole.split_column(top, below)
        return whole

    def _prices(self, picture: _Picture) -> Table:
        table = _table("symbol", "price", "change", "held", "worth")
        for symbol in self._replay.state.symbols[: 3 * _ROWS]:
            price = picture.prices.get(Symbol(symbol))
            if price is None:
                table.add_row(symbol, "-", "-", "-", "-")
                continue
            change = float(price / self._first_prices[Symbol(symbol)] - 1)
            held = picture.positions.get(symbol, Decimal(0))
            table.add_row(
                symbol,
                f"{price:,.2f}",
                Text(f"{change:+.2%}", style=_colour(change)),
                f"{held:,f}" if held else "-",
                f"{held * price:,.0f}" if held else "-",
            )
        return table

    def _equity(self, picture: _Picture) -> Group:
        if not picture.equity:
            return Group(Text("not marked yet"))
        _, equity, cash, drawdown = picture.equity[-1]
        line = sparkline([float(mark[1]) for mark in picture.equity])
        return Group(
            Text(f"{equity:,.2f} USD   cash {cash:,.2f}   drawdown {drawdown:.2%}"),
            Text(line, style="cyan"),
        )


def sparkline(values: list[float]) -> str:
    """`values` as one line of block characters, lowest to highest."""
    low, high = min(values), max(values)
    if high == low:
        return _BLOCKS[0] * len(values)
    top = len(_BLOCKS) - 1
    return "".join(_BLOCKS[int((value - low) / (high - low) * top)] for value in values)


def print_summary(summary: Summary) -> None:
    """Say what a run did, as a table on standard output."""
    table = Table(title=f"{summary.source}, account {summary.account}", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    span = "-"
    if summary.first_instant_at is not None and summary.last_instant_at is not None:
        first, last = (
            at.astimezone(NEW_YORK) for at in (summary.first_instant_at, summary.last_instant_at)
        )
        span = f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} New York"
    first_fill = summary.seconds_to_first_fill
    for name, value in (
        ("period", span),
        ("bars", f"{summary.bars:,} in {summary.instants:,} steps of time"),
        ("signals", f"{summary.signals:,}"),
        ("decisions", f"{summary.approved:,} approved, {summary.refused:,} refused"),
        ("orders", f"{summary.orders:,} ({summary.unknown_orders} unknown)"),
        ("fills", f"{summary.fills:,}"),
        ("equity", f"{summary.equity:,.2f} USD"),
        ("trading is", _mode(summary.mode)),
        ("profit and loss", f"{summary.pnl:+,.2f} USD"),
        ("first fill after", "-" if first_fill is None else f"{first_fill:.1f} s"),
        (
            "whole run",
            f"{summary.seconds_total:.1f} s, {summary.seconds_stepping:.1f} s of it trading",
        ),
    ):
        table.add_row(name, value)
    if summary.source == SYNTHETIC:
        table.caption = (
            "SYNTHETIC: a generated market; these figures say nothing about any real one"
        )
    Console().print(table)


def _mode(mode: str) -> str:
    return mode if mode == TradingMode.ACTIVE else f"{mode}; take it back with `trader resume`"


def _colour(change: float) -> str:
    return "green" if change > 0 else "red" if change < 0 else "default"


def _table(*columns: str) -> Table:
    table = Table(box=None, expand=True, pad_edge=False)
    for index, column in enumerate(columns):
        right = column in {"price", "change", "held", "worth"} and index > 0
        table.add_column(column, justify="right" if right else "left", no_wrap=True, style="none")
    return table


def _rows(found: list[Any], cells: Any, *columns: str) -> Table:
    table = _table(*columns)
    for row in found:
        # Text, not markup: a symbol or a reason from outside must not be able to draw.
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells(row)))
    return table


def _time(at: datetime) -> str:
    return f"{at.astimezone(NEW_YORK):%m-%d %H:%M}"


def _signal_row(row: Any) -> tuple[str | Text, ...]:
    at, symbol, direction, _, reason = row
    style = "green" if direction == "LONG" else "magenta"
    return _time(at), symbol, Text(direction, style=style), reason


def _decision_row(row: Any) -> tuple[str | Text, ...]:
    at, symbol, side, purpose, outcome, quantity, code = row
    approved = outcome == "approved"
    answer = Text("approved" if approved else str(code), style="green" if approved else "yellow")
    wish = f"{purpose} {side} {_plain(quantity)}" if quantity else f"{purpose} {side}"
    return _time(at), symbol, wish, answer


def _order_row(row: Any) -> tuple[str | Text, ...]:
    at, symbol, side, kind, quantity, filled, status, limit_price, stop_price = row
    price = limit_price or stop_price
    return (
        _time(at),
        symbol,
        f"{side} {_plain(filled)}/{_plain(quantity)} {kind}",
        f"{price:,.2f}" if price is not None else "market",
        status,
    )


def _fill_row(row: Any) -> tuple[str | Text, ...]:
    at, symbol, side, quantity, price = row
    style = "green" if side == "buy" else "red"
    return _time(at), symbol, Text(f"{side} {_plain(quantity)}", style=style), f"{price:,.2f}"


def _plain(quantity: Decimal | None) -> str:
    return "-" if quantity is None else f"{quantity.normalize():,f}"
