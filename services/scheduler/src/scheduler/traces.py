"""Which spans tell the way from a bar to a fill?

One trace per instant that was announced, or per order that somebody gave by hand. Its id and those of its spans are digests
of the keys under which things are stored, so that every id of the ledger finds its trace, looking twice makes no second one,
and no context has to travel with the messages. Rows go in, spans come out; nothing is read or sent here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Span:
    """One step of one service. Ids are whole numbers of 128 and 64 bits; `parent_id` is None for the first step."""

    trace_id: int
    span_id: int
    parent_id: int | None
    service: str
    name: str
    start_at: datetime
    end_at: datetime
    is_error: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """Rows that are new since the last look, each with its `source`: the key of what it came from."""

    batches: Sequence[Row] = ()
    evaluations: Sequence[Row] = ()
    decisions: Sequence[Row] = ()
    orders: Sequence[Row] = ()
    fills: Sequence[Row] = ()


def trace_id_of(account: str, source: str) -> int:
    """The trace in which everything that came of `source` is found, e.g. `evaluation:1Min:2026-01-05T14:31:00+00:00`."""
    return int.from_bytes(_digest(f"trace|{account}|{source}")[:16])


def spans_of(account: str, seen: Seen) -> list[Span]:
    """A span for each row."""
    return [
        *(_batch(account, row) for row in seen.batches),
        *(_evaluation(account, row) for row in seen.evaluations),
        *(_decision(account, row) for row in seen.decisions),
        *(_order(account, row) for row in seen.orders),
        *(_fill(account, row) for row in seen.fills),
    ]


def _batch(account: str, row: Row) -> Span:
    return _span(
        account,
        row,
        ("batch", row["source"]),
        None,
        ("data_collector", "collect bars"),
        (row["end_at"], row["announced_at"]),
        {"batch_id": row["id"], "symbols": row["symbols"], "decidable": row["decidable"]},
    )


def _evaluation(account: str, row: Row) -> Span:
    return _span(
        account,
        row,
        ("evaluation", row["source"]),
        ("batch", row["source"]),
        ("strategy_engine", "evaluate strategies"),
        (row["announced_at"] or row["created_at"], row["created_at"]),
        {"outbox_id": row["id"]},
    )


def _decision(account: str, row: Row) -> Span:
    return _span(
        account,
        row,
        ("decision", row["decision_id"]),
        ("evaluation", row["source"]) if row["evaluated_at"] is not None else None,
        ("risk_manager", f"decide {row['outcome']}"),
        (row["evaluated_at"] or row["decided_at"], row["decided_at"]),
        {
            name: row[name]
            for name in ("decision_id", "signal_id", "symbol", "strategy", "reason_code")
        },
    )


def _order(account: str, row: Row) -> Span:
    return _span(
        account,
        row,
        ("order", row["client_order_id"]),
        ("decision", row["decision_id"]),
        ("trade_executor", f"send {row['purpose']}"),
        (max(row["created_at"], row["act_from"] or row["created_at"]), row["sent_at"]),
        {
            name: row[name]
            for name in ("client_order_id", "broker_order_id", "symbol", "side", "quantity")
        },
        is_error=row["state"] in ("REJECTED", "UNKNOWN"),
    )


def _fill(account: str, row: Row) -> Span:
    return _span(
        account,
        row,
        ("fill", row["execution_id"]),
        ("order", row["client_order_id"]),
        ("trade_executor", "fill"),
        (row["sent_at"] or row["executed_at"], row["executed_at"]),
        {
            name: row[name]
            for name in ("execution_id", "client_order_id", "symbol", "quantity", "price")
        },
    )


def _span(
    account: str,
    row: Row,
    key: tuple[str, Any],
    parent: tuple[str, Any] | None,
    who: tuple[str, str],
    span: tuple[datetime, datetime],
    attributes: Mapping[str, Any],
    *,
    is_error: bool = False,
) -> Span:
    service, name = who
    start_at, end_at = span
    return Span(
        trace_id_of(account, row["source"]),
        _span_id(account, key),
        None if parent is None else _span_id(account, parent),
        service,
        name,
        # A venue's clock may lag behind ours; a span never ends before it begins.
        min(start_at, end_at),
        end_at,
        is_error,
        {
            "account": account,
            **{name: f"{value}" for name, value in attributes.items() if value is not None},
        },
    )


def _span_id(account: str, key: tuple[str, Any]) -> int:
    return int.from_bytes(_digest(f"span|{account}|{key[0]}|{key[1]}")[:8])


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
