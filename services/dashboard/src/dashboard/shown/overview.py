"""What does the first page say?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from dashboard.shown.limits import NEAR
from dashboard.shown.texts import (
    BAD,
    DASH,
    WARN,
    Cell,
    Column,
    Row,
    age,
    count,
    counted,
    figure,
    moment,
    money,
    number,
    percent,
    price,
    shares,
    side,
    signed,
    signed_percent,
    span,
    state,
    title,
    tone,
    wished,
    words,
)

STATS = (
    ("equity", "Equity", "USD"),
    ("day", "Today", "USD"),
    ("drawdown", "Drawdown", ""),
    ("gross", "Gross exposure", ""),
    ("cash", "Cash", "USD"),
    ("open", "Open orders", ""),
    ("signals", "Signals today", ""),
    ("decisions", "Decisions today", ""),
)
SPANS = (("day", "Day"), ("week", "Week"), ("month", "Month"), ("all", "All"))
_DAYS = {"week": 7, "month": 31}
_BEGINNING = datetime(1990, 1, 1, tzinfo=UTC)
SERVICES = (
    Column("service", "Service"),
    Column("state", "State"),
    Column("answered", "Answered in", right=True),
    Column("cpu", "Of one core", right=True),
    Column("memory", "Memory", "MiB", right=True),
    Column("detail", "Detail", wide=True),
)
ACTIVITY = (
    Column("at", "Time"),
    Column("symbol", "Symbol"),
    Column("what", "Order"),
    Column("state", "State"),
    Column("filled", "Filled", right=True),
)
FILLS = (
    Column("at", "Time"),
    Column("symbol", "Symbol"),
    Column("side", "Side"),
    Column("quantity", "Shares", right=True),
    Column("price", "Price", "USD", right=True),
)


def stats(
    equity: Sequence[Mapping[str, Any]],
    day_start: Decimal | None,
    counts: Mapping[str, Any],
    portfolio: Mapping[str, Any],
) -> dict[str, Cell]:
    """The strip of figures."""
    if equity:
        last = equity[-1]
        worth, drawdown, cash = last["equity"], last["drawdown"], last["cash"]
        gross = last["gross_exposure"] / worth if worth else None
    else:
        worth = number(portfolio.get("equity"))
        cash = number(portfolio.get("cash"))
        drawdown, gross = portfolio.get("drawdown"), portfolio.get("gross_exposure_ratio")
    change = None if worth is None or day_start is None else worth - day_start
    share = change / day_start if change is not None and day_start else None
    reserved = portfolio.get("reserved_cash")
    unknown = counts.get("unknown", 0)
    return {
        "equity": Cell(money(worth), sub="" if equity else "not marked yet"),
        "day": Cell(signed(change), tone(change), sub=signed_percent(share)),
        "drawdown": _drawdown(drawdown, portfolio.get("limits", [])),
        "gross": Cell(percent(gross, 1), sub="of equity"),
        "cash": Cell(
            money(cash), sub=f"{money(reserved)} reserved" if reserved is not None else ""
        ),
        "open": Cell(
            count(counts.get("open")),
            WARN if unknown else "",
            sub=f"{count(unknown)} unknown" if unknown else "none unknown",
        ),
        "signals": Cell(
            counted(counts.get("signals")), sub=f"{counted(counts.get('fills'))} fills"
        ),
        "decisions": Cell(
            counted(counts.get("approved", 0) + counts.get("refused", 0)),
            sub=f"{counted(counts.get('approved'))} approved, {counted(counts.get('refused'))} refused",
        ),
    }


def _drawdown(drawdown: Any, limits: Sequence[Mapping[str, Any]]) -> Cell:
    """In the colour of the limit that holds now, and of none where that is not known."""
    allowed = next((float(each["limit"]) for each in limits if each["code"] == "DRAWDOWN"), None)
    said = "below the peak" if allowed is None else f"of at most {percent(allowed, 1)}"
    share = float(drawdown) / allowed if drawdown is not None and allowed else 0.0
    return Cell(percent(drawdown), BAD if share >= 1 else WARN if share >= NEAR else "", sub=said)


def since(span_of: str, midnight: datetime) -> datetime:
    """Where the curves begin; `midnight` began the present day."""
    if span_of == "day":
        return midnight
    days = _DAYS.get(span_of)
    return _BEGINNING if days is None else midnight - timedelta(days=days - 1)


def services(items: Sequence[Mapping[str, Any]], silent: str | None, now: datetime) -> list[Row]:
    """How each service and server answered last. `silent` is why the scheduler, which asks them, does not answer."""
    if silent is not None:
        cells = {
            "service": Cell("Scheduler"),
            "state": state("down"),
            "detail": Cell(words(silent)),
        }
        return [Row("scheduler", cells)]
    return [
        Row(
            words(each["service"]),
            {
                "service": Cell(title(each["service"])),
                "state": state(each["state"]),
                "answered": figure(each["answered_in_s"], span(each["answered_in_s"])),
                "cpu": figure(each["cpu_share"], percent(each["cpu_share"], 1)),
                "memory": figure(each["memory_bytes"], _mebibytes(each["memory_bytes"])),
                "detail": Cell(
                    words(each["detail"])
                    if each["detail"]
                    else f"asked {age(each['checked_at'], now)}"
                ),
            },
        )
        for each in items
    ]


def _mebibytes(size: int | None) -> str:
    return DASH if size is None else count(round(size / 2**20))


def activity(intents: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The newest orders."""
    return [
        Row(
            str(each["client_order_id"]),
            {
                "at": moment(each["created_at"]),
                "symbol": Cell(words(each["symbol"])),
                "what": Cell(f"{words(each['purpose'])} {wished(each)} {shares(each['quantity'])}"),
                "state": state(each["state"]),
                "filled": figure(each["filled_quantity"], shares(each["filled_quantity"])),
            },
            to=f"/orders?id={each['client_order_id']}",
        )
        for each in intents
    ]


def fills(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The newest executions."""
    return [
        Row(
            str(each["execution_id"]),
            {
                "at": moment(each["executed_at"]),
                "symbol": Cell(words(each["symbol"])),
                "side": side(each["side"]),
                "quantity": figure(each["quantity"], shares(each["quantity"])),
                "price": figure(each["price"], price(each["price"])),
            },
        )
        for each in rows
    ]


def curve_note(equity: Sequence[Mapping[str, Any]]) -> str:
    """What the curve spans."""
    if not equity:
        return DASH
    return f"{count(len(equity))} marks since {moment(equity[0]['instant_at']).text} New York"
