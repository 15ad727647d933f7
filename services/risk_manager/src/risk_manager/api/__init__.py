"""What may be asked of the risk manager over HTTP, and by whom?

Reading needs the role read; halting and reducing the role kill; validating, resuming and flattening the role
operate. Money, prices and quantities are texts, since they are exact; ratios are numbers, instants ISO 8601 UTC.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from fastapi import APIRouter, Header
from pydantic import Field

from risk_manager import limits as rules
from risk_manager.api.bodies import (
    EnableBody,
    GivenSymbol,
    HaltBody,
    LimitsBody,
    ReasonBody,
    ResumeBody,
    ValidateBody,
)
from risk_manager.api.portfolio import PortfolioView, portfolio_view
from risk_manager.api.views import (
    DecisionList,
    DecisionView,
    FlattenView,
    LimitChangeView,
    LimitsView,
    ModeView,
    ReportList,
    ReportView,
    StoredDecisionView,
    ThrottleList,
    ThrottleView,
    ValidationView,
)
from risk_manager.ports import LimitsConflict, ThrottleConflict, VersionConflict
from risk_manager.service import Halted, RiskManager
from shared.adapters.http_api import Day, ProblemError, Role, requires
from shared.domain.decisions import TradingMode
from shared.domain.errors import InvalidInput
from shared.ports import Ids

_KEY = re.compile(r"[A-Za-z0-9._:-]{1,100}")


def make_router(manager: RiskManager, account: str, ids: Ids) -> APIRouter:
    """The risk manager's own endpoints."""
    router = APIRouter(prefix="/risk", tags=["risk"])

    @router.get("/portfolio", dependencies=[requires(Role.READ)])
    async def portfolio() -> PortfolioView:
        """What the account is worth, what it has committed, and how much of each limit is used."""
        return portfolio_view(await manager.portfolio(), manager.benchmark)

    @router.post("/validate")
    async def validate(
        body: ValidateBody, role: Annotated[Role, requires(Role.OPERATE)]
    ) -> ValidationView:
        """Would this order pass? Every check with its figures; stored, but nothing is reserved."""
        validation_id = f"val-{ids.new()}"
        order = body.order(validation_id, account, manager.now(), _actor(role))
        try:
            decision = await manager.validate(order)
        except InvalidInput as error:
            raise ProblemError(422, "invalid_request", str(error)) from None
        return ValidationView(**DecisionView.terms(decision), validation_id=validation_id)

    @router.get("/mode", dependencies=[requires(Role.READ)])
    async def mode() -> ModeView:
        """Which orders may leave; resuming needs the `version` shown here."""
        return ModeView.of(await manager.mode())

    @router.post("/halt")
    async def halt(body: HaltBody, role: Annotated[Role, requires(Role.KILL)]) -> ModeView:
        """Let nothing leave any more, exits included, until somebody resumes."""
        return await _change(manager, TradingMode.HALTED, body.reason, role)

    @router.post("/reduce")
    async def reduce(body: HaltBody, role: Annotated[Role, requires(Role.KILL)]) -> ModeView:
        """Let only exits leave. Trading that is HALTED stays so, 409: `/risk/resume` lets exits leave again."""
        return await _change(manager, TradingMode.REDUCING, body.reason, role)

    @router.post("/resume")
    async def resume(body: ResumeBody, role: Annotated[Role, requires(Role.OPERATE)]) -> ModeView:
        """Let orders leave again, all or exits alone; 409 when the mode has changed since it was looked at."""
        return await _change(manager, body.mode, body.reason, role, body.version)

    @router.post("/flatten", status_code=202)
    async def flatten(
        body: ReasonBody,
        role: Annotated[Role, requires(Role.OPERATE)],
        idempotency_key: Annotated[str | None, Header()] = None,
    ) -> FlattenView:
        """Approve an exit for everything held or on order. The same Idempotency-Key does so once."""
        if idempotency_key is not None and _KEY.fullmatch(idempotency_key) is None:
            raise ProblemError(
                422, "invalid_request", "Idempotency-Key is 1 to 100 of A-Z a-z 0-9 . _ : -"
            )
        flatten_id = idempotency_key or ids.new()
        try:
            decided = await manager.flatten(flatten_id, body.reason, _actor(role))
        except Halted as error:
            raise ProblemError(409, "halted", str(error)) from None
        return FlattenView(
            flatten_id=flatten_id, items=[StoredDecisionView.of(stored) for stored in decided]
        )

    @router.get("/limits", dependencies=[requires(Role.READ)])
    async def limits() -> LimitsView:
        """What holds for the next decision; changing needs the `version` shown here."""
        return await _limits_view(manager)

    @router.post("/limits")
    async def change_limits(
        body: LimitsBody, role: Annotated[Role, requires(Role.ADMIN)]
    ) -> LimitsView:
        """Set limits from the next decision on; 409 when they have changed since they were looked at."""
        try:
            await manager.change_limits(body.changes, body.version, body.reason, _actor(role))
        except LimitsConflict as conflict:
            raise ProblemError(409, "limits_conflict", str(conflict)) from None
        except InvalidInput as error:
            raise ProblemError(422, "invalid_limit", str(error)) from None
        return await _limits_view(manager)

    @router.get("/throttles", dependencies=[requires(Role.READ)])
    async def throttles() -> ThrottleList:
        """Which strategies were stopped in a symbol because they repeated themselves; enabling needs the `version`."""
        return ThrottleList(items=[ThrottleView.of(each) for each in await manager.throttles()])

    @router.post("/throttles/enable")
    async def enable(
        body: EnableBody, role: Annotated[Role, requires(Role.OPERATE)]
    ) -> ThrottleView:
        """Let a stopped strategy buy the symbol again; 409 when it is not stopped, or was stopped anew."""
        try:
            throttle = await manager.enable(
                body.strategy, body.symbol, body.version, body.reason, _actor(role)
            )
        except ThrottleConflict as conflict:
            raise ProblemError(409, "throttle_conflict", str(conflict)) from None
        return ThrottleView.of(throttle)

    @router.get("/reports", dependencies=[requires(Role.READ)])
    async def reports(
        limit: Annotated[int, Field(ge=1, le=500)] = 100, before: Day | None = None
    ) -> ReportList:
        """The risk reports of past days, newest first; one is written five minutes after each close."""
        found = await manager.reports(limit=limit + 1, before=before)
        page = found[:limit]
        return ReportList(
            items=[ReportView.of(stored) for stored in page],
            next=page[-1].on if len(found) > limit else None,
        )

    @router.get("/reports/{on}", dependencies=[requires(Role.READ)])
    async def report(on: Day) -> ReportView:
        """The risk report of one exchange day."""
        found = await manager.reports(limit=1, on=on)
        if not found:
            raise ProblemError(404, "not_found", f"no risk report was written for {on}")
        return ReportView.of(found[0])

    @router.get("/decisions", dependencies=[requires(Role.READ)])
    async def decisions(
        limit: Annotated[int, Field(ge=1, le=500)] = 100,
        before: Annotated[int | None, Field(ge=1, le=2**63 - 1)] = None,
        symbol: GivenSymbol | None = None,
        outcome: Literal["approved", "refused"] | None = None,
    ) -> DecisionList:
        """What was approved and refused, newest first, with every check."""
        found = await manager.decisions(
            limit=limit + 1, before=before, symbol=symbol, outcome=outcome
        )
        page = found[:limit]
        return DecisionList(
            items=[StoredDecisionView.of(stored) for stored in page],
            next=page[-1].id if len(found) > limit else None,
        )

    return router


async def _limits_view(manager: RiskManager) -> LimitsView:
    history = await manager.limit_history(20)
    in_force = manager.limits.with_stored(history[0].changes if history else {})
    return LimitsView(
        version=history[0].version if history else 0,
        limits={name: getattr(in_force, name) for name in sorted(rules.CHANGEABLE)},
        history=[LimitChangeView.of(change) for change in history],
    )


async def _change(
    manager: RiskManager, wanted: TradingMode, reason: str, role: Role, version: int | None = None
) -> ModeView:
    try:
        return ModeView.of(await manager.change_mode(wanted, reason, _actor(role), version))
    except VersionConflict as conflict:
        raise ProblemError(409, "mode_conflict", str(conflict)) from None


def _actor(role: Role) -> str:
    """Who is stored as having asked: tokens know roles, not names."""
    return f"token:{role.name.lower()}"
