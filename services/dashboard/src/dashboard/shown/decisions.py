"""Why was each wish approved or refused?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.shown.limits import amount
from dashboard.shown.texts import (
    BAD,
    DASH,
    GOOD,
    Cell,
    Column,
    Row,
    count,
    figure,
    moment,
    price,
    ratio,
    shares,
    side,
    state,
    title,
    words,
)

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
                "side": side(each["side"]),
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
        return f"{wish}: {words(decision['side'])} {shares(decision['quantity'])} shares approved{protected}."
    return f"{wish}: refused, because {words(decision['reason'])}."


def chain(
    decision: Mapping[str, Any],
    signal: Mapping[str, Any] | None,
    intents: Sequence[Mapping[str, Any]],
    fills: Sequence[Mapping[str, Any]],
) -> list[Row]:
    """From the bar to the fills, step by step."""
    steps: list[tuple[str, Any, str]] = []
    if signal is not None:
        steps.append(
            (
                "Bar",
                signal["bar_end_at"],
                f"{words(signal['timeframe'])} bar of {words(signal['symbol'])} closed at {price(signal['reference_price'])}",
            )
        )
        steps.append(
            (
                "Signal",
                signal["bar_end_at"],
                f"{words(signal['direction']).lower()}, conviction {ratio(signal['conviction'])}: {words(signal['reason'])}",
            )
        )
    else:
        steps.append(("Wish", decision["instant_at"], f"by {words(decision['strategy'])}"))
    answer = (
        "approved"
        if decision["outcome"] == "approved"
        else f"refused, {words(decision['reason_code'])}"
    )
    steps.append(
        (
            "Decision",
            decision["decided_at"],
            f"{answer} after {count(len(decision['checks']))} checks",
        )
    )
    for each in intents:
        steps.append(
            (
                "Order",
                each["created_at"],
                f"{words(each['purpose'])} {words(each['side'])} {shares(each['quantity'])}: {words(each['state']).lower()}",
            )
        )
        if each["sent_at"] is not None:
            steps.append(("Sent", each["sent_at"], words(each["client_order_id"])))
    steps += [
        (
            "Fill",
            each["executed_at"],
            f"{words(each['side'])} {shares(each['quantity'])} at {price(each['price'])}, fee {price(each['fee'])}",
        )
        for each in fills
    ]
    if decision["outcome"] == "approved" and not intents:
        steps.append(("Order", None, "not yet taken by the executor"))
    return [
        Row(f"{number}", {"step": Cell(step), "at": moment(at), "what": Cell(what)})
        for number, (step, at, what) in enumerate(steps)
    ]


def figures(decision: Mapping[str, Any], signal: Mapping[str, Any] | None) -> list[Row]:
    """What the strategy and the risk manager reckoned with."""
    known = {**(signal["figures"] if signal is not None else {}), **decision["figures"]}
    return [
        Row(name, {"name": Cell(title(name)), "value": Cell(words(value))})
        for name, value in sorted(known.items())
    ]


def _figure_of(value: Any, unit: Any) -> str:
    text = words(unit)
    return amount(
        float(value), "" if len(text) > 24 or text == DASH else text
    )  # a long unit is a legend
