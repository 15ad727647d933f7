"""Alpaca's corporate-actions API over splits and dividends that were given at the start.

Actions are announced a while before their ex-date, so unlike bars they are seen before the venue's clock is there. A
dividend is processed when it is paid, two weeks after its ex-date; a split on its ex-date. They are told, not carried
out: the tape's prices are what they are, and the book counts the shares that were bought.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.domain.corporate_actions import CorporateAction, Split, exchange_day
from simulator.data_api import BadQuery, plain_errors, symbols_of
from simulator.http_edge import answer
from simulator.venue import Venue

PATH = "/v1/corporate-actions"
_ANNOUNCED = timedelta(days=30)
_PAID_AFTER = timedelta(days=14)
_DEFAULT_LIMIT, _MAX_LIMIT = 100, 1000
_NAMESPACE = uuid.UUID("5e1f6d0a-8b7c-4c57-9a39-0f1d5b6f7c21")
_TYPES = [
    "reverse_split",
    "forward_split",
    "unit_split",
    "cash_dividend",
    "stock_dividend",
    "spin_off",
    "cash_merger",
    "stock_merger",
    "stock_and_cash_merger",
    "redemption",
    "name_change",
    "worthless_removal",
    "rights_distribution",
    "partial_call",
    "reorganization",
]


class CorporateActionsApi:
    """One route of the data host."""

    def __init__(self, venue: Venue, actions: Sequence[CorporateAction]) -> None:
        self._venue = venue
        self._rows = sorted(
            (_row(action) for action in actions),
            key=lambda row: (row[1]["process_date"], row[1]["id"]),
        )

    def routes(self) -> list[Route]:
        """The route."""
        return [Route(PATH, plain_errors(self.corporate_actions), methods=["GET"])]

    async def corporate_actions(self, request: Request) -> Response:
        """A page of them by process date, grouped by kind."""
        query = request.query_params
        today = exchange_day(self._venue.venue_at)
        first, last = _day(query, "start", today), _day(query, "end", today)
        symbols = frozenset(symbols_of(query)) if query.get("symbols") else None
        types = _types(query)
        ids = frozenset(filter(None, query.get("ids", "").split(",")))
        found = [
            (kind, row)
            for kind, row in self._rows
            if (symbols is None or row["symbol"] in symbols)
            and (types is None or kind in types)
            and date.fromisoformat(row["ex_date"]) <= today + _ANNOUNCED
            and (
                row["id"] in ids
                if ids
                else first <= date.fromisoformat(row["process_date"]) <= last
            )
        ]
        if query.get("sort") == "desc":
            found.reverse()
        limit, at = _limit(query), _reached(query)
        page: dict[str, list[dict[str, Any]]] = {}
        for kind, row in found[at : at + limit]:
            page.setdefault(f"{kind}s", []).append(row)
        token = str(at + limit) if len(found) > at + limit else None
        return answer({"corporate_actions": page, "next_page_token": token})


def _row(action: CorporateAction) -> tuple[str, dict[str, Any]]:
    """The kind, and how Alpaca writes it."""
    known = {
        "id": str(uuid.uuid5(_NAMESPACE, repr(action))),
        "symbol": action.symbol,
        "ex_date": action.ex_on.isoformat(),
    }
    if isinstance(action, Split):
        rates = {
            "new_rate": float(action.new_rate),
            "old_rate": float(action.old_rate),
            "process_date": action.ex_on.isoformat(),
        }
        if action.ratio >= 1:
            return "forward_split", {**known, "cusip": "000000000", **rates}
        cusips = {"old_cusip": "000000000", "new_cusip": "000000001"}
        return "reverse_split", {**known, **cusips, **rates}
    paid_on = (action.ex_on + _PAID_AFTER).isoformat()
    return "cash_dividend", {
        **known,
        "cusip": "000000000",
        "rate": float(action.amount),
        "special": False,
        "foreign": False,
        "process_date": paid_on,
        "record_date": action.ex_on.isoformat(),
        "payable_date": paid_on,
    }


def _day(query: Mapping[str, str], name: str, default: date) -> date:
    text = query.get(name)
    try:
        return date.fromisoformat(text) if text else default
    except ValueError:
        raise BadQuery(f"invalid {name}: write it as YYYY-MM-DD") from None


def _types(query: Mapping[str, str]) -> frozenset[str] | None:
    types = frozenset(filter(None, query.get("types", "").split(",")))
    unknown = types.difference(_TYPES)
    if unknown:
        raise BadQuery(f"invalid types: {min(unknown)[:30]}")
    return types or None


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit") or str(_DEFAULT_LIMIT)
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= _MAX_LIMIT:
        raise BadQuery(f"invalid limit: must be a whole number from 1 to {_MAX_LIMIT}")
    return int(text)


def _reached(query: Mapping[str, str]) -> int:
    text = query.get("page_token") or "0"
    if not text.isdecimal() or len(text) > 9:
        raise BadQuery("invalid page_token")
    return int(text)
