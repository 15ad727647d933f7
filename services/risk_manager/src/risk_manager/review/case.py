"""What are all wishes of one review judged by, and what is answered?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from risk_manager import limits as rules
from risk_manager.exposure import Exposure
from risk_manager.limits import Limits
from risk_manager.snapshot import Lending, Mark, Recent, Throttle, figure
from shared.domain.calendar import NEW_YORK, TradingCalendar, TradingWindow
from shared.domain.decisions import Approved, Check, Purpose, Refused, Review, TradingMode
from shared.domain.money import plain
from shared.domain.orders import PLAIN_TERMS, OrderTerms, OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe

# A regular session, which is how long a daily bar is in open hours.
SESSION = timedelta(hours=6, minutes=30)


@dataclass(frozen=True, slots=True)
class Venue:
    """When the exchange is open and when entries may be sent."""

    calendar: TradingCalendar
    window: TradingWindow
    timeframe: Timeframe

    @property
    def bar_length(self) -> timedelta:
        """A bar's length in open hours."""
        return self.timeframe.length if self.timeframe.is_intraday else SESSION


@dataclass(frozen=True, slots=True)
class Wish:
    """A signal, a manual order or one position of a flatten, in one shape."""

    signal_id: str
    strategy: str
    symbol: Symbol
    side: Side
    purpose: Purpose
    # None: as much as the limits allow.
    quantity: Decimal | None
    type: OrderType
    time_in_force: TimeInForce
    limit_price: Decimal | None
    stop_price: Decimal | None
    stop_loss: Decimal | None
    take_profit: Decimal | None
    reference_price: Decimal | None
    wished_at: datetime
    # Wants to hold the symbol, so that holding any of it fulfils the wish.
    wants_to_hold: bool
    figures: dict[str, str]
    conviction: float = 1.0
    terms: OrderTerms = PLAIN_TERMS
    # A way out that takes the place of those which wait for a price, and of any part where it is for everything: the
    # executor withdraws them for it.
    replaces_resting: bool = False
    # Of an entry that waited for an exit: whether something newer is wished for in its symbol. None for all others.
    is_superseded: bool | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """One answer with what is kept beside it: who wished, for which exchange day, and the arithmetic."""

    answer: Approved | Refused
    strategy: str
    quantity: Decimal
    trade_on: date | None
    figures: dict[str, str]

    @property
    def is_approved(self) -> bool:
        """Whether an order follows from it."""
        return isinstance(self.answer, Approved)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A review with all that is stored along with it."""

    review: Review
    decisions: tuple[Decision, ...]
    mark: Mark
    # Why trading goes to REDUCING by itself; None when it does not.
    reduce_because: str | None
    # What is stopped from now on, since it repeats itself.
    stopped: tuple[Throttle, ...] = ()
    # Why the mark is an estimate; None where it is none.
    estimated: str | None = None
    # Whether later marks may be measured by this one.
    keeps_mark: bool = True


@dataclass(frozen=True, slots=True)
class Case:
    """What all wishes of one review are judged by."""

    account: str
    mode: TradingMode
    limits: Limits
    venue: Venue
    mark: Mark
    now: datetime
    recent: Recent
    limits_version: int
    lending: Lending


Span = tuple[datetime | None, datetime | None]


def decision_id(signal_id: str) -> str:
    """The one id of the answer to that signal."""
    return f"dec-{signal_id}"


def answered(
    wish: Wish,
    quantity: Decimal,
    reference: Decimal | None,
    span: Span,
    checks: tuple[Check, ...],
    exposure: Exposure,
    case: Case,
    figures: dict[str, str],
) -> Decision:
    """Approved when every check has passed and there is a span to act in, else refused by the first that failed."""
    failed = next((check for check in checks if not check.passed), None)
    act_from, act_until = span
    trade_on = day_of(act_from) if act_from is not None else None
    kept = {
        **figures,
        "equity": plain(exposure.equity),
        "cash": plain(exposure.cash),
        "reserved_cash": plain(exposure.reserved_cash),
        "portfolio_risk": plain(exposure.risk),
        "mode_version": str(case.mark.mode_version),
        "limits_version": str(case.limits_version),
    }
    if failed is not None or act_from is None or act_until is None or reference is None:
        reason = failed or rules.market_hours(act_from, act_until)
        refused = Refused(
            decision_id(wish.signal_id),
            wish.signal_id,
            case.account,
            wish.symbol,
            wish.side,
            wish.purpose,
            reason.code,
            reason.text,
            checks,
        )
        return Decision(refused, wish.strategy, quantity, trade_on, kept)
    approved = Approved(
        decision_id(wish.signal_id),
        wish.signal_id,
        case.account,
        wish.symbol,
        wish.side,
        wish.purpose,
        quantity,
        wish.type,
        wish.time_in_force,
        wish.limit_price,
        wish.stop_price,
        wish.stop_loss,
        wish.take_profit,
        reference,
        act_from,
        act_until,
        checks,
        wish.terms,
    )
    return Decision(approved, wish.strategy, quantity, trade_on, kept)


def drawdown_check(case: Case) -> Check:
    """How far the account is below its peak."""
    return rules.drawdown(
        figure(case.mark.equity), figure(case.mark.peak_equity), case.limits.drawdown_limit
    )


def daily_loss_check(case: Case) -> Check:
    """How much of what the day began with is lost."""
    began = case.mark.day_equity
    equity = figure(case.mark.equity)
    return rules.daily_loss(
        equity, equity if began is None else figure(began), case.limits.max_daily_loss
    )


def breach_of(case: Case) -> str | None:
    """Why the account may take no risk any more; None while it may."""
    failed = [
        check.text for check in (drawdown_check(case), daily_loss_check(case)) if not check.passed
    ]
    return "; ".join(failed) or None


def day_of(at: datetime) -> date:
    """The exchange day of an instant."""
    return at.astimezone(NEW_YORK).date()


def float_of(price: Decimal | None) -> float | None:
    """A price as the rules take it; None for none."""
    return None if price is None else figure(price)
