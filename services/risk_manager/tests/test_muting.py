"""Refusals that come again are kept short, and whole again when the answer changes."""

from __future__ import annotations

from datetime import timedelta

from risk_manager.muting import MOST_ROWS, Rows, is_repeat, muted
from risk_manager.review import Outcome, review_evaluation
from risk_manager.testing import (
    NOW,
    a_book,
    a_holding,
    a_market,
    a_mode,
    a_signal,
    a_venue,
    an_evaluation,
    some_limits,
)
from shared.domain.decisions import Refused, TradingMode


def asked(minute: int, *, held: bool = False) -> Outcome:
    """A wish for AAPL that is refused: trading is REDUCING, or the symbol is held."""
    at = NOW + timedelta(minutes=minute)
    book = a_book(
        holdings=[a_holding("AAPL", stop=95)] if held else [],
        mode=a_mode(TradingMode.ACTIVE if held else TradingMode.REDUCING),
    )
    return review_evaluation(
        an_evaluation(a_signal("AAPL", at=at), at=at),
        book,
        a_market({"AAPL": 100}, at),
        some_limits(),
        a_venue(),
        at,
    )


def told(*outcomes: Outcome) -> list[Outcome]:
    rows: Rows = {}
    answers = []
    for outcome in outcomes:
        answer, rows = muted(outcome, rows)
        answers.append(answer)
    return answers


def test_the_first_refusal_is_whole_and_the_next_ones_keep_what_failed_and_their_number() -> None:
    first, second, third = told(asked(0), asked(1), asked(2))

    assert first == asked(0)
    (decision,) = second.decisions
    assert isinstance(decision.answer, Refused)
    assert [check.code for check in decision.answer.checks] == ["MODE"]
    assert decision.answer.reason == asked(1).review.refused[0].reason
    assert second.review.refused == (decision.answer,)
    assert (decision.figures["repeats"], third.decisions[0].figures["repeats"]) == ("2", "3")
    assert decision.figures["mode_version"] == "1"
    assert is_repeat(decision)


def test_another_reason_is_told_whole_and_begins_a_row_of_its_own() -> None:
    _, other, again = told(asked(0), asked(1, held=True), asked(2))

    assert other == asked(1, held=True)
    assert again == asked(2)


def test_an_approval_ends_the_row() -> None:
    at = NOW + timedelta(minutes=1)
    bought = review_evaluation(
        an_evaluation(a_signal("AAPL", at=at), at=at),
        a_book(),
        a_market({"AAPL": 100}, at),
        some_limits(),
        a_venue(),
        at,
    )
    assert bought.review.approved

    _, approved, again = told(asked(0), bought, asked(2))

    assert approved == bought
    assert again == asked(2)


def test_only_so_many_rows_are_remembered() -> None:
    rows = {("s", str(number), "entry"): ("MODE", 1) for number in range(MOST_ROWS)}

    _, after = muted(asked(0), rows)

    assert len(after) == MOST_ROWS
    assert ("s", "0", "entry") not in after
