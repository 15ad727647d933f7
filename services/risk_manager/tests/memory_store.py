"""The store without a database: the same promises for one process, for tests and experiments.

The executor's side is played by hand: `cash`, `holdings` and `working` are what its views would say, and
`executor_reads` is its cursor.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from risk_manager.attribution import matched, records_of
from risk_manager.limits import LONGEST_WINDOW_S, MOST_RECENT, Limits
from risk_manager.modes import Change, changed, first_mode, may_change
from risk_manager.ports import (
    Decide,
    Enabling,
    Inbound,
    StoredDecision,
    VersionConflict,
    WantedLimits,
    enabled,
    next_change,
)
from risk_manager.reports import DayFigures, StoredReport
from risk_manager.review import Decision, Outcome, decision_id
from risk_manager.snapshot import (
    Book,
    Holding,
    Lending,
    LimitChange,
    Mark,
    Mode,
    Recent,
    RecentEntry,
    Throttle,
    Turn,
    Working,
)
from shared.domain.calendar import NEW_YORK
from shared.domain.decisions import Approved, Purpose, Refused, Review, TradingMode
from shared.domain.errors import Unavailable
from shared.domain.ids import turn_signal_id
from shared.domain.lots import Execution
from shared.domain.signals import Evaluation
from shared.domain.symbols import Symbol


@dataclass
class MemoryStore:
    """See `ports.Store`."""

    account: str
    cash: Decimal | None = None
    paid_in: Decimal = Decimal(0)
    holdings: list[Holding] = field(default_factory=list)
    working: list[Working] = field(default_factory=list)
    unknown: dict[Symbol, int] = field(default_factory=dict)
    # Its entries are made from the decisions.
    recent: Recent = field(default_factory=Recent)
    limit_changes: list[LimitChange] = field(default_factory=list)
    fills: list[Execution] = field(default_factory=list)
    inbox: list[Inbound] = field(default_factory=list)
    reviews: list[Review] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    modes: list[Mode] = field(default_factory=list)
    validations: list[tuple[str, Decision, str, datetime]] = field(default_factory=list)
    daily_reports: dict[date, StoredReport] = field(default_factory=dict)
    snapshots: dict[datetime, dict[str, Any]] = field(default_factory=dict)
    stopped: list[Throttle] = field(default_factory=list)
    lending: Lending = field(default_factory=Lending)
    _decisions: list[StoredDecision] = field(default_factory=list)
    _strategies: dict[str, str] = field(default_factory=dict)
    _positions: dict[str, int] = field(default_factory=dict)
    _read_by_executor: int = 0

    def executor_reads(self) -> None:
        """The executor has made intents of all approvals so far; they stand in `working` from now on."""
        self._read_by_executor = len(self.reviews)

    async def next_inbound(self) -> Inbound | None:
        """See `ports.Store`."""
        unread = [m for m in self.inbox if m.position > self._positions.get(m.stream, 0)]
        # The executor's stream carries the manual orders, which come first.
        unread.sort(key=lambda m: (m.stream != "trade_executor", m.position))
        return unread[0] if unread else None

    def strategy_of(self, approved: Approved) -> str:
        """Whose wish was approved."""
        return self._strategies.get(approved.decision_id, "")

    async def book(self, at: datetime) -> Book:
        """See `ports.Store`."""
        if self.cash is None:
            raise Unavailable(
                f"account {self.account} is not known yet: the trade executor has not adopted it"
            )
        reserved = [
            Working.of(approved, self.strategy_of(approved))
            for review in self.reviews[self._read_by_executor :]
            for approved in review.approved
        ]
        recent_from = at - timedelta(seconds=LONGEST_WINDOW_S)
        entries = tuple(
            RecentEntry(stored.decision.strategy, stored.decision.answer.symbol, stored.decided_at)
            for stored in self._decisions
            if stored.decision.is_approved
            and stored.decision.answer.purpose is Purpose.ENTRY
            and stored.decided_at > recent_from
        )
        held = {h.symbol: h.quantity for h in self.holdings}
        today = at.astimezone(NEW_YORK).date()
        days = Counter(
            stored.decision.trade_on
            for stored in self._decisions
            if stored.decision.is_approved and stored.decision.answer.purpose is Purpose.ENTRY
        )
        return Book(
            self.account,
            self.cash,
            tuple(self.holdings),
            (*self.working, *reserved),
            dict(self.unknown),
            await self.mode(at),
            self.marks[-1] if self.marks else None,
            {day: n for day, n in days.items() if day is not None and day >= today},
            replace(
                self.recent,
                entries=entries,
                records=records_of(matched(self.fills, held).trades),
                throttles=self._throttles_now(),
            ),
            self.limit_changes[-1] if self.limit_changes else None,
            turns=self._turns(),
            lending=self.lending,
            paid_in=self.paid_in,
        )

    def _turns(self) -> tuple[Turn, ...]:
        answered = {stored.decision.answer.decision_id for stored in self._decisions}
        sources = [review.source for review in self.reviews]
        signals = {
            signal.signal_id: signal
            for message in self.inbox
            if isinstance(message.body, Evaluation)
            for signal in message.body.signals
        }
        found = []
        for stored in self._decisions:
            answer, wish = stored.decision.answer, stored.decision.answer.signal_id
            is_turn = stored.decision.is_approved and "turns_to" in stored.decision.figures
            if not is_turn or decision_id(turn_signal_id(wish)) in answered:
                continue
            later = sources[sources.index(stored.source) + 1 :]
            is_superseded = (
                any(source.startswith("flatten:") for source in later)
                or self.modes[-1].version > int(stored.decision.figures["mode_version"])
                or any(
                    each.source in later and each.decision.answer.symbol == answer.symbol
                    for each in self._decisions
                )
            )
            entry = replace(signals[wish], signal_id=turn_signal_id(wish))
            found.append(Turn(entry, wish, is_superseded))
        return tuple(found)

    async def record(
        self,
        source: str,
        decide: Decide,
        at: datetime,
        *,
        inbound: Inbound | None = None,
        marks_equity: bool = False,
    ) -> Outcome | None:
        """See `ports.Store`."""
        is_read = inbound is not None and (
            self._positions.get(inbound.stream, 0) >= inbound.position
        )
        if is_read:
            return None
        if any(review.source == source for review in self.reviews):
            self._move(inbound)
            return None
        outcome = decide(await self.book(at))
        self._move(inbound)
        if not self.modes:
            self.modes.append(first_mode(at))
        self.reviews.append(outcome.review)
        is_kept = marks_equity and outcome.keeps_mark
        if is_kept or outcome.reduce_because is not None:
            self.marks.append(outcome.mark)
        for decision in outcome.decisions:
            self._strategies[decision.answer.decision_id] = decision.strategy
            self._decisions.append(StoredDecision(len(self._decisions) + 1, source, at, decision))
        self.stopped.extend(outcome.stopped)
        if outcome.reduce_because is not None:
            self.modes.append(
                Mode(
                    TradingMode.REDUCING,
                    self.modes[-1].version + 1,
                    outcome.reduce_because,
                    "risk_manager",
                    at,
                )
            )
        return outcome

    async def record_validation(
        self, validation_id: str, decision: Decision, actor: str, at: datetime
    ) -> None:
        """See `ports.Store`."""
        self.validations.append((validation_id, decision, actor, at))

    async def decisions(
        self,
        *,
        limit: int,
        before: int | None = None,
        symbol: Symbol | None = None,
        outcome: str | None = None,
        source: str | None = None,
    ) -> list[StoredDecision]:
        """See `ports.Store`."""
        wanted = [
            stored
            for stored in reversed(self._decisions)
            if (before is None or stored.id < before)
            and symbol in (None, stored.decision.answer.symbol)
            and outcome in (None, "approved" if stored.decision.is_approved else "refused")
            and source in (None, stored.source)
        ]
        return wanted[:limit]

    async def book_with_executions(self, at: datetime) -> tuple[Book, list[Execution]]:
        """See `ports.Store`."""
        return await self.book(at), list(self.fills[-MOST_RECENT:])

    async def mode(self, at: datetime) -> Mode:
        """See `ports.Store`."""
        return self.modes[-1] if self.modes else first_mode(at)

    async def change_mode(self, change: Change, limits: Limits) -> Mode:
        """See `ports.Store`."""
        current = await self.mode(change.at)
        if not may_change(current, change):
            raise VersionConflict(current)
        if not self.modes:
            self.modes.append(current)
        book_changes = self.limit_changes[-1].changes if self.limit_changes else {}
        mode = changed(
            current,
            change,
            self.marks[-1] if self.marks else None,
            limits.with_stored(book_changes),
        )
        if mode is not current:
            self.modes.append(mode)
        return mode

    async def change_limits(self, wanted: WantedLimits, settings: Limits) -> LimitChange:
        """See `ports.Store`."""
        change = next_change(
            self.limit_changes[-1] if self.limit_changes else None, wanted, settings
        )
        self.limit_changes.append(change)
        return change

    async def throttles(self) -> list[Throttle]:
        """See `ports.Store`."""
        stand = self._throttles_now().values()
        newest = sorted(stand, key=lambda each: (each.changed_at, each.version), reverse=True)
        return sorted(newest, key=lambda each: not each.is_stopped)

    async def enable(self, wanted: Enabling) -> Throttle:
        """See `ports.Store`."""
        throttle = enabled(self._throttles_now().get((wanted.strategy, wanted.symbol)), wanted)
        self.stopped.append(throttle)
        return throttle

    def _throttles_now(self) -> dict[tuple[str, Symbol], Throttle]:
        return {(each.strategy, each.symbol): each for each in self.stopped}

    async def limit_history(self, limit: int) -> list[LimitChange]:
        """See `ports.Store`."""
        return self.limit_changes[::-1][:limit]

    async def day(self, after: datetime, until: datetime) -> DayFigures:
        """See `ports.Store`."""
        marks = [mark for mark in self.marks if after < mark.instant_at <= until]
        before = [mark for mark in self.marks if mark.instant_at <= after]
        decided = [s for s in self._decisions if after < s.decided_at <= until]
        approved = [
            s.decision.answer.purpose for s in decided if isinstance(s.decision.answer, Approved)
        ]
        last = marks[-1] if marks else None
        return DayFigures(
            before[-1].equity if before else None,
            _paid_between(before[-1], last) if before and last else None,
            None if last is None else last.equity,
            None if last is None else last.cash,
            None if last is None else last.peak_equity,
            min((mark.equity for mark in marks), default=None),
            None if last is None else last.drawdown,
            max((mark.drawdown for mark in marks), default=None),
            None if last is None else last.gross_exposure,
            max((mark.gross_exposure for mark in marks), default=None),
            None if last is None else last.net_exposure,
            approved.count(Purpose.ENTRY),
            approved.count(Purpose.EXIT),
            Counter(
                s.decision.answer.reason_code
                for s in decided
                if isinstance(s.decision.answer, Refused)
            ),
            sum(len(r.moved) for r in self.reviews if after < r.instant_at <= until),
            tuple(
                f"{mode.mode} by {mode.actor}: {mode.reason}"
                for mode in self.modes
                if after < mode.changed_at <= until
            ),
            tuple(
                f"{change.actor}: {change.reason} {json.dumps(dict(change.changes))}"
                for change in self.limit_changes
                if after < change.changed_at <= until
            ),
        )

    async def record_report(self, report: StoredReport) -> None:
        """See `ports.Store`."""
        self.daily_reports.setdefault(report.on, report)

    async def reports(
        self, *, limit: int, before: date | None = None, on: date | None = None
    ) -> list[StoredReport]:
        """See `ports.Store`."""
        wanted = [
            report
            for day, report in sorted(self.daily_reports.items(), reverse=True)
            if (before is None or day < before) and on in (None, day)
        ]
        return wanted[:limit]

    async def record_snapshot(self, at: datetime, document: Mapping[str, Any]) -> None:
        """See `ports.Store`."""
        self.snapshots.setdefault(at, dict(document))

    async def newest_snapshot(self, until: datetime) -> dict[str, Any] | None:
        """See `ports.Store`."""
        taken = [at for at in self.snapshots if at <= until]
        return self.snapshots[max(taken)] if taken else None

    def _move(self, inbound: Inbound | None) -> None:
        if inbound is not None:
            self._positions[inbound.stream] = inbound.position


def _paid_between(first: Mark, last: Mark) -> Decimal | None:
    if first.paid_in is None or last.paid_in is None:
        return None
    return last.paid_in - first.paid_in
