"""How are splits and dividends kept?

One small Parquet file per account beside its bars, rewritten as a whole by each change, so a reader sees all of a change
or nothing of it. Every version stays with its provider and fetch time; of one symbol, kind and day the one fetched
last counts. Figures are kept as exact texts.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal

import polars as pl
from polars.exceptions import PolarsError

from shared.adapters.folders import open_folder
from shared.domain.bar_blocks import to_epoch_us
from shared.domain.corporate_actions import CashDividend, CorporateAction, Split, merged
from shared.domain.errors import StateMismatch
from shared.domain.symbols import Symbol
from shared.storage import Place

_FILE = "actions.parquet"
_SPLIT, _DIVIDEND = "split", "cash_dividend"
_SCHEMA = {
    "symbol": pl.String,
    "kind": pl.String,
    "ex_on": pl.Date,
    # Of a split its new rate, of a dividend its dollars a share; the old rate is 1 for these.
    "value": pl.String,
    "old_rate": pl.String,
    "provider": pl.String,
    "fetched_us": pl.Int64,
}
_KEY = ["symbol", "kind", "ex_on"]
_FIGURES = ["value", "old_rate"]
# Fetched at the same instant, the order of the texts decides, so that every reader picks the same.
_BY_AGE = [*_KEY, "fetched_us", "provider", *_FIGURES]


class ParquetActions:
    """See `ActionStore`; any number of readers, writers one at a time across processes."""

    def __init__(self, root: Place) -> None:
        """`root`: where one account's market history lies; made by the first change."""
        self._folder = open_folder(root / "actions")

    def put(
        self, actions: Sequence[CorporateAction], *, provider: str, fetched_at: datetime
    ) -> int:
        """See `ActionStore`."""
        given = _frame(merged(actions), provider, to_epoch_us(fetched_at))
        if given.is_empty():
            return 0
        with self._folder.sole_writer():
            stored = self._read()
            new = given.join(_current(stored), on=[*_KEY, *_FIGURES], how="anti")
            new = new.join(stored, on=list(_SCHEMA), how="anti")
            if len(new):
                buffer = io.BytesIO()
                pl.concat([stored, new]).sort(_BY_AGE).write_parquet(buffer, compression="zstd")
                self._folder.put(_FILE, buffer.getbuffer())
        return len(new)

    def actions(
        self, symbols: Sequence[Symbol] | None = None, until_on: date | None = None
    ) -> list[CorporateAction]:
        """See `ActionStore`."""
        rows = _current(self._read())
        if symbols is not None:
            rows = rows.filter(pl.col("symbol").is_in(list(symbols)))
        if until_on is not None:
            rows = rows.filter(pl.col("ex_on") <= until_on)
        return [_action(*row) for row in rows.select(*_KEY, *_FIGURES).iter_rows()]

    def _read(self) -> pl.DataFrame:
        try:
            return pl.read_parquet(io.BytesIO(self._folder.get(_FILE))).select(_SCHEMA.keys())
        except FileNotFoundError:
            return pl.DataFrame(schema=_SCHEMA)
        except (PolarsError, OSError) as error:
            raise StateMismatch(
                f"{self._folder.address(_FILE)} cannot be read ({type(error).__name__}); restore it from a backup, or move "
                "it away and fetch splits and dividends anew"
            ) from error


def _frame(actions: Sequence[CorporateAction], provider: str, fetched_us: int) -> pl.DataFrame:
    rows = [
        (
            (a.symbol, _SPLIT, a.ex_on, str(a.new_rate), str(a.old_rate), provider, fetched_us)
            if isinstance(a, Split)
            else (a.symbol, _DIVIDEND, a.ex_on, str(a.amount), "1", provider, fetched_us)
        )
        for a in actions
    ]
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def _current(rows: pl.DataFrame) -> pl.DataFrame:
    """Of each symbol, kind and day the version that counts, sorted."""
    return rows.sort(_BY_AGE).unique(_KEY, keep="last", maintain_order=True)


def _action(symbol: str, kind: str, ex_on: date, value: str, old_rate: str) -> CorporateAction:
    if kind == _SPLIT:
        return Split(Symbol(symbol), ex_on, Decimal(value), Decimal(old_rate))
    return CashDividend(Symbol(symbol), ex_on, Decimal(value))
