"""Is this file so plain that the standard library reads it?

A small CSV of daily bars as most people have it: dates, digits and commas. To import Polars takes longer than to read
such a file and to trade over it. Whatever is not plain, and whatever is wrong, is left to the reader that names row and
mend; a property test holds the two equal.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# From here on Polars is the quicker one.
_MOST_BYTES = 2_000_000
_PLAIN = b"0123456789.,-\r\n"
_NAMES = ("date", "open", "high", "low", "close", "adj close", "volume")
_DATE_LENGTH = len("2026-01-05")


class Plain(NamedTuple):
    """Dates in microseconds since 1970, and all other columns by their lower-case names."""

    time_us: NDArray[np.int64]
    numbers: dict[str, NDArray[np.float64]]


def read_plain(path: Path) -> Plain | None:
    """The columns of a plain file; None for every other file, and for one that cannot be read."""
    if path.suffix.lower() not in (".csv", ".txt"):
        return None
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return None
        head, _, body = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    if body.translate(None, _PLAIN):
        return None
    names = [name.strip().lower() for name in head.decode("latin-1").split(",")]
    lines = body.decode("ascii").rstrip().splitlines()
    if "date" not in names or len(set(names)) < len(names) or not set(names) <= set(_NAMES):
        return None
    if not lines or any(line.count(",") != len(names) - 1 for line in lines):
        return None
    cells = ",".join(lines).split(",")
    columns = {name: cells[i :: len(names)] for i, name in enumerate(names)}
    dates = columns.pop("date")
    if any(len(text) != _DATE_LENGTH for text in dates):
        return None
    try:
        days = np.array(dates, "datetime64[D]")
        numbers = {name: np.array(texts, np.float64) for name, texts in columns.items()}
    except ValueError:
        return None
    return Plain(days.astype("datetime64[us]").astype(np.int64), numbers)
