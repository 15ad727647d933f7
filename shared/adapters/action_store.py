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
from shared.domain.corporate_actions import CashDividend, CorporateAction, Split, merged, moved_away
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
    # The provider's names of the records, apart by blanks; files from before it was kept have none.
    "ids": pl.String,
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
        told = merged(actions)
        if not told:
            return 0
        with self._folder.sole_writer():
            stored = self._read()
            current = _current(stored)
            own = current.filter(pl.col("provider") == provider)
            gone = moved_away(_actions(own), told)
            given = _frame([*told, *gone], provider, to_epoch_us(fetched_at))
            # What is there already is stored again once, where its ids were not known yet.
            nameless = own.filter(pl.col("ids") == "")
            renamed = given.filter(pl.col("ids") != "").join(nameless, on=_KEY, how="semi")
            new = given.join(current, on=[*_KEY, *_FIGURES], how="anti")
            new = pl.concat([new, renamed]).unique(maintain_order=True)
            new = new.join(stored, on=list(_SCHEMA), how="anti")
            if len(new):
                buffer = io.BytesIO()
                pl.concat([stored, new]).sort(_BY_AGE).write_parquet(buffer, compression="zstd")
                self._folder.put(_FILE, buffer.getbuffer())
        return len(new)

    def actions(
        self,
        symbols: Sequence[Symbol] | None = None,
        until_on: date | None = None,
        since_on: date | None = None,
    ) -> list[CorporateAction]:
        """See `ActionStore`."""
        rows = _current(self._read())
        if symbols is not None:
            rows = rows.filter(pl.col("symbol").is_in(list(symbols)))
        if until_on is not None:
            rows = rows.filter(pl.col("ex_on") <= until_on)
        if since_on is not None:
            rows = rows.filter(pl.col("ex_on") >= since_on)
        return _actions(rows)

    def _read(self) -> pl.DataFrame:
        try:
            rows = pl.read_parquet(io.BytesIO(self._folder.get(_FILE)))
            if "ids" not in rows.columns:
                rows = rows.with_columns(pl.lit("").alias("ids"))
            return rows.select(_SCHEMA.keys())
        except FileNotFoundError:
            return pl.DataFrame(schema=_SCHEMA)
        except (PolarsError, OSError) as error:
            raise StateMismatch(
                f"{self._folder.address(_FILE)} cannot be read ({type(error).__name__}); restore it from a backup, or move "
                "it away and fetch splits and dividends anew"
            ) from error


def _frame(actions: Sequence[CorporateAction], provider: str, fetched_us: int) -> pl.DataFrame:
    source = provider, fetched_us
    rows = [
        (
            (a.symbol, _SPLIT, a.ex_on, str(a.new_rate), str(a.old_rate), *source, " ".join(a.ids))
            if isinstance(a, Split)
            else (a.symbol, _DIVIDEND, a.ex_on, str(a.amount), "1", *source, " ".join(a.ids))
        )
        for a in actions
    ]
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def _current(rows: pl.DataFrame) -> pl.DataFrame:
    """Of each symbol, kind and day the version that counts, sorted."""
    return rows.sort(_BY_AGE).unique(_KEY, keep="last", maintain_order=True)


def _actions(rows: pl.DataFrame) -> list[CorporateAction]:
    return [_action(*row) for row in rows.select(*_KEY, *_FIGURES, "ids").iter_rows()]


def _action(
    symbol: str, kind: str, ex_on: date, value: str, old_rate: str, ids: str
) -> CorporateAction:
    if kind == _SPLIT:
        return Split(Symbol(symbol), ex_on, Decimal(value), Decimal(old_rate), tuple(ids.split()))
    return CashDividend(Symbol(symbol), ex_on, Decimal(value), tuple(ids.split()))
