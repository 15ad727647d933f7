"""Show what trading really cost beside what a backtest assumes: `trader costs`."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from backtester.costs import us_fee_periods
from shared.adapters.parquet import ParquetBars
from shared.domain.bar_blocks import to_epoch_us
from shared.domain.orders import Side
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe, parse_timeframe
from shared.ports import BarStore
from trader.commands.stored import AccountOption, Stored, ask_ledger
from trader.execution_quality import Cost, FilledOrder, Model, by_hour, by_strategy, by_type, costs

app = typer.Typer()

# Newest orders looked at; the figures are about what trading costs nowadays.
MOST = 100_000
_ORDERS = text("""
    SELECT o.broker_order_id, coalesce(d.strategy, '') AS strategy, o.symbol, o.side, o.type,
           sum(f.quantity) AS quantity, sum(f.quantity * f.price) / sum(f.quantity) AS price,
           sum(f.fee) AS fees,
           coalesce(o.stop_price, o.limit_price, i.reference_price) AS decision_price,
           coalesce(i.sent_at, o.submitted_at, min(f.executed_at)) AS sent_at
    FROM trade_executor.v_orders o
    JOIN trade_executor.v_fills f
        ON f.account = o.account AND f.broker_order_id = o.broker_order_id
    LEFT JOIN trade_executor.v_intents i
        ON i.account = o.account AND i.client_order_id = o.intent_id
    LEFT JOIN risk_manager.v_decisions d
        ON d.account = o.account AND d.decision_id = i.decision_id
    WHERE o.account = :account
      -- What was let go without a price that anybody knew has none to compare with.
      AND (d.figures ->> 'no_price') IS NULL
    GROUP BY o.broker_order_id, d.strategy, o.symbol, o.side, o.type, o.stop_price, o.limit_price,
             i.reference_price, i.sent_at, o.submitted_at, o.sequence
    HAVING coalesce(o.stop_price, o.limit_price, i.reference_price) IS NOT NULL
    ORDER BY o.sequence DESC LIMIT :most
""")
_TIMEFRAME = text("""
    SELECT timeframe FROM data_collector.v_bar_batches WHERE account = :account
    ORDER BY id DESC LIMIT 1
""")


class Group(StrEnum):
    """What a row of the table stands for."""

    STRATEGY = "strategy"
    HOUR = "hour"
    TYPE = "type"


_GROUPS = {Group.STRATEGY: by_strategy, Group.HOUR: by_hour, Group.TYPE: by_type}


@app.command("costs")
def show_costs(
    group: Annotated[Group, typer.Option("--by", help="What a row stands for.")] = Group.STRATEGY,
    slippage_bps: Annotated[
        float,
        typer.Option(min=0, max=10_000, help="What your backtests assume against market orders."),
    ] = 5.0,
    account: AccountOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show slippage against the price decided on and the price at sending, fees, and what a backtest assumes.

    Example: trader costs --by hour
    """
    orders = ask_ledger(account, _filled_orders)
    found = costs(orders, _GROUPS[group], Model(slippage_bps, us_fee_periods()))
    if as_json:
        rows = [{**asdict(cost), "above_model": cost.above_model} for cost in found]
        print(json.dumps({"by": group.value, "costs": rows}, sort_keys=True))
    elif not found:
        print("nothing was filled yet")
    else:
        Console().print(_table(group, found))


async def _filled_orders(stored: Stored) -> list[FilledOrder]:
    async def orders(connection: AsyncConnection) -> list[Any]:
        return list(await connection.execute(_ORDERS, {"account": stored.account, "most": MOST}))

    async def timeframe(connection: AsyncConnection) -> str | None:
        found = await connection.execute(_TIMEFRAME, {"account": stored.account})
        return found.scalar_one_or_none()

    rows = await stored.database.read(orders)
    traded = await stored.database.read(timeframe)
    sent = [(Symbol(row.symbol), row.sent_at) for row in rows]
    arrivals: list[float | None] = [None] * len(rows)
    if traded is not None and sent:
        bars = ParquetBars(stored.bars_folder)
        arrivals = await asyncio.to_thread(_arrivals, bars, parse_timeframe(traded), sent)
    return [
        FilledOrder(
            row.broker_order_id,
            row.strategy,
            Symbol(row.symbol),
            Side(row.side),
            row.type,
            float(row.quantity),
            float(row.price),
            float(row.fees),
            float(row.decision_price),
            arrival,
            row.sent_at,
        )
        for row, arrival in zip(rows, arrivals, strict=True)
    ]


def _arrivals(
    bars: BarStore, timeframe: Timeframe, sent: Sequence[tuple[Symbol, datetime]]
) -> list[float | None]:
    """The close of the last bar that was over when each order was sent; None where there is none."""
    # A week reaches over the longest weekend, so that the first order finds the bar before it.
    first_at = min(at for _, at in sent) - timedelta(days=7)
    last_at = max(at for _, at in sent)
    closes: dict[Symbol, tuple[Any, Any]] = {}
    for symbol in {symbol for symbol, _ in sent}:
        block = bars.between(timeframe, (symbol,), first_at, last_at)
        closes[symbol] = (block.end_us, block.close)
    found: list[float | None] = []
    for symbol, at in sent:
        ends, prices = closes[symbol]
        place = int(np.searchsorted(ends, to_epoch_us(at), side="right")) - 1
        found.append(float(prices[place]) / 1_000_000 if place >= 0 else None)
    return found


def _table(group: Group, found: Sequence[Cost]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(group.value, no_wrap=True, min_width=15)
    for title in (
        "orders",
        "value $",
        "decided bps",
        "sent bps",
        "fees $",
        "cost $",
        "model $",
        "above $",
    ):
        table.add_column(title, justify="right")
    for cost in found:
        arrival = "-" if cost.arrival_bps is None else f"{cost.arrival_bps:+.2f}"
        table.add_row(
            cost.group,
            str(cost.orders),
            f"{cost.value:,.0f}",
            f"{cost.decision_bps:+.2f}",
            arrival,
            f"{cost.fees:,.2f}",
            f"{cost.live:,.2f}",
            f"{cost.modelled:,.2f}",
            f"{cost.above_model:+,.2f}",
        )
    return table
