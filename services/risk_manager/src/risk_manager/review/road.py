"""In which order is one instant answered, and what comes of it?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from risk_manager import positions
from risk_manager.exposure import Exposure, mark
from risk_manager.limits import Code, Limits
from risk_manager.review.case import Case, Decision, Outcome, Venue, Wish, breach_of, day_of
from risk_manager.review.entries import decide_entry
from risk_manager.review.exits import decide_exit
from risk_manager.review.wishes import (
    entry_of,
    exit_of,
    flatten_wishes,
    leads_out,
    management_wishes,
    manual_of,
    turn_wishes,
)
from risk_manager.snapshot import Book, Market, Mode, Throttle
from shared.domain.decisions import Approved, Purpose, Refused, Review, TradingMode
from shared.domain.ids import MANAGEMENT_PREFIX, source_of_instant
from shared.domain.signals import Evaluation, ManualOrder
from shared.domain.symbols import Symbol

_Wishes = Callable[[Exposure], list[Wish]]


def source_of(message: Evaluation | ManualOrder) -> str:
    """The key under which the review of `message` is announced, once."""
    if isinstance(message, ManualOrder):
        return f"manual:{message.signal_id}"
    return source_of_instant(message.timeframe.value, message.instant_at)


def flatten_source(flatten_id: str) -> str:
    """The key under which the review of that flatten is announced."""
    return f"flatten:{flatten_id}"


def review_evaluation(
    evaluation: Evaluation,
    book: Book,
    market: Market,
    limits: Limits,
    venue: Venue,
    now: datetime,
) -> Outcome:
    """Answer every signal of one instant."""
    # As they are under the account's lock: a change counts from the next decision on.
    limits = limits.with_stored(book.limit_changes)
    if market.unread is not None:
        limits = replace(limits, management=limits.management.without_prices)

    def wishes(exposure: Exposure) -> list[Wish]:
        exits = [s for s in evaluation.signals if leads_out(s, exposure, limits)]
        entries = [s for s in evaluation.signals if not leads_out(s, exposure, limits)]
        exits.sort(key=lambda s: (s.symbol, s.strategy, s.signal_id))
        entries.sort(key=lambda s: (-s.conviction, s.symbol, s.strategy, s.signal_id))
        return [
            *(exit_of(s, exposure) for s in exits),
            *management_wishes(
                evaluation, {s.symbol for s in exits}, book, exposure, limits, venue
            ),
            *turn_wishes(evaluation, book, exposure, limits, venue),
            *(entry_of(s, limits) for s in entries),
        ]

    outcome = _review(
        source_of(evaluation), evaluation.instant_at, wishes, book, market, limits, venue, now
    )
    if book.mode.mode is TradingMode.HALTED or not limits.management.moves_stops:
        return outcome
    moved = positions.stop_moves(
        book,
        Exposure.of(book, market),
        limits.management,
        atr_bars=limits.sizing.atr_bars,
        besides={a.symbol for a in outcome.review.approved if a.purpose is Purpose.EXIT},
    )
    return replace(outcome, review=replace(outcome.review, moved=moved))


def review_manual(
    order: ManualOrder,
    book: Book,
    market: Market,
    limits: Limits,
    venue: Venue,
    now: datetime,
) -> Outcome:
    """Answer an order that a person asked for: as given or not at all, never resized.

    A buy may add to what is held, since it names its quantity; a sale is always an exit, so nothing is sold short by hand.
    It is answered by the account as it is now, however long ago it was asked for: two days' losses are not one day's.
    """

    def wishes(exposure: Exposure) -> list[Wish]:
        return [manual_of(order, exposure)]

    in_force = limits.with_stored(book.limit_changes)
    at = max(now, order.requested_at)
    return _review(source_of(order), at, wishes, book, market, in_force, venue, now)


def review_flatten(
    flatten_id: str,
    asked: dict[str, str],
    book: Book,
    market: Market,
    limits: Limits,
    venue: Venue,
    now: datetime,
) -> Outcome:
    """An exit for everything held or on order; `asked` (who and why) is kept with each."""

    def wishes(exposure: Exposure) -> list[Wish]:
        return flatten_wishes(flatten_id, asked, book, exposure, now)

    in_force = limits.with_stored(book.limit_changes)
    return _review(flatten_source(flatten_id), now, wishes, book, market, in_force, venue, now)


def _review(
    source: str,
    instant_at: datetime,
    wishes: _Wishes,
    book: Book,
    market: Market,
    limits: Limits,
    venue: Venue,
    now: datetime,
) -> Outcome:
    exposure = Exposure.of(book, market)
    marked = mark(book, exposure, instant_at)
    case = Case(
        book.account,
        book.mode.mode,
        limits,
        venue,
        marked,
        max(now, instant_at),
        book.recent,
        0 if book.limit_change is None else book.limit_change.version,
        book.lending,
    )
    # What the last known prices make of it is judged once the store answers.
    breach = breach_of(case) if _may_judge(book.mode) and market.unread is None else None
    wished = wishes(exposure)
    flattens = breach is not None and limits.flatten_on_breach
    if breach is not None and exposure.estimated is not None:
        # The loss may be none. Then it is enough that nothing is bought: whoever is told decides about selling.
        flattens, breach = False, f"{breach}; nothing is sold for it, since {exposure.estimated}"
    if flattens:
        # All is left, so nothing is there to be managed.
        wished = [wish for wish in wished if not wish.signal_id.startswith(MANAGEMENT_PREFIX)]
    decisions: list[Decision] = []

    def decide(wish: Wish) -> None:
        nonlocal exposure
        decision = _decide(wish, exposure, case)
        decisions.append(decision)
        if isinstance(decision.answer, Approved):
            exposure = exposure.with_approval(
                decision.answer, decision.strategy, day_of(decision.answer.act_from), case.now
            )

    for wish in wished:
        decide(wish)
    if breach is not None and flattens:
        asked = {"reason": breach, "actor": "risk_manager"}
        # No key that a person may give to a flatten has such a sign in it.
        flatten_id = f"breach/{book.mode.version + 1}"
        for wish in flatten_wishes(flatten_id, asked, book, exposure, case.now):
            # Where an exit for all of it is under way there is nothing more to ask for.
            if not exposure.leaves_whole(wish.symbol):
                decide(wish)
    answers = [d.answer for d in decisions]
    return Outcome(
        Review(
            book.account,
            source,
            instant_at,
            tuple(a for a in answers if isinstance(a, Approved)),
            tuple(a for a in answers if isinstance(a, Refused)),
        ),
        tuple(decisions),
        marked,
        breach,
        _stopped_by(decisions, case),
        exposure.estimated,
        keeps_mark=not exposure.may_be_too_high,
    )


def _may_judge(mode: Mode) -> bool:
    """Whether a breach found now is news: one that has reduced trading is not found again at each bar."""
    is_reduced_by_hand = mode.mode is TradingMode.REDUCING and mode.actor != "risk_manager"
    return mode.mode is TradingMode.ACTIVE or is_reduced_by_hand


def _stopped_by(decisions: list[Decision], case: Case) -> tuple[Throttle, ...]:
    """The pairs of strategy and symbol that were refused for repeating themselves and were not stopped before."""
    stopped: dict[tuple[str, Symbol], Throttle] = {}
    for decision in decisions:
        answer = decision.answer
        pair = decision.strategy, answer.symbol
        if isinstance(answer, Approved) or answer.reason_code != Code.REPEATED_EXECUTION:
            continue
        known = case.recent.throttles.get(pair)
        if known is None or not known.is_stopped:
            version = 1 if known is None else known.version + 1
            stopped[pair] = Throttle(*pair, version, True, answer.reason, "risk_manager", case.now)
    return tuple(stopped.values())


def _decide(wish: Wish, exposure: Exposure, case: Case) -> Decision:
    if wish.purpose is Purpose.EXIT:
        return decide_exit(wish, exposure, case)
    return decide_entry(wish, exposure, case)
