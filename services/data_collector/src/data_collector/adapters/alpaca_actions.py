"""How are splits and dividends read from Alpaca's corporate-actions API?

Its query goes by the day on which an action is processed, which for a dividend is the day of payment, weeks after its
ex-date; so the query reaches further than what is asked for. A dividend in shares is a split. What changes a share
in other ways (spin-offs, mergers, renames) is told as such and applied to no price. A row that can be no action is
refused by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from data_collector.adapters.alpaca_data import PROVIDER, SYMBOLS_PER_REQUEST, VENUE, AlpacaData
from data_collector.boundary import Refused, refused
from data_collector.ports import ToldActions, UnappliedAction
from shared.domain.corporate_actions import CashDividend, CorporateAction, InvalidAction, Split
from shared.domain.errors import InvalidInput, Unavailable
from shared.domain.symbols import Symbol, parse_symbol

_PATH = "/v1/corporate-actions"
_PAGE_ROWS = "1000"
_LONGEST_ID = 100
# No dividend is paid later after its ex-date, and none is announced longer before.
_PAID_WITHIN = timedelta(days=180)


def _split(symbol: Symbol, ex_on: date, row: Mapping[str, Any]) -> CorporateAction:
    return Split(symbol, ex_on, _rate(row, "new_rate"), _rate(row, "old_rate"))


def _stock_dividend(symbol: Symbol, ex_on: date, row: Mapping[str, Any]) -> CorporateAction:
    return Split(symbol, ex_on, 1 + _rate(row, "rate"), Decimal(1))


def _cash_dividend(symbol: Symbol, ex_on: date, row: Mapping[str, Any]) -> CorporateAction:
    return CashDividend(symbol, ex_on, _rate(row, "rate"))


_Reader = Callable[[Symbol, date, Mapping[str, Any]], CorporateAction]
_READERS: Mapping[str, _Reader] = {
    "cash_dividends": _cash_dividend,
    "forward_splits": _split,
    "reverse_splits": _split,
    "stock_dividends": _stock_dividend,
}
# Whose share each of the others changes, and on which of its days.
_OTHERS: Mapping[str, tuple[str, str]] = {
    "spin_offs": ("source_symbol", "ex_date"),
    "unit_splits": ("old_symbol", "effective_date"),
    "cash_mergers": ("acquiree_symbol", "effective_date"),
    "stock_mergers": ("acquiree_symbol", "effective_date"),
    "stock_and_cash_mergers": ("acquiree_symbol", "effective_date"),
    "name_changes": ("old_symbol", "process_date"),
    "redemptions": ("symbol", "process_date"),
    "worthless_removals": ("symbol", "process_date"),
    "rights_distributions": ("source_symbol", "ex_date"),
}
# The query names them in the singular, the answer in the plural.
_TYPES = ",".join(name.removesuffix("s") for name in (*_READERS, *_OTHERS))


class AlpacaActions:
    """See `ActionSource`."""

    def __init__(self, data: AlpacaData) -> None:
        self._data = data

    @property
    def provider(self) -> str:
        """See `ActionSource`."""
        return PROVIDER

    async def told(self, symbols: Sequence[Symbol], start_on: date, end_on: date) -> ToldActions:
        """See `ActionSource`."""
        actions: list[CorporateAction] = []
        bad: list[Refused] = []
        others: list[UnappliedAction] = []
        wanted = frozenset(symbols)
        # A page that moved while it was read may bring a row twice, and amounts of one day add up.
        seen: set[str] = set()
        for at in range(0, len(symbols), SYMBOLS_PER_REQUEST):
            query = {
                "symbols": ",".join(symbols[at : at + SYMBOLS_PER_REQUEST]),
                "types": _TYPES,
                "start": start_on.isoformat(),
                "end": (end_on + _PAID_WITHIN).isoformat(),
                "limit": _PAGE_ROWS,
                "sort": "asc",
            }
            async for page in self._data.pages(_PATH, query, "corporate actions"):
                for kind, row in _rows(page):
                    if isinstance(row.get("id"), str):
                        if row["id"] in seen:
                            continue
                        seen.add(row["id"])
                    try:
                        if kind in _OTHERS:
                            other = _other(kind, row)
                            if other.symbol in wanted and other.on >= start_on:
                                others.append(other)
                            continue
                        action = _read(kind, row)
                    except InvalidInput as error:
                        named = row.get(_OTHERS.get(kind, ("symbol", ""))[0])
                        bad.append(refused(named, str(error), {kind: row}))
                        continue
                    if action.symbol in wanted and action.ex_on >= start_on:
                        actions.append(action)
        return ToldActions(tuple(actions), tuple(bad), tuple(others))


def _rows(page: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The rows of a page with the kind of each; kinds that nobody asked for are passed over."""
    kinds = page.get("corporate_actions")
    if not isinstance(kinds, dict):
        raise Unavailable(f"{VENUE} answered without a page of corporate actions")
    found = []
    for kind in (*_READERS, *_OTHERS):
        rows = kinds.get(kind)
        if not isinstance(rows, list | None) or not all(isinstance(r, dict) for r in rows or ()):
            raise Unavailable(f"{VENUE} answered without a page of corporate actions")
        found += [(kind, row) for row in rows or ()]
    return found


def _read(kind: str, row: Mapping[str, Any]) -> CorporateAction:
    symbol, ex_on = _whose_and_when(row, "symbol", "ex_date")
    identity = row.get("id")
    action = _READERS[kind](symbol, ex_on, row)
    # Names of records are kept apart by blanks.
    if isinstance(identity, str) and 0 < len(identity) <= _LONGEST_ID and " " not in identity:
        return replace(action, ids=(identity,))
    return action


def _other(kind: str, row: Mapping[str, Any]) -> UnappliedAction:
    symbol, on = _whose_and_when(row, *_OTHERS[kind])
    return UnappliedAction(symbol, on, kind.removesuffix("s").replace("_", " "))


def _whose_and_when(row: Mapping[str, Any], whose: str, when: str) -> tuple[Symbol, date]:
    symbol, day = row.get(whose), row.get(when)
    if not isinstance(symbol, str):
        raise InvalidAction("the corporate action names no symbol")
    try:
        on = date.fromisoformat(day if isinstance(day, str) else "")
    except ValueError:
        said = f"has no {when.replace('_', '-')} but {str(day)[:40]!r}"
        raise InvalidAction(f"the corporate action {said}") from None
    return parse_symbol(symbol), on


def _rate(row: Mapping[str, Any], name: str) -> Decimal:
    """A figure as it was written; 0.1 is 0.1 and not its binary neighbour."""
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidAction(f"{name} of the corporate action is no number but {str(value)[:40]!r}")
    return Decimal(repr(value))
