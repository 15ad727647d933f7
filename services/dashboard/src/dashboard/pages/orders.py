"""Orders: what was sent, what became of it, what the broker has of it."""

from __future__ import annotations

from dashboard.parts import acting
from dashboard.parts.controls import (
    Facts,
    Tabs,
    button,
    card,
    element,
    say,
    show_if,
    symbol_input,
    symbol_of,
)
from dashboard.parts.dialogs import Asked, ask
from dashboard.parts.paging import READ, Pager
from dashboard.parts.table import Table
from dashboard.parts.visit import Refresh, Visit
from dashboard.shown import orders

_LONGEST_ID = 64


def build(visit: Visit) -> Refresh:
    """The page, and what brings it up to date."""
    wanted = visit.query.get("id", "")[:_LONGEST_ID]
    told: dict[str, str] = {}
    wake = visit.rooms.feed.wake

    def others() -> None:
        pages.reset()
        wake()

    def act(_: str, order_id: str) -> None:
        if order_id in told and visit.rights.may_operate:
            acting.cancel(visit, order_id, told[order_id])

    missing = element("div", "banner k-warn hidden")
    with missing:
        element("strong", text="Not found.")
        element("span", text="No order of ours has this id.")
    detail = element("div", "grid")
    with detail:
        with card("Order", "w4") as (_, tools):
            with tools:
                element("a", "btn small", "Why?").props(f"href=/decisions?id={_plain(wanted)}")
                element("a", "btn small ghost", "All orders").props("href=/orders")
            with element("div", "body"):
                facts = Facts(orders.FACTS)
        with card("At the broker", "w8"):
            legs = Table(
                "At the broker",
                orders.LEGS,
                empty="The broker has nothing of it.",
                searchable=False,
            )
    show_if(detail, visible=False)
    with element("div", "grid"), card("Orders") as (note, tools):
        with tools:
            symbol = symbol_input(visit.query.get("symbol", ""), others)
            tabs = Tabs(
                "Which orders",
                [("all", "All"), ("open", "Open"), ("filled", "Filled"), ("unknown", "Unknown")],
                lambda _: others(),
            )
            if visit.rights.may_operate:
                button("Cancel all", lambda: acting.cancel_all(visit), "danger small")
                button("New order", lambda: _order(visit), "primary small")
        table = Table(
            "Orders",
            orders.COLUMNS,
            empty="No such order.",
            hint="Orders appear here as soon as risk has approved them.",
            on_act=act,
        )
        pages = Pager("orders", wake)

    async def refresh() -> None:
        only = symbol_of(symbol)
        read = await visit.rows("intents", READ, only, tabs.chosen, pages.before)
        shown = pages.page(read, lambda row: row["sequence"])
        say(note, f"{pages.words(len(shown), 'orders')}{' of ' + only if only else ''}")
        told.clear()
        told.update({each["client_order_id"]: orders.told(each) for each in shown})
        table.show(orders.rows(shown, may_cancel=visit.rights.may_operate))
        if wanted:
            found = await visit.rows("intent", wanted)
            show_if(missing, visible=found is None)
            show_if(detail, visible=found is not None)
            if found is not None:
                facts.show(orders.facts(found))
                legs.show(orders.legs(await visit.rows("broker_orders", wanted)))

    return refresh


def _plain(text: str) -> str:
    return "".join(c for c in text if c.isalnum() or c in "-_.:")


def _order(visit: Visit) -> None:
    async def do(given: dict[str, str]) -> str:
        order: dict[str, object] = {
            "symbol": given["symbol"].upper(), "side": given["side"], "qty": given["qty"], "type": given["type"],
        }  # fmt: skip
        if given["price"]:
            order["limit_price" if given["type"] == "limit" else "stop_price"] = given["price"]
        if given["stop"] or given["target"]:
            order |= {
                "stop_loss": {"stop_price": given["stop"]},
                "take_profit": {"limit_price": given["target"]},
            }
        said = await visit.act("trade_executor", "/orders", order, once=True)
        return f"{given['symbol'].upper()}: {said.get('state', 'under review').lower()}."

    ask(
        "New order",
        "It takes the same road through risk as any signal. A sale closes what is held, and a purchase what was sold short; "
        "by hand nothing is sold short.",
        [
            Asked("symbol", "Symbol"),
            Asked("side", "Side", choices=("buy", "sell")),
            Asked("qty", "Shares"),
            Asked("type", "Type", choices=("market", "limit", "stop")),
            Asked("price", "Limit or stop price, USD (not for market)", required=False),
            Asked("stop", "Protective stop, USD", required=False),
            Asked("target", "Target, USD (with the stop)", required=False),
        ],
        do,
        yes="Send to risk",
    )
