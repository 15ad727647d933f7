"""Rows as the services store them, for tests of what pages show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

AT = datetime(2026, 1, 5, 15, 30, tzinfo=UTC)


def a_check(
    code: str, usage: float, limit: float, unit: str = "of equity", *, passed: bool = True
) -> Any:
    """One check of a decision."""
    return {
        "code": code,
        "usage": usage,
        "limit": limit,
        "unit": unit,
        "passed": passed,
        "text": "t",
    }


def a_resting_order(
    symbol: str, stop: str | None, limit: str | None, quantity: str = "10", side: str = "sell"
) -> Any:
    """A stop or a target at the broker."""
    return {
        "symbol": symbol,
        "side": side,
        "quantity": Decimal(quantity),
        "stop_price": stop and Decimal(stop),
        "limit_price": limit and Decimal(limit),
    }


def an_intent(state: str, filled: str = "0", reason: str | None = None) -> Any:
    """An entry as wished."""
    return {
        "client_order_id": f"id-{state}", "decision_id": "d", "signal_id": "s", "symbol": "AAPL", "side": "buy",
        "purpose": "entry", "type": "market", "order_class": "bracket", "time_in_force": "gtc",
        "quantity": Decimal(10), "filled_quantity": Decimal(filled), "limit_price": None, "stop_price": None,
        "stop_loss": Decimal(95), "take_profit": Decimal(110), "state": state, "reason": reason,
        "broker_order_id": None, "act_from": AT, "act_until": AT, "created_at": AT, "sent_at": None,
        "ended_at": None,
    }  # fmt: skip


def a_fill(
    number: int, side: str, quantity: str, price: str, decision: str = "dec-1", minute: int = 0
) -> Any:
    """An execution, `minute` minutes after AT."""
    return {
        "id": number, "execution_id": f"x{number}", "broker_order_id": f"b{number}", "client_order_id": f"c-{decision}",
        "decision_id": decision, "side": side, "quantity": Decimal(quantity), "price": Decimal(price),
        "fee": Decimal(0), "executed_at": AT + timedelta(minutes=minute),
    }  # fmt: skip


def a_decision(outcome: str = "approved", reason: str | None = None) -> Any:
    """What the risk manager answered."""
    return {
        "decision_id": "dec-1", "signal_id": "sig-1", "decided_at": AT, "instant_at": AT, "strategy": "moving_average",
        "symbol": "AAPL", "side": "buy", "purpose": "entry", "quantity": Decimal(10), "outcome": outcome,
        "reason_code": None if outcome == "approved" else "DAILY_TRADES", "reason": reason,
        "stop_loss": Decimal(95) if outcome == "approved" else None,
        "take_profit": Decimal(110) if outcome == "approved" else None,
        "checks": [a_check("DAILY_TRADES", 51, 50, "entries a day", passed=outcome == "approved")],
        "figures": {"equity": "100000"},
    }  # fmt: skip


def a_wish() -> Any:
    """A strategy's signal."""
    return {
        "signal_id": "sig-1", "strategy": "moving_average", "symbol": "AAPL", "timeframe": "1Min", "bar_end_at": AT,
        "direction": "LONG", "conviction": 0.4, "reason": "SMA 20 crossed above SMA 50",
        "reference_price": Decimal(100), "figures": {"sma_short": "99.5"},
    }  # fmt: skip


def a_bar(minute: int, close: float) -> Any:
    """A minute bar that begins `minute` minutes after AT, as the collector answers it."""
    start = AT + timedelta(minutes=minute)
    return {
        "timeframe": "1Min", "start_at": start.isoformat(), "end_at": (start + timedelta(minutes=1)).isoformat(),
        "open": str(close), "high": str(close + 1), "low": str(close - 1), "close": str(close), "volume": 100,
    }  # fmt: skip
