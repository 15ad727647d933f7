"""How do rows become values, and decisions rows?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Generic, TypeVar

import orjson
from pydantic import TypeAdapter
from sqlalchemy import Row

from risk_manager.ports import StoredDecision
from risk_manager.review import Decision
from risk_manager.snapshot import LimitChange, Mark, Mode, Throttle
from shared.domain.decisions import Approved, Check, Purpose, Refused, TradingMode
from shared.domain.orders import OrderType, Side, TimeInForce
from shared.domain.symbols import Symbol

T = TypeVar("T")


class Made(Generic[T]):
    """What was made of texts that were read; of one that is read again it is not made again.

    Most of an account is at each decision what it was at the one before. What is made depends on the text and what it is
    made `beside`, and on nothing else. Kept is what the last reading said.
    """

    def __init__(self) -> None:
        self._made: dict[str, T] = {}
        self._beside: object = None

    def of(
        self, texts: Sequence[str], make: Callable[[str], T], *, beside: object = None
    ) -> tuple[T, ...]:
        """What `make` makes of each of `texts`, in order."""
        known = self._made if beside == self._beside else {}
        made = {text: known[text] if text in known else make(text) for text in texts}
        self._made, self._beside = made, beside
        return tuple(made[text] for text in texts)


def unjson(value: Any) -> Any:
    """What a JSON column says, whether the driver has read it or not."""
    return orjson.loads(value) if isinstance(value, str | bytes) else value


def decimal_of(value: str | None) -> Decimal | None:
    """The exact number of a text; None for none."""
    return None if value is None else Decimal(value)


def mode_of(row: Row[Any]) -> Mode:
    """The mode in a row of modes."""
    return Mode(
        TradingMode(row.mode),
        row.version,
        row.reason,
        row.actor,
        row.changed_at,
        row.restarts_peak,
        # Those from before there were two flags restarted both.
        row.restarts_peak if row.restarts_day is None else row.restarts_day,
    )


def mark_of(row: Row[Any], cash: Decimal, paid_in: Decimal | None) -> Mark:
    """The mark in a row of equity points, where what an account has too may go by another name."""
    return Mark(
        row.instant_at,
        cash,
        row.equity,
        row.peak_equity,
        row.drawdown,
        row.gross_exposure,
        row.net_exposure,
        row.mode_version,
        row.day_equity,
        paid_in,
    )


def limit_change_of(row: Row[Any]) -> LimitChange:
    """The change in a row of limit changes."""
    return LimitChange(row.version, unjson(row.after), row.reason, row.actor, row.changed_at)


_JSON = ("checks", "figures")
_CHECKS = TypeAdapter(tuple[Check, ...])


def throttle_of(row: Row[Any]) -> Throttle:
    """The throttle in a row of throttles."""
    return Throttle(
        row.strategy,
        Symbol(row.symbol),
        row.version,
        row.is_stopped,
        row.reason,
        row.actor,
        row.changed_at,
    )


def decision_row(decision: Decision) -> dict[str, Any]:
    """The columns that decisions and validations share."""
    answer = decision.answer
    row: dict[str, Any] = {
        "decision_id": answer.decision_id,
        "signal_id": answer.signal_id,
        "outcome": "approved" if decision.is_approved else "refused",
        "strategy": decision.strategy,
        "symbol": answer.symbol,
        "side": answer.side,
        "purpose": answer.purpose,
        "quantity": decision.quantity,
        "trade_on": decision.trade_on,
        "checks": _CHECKS.dump_json(answer.checks).decode(),
        "figures": orjson.dumps(decision.figures).decode(),
    }
    terms = (
        "type", "time_in_force", "limit_price", "stop_price", "stop_loss", "take_profit",
        "reference_price", "act_from", "act_until",
    )  # fmt: skip
    if isinstance(answer, Approved):
        row |= {name: getattr(answer, name) for name in terms}
        return {**row, "reason_code": None, "reason": None}
    row |= dict.fromkeys(terms)
    return {**row, "reason_code": answer.reason_code, "reason": answer.reason}


def json_rows(rows: Iterable[Mapping[str, Any]]) -> str:
    """`rows` of columns as a JSON array, whose objects the server takes for rows: numbers exact, JSON columns as they are."""
    return orjson.dumps(
        [{**row, **{name: orjson.Fragment(row[name]) for name in _JSON}} for row in rows],
        default=str,
    ).decode()


def stored_of(row: Row[Any]) -> StoredDecision:
    """The decision in a row of decisions."""
    checks = _CHECKS.validate_python(unjson(row.checks))
    common = (
        row.decision_id,
        row.signal_id,
        row.account,
        Symbol(row.symbol),
        Side(row.side),
        Purpose(row.purpose),
    )
    answer: Approved | Refused
    if row.outcome == "approved":
        answer = Approved(
            *common,
            row.quantity,
            OrderType(row.type),
            TimeInForce(row.time_in_force),
            row.limit_price,
            row.stop_price,
            row.stop_loss,
            row.take_profit,
            row.reference_price,
            row.act_from,
            row.act_until,
            checks,
        )
    else:
        answer = Refused(*common, row.reason_code, row.reason, checks)
    decision = Decision(answer, row.strategy, row.quantity, row.trade_on, unjson(row.figures))
    return StoredDecision(row.id, row.source, row.decided_at, decision)
