"""Which splits and dividends does a file of somebody else hold?

CSV or Parquet with a date, and a split (`7:1`, `7`, `7/1`), a dividend (dollars a share) or both in columns of their usual
names, as Yahoo and others write them; a file without symbols is one symbol's, named like it. Dates are ex-dates.
Nothing and zero say that there was none that day, the word `none` takes back what another source told. A row that
cannot be read refuses the file: half of a share's history is worse than none.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from shared.domain.corporate_actions import CashDividend, CorporateAction, Split
from shared.domain.errors import InvalidInput
from shared.domain.symbols import Symbol, parse_symbol

_SYMBOLS = ("symbol", "ticker")
_DATES = ("ex_on", "ex_date", "ex-date", "date", "day")
_SPLITS = ("split", "splits", "stock splits", "stock_split", "split_ratio", "ratio")
_DIVIDENDS = ("dividend", "dividends", "cash_dividend", "amount")
_NONE = "none"


def read_actions(path: Path) -> list[CorporateAction]:
    """The splits and dividends of a file, in its order.

    Raises:
        InvalidInput: it is no table of these, or a row is none; the sentence names row and mend.
    """
    try:
        if path.suffix == ".parquet":
            table = pl.read_parquet(path, glob=False)
        else:
            table = pl.read_csv(path, infer_schema=False, glob=False)
    except (PolarsError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:150]
        raise InvalidInput(f"{path} cannot be read ({reason})") from None
    names = {name.strip().lower(): name for name in table.columns}

    def column(usual: Sequence[str]) -> str | None:
        return next((names[name] for name in usual if name in names), None)

    day, symbol = column(_DATES), column(_SYMBOLS)
    split, dividend = column(_SPLITS), column(_DIVIDENDS)
    if day is None or (split is None and dividend is None):
        raise InvalidInput(
            f"{path} needs a column date, and split (7:1) or dividend (dollars) or both; it has "
            f"{', '.join(table.columns)[:200]}"
        )
    found: list[CorporateAction] = []
    for number, row in enumerate(table.iter_rows(named=True), start=1):
        try:
            name = path.stem.split("-")[0].upper() if symbol is None else str(row[symbol]).strip()
            share, on = parse_symbol(name), _day(row[day])
            found += _split(share, on, None if split is None else row[split])
            found += _dividend(share, on, None if dividend is None else row[dividend])
        except InvalidInput as error:
            raise InvalidInput(f"{path}, row {number}: {error}") from None
    return found


def _split(symbol: Symbol, ex_on: date, value: object) -> list[CorporateAction]:
    text = _text(value)
    if text == _NONE:
        return [Split(symbol, ex_on, Decimal(1), Decimal(1))]
    if not text or text.strip("0.") == "":
        return []
    new, colon, old = text.replace("/", ":").partition(":")
    return [Split(symbol, ex_on, _number(new), _number(old) if colon else Decimal(1))]


def _dividend(symbol: Symbol, ex_on: date, value: object) -> list[CorporateAction]:
    text = _text(value)
    if text == _NONE:
        return [CashDividend(symbol, ex_on, Decimal(0))]
    if not text or text.strip("0.") == "":
        return []
    return [CashDividend(symbol, ex_on, _number(text))]


def _text(value: object) -> str:
    return "" if value is None else str(value).strip().lower()


def _number(text: str) -> Decimal:
    try:
        return Decimal(text.strip())
    except InvalidOperation:
        raise InvalidInput(f"{text[:40]!r} is no number") from None


def _day(value: object) -> date:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        # Whatever stands behind the day (a time, a zone) does not change it.
        return date.fromisoformat(str(value).strip()[:10])
    except ValueError:
        raise InvalidInput(f"{str(value)[:40]!r} is no date like 2014-06-09") from None
