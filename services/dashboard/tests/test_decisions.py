"""What the Decisions page says: the chain behind an order, the result, and why there was none."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from dashboard.shown import decisions
from dashboard.shown.decisions import Links
from dashboard.testing import AT, a_decision, a_fill, a_wish, an_intent

BATCH = {"id": 7, "digest": "0123456789abcdef", "announced_at": AT, "decidable": True}


def steps_of(rows: Any) -> list[str]:
    return [row.cells["step"].text for row in rows]


def test_a_decision_is_told_in_one_sentence() -> None:
    assert decisions.sentence(a_decision()) == (
        "Moving average wished for an entry in AAPL: buy 10 shares approved, stop 95.00, target 110.00."
    )
    assert decisions.sentence(a_decision("refused", "entry 51 of at most 50")) == (
        "Moving average wished for an entry in AAPL: refused, because entry 51 of at most 50."
    )


def test_the_chain_goes_from_the_bar_to_the_result_in_order_and_each_link_leads_to_its_page() -> (
    None
):
    order = {**an_intent("FILLED", "10"), "sent_at": AT, "broker_order_id": "b1"}
    leg = {
        "broker_order_id": "l1", "parent_order_id": "b1", "type": "stop", "side": "sell", "status": "new",
        "quantity": Decimal(10), "stop_price": Decimal(95), "limit_price": None, "submitted_at": AT,
    }  # fmt: skip
    parent = {**leg, "broker_order_id": "b1", "parent_order_id": None}
    move = {"previous": Decimal(95), "stop_loss": Decimal(97), "reason": "trails", "decided_at": AT}
    fill = a_fill(1, "buy", "10", "100.1")
    links = Links(a_wish(), BATCH, [order], [parent, leg], [move], [fill])

    rows = decisions.chain(a_decision(), links, decisions.result("dec-1", [fill], is_whole=True))

    assert steps_of(rows) == [
        "Bar",
        "Signal",
        "Decision",
        "Order",
        "Sent",
        "Leg",
        "Fill",
        "Stop moved",
        "Result",
    ]
    assert rows[0].cells["what"].text.endswith("instant 7, 0123456789ab")
    assert rows[0].cells["step"].to == "/charts?symbol=AAPL"
    assert rows[3].cells["step"].to == "/orders?id=id-FILLED"
    assert rows[5].cells["what"].text == "stop sell 10 at 95.00: new"
    assert rows[-1].cells["what"].text == "10 shares still held"


def test_a_link_that_should_be_there_and_is_not_is_named() -> None:
    order = {**an_intent("ACKED"), "broker_order_id": "b1"}
    decision = {**a_decision(), "checks": []}

    rows = decisions.chain(decision, Links(a_wish(), None, [order]))

    missing = [row.cells["what"].text for row in rows if row.cells["step"].text == "Missing"]
    assert missing == [
        "the announced instant of this bar",
        "the checks of this decision",
        "the broker's order of id-ACKED",
    ]


def test_an_approval_that_no_order_followed_yet_says_so() -> None:
    steps = decisions.chain(a_decision(), Links())

    assert steps[-1].cells["what"].text == "not yet taken by the executor"


def test_a_refusal_ends_with_the_decision() -> None:
    rows = decisions.chain(a_decision("refused", "too many"), Links(a_wish(), BATCH))

    assert steps_of(rows) == ["Bar", "Signal", "Decision"]
    assert rows[-1].cells["what"].text == "refused, DAILY_TRADES after 1 checks"


def test_the_result_is_what_these_shares_brought_first_in_first_out() -> None:
    fills = [
        a_fill(1, "buy", "10", "100", "other"),
        a_fill(2, "buy", "10", "110", "dec-1"),
        a_fill(3, "sell", "15", "120", "out"),
    ]

    mine = decisions.result("dec-1", fills, is_whole=True)
    out = decisions.result("out", fills, is_whole=True)

    assert mine is not None
    assert out is not None
    assert mine.text == "+50.00 USD after fees; 5 shares still held"
    assert (out.text, out.tone) == ("+250.00 USD after fees", "good")
    assert decisions.result("dec-9", fills, is_whole=True) is None
    beyond = decisions.result("dec-1", fills, is_whole=False)
    assert beyond is not None
    assert "trader why" in beyond.text


def test_the_check_that_refused_stands_out() -> None:
    row = decisions.checks(a_decision("refused", "too many"))[0]

    assert (row.cells["passed"].text, row.cells["passed"].tone) == ("refused", "bad")
    assert row.cells["usage"].text == "51 entries a day"


def standing(**other: Any) -> Any:
    return {
        "end_at": AT, "timeframe": "1Min", "decidable": True, "has_symbol": True, "is_evaluated": True, "signals": 0,
        "held": None, "bar_refused": None, **other,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({}, "no strategy wished for anything"),
        ({"has_symbol": False}, "no bar of it came when the others were decided on"),
        ({"has_symbol": False, "bar_refused": "spike"}, "its bar was refused: spike"),
        ({"decidable": False}, "its bar came too late to be decided on"),
        ({"is_evaluated": False}, "the strategies have not looked at that instant yet"),
        ({"signals": 1}, "the risk manager has not answered yet"),
        ({"held": "split?"}, "It takes no entry meanwhile: split?"),
    ],
)
def test_why_there_is_no_order_is_one_sentence(how: Any, why: str) -> None:
    assert why in decisions.why_not("AAPL", standing(**how), []).text


def test_a_symbol_that_was_answered_at_the_newest_instant_gets_that_answer() -> None:
    refused = a_decision("refused", "entry 51 of at most 50")
    earlier = {**refused, "instant_at": AT - timedelta(minutes=1)}

    assert "refused, because entry 51" in decisions.why_not("AAPL", standing(), [refused]).text
    assert "no strategy wished" in decisions.why_not("AAPL", standing(), [earlier]).text
    assert decisions.why_not("AAPL", None, []).text == "No bar of any symbol has come yet."


def test_figures_are_written_with_the_digits_that_a_person_reads() -> None:
    reckoned = {"equity": "100012.57", "sizing_method": "fixed_fraction", "shares_by_volume": 1850341.657894737,
                "conviction": 0.028132771484, "is_on": True}  # fmt: skip

    rows = decisions.figures({**a_decision(), "figures": reckoned}, None)

    assert [row.cells["value"].text for row in rows] == [
        "0.0281",
        "100,012.57",
        "True",
        "1,850,341.66",
        "fixed_fraction",
    ]
