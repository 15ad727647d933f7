"""What does a list of trades say? One row per closed lot: opened, closed, earned."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from shared.domain.calendar import NEW_YORK
from shared.domain.lots import Closing, Part
from shared.domain.money import plain

COLUMNS = (
    "symbol", "direction", "quantity", "opened_at", "open_price", "closed_at", "close_price", "cost",
    "proceeds", "fees", "gain", "held_days", "strategy", "open_execution_id", "close_execution_id",
)  # fmt: skip


def closed_on(closing: Closing) -> date:
    """New York's day on which the lot was closed."""
    return closing.closed.execution.executed_at.astimezone(NEW_YORK).date()


def trade_rows(closings: Iterable[Closing]) -> list[dict[str, str]]:
    """The rows, in the order of closing; dollars exact, instants UTC, empty where not known."""
    return [_row(closing) for closing in closings]


def _row(closing: Closing) -> dict[str, str]:
    opened, closed = closing.opened.execution, closing.closed.execution
    return {
        "symbol": opened.symbol,
        "direction": "short" if closing.is_short else "long",
        "quantity": plain(closing.quantity),
        "opened_at": opened.executed_at.isoformat(),
        "open_price": "" if opened.price is None else plain(opened.price),
        "closed_at": closed.executed_at.isoformat(),
        "close_price": "" if closed.price is None else plain(closed.price),
        "cost": "" if closing.cost is None else plain(closing.cost),
        "proceeds": "" if closing.proceeds is None else plain(closing.proceeds),
        "fees": plain(_fees(closing.opened) + _fees(closing.closed)),
        "gain": "" if closing.gain is None else plain(closing.gain),
        "held_days": str((closed.executed_at - opened.executed_at).days),
        "strategy": opened.strategy,
        "open_execution_id": opened.execution_id,
        "close_execution_id": closed.execution_id,
    }


def _fees(part: Part) -> Decimal:
    return part.execution.fee_between(part.start, part.end)
