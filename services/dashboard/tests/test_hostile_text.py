"""Whatever stands in a field, a list shows it as bounded text and leads nowhere but to our own pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.shown import data_health, decisions, jobs, logs, orders, reconciliation, signals
from dashboard.shown.texts import Row
from dashboard.testing import AT, a_check, a_decision, a_wish, an_intent

REJECT = {
    "id": 1, "seen_at": AT, "symbol": "AAPL", "provider": "x", "reason": "r", "raw": "{}", "released_at": AT,
    "release_reason": "r",
}  # fmt: skip
DIFFERENCE = {
    "id": 1, "kind": "POSITION", "subject": "AAPL", "symbol": "AAPL", "ours": "1", "theirs": "2", "opened_at": AT,
    "closed_at": AT, "closed_by": "somebody",
}  # fmt: skip
NOTICE = {
    "number": 1, "event": "mode", "title": "t", "body": "b", "priority": 5, "state": "WAITING", "tries": 2,
    "error": "e", "created_at": AT, "due_at": AT, "sent_at": None,
}  # fmt: skip
RUN = {
    "run_id": "r", "job_id": "reconcile", "kind": "manual", "state": "DONE", "due_at": AT, "occurrences": 1,
    "actor": "operate", "started_at": AT, "finished_at": AT, "duration_s": 1.0, "detail": "d", "figures": {},
}  # fmt: skip
HOLD = {"id": 1, "symbol": "AAPL", "kind": "SPLIT", "reason": "r", "since_at": AT}
LISTS: list[tuple[Callable[[Sequence[Any]], list[Row]], Any]] = [
    (decisions.rows, a_decision("refused", "why")),
    (lambda rows: decisions.checks({"checks": rows}), a_check("DAILY_TRADES", 1, 2)),
    (lambda rows: decisions.chain(a_decision(), decisions.Links(rows[0])), a_wish()),
    (lambda rows: orders.rows(rows, may_cancel=True), an_intent("FILLED", "10", "why")),
    (signals.rows, a_wish()),
    (lambda rows: data_health.rejects(rows, may_release=True), REJECT),
    (lambda rows: data_health.holds(rows, may_release=True), HOLD),
    (lambda rows: reconciliation.rows(rows, may_acknowledge=True), DIFFERENCE),
    (logs.notices, NOTICE),
    (logs.audit, {"at": AT, "source": 1, "number": 1, "actor": "a", "what": "w", "reason": "r"}),
    (logs.rows, {"timestamp": "x", "level": "info", "service": "s", "event": "e", "more": "m"}),
    (jobs.runs, RUN),
]


def with_text(row: Any, text: str) -> Any:
    """The row with `text` in every field that holds text."""
    return {name: text if isinstance(value, str) else value for name, value in row.items()}


def texts_of(wire: Any) -> list[tuple[str, str]]:
    """Every text of a cell with its role: t shown, s small below, h where it leads."""
    return [("t", wire)] if isinstance(wire, str) else [(k, wire[k]) for k in "tsh" if k in wire]


@pytest.mark.parametrize(("shown", "row"), LISTS)
@given(text=st.text(max_size=2_000) | st.just("javascript:alert(1)\x1b[31m\u202e"))
def test_any_text_in_any_field_is_shown_printable_and_bounded(
    shown: Callable[[Sequence[Any]], list[Row]], row: Any, text: str
) -> None:
    for line in shown([with_text(row, text)]):
        told = line.wire()
        assert told.get("to", "/").startswith("/")
        for cell in told["cells"].values():
            for role, said in texts_of(cell):
                assert said.isprintable() or role == "h", (role, said)
                assert len(said) <= 1_300
                if role == "h":
                    assert said.startswith("/")


def test_an_instant_that_cannot_be_read_is_a_dash_and_no_error() -> None:
    [row] = logs.rows([{"timestamp": "yesterday", "level": "info", "event": "e"}])

    assert row.cells["at"].text == ""
