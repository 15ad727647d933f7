"""What became of each order?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from dashboard.shown.texts import (
    Cell,
    Column,
    Row,
    figure,
    full_time,
    moment,
    percent,
    price,
    shares,
    side,
    state,
    title,
    wished,
    words,
)

OPEN = frozenset({"PENDING", "SENDING", "UNKNOWN", "ACKED", "PARTIAL"})
COLUMNS = (
    Column("at", "Time"),
    Column("symbol", "Symbol"),
    Column("side", "Side"),
    Column("kind", "Kind"),
    Column("quantity", "Shares", right=True),
    Column("filled", "Filled", right=True),
    Column("price", "Price", "USD", right=True),
    Column("state", "State"),
    Column("reason", "Reason", wide=True),
)
LEGS = (
    Column("order", "At the broker"),
    Column("side", "Side"),
    Column("type", "Type"),
    Column("quantity", "Shares", right=True),
    Column("filled", "Filled", right=True),
    Column("price", "Price", "USD", right=True),
    Column("average", "Filled at", "USD", right=True),
    Column("state", "State"),
    Column("at", "Changed"),
)
FACTS = (
    ("id", "Our id"),
    ("decision", "Decision"),
    ("wish", "Order"),
    ("protection", "Stop and target"),
    ("state", "State"),
    ("reason", "Reason"),
    ("act", "To be sent"),
    ("sent", "Sent"),
    ("ended", "Ended"),
)


def rows(intents: Sequence[Mapping[str, Any]], *, may_cancel: bool) -> list[Row]:
    """One line per order as wished."""
    return [
        Row(
            str(each["client_order_id"]),
            {
                "at": moment(each["created_at"]),
                "symbol": Cell(words(each["symbol"])),
                "side": side(wished(each)),
                "kind": Cell(
                    f"{words(each['type'])} {words(each['purpose'])}",
                    sub="bracket" if each["order_class"] == "bracket" else "",
                ),
                "quantity": figure(each["quantity"], shares(each["quantity"])),
                "filled": figure(
                    each["filled_quantity"], shares(each["filled_quantity"]), sub=_share(each)
                ),
                "price": _price(each),
                "state": state(each["state"]),
                "reason": Cell(words(each["reason"]) if each["reason"] else ""),
            },
            (("cancel", "Cancel"),) if may_cancel and each["state"] in OPEN else (),
            to=f"/orders?id={each['client_order_id']}",
        )
        for each in intents
    ]


def told(intent: Mapping[str, Any]) -> str:
    """One order in a few words."""
    return f"{words(intent['purpose'])} {wished(intent)} {shares(intent['quantity'])} {words(intent['symbol'])}"


def legs(orders: Sequence[Mapping[str, Any]]) -> list[Row]:
    """What the broker has of one order."""
    return [
        Row(
            str(each["broker_order_id"]),
            {
                "order": Cell(
                    words(each["broker_order_id"])[:18],
                    sub="leg" if each["parent_order_id"] else "",
                ),
                "side": side(each["side"]),
                "type": Cell(words(each["type"])),
                "quantity": figure(each["quantity"], shares(each["quantity"])),
                "filled": figure(each["filled_quantity"], shares(each["filled_quantity"])),
                "price": _price(each),
                "average": figure(
                    each["filled_average_price"], price(each["filled_average_price"])
                ),
                "state": state(each["status"]),
                "at": moment(each["updated_at"]),
            },
        )
        for each in orders
    ]


def facts(intent: Mapping[str, Any]) -> dict[str, Cell]:
    """One order in full."""
    stop, target = intent["stop_loss"], intent["take_profit"]
    return {
        "id": Cell(words(intent["client_order_id"])),
        "decision": Cell(words(intent["decision_id"])),
        "wish": Cell(
            f"{title(intent['purpose'])}: {wished(intent)} {shares(intent['quantity'])} {words(intent['symbol'])}",
            sub=f"{words(intent['type'])}, {words(intent['time_in_force'])}",
        ),
        "protection": Cell(
            "none with it"
            if stop is None
            else f"stop {price(stop)} USD, target {price(target)} USD"
        ),
        "state": Cell(state(intent["state"]).text, state(intent["state"]).tone),
        "reason": Cell(words(intent["reason"])),
        "act": Cell(f"from {full_time(intent['act_from'])} until {full_time(intent['act_until'])}"),
        "sent": Cell(full_time(intent["sent_at"])),
        "ended": Cell(full_time(intent["ended_at"])),
    }


def _price(order: Mapping[str, Any]) -> Cell:
    limit, stop = order["limit_price"], order["stop_price"]
    if limit is None and stop is None:
        return Cell("market")
    if limit is not None and stop is not None:
        return figure(limit, price(limit), sub=f"stop {price(stop)}")
    return figure(
        limit if stop is None else stop,
        price(limit if stop is None else stop),
        sub="limit" if stop is None else "stop",
    )


def _share(order: Mapping[str, Any]) -> str:
    whole, part = order["quantity"], order["filled_quantity"]
    if not whole or not part or part == whole:
        return ""
    return percent(Decimal(part) / Decimal(whole), 0)
