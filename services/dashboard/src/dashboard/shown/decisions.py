"""Why was each wish approved or refused?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from dashboard.shown.limits import amount
from dashboard.shown.texts import (
    BAD,
    DASH,
    GOOD,
    MUTED,
    WARN,
    Cell,
    Column,
    Row,
    count,
    figure,
    instant,
    moment,
    number,
    price,
    ratio,
    shares,
    side,
    signed,
    state,
    title,
    tone,
    wished,
    words,
)
from shared.domain.lots import Execution, match
from shared.domain.orders import Side
from shared.domain.symbols import Symbol

COLUMNS = (
    Column("at", "Time"),
    Column("symbol", "Symbol"),
    Column("side", "Side"),
    Column("purpose", "For"),
    Column("strategy", "Strategy"),
    Column("quantity", "Shares", right=True),
    Column("outcome", "Answer"),
    Column("reason", "Reason", wide=True),
)
REASONS = (
    Column("code", "Reason"),
    Column("many", "Times", right=True),
    Column("last", "Last"),
)
CHECKS = (
    Column("check", "Check", wide=True),
    Column("usage", "Figure", right=True),
    Column("limit", "Limit", right=True),
    Column("passed", "Result"),
)
STEPS = (Column("step", "Step"), Column("at", "Time"), Column("what", "What", wide=True))
FIGURES = (Column("name", "Figure"), Column("value", "Value", right=True))


def rows(decisions: Sequence[Mapping[str, Any]]) -> list[Row]:
    """One line per answer."""
    return [
        Row(
            str(each["decision_id"]),
            {
                "at": moment(each["decided_at"]),
                "symbol": Cell(words(each["symbol"])),
                "side": side(wished(each)),
                "purpose": Cell(words(each["purpose"])),
                "strategy": Cell(title(each["strategy"])),
                "quantity": figure(each["quantity"], shares(each["quantity"])),
                "outcome": state(each["outcome"]),
                "reason": Cell(
                    title(str(each["reason_code"]).lower()) if each["reason_code"] else "",
                    sub=words(each["reason"]) if each["reason"] else "",
                ),
            },
            to=f"/decisions?id={each['decision_id']}",
        )
        for each in decisions
    ]


def reasons(refusals: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Which reasons refused today."""
    return [
        Row(
            str(each["reason_code"]),
            {
                "code": Cell(title(str(each["reason_code"]).lower())),
                "many": figure(each["many"], count(each["many"])),
                "last": moment(each["last_at"]),
            },
        )
        for each in refusals
    ]


def checks(decision: Mapping[str, Any]) -> list[Row]:
    """Every check of one answer in the order in which it was made."""
    return [
        Row(
            f"{number}",
            {
                "check": Cell(title(str(each["code"]).lower()), sub=words(each["text"])),
                "usage": figure(each["usage"], _figure_of(each["usage"], each["unit"])),
                "limit": figure(each["limit"], _figure_of(each["limit"], each["unit"])),
                "passed": Cell(
                    "passed" if each["passed"] else "refused",
                    GOOD if each["passed"] else BAD,
                    chip=True,
                ),
            },
        )
        for number, each in enumerate(decision["checks"])
    ]


def sentence(decision: Mapping[str, Any]) -> str:
    """The answer in one sentence."""
    wish = f"{title(decision['strategy'])} wished for an {words(decision['purpose'])} in {words(decision['symbol'])}"
    if decision["outcome"] == "approved":
        protected = ""
        if decision["stop_loss"] is not None:
            protected = (
                f", stop {price(decision['stop_loss'])}, target {price(decision['take_profit'])}"
            )
        return (
            f"{wish}: {wished(decision)} {shares(decision['quantity'])} shares approved{protected}."
        )
    return f"{wish}: refused, because {words(decision['reason'])}."


@dataclass(frozen=True, slots=True)
class Links:
    """What is stored along one wish's way; what does not apply is None or empty."""

    signal: Mapping[str, Any] | None = None
    batch: Mapping[str, Any] | None = None
    intents: Sequence[Mapping[str, Any]] = ()
    orders: Sequence[Mapping[str, Any]] = ()
    stop_moves: Sequence[Mapping[str, Any]] = ()
    fills: Sequence[Mapping[str, Any]] = ()


def chain(decision: Mapping[str, Any], links: Links, result: Cell | None = None) -> list[Row]:
    """From the bar to the result, step by step; each leads to its page. A link that should be there and is not, says so."""
    symbol, signal = words(decision["symbol"]), links.signal
    steps: list[tuple[str, Any, str, str, str]] = []
    if signal is not None:
        batch = links.batch
        steps.append(
            (
                "Bar",
                signal["bar_end_at"],
                f"{words(signal['timeframe'])} bar of {symbol} closed at {price(signal['reference_price'])}"
                + (f"; instant {batch['id']}, {str(batch['digest'])[:12]}" if batch else ""),
                f"/charts?symbol={symbol}",
                "",
            )
        )
        if batch is None:
            steps.append(("Missing", None, "the announced instant of this bar", "", BAD))
        steps.append(
            (
                "Signal",
                signal["bar_end_at"],
                f"{words(signal['direction']).lower()}, conviction {ratio(signal['conviction'])}: {words(signal['reason'])}",
                "/signals",
                "",
            )
        )
    else:
        steps.append(("Wish", decision["instant_at"], f"by {words(decision['strategy'])}", "", ""))
    approved = decision["outcome"] == "approved"
    answer = "approved" if approved else f"refused, {words(decision['reason_code'])}"
    many = len(decision["checks"])
    steps.append(
        (
            "Decision",
            decision["decided_at"],
            f"{answer} after {count(many)} checks",
            "",
            GOOD if approved else BAD,
        )
    )
    if not many:
        steps.append(("Missing", None, "the checks of this decision", "", BAD))
    steps += _order_steps(links)
    if approved and not links.intents:
        steps.append(("Order", None, "not yet taken by the executor", "", ""))
    rows = [
        Row(
            f"{number}",
            {"step": Cell(step, tone_of, to=to), "at": moment(at), "what": Cell(what)},
        )
        for number, (step, at, what, to, tone_of) in enumerate(steps)
    ]
    if result is not None:
        rows.append(Row("result", {"step": Cell("Result"), "at": Cell(""), "what": result}))
    return rows


def _order_steps(links: Links) -> list[tuple[str, Any, str, str, str]]:
    steps: list[tuple[str, Any, str, str, str]] = []
    known = {each["broker_order_id"] for each in links.orders}
    for each in links.intents:
        to = f"/orders?id={each['client_order_id']}"
        what = f"{words(each['purpose'])} {wished(each)} {shares(each['quantity'])}: {words(each['state']).lower()}"
        steps.append(("Order", each["created_at"], what, to, ""))
        if each["sent_at"] is not None:
            steps.append(("Sent", each["sent_at"], words(each["client_order_id"]), to, ""))
        if each.get("broker_order_id") is not None and each["broker_order_id"] not in known:
            steps.append(("Missing", None, f"the broker's order of {to[11:]}", "", BAD))
    steps += [
        (
            "Leg",
            each["submitted_at"],
            _leg(each),
            "",
            "",
        )
        for each in links.orders
        if each["parent_order_id"] is not None
    ]
    steps += [
        (
            "Fill",
            each["executed_at"],
            f"{words(each['side'])} {shares(each['quantity'])} at {price(each['price'])}, fee {price(each['fee'])}",
            "",
            "",
        )
        for each in links.fills
    ]
    steps += [
        (
            "Stop moved",
            each["decided_at"],
            f"from {price(each['previous'])} to {price(each['stop_loss'])}: {words(each['reason'])}",
            "",
            "",
        )
        for each in links.stop_moves
    ]
    return steps


def _leg(order: Mapping[str, Any]) -> str:
    level = price(order["stop_price"] or order["limit_price"])
    what = f"{words(order['type'])} {words(order['side'])} {shares(order['quantity'])}"
    return f"{what} at {level}: {words(order['status'])}"


def result(decision_id: str, fills: Sequence[Mapping[str, Any]], *, is_whole: bool) -> Cell | None:
    """What this decision's shares brought, first in, first out; None where nothing was filled.

    `fills`: all executions of the symbol, oldest first; `is_whole` is false where there are more than were read.
    """
    if not any(each["decision_id"] == decision_id for each in fills):
        return None
    if not is_whole:
        return Cell("not reckoned here; the symbol has too many executions: trader why says it")
    mine = {e["execution_id"] for e in fills if e["decision_id"] == decision_id}
    matching = match(
        Execution(
            e["execution_id"],
            words(e["broker_order_id"]),
            "",
            Symbol("X"),
            Side(e["side"]),
            e["quantity"],
            e["price"],
            e["fee"],
            e["executed_at"],
        )
        for e in fills
    )
    closings = [
        closing
        for closing in matching.closings
        if {closing.opened.execution.execution_id, closing.closed.execution.execution_id} & mine
    ]
    gains = [closing.gain for closing in closings if closing.gain is not None]
    held = sum(
        (lot.quantity for lot in matching.open_lots if lot.execution.execution_id in mine),
        Decimal(0),
    )
    earned = sum(gains, Decimal(0))
    told = [f"{signed(earned)} USD after fees"] if gains else []
    is_owed = any(lot.execution.side is Side.SELL for lot in matching.open_lots)
    told += [f"{shares(held)} shares still {'owed' if is_owed else 'held'}"] if held else []
    return Cell("; ".join(told) or "nothing closed yet", tone(earned))


def why_not(
    symbol: str, standing: Mapping[str, Any] | None, newest: Sequence[Mapping[str, Any]]
) -> Cell:
    """Why there is no order in `symbol` now, in one sentence; `newest` are its decisions, newest first."""
    if standing is None:
        return Cell("No bar of any symbol has come yet.", MUTED)
    at = moment(standing["end_at"]).text
    decided = [each for each in newest if instant(each["instant_at"]) == standing["end_at"]]
    if decided:
        return Cell(f"At {at}: {'; '.join(sentence(each) for each in decided)}")
    last = f" The last answer was at {moment(newest[0]['decided_at']).text}." if newest else ""
    if not standing["has_symbol"]:
        why = (
            f"its bar was refused: {words(standing['bar_refused'])}"
            if standing["bar_refused"]
            else "no bar of it came when the others were decided on"
        )
    elif not standing["decidable"]:
        why = "its bar came too late to be decided on"
    elif standing["signals"]:
        why = "a strategy wished for it, and the risk manager has not answered yet"
    elif not standing["is_evaluated"]:
        why = "the strategies have not looked at that instant yet"
    else:
        why = "no strategy wished for anything"
    held = f" It takes no entry meanwhile: {words(standing['held'])}." if standing["held"] else ""
    return Cell(f"At {at} {symbol} got no order: {why}.{held}{last}", WARN if held else "")


def figures(decision: Mapping[str, Any], signal: Mapping[str, Any] | None) -> list[Row]:
    """What the strategy and the risk manager reckoned with."""
    known = {**(signal["figures"] if signal is not None else {}), **decision["figures"]}
    return [
        Row(name, {"name": Cell(title(name)), "value": Cell(_tidy(value))})
        for name, value in sorted(known.items())
    ]


def _tidy(value: Any) -> str:
    """A figure with the digits that a person reads; everything else as it is."""
    found = number(value) if isinstance(value, int | float | str | Decimal) else None
    if found is None or isinstance(value, bool):
        return words(value)
    return shares(round(found, 4 if abs(found) < 1_000 else 2))


def _figure_of(value: Any, unit: Any) -> str:
    text = words(unit)
    return amount(
        float(value), "" if len(text) > 24 or text == DASH else text
    )  # a long unit is a legend
