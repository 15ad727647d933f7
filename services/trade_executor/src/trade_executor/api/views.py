"""What do people see of orders, fills, positions and the account?

Figures are texts of exact decimals; rows of the store go in, answers come out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeVar

from pydantic import BaseModel

from shared.domain.bars import Bar
from shared.domain.ledger import Position
from shared.domain.money import parse_price, plain
from trade_executor.hours import HoursReport
from trade_executor.performance import DayPerformance

V = TypeVar("V")


class BrokerOrderView(BaseModel):
    """One order at the broker: the one sent, or a leg of it."""

    broker_order_id: str
    client_order_id: str
    parent_order_id: str | None
    side: str
    type: str
    order_class: str
    status: str
    quantity: str | None
    filled_quantity: str
    filled_average_price: str | None
    limit_price: str | None
    stop_price: str | None
    submitted_at: datetime | None
    updated_at: datetime


class FillView(BaseModel):
    """One execution in the ledger; shares, dollars per share, dollars."""

    execution_id: str
    broker_order_id: str
    client_order_id: str | None
    symbol: str
    side: str
    quantity: str
    price: str
    fee: str
    executed_at: datetime
    booked_at: datetime


class PerformanceView(BaseModel):
    """How the trades closed on one New York day went; dollars after fees, None where nothing can be said."""

    day_on: date
    trades: int
    wins: int
    losses: int
    win_rate: float | None
    gross_profit: str
    gross_loss: str
    pnl: str
    profit_factor: float | None
    expectancy: str | None


class Performance(BaseModel):
    """Days, newest first; `next` goes back as `before`."""

    items: list[PerformanceView]
    next: date | None


class OrderView(BaseModel):
    """One order as wished, with what became of it; `purpose` is external for somebody else's."""

    client_order_id: str
    broker_order_id: str | None
    signal_id: str | None
    decision_id: str | None
    symbol: str
    side: str
    purpose: str
    type: str
    order_class: str
    time_in_force: str | None
    quantity: str | None
    filled_quantity: str
    limit_price: str | None
    stop_price: str | None
    take_profit: str | None
    stop_loss: str | None
    stop_loss_limit: str | None = None
    trail_price: str | None = None
    trail_percent: str | None = None
    extended_hours: bool = False
    notional: str | None = None
    replaces: str | None = None
    state: str
    reason: str | None
    act_from: datetime | None
    act_until: datetime | None
    created_at: datetime | None
    sent_at: datetime | None
    ended_at: datetime | None
    orders: list[BrokerOrderView]
    fills: list[FillView] | None = None


class Orders(BaseModel):
    """A page of orders, newest first."""

    items: list[OrderView]
    next: str | None


class Fills(BaseModel):
    """A page of executions, newest first."""

    items: list[FillView]
    next: str | None


class PositionView(BaseModel):
    """Net shares in one symbol; value and unrealised result only where a price is known."""

    symbol: str
    quantity: str
    average_price: str
    realised_pnl: str
    last_price: str | None
    last_price_at: datetime | None
    market_value: str | None
    unrealised_pnl: str | None


class Positions(BaseModel):
    """All open positions, by symbol."""

    items: list[PositionView]
    next: None = None


class DifferenceView(BaseModel):
    """What we and the broker disagree on."""

    kind: str
    subject: str
    symbol: str | None
    ours: str
    theirs: str
    # What the broker said of the order, or what we booked since both sides last agreed.
    evidence: dict[str, Any]
    opened_at: datetime


class AccountView(BaseModel):
    """The account as the ledger has it, and what the executor may do."""

    account: str
    broker_account_id: str | None
    state: str
    reason: str
    since_at: datetime
    reconciled_at: datetime | None
    cash: str | None
    differences: list[DifferenceView]


class Reconciliation(BaseModel):
    """What a full comparison with the broker saw."""

    orders_seen: int
    executions_seen: int
    fills_booked: int
    positions_agree: bool | None
    cash_agrees: bool | None
    never_existed: list[str]
    took_s: float
    acknowledged: int
    differences: list[DifferenceView]


class HoursDifference(BaseModel):
    """One exchange day on which we and the broker keep other hours."""

    session_on: date
    ours: str
    theirs: str


class HoursView(BaseModel):
    """What a comparison of calendar and clock with the broker saw; no entry goes out on what differs."""

    first_on: date
    last_on: date
    sessions: int
    agree: bool
    clock_off_s: float | None
    differing: list[HoursDifference]
    said: str


def hours_view(report: HoursReport) -> HoursView:
    """A comparison for people."""
    off = report.clock_off_s
    parts = [f"{day.on}: we have {day.ours}, the broker {day.theirs}" for day in report.differing]
    if not report.clocks_agree and off is not None:
        parts.append(
            f"this machine's clock is {-off:+.1f} s from the broker's; set it by the network"
        )
    return HoursView(
        first_on=report.first_on,
        last_on=report.last_on,
        sessions=report.sessions,
        agree=not parts,
        clock_off_s=off,
        differing=[
            HoursDifference(session_on=day.on, ours=day.ours, theirs=day.theirs)
            for day in report.differing
        ],
        said="; ".join(parts) or "calendar and clock agree with the broker's",
    )


def order_view(row: Mapping[str, Any]) -> OrderView:
    """An intent's row with its orders, for people."""
    return OrderView(
        client_order_id=row["client_order_id"],
        broker_order_id=row["broker_order_id"],
        signal_id=row["signal_id"],
        decision_id=row["decision_id"],
        symbol=row["symbol"],
        side=row["side"],
        purpose=row["purpose"],
        type=row["type"],
        order_class=row["order_class"],
        time_in_force=row["time_in_force"],
        quantity=maybe(row["quantity"]),
        filled_quantity=plain(row["filled_quantity"]),
        limit_price=maybe(row["limit_price"]),
        stop_price=maybe(row["stop_price"]),
        take_profit=maybe(row["take_profit"]),
        stop_loss=maybe(row["stop_loss"]),
        stop_loss_limit=maybe(row.get("stop_loss_limit")),
        trail_price=maybe(row.get("trail_price")),
        trail_percent=maybe(row.get("trail_percent")),
        extended_hours=bool(row.get("extended_hours")),
        notional=maybe(row.get("notional")),
        replaces=row.get("replaces"),
        state=row["state"],
        reason=row["reason"],
        act_from=row["act_from"],
        act_until=row["act_until"],
        created_at=row["created_at"],
        sent_at=row["sent_at"],
        ended_at=row["ended_at"],
        orders=[_broker_view(order) for order in row["orders"]],
    )


def fill_view(row: Mapping[str, Any]) -> FillView:
    """A fill's row, for people."""
    return FillView(
        execution_id=row["execution_id"],
        broker_order_id=row["broker_order_id"],
        client_order_id=row["client_order_id"],
        symbol=row["symbol"],
        side=row["side"],
        quantity=plain(row["quantity"]),
        price=plain(row["price"]),
        fee=plain(row["fee"]),
        executed_at=row["executed_at"],
        booked_at=row["booked_at"],
    )


def _broker_view(row: Mapping[str, Any]) -> BrokerOrderView:
    return BrokerOrderView(
        broker_order_id=row["broker_order_id"],
        client_order_id=row["client_order_id"],
        parent_order_id=row["parent_order_id"],
        side=row["side"],
        type=row["type"],
        order_class=row["order_class"],
        status=row["status"],
        quantity=maybe(row["quantity"]),
        filled_quantity=plain(row["filled_quantity"]),
        filled_average_price=maybe(row["filled_average_price"]),
        limit_price=maybe(row["limit_price"]),
        stop_price=maybe(row["stop_price"]),
        submitted_at=row["submitted_at"],
        updated_at=row["updated_at"],
    )


def as_intent(order: dict[str, Any]) -> dict[str, Any]:
    """Somebody else's order in the shape of ours."""
    absent = dict.fromkeys(
        ("signal_id", "decision_id", "time_in_force", "take_profit", "stop_loss", "reason", "act_from",
         "act_until", "created_at", "sent_at", "ended_at")
    )  # fmt: skip
    return {
        **absent,
        **order,
        "purpose": "external",
        "state": order["status"].upper(),
        "orders": [order],
    }


def maybe(value: Decimal | None) -> str | None:
    """The figure as a text, if there is one."""
    return None if value is None else plain(value)


def _rounded(value: Decimal) -> str:
    return plain(value.quantize(Decimal("0.000001")))


def page_of(
    rows: Sequence[Mapping[str, Any]], limit: int, view: Callable[[Mapping[str, Any]], V], key: str
) -> dict[str, Any]:
    """A page of at most `limit` items and where the next begins, from rows of which one too many was asked for."""
    is_more = len(rows) > limit
    return {
        "items": [view(row) for row in rows[:limit]],
        "next": str(rows[limit - 1][key]) if is_more else None,
    }


def position_view(position: Position, bar: Bar | None) -> PositionView:
    """A holding, valued at the close of `bar` where there is one."""
    price = None if bar is None else parse_price(bar.close)
    value = None if price is None else position.quantity * price
    gain = None if price is None else position.quantity * (price - position.average_price)
    return PositionView(
        symbol=position.symbol,
        quantity=plain(position.quantity),
        average_price=_rounded(position.average_price),
        realised_pnl=_rounded(position.realised_pnl),
        last_price=maybe(price),
        last_price_at=None if bar is None else bar.end_at,
        market_value=None if value is None else _rounded(value),
        unrealised_pnl=None if gain is None else _rounded(gain),
    )


def performance_view(day: DayPerformance) -> PerformanceView:
    """One day's figures as shown."""
    return PerformanceView(
        day_on=day.day_on,
        trades=day.trades,
        wins=day.wins,
        losses=day.losses,
        win_rate=day.win_rate,
        gross_profit=plain(day.gross_profit),
        gross_loss=plain(day.gross_loss),
        pnl=plain(day.pnl),
        profit_factor=day.profit_factor,
        expectancy=maybe(day.expectancy),
    )
