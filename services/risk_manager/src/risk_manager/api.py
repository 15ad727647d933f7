"""What may be asked of the risk manager over HTTP, and by whom?

Reading needs the role read; halting and reducing the role kill; validating, resuming and flattening the role
operate. Money, prices and quantities are texts, since they are exact; ratios are numbers, instants ISO 8601 UTC.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
)

from risk_manager import limits as rules
from risk_manager.ports import LimitsConflict, StoredDecision, VersionConflict
from risk_manager.reports import StoredReport
from risk_manager.review import Decision
from risk_manager.service import Halted, Portfolio, RiskManager
from risk_manager.snapshot import ZERO, Holding, LimitChange, Mode, figure
from shared.adapters.http_api import ProblemError, Role, requires
from shared.domain.decisions import Approved, Check, Refused, TradingMode
from shared.domain.errors import InvalidInput, InvalidSymbol
from shared.domain.money import MAX_PRICE, parse_number, plain
from shared.domain.orders import OrderType, Side, TimeInForce
from shared.domain.signals import ManualOrder
from shared.domain.symbols import Symbol, parse_symbol
from shared.ports import Ids

Text = Annotated[Decimal, PlainSerializer(plain, return_type=str)]
# pydantic itself reads "1_0" and the digits of other scripts as numbers.
_PlainDigits = BeforeValidator(
    lambda given: parse_number(given) if isinstance(given, str) else given
)
GivenPrice = Annotated[
    Decimal, _PlainDigits, Field(gt=0, le=MAX_PRICE, decimal_places=6, allow_inf_nan=False)
]
GivenQuantity = Annotated[
    Decimal,
    _PlainDigits,
    Field(gt=0, le=Decimal(1_000_000_000), decimal_places=9, allow_inf_nan=False),
]
# Without control characters: a reason is shown in terminals, which obey them.
Reason = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=3, max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$"
    ),
]
# A halt must not wait for words: whoever gives none is told so by the record.
HaltReason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$"),
    AfterValidator(lambda given: given or "no reason given"),
]
_KEY = re.compile(r"[A-Za-z0-9._:-]{1,100}")


def _symbol(value: object) -> Symbol:
    try:
        return parse_symbol(str(value))
    except InvalidSymbol as error:
        raise ValueError(str(error)) from None


GivenSymbol = Annotated[Symbol, BeforeValidator(_symbol)]


class _Body(BaseModel):
    """A request body: what it does not know is a typing error, and refused."""

    model_config = ConfigDict(extra="forbid")


class ValidateBody(_Body):
    """An order to be judged; prices in dollars per share, quantity in shares."""

    symbol: GivenSymbol
    side: Side
    quantity: GivenQuantity
    type: OrderType = OrderType.MARKET
    time_in_force: TimeInForce = TimeInForce.GTC
    limit_price: GivenPrice | None = None
    stop_price: GivenPrice | None = None
    take_profit: GivenPrice | None = None
    stop_loss: GivenPrice | None = None


class ReasonBody(_Body):
    """Why; stored with the change."""

    reason: Reason


class HaltBody(_Body):
    """Why, as far as somebody has the time to say it; stored with the change."""

    reason: HaltReason = "no reason given"


class ResumeBody(_Body):
    """Why trading may go on, and the version of the mode that was looked at."""

    reason: Reason
    version: Annotated[int, Field(ge=1)]


class LimitsBody(_Body):
    """Limits by name, null for what the settings say; the version that was looked at, and why."""

    changes: Annotated[dict[str, float | None], Field(min_length=1, max_length=50)]
    version: Annotated[int, Field(ge=0)]
    reason: Reason


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


class PositionView(BaseModel):
    """One symbol held or on order; shares, dollars, `weight` of equity."""

    symbol: str
    quantity: Text
    entering_quantity: Text
    leaving_quantity: Text
    price: Text | None
    price_at: datetime | None
    price_age_s: float | None
    market_value: Text
    committed_value: Text
    weight: float
    risk: Text
    unknown_orders: int


class LossView(BaseModel):
    """Dollars that one bar may cost at `confidence`, at today's holdings."""

    confidence: float
    horizon: Literal["one bar"] = "one bar"
    unit: Literal["USD"] = "USD"
    observations: int
    historical_var: float
    parametric_var: float
    historical_cvar: float


class ScenarioView(BaseModel):
    """What a gap would do, in dollars; `symbol` null for everything at once, `change` and drawdown are ratios."""

    symbol: str | None
    change: float
    pnl: float
    equity_after: float
    drawdown_after: float


class CorrelationView(BaseModel):
    """How alike two holdings move, -1 to 1."""

    first: str
    second: str
    correlation: float


class AttributionView(BaseModel):
    """What a strategy has earned over the newest thousand fills; empty for nobody's. Dollars."""

    strategy: str
    realised_pnl: Text
    unrealised_pnl: Text
    market_value: Text
    closed_trades: int


class RiskView(BaseModel):
    """What the holdings could lose. `prices_age_s` is that of the oldest price it rests on, null without any.

    `beta_weighted_delta` is in dollars of the benchmark; what has too few bars stands in `uncovered`.
    """

    benchmark: str
    prices_age_s: float | None
    losses: LossView | None
    betas: dict[str, float]
    beta_weighted_delta: float | None
    correlations: list[CorrelationView]
    scenarios: list[ScenarioView]
    uncovered: list[str]


class PortfolioView(BaseModel):
    """The account as the risk manager sees it. Money in dollars; shares of equity are ratios.

    `committed` counts what is open, approved or of unknown outcome beside what is held.
    """

    account: str
    at: datetime
    currency: Literal["USD"] = "USD"
    mode: ModeView
    cash: Text
    reserved_cash: Text
    available_cash: Text
    equity: Text
    peak_equity: Text
    drawdown: float
    gross_exposure: Text
    net_exposure: Text
    gross_exposure_ratio: float | None
    net_exposure_ratio: float | None
    committed_exposure: Text
    portfolio_risk: Text
    positions: list[PositionView]
    unpriced: list[str]
    limits: list[CheckView]
    risk: RiskView
    attribution: list[AttributionView]


def make_router(manager: RiskManager, account: str, ids: Ids) -> APIRouter:
    """The risk manager's own endpoints."""
    router = APIRouter(prefix="/risk", tags=["risk"])

    @router.get("/portfolio", dependencies=[requires(Role.READ)])
    async def portfolio() -> PortfolioView:
        """What the account is worth, what it has committed, and how much of each limit is used."""
        return _portfolio_view(await manager.portfolio(), manager.benchmark)

    @router.post("/validate")
    async def validate(
        body: ValidateBody, role: Annotated[Role, requires(Role.OPERATE)]
    ) -> ValidationView:
        """Would this order pass? Every check with its figures; stored, but nothing is reserved."""
        if (body.limit_price is None) == body.type.has_limit:
            raise ProblemError(422, "invalid_request", "give limit_price with a limit order only")
        if (body.stop_price is None) == (body.type in (OrderType.STOP, OrderType.STOP_LIMIT)):
            raise ProblemError(422, "invalid_request", "give stop_price with a stop order only")
        validation_id = f"val-{ids.new()}"
        order = ManualOrder(
            validation_id,
            account,
            body.symbol,
            body.side,
            body.quantity,
            body.type,
            body.time_in_force,
            body.limit_price,
            body.stop_price,
            body.take_profit,
            body.stop_loss,
            manager.now(),
            _actor(role),
        )
        decision = await manager.validate(order)
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
        """Let only exits leave. Trading that is HALTED stays so: 409."""
        return await _change(manager, TradingMode.REDUCING, body.reason, role)

    @router.post("/resume")
    async def resume(body: ResumeBody, role: Annotated[Role, requires(Role.OPERATE)]) -> ModeView:
        """Let all orders leave again; 409 when the mode has changed since it was looked at."""
        return await _change(manager, TradingMode.ACTIVE, body.reason, role, body.version)

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

    @router.get("/reports", dependencies=[requires(Role.READ)])
    async def reports(
        limit: Annotated[int, Field(ge=1, le=500)] = 100, before: date | None = None
    ) -> ReportList:
        """The risk reports of past days, newest first; one is written five minutes after each close."""
        found = await manager.reports(limit=limit + 1, before=before)
        page = found[:limit]
        return ReportList(
            items=[ReportView.of(stored) for stored in page],
            next=page[-1].on if len(found) > limit else None,
        )

    @router.get("/reports/{on}", dependencies=[requires(Role.READ)])
    async def report(on: date) -> ReportView:
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
    in_force = manager.limits.changed_by(history[0].changes if history else {})
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


def _portfolio_view(portfolio: Portfolio, benchmark: Symbol) -> PortfolioView:
    exposure, mark, book = portfolio.exposure, portfolio.mark, portfolio.book
    held = {holding.symbol: holding for holding in book.holdings}
    committed = sum(exposure.committed_value.values(), ZERO)
    return PortfolioView(
        account=book.account,
        at=portfolio.at,
        mode=ModeView.of(book.mode),
        cash=exposure.cash,
        reserved_cash=exposure.reserved_cash,
        available_cash=exposure.available_cash,
        equity=exposure.equity,
        peak_equity=mark.peak_equity,
        drawdown=mark.drawdown,
        gross_exposure=exposure.gross,
        net_exposure=exposure.net,
        gross_exposure_ratio=_ratio(exposure.gross, exposure.equity),
        net_exposure_ratio=_ratio(exposure.net, exposure.equity),
        committed_exposure=committed,
        portfolio_risk=exposure.risk,
        positions=[
            _position_view(symbol, held.get(symbol), portfolio) for symbol in sorted(book.symbols)
        ],
        unpriced=list(exposure.unpriced),
        limits=[CheckView.of(check) for check in _usage(portfolio)],
        risk=_risk_view(portfolio, benchmark),
        attribution=[
            AttributionView(
                strategy=row.strategy,
                realised_pnl=row.realised_pnl,
                unrealised_pnl=row.unrealised_pnl,
                market_value=row.market_value,
                closed_trades=row.closed_trades,
            )
            for row in portfolio.attribution
        ],
    )


def _risk_view(portfolio: Portfolio, benchmark: Symbol) -> RiskView:
    figures, losses = portfolio.figures, portfolio.figures.losses
    ages = [
        (portfolio.at - price.end_at).total_seconds()
        for symbol, price in portfolio.exposure.market.prices.items()
        if portfolio.exposure.held.get(symbol)
    ]
    return RiskView(
        benchmark=benchmark,
        prices_age_s=max(ages, default=None),
        losses=None
        if losses is None
        else LossView(
            confidence=losses.confidence,
            observations=losses.observations,
            historical_var=losses.historical_var,
            parametric_var=losses.parametric_var,
            historical_cvar=losses.historical_cvar,
        ),
        betas=dict(figures.betas),
        beta_weighted_delta=figures.beta_weighted_delta,
        correlations=[
            CorrelationView(first=first, second=second, correlation=value)
            for (first, second), value in figures.correlations.items()
        ],
        scenarios=[
            ScenarioView(
                symbol=each.symbol,
                change=each.change,
                pnl=each.pnl,
                equity_after=each.equity_after,
                drawdown_after=each.drawdown_after,
            )
            for each in figures.scenarios
        ],
        uncovered=list(figures.uncovered),
    )


def _position_view(symbol: Symbol, held: Holding | None, portfolio: Portfolio) -> PositionView:
    exposure = portfolio.exposure
    price = exposure.market.prices.get(symbol)
    quantity = held.quantity if held is not None else ZERO
    per_share = price.amount if price is not None else (held and held.last_fill_price) or ZERO
    value = quantity * per_share
    return PositionView(
        symbol=symbol,
        quantity=quantity,
        entering_quantity=exposure.entering.get(symbol, ZERO),
        leaving_quantity=exposure.leaving.get(symbol, ZERO),
        price=None if price is None else price.amount,
        price_at=None if price is None else price.end_at,
        price_age_s=None if price is None else (portfolio.at - price.end_at).total_seconds(),
        market_value=value,
        committed_value=exposure.committed_value.get(symbol, ZERO),
        weight=_ratio(value, exposure.equity) or 0.0,
        risk=held.risk(per_share) if held is not None else ZERO,
        unknown_orders=exposure.unknown.get(symbol, 0),
    )


def _usage(portfolio: Portfolio) -> list[Check]:
    """How much of each limit of the whole account is used now, before any further order."""
    exposure, mark, limits = portfolio.exposure, portfolio.mark, portfolio.limits
    largest = max(exposure.committed_value.values(), default=ZERO)
    equity = figure(exposure.equity)
    busiest = max(exposure.entries_by_day.values(), default=0)
    return [
        rules.position_size(figure(largest), 0.0, equity, limits.max_position_size),
        rules.portfolio_risk(figure(exposure.risk), 0.0, equity, limits.max_portfolio_risk),
        rules.drawdown(equity, figure(mark.peak_equity), limits.drawdown_limit),
        rules.daily_loss(equity, figure(mark.day_equity or exposure.equity), limits.max_daily_loss),
        rules.daily_trades(busiest, limits.max_daily_trades),
        rules.concurrent_positions(len(exposure.committed_value), limits.max_positions),
        rules.gross_exposure(figure(exposure.committed), 0.0, equity, limits.max_gross_exposure),
        rules.net_exposure(figure(exposure.net_committed), 0.0, equity, limits.max_net_exposure),
        rules.intraday_margin(figure(exposure.committed), 0.0, equity, limits.maintenance_margin),
        rules.buying_power(0.0, figure(exposure.available_cash), 0.0),
    ]


def _ratio(part: Decimal, whole: Decimal) -> float | None:
    return float(part / whole) if whole > 0 else None
