"""How are decisions, modes, limits and reports shown?

Money, prices and quantities are texts, since they are exact; ratios are numbers, instants ISO 8601 UTC.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, PlainSerializer

from risk_manager.ports import StoredDecision
from risk_manager.reports import StoredReport
from risk_manager.review import Decision
from risk_manager.snapshot import LimitChange, Mode, Throttle
from shared.domain.decisions import Approved, Check, Refused, TradingMode
from shared.domain.money import plain
from shared.domain.orders import Side

Text = Annotated[Decimal, PlainSerializer(plain, return_type=str)]


class LimitChangeView(BaseModel):
    """What was set above the settings, by whom and why."""

    version: int
    changes: dict[str, float]
    reason: str
    actor: str
    changed_at: datetime

    @classmethod
    def of(cls, change: LimitChange) -> LimitChangeView:
        """The change as it is shown."""
        return cls(
            version=change.version,
            changes=dict(change.changes),
            reason=change.reason,
            actor=change.actor,
            changed_at=change.changed_at,
        )


class ThrottleView(BaseModel):
    """Whether a strategy that repeated itself may buy a symbol again, by whom and why."""

    strategy: str
    symbol: str
    version: int
    is_stopped: bool
    reason: str
    actor: str
    changed_at: datetime

    @classmethod
    def of(cls, throttle: Throttle) -> ThrottleView:
        """The throttle as it is shown."""
        return cls(
            strategy=throttle.strategy,
            symbol=throttle.symbol,
            version=throttle.version,
            is_stopped=throttle.is_stopped,
            reason=throttle.reason,
            actor=throttle.actor,
            changed_at=throttle.changed_at,
        )


class ThrottleList(BaseModel):
    """Stopped ones first, then the newest changes."""

    items: list[ThrottleView]


class LimitsView(BaseModel):
    """The limits that hold for the next decision, and the newest changes; version 0 is the settings alone."""

    version: int
    limits: dict[str, float]
    history: list[LimitChangeView]


class CheckView(BaseModel):
    """One rule: `usage` against `limit`, both in `unit`."""

    code: str
    passed: bool
    limit: float
    usage: float
    unit: str
    text: str

    @classmethod
    def of(cls, check: Check) -> CheckView:
        """The rule's outcome as it is shown."""
        return cls(
            code=check.code,
            passed=check.passed,
            limit=check.limit,
            usage=check.usage,
            unit=check.unit,
            text=check.text,
        )


class DecisionView(BaseModel):
    """An answer with every check it rests on."""

    decision_id: str
    signal_id: str
    outcome: Literal["approved", "refused"]
    reason_code: str | None
    reason: str | None
    strategy: str
    symbol: str
    side: Side
    purpose: str
    quantity: Text
    stop_loss: Text | None
    take_profit: Text | None
    reference_price: Text | None
    act_from: datetime | None
    act_until: datetime | None
    checks: list[CheckView]
    figures: dict[str, str]

    @classmethod
    def terms(cls, decision: Decision) -> dict[str, Any]:
        """The fields that every view of a decision has."""
        answer = decision.answer
        approved = answer if isinstance(answer, Approved) else None
        refused = answer if isinstance(answer, Refused) else None
        return {
            "decision_id": answer.decision_id,
            "signal_id": answer.signal_id,
            "outcome": "refused" if approved is None else "approved",
            "reason_code": refused and refused.reason_code,
            "reason": refused and refused.reason,
            "strategy": decision.strategy,
            "symbol": answer.symbol,
            "side": answer.side,
            "purpose": answer.purpose,
            "quantity": decision.quantity,
            "stop_loss": approved and approved.stop_loss,
            "take_profit": approved and approved.take_profit,
            "reference_price": approved and approved.reference_price,
            "act_from": approved and approved.act_from,
            "act_until": approved and approved.act_until,
            "checks": [CheckView.of(check) for check in answer.checks],
            "figures": decision.figures,
        }


class ValidationView(DecisionView):
    """The answer to an order that was only asked about: nothing is reserved for it."""

    validation_id: str


class StoredDecisionView(DecisionView):
    """A decision that was taken."""

    source: str
    decided_at: datetime

    @classmethod
    def of(cls, stored: StoredDecision) -> StoredDecisionView:
        """The decision as it is shown."""
        return cls(**cls.terms(stored.decision), source=stored.source, decided_at=stored.decided_at)


class ReportView(BaseModel):
    """A day's risk report; money in its `report` is text in dollars, ratios are numbers."""

    on: date
    written_at: datetime
    report: dict[str, Any]

    @classmethod
    def of(cls, stored: StoredReport) -> ReportView:
        """The report as it is shown."""
        return cls(on=stored.on, written_at=stored.written_at, report=stored.document)


class ReportList(BaseModel):
    """Newest first; hand `next` back as `before` for older ones."""

    items: list[ReportView]
    next: date | None


class DecisionList(BaseModel):
    """Newest first; hand `next` back as `before` for older ones."""

    items: list[StoredDecisionView]
    next: int | None


class FlattenView(BaseModel):
    """What was decided to get out of everything."""

    flatten_id: str
    items: list[StoredDecisionView]


class ModeView(BaseModel):
    """Which orders may leave, and who said so."""

    mode: TradingMode
    version: int
    reason: str
    actor: str
    changed_at: datetime

    @classmethod
    def of(cls, mode: Mode) -> ModeView:
        """The mode as it is shown."""
        return cls(
            mode=mode.mode,
            version=mode.version,
            reason=mode.reason,
            actor=mode.actor,
            changed_at=mode.changed_at,
        )
