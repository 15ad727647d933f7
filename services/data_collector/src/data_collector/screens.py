"""What is a screen, and which of a provider's rows does it really let through?

FinViz ignores a filter code that it does not know, without a word, so codes are checked before they are sent and the
limits that matter are applied again to what comes back. An answer that holds nothing is a result; one that is no
table, or is implausibly long, is none.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from data_collector.outcomes import NotData, Truncated
from shared.domain.errors import InvalidInput, InvalidSymbol
from shared.domain.symbols import Symbol, parse_symbol

# Groups of filter codes that exist; one that does not would be ignored and let everything through.
_GROUPS = frozenset(
    [
        "exch",
        "idx",
        "sec",
        "ind",
        "geo",
        "cap",
        "fa_pe",
        "fa_fpe",
        "fa_peg",
        "fa_ps",
        "fa_pb",
        "fa_pc",
        "fa_pfcf",
        "fa_epsyoy",
        "fa_epsyoy1",
        "fa_eps5years",
        "fa_estltgrowth",
        "fa_sales5years",
        "fa_epsqoq",
        "fa_salesqoq",
        "fa_div",
        "fa_roa",
        "fa_roe",
        "fa_roi",
        "fa_curratio",
        "fa_quickratio",
        "fa_ltdebteq",
        "fa_debteq",
        "fa_grossmargin",
        "fa_opermargin",
        "fa_netmargin",
        "fa_payoutratio",
        "sh_insiderown",
        "sh_insidertrans",
        "sh_instown",
        "sh_insttrans",
        "sh_short",
        "an_recom",
        "sh_opt",
        "earningsdate",
        "ta_perf",
        "ta_perf2",
        "ta_volatility",
        "ta_rsi",
        "ta_gap",
        "ta_sma20",
        "ta_sma50",
        "ta_sma200",
        "ta_change",
        "ta_changeopen",
        "ta_highlow20d",
        "ta_highlow50d",
        "ta_highlow52w",
        "ta_pattern",
        "ta_candlestick",
        "ta_beta",
        "ta_averagetruerange",
        "sh_avgvol",
        "sh_relvol",
        "sh_curvol",
        "sh_price",
        "targetprice",
        "ipodate",
        "sh_outstanding",
        "sh_float",
    ]
)
_VALUE = re.compile(r"[a-z0-9.|-]{1,40}")
_MAX_FILTERS = 20
# The whole market has some ten thousand; a screen this long is one whose filters did not count.
_MAX_ROWS = 3_000
# Each of `shared.domain.fundamentals` as FinViz numbers and names it.
FIGURES: Mapping[str, tuple[str, str]] = {
    "market_cap": ("6", "Market Cap"),
    "pe": ("7", "P/E"),
    "forward_pe": ("8", "Forward P/E"),
    "peg": ("9", "PEG"),
    "ps": ("10", "P/S"),
    "pb": ("11", "P/B"),
    "price_to_free_cash_flow": ("13", "P/Free Cash Flow"),
    "dividend_yield": ("14", "Dividend Yield"),
    "eps_growth_this_year": ("17", "EPS Growth This Year"),
    "eps_growth_next_year": ("18", "EPS Growth Next Year"),
    "eps_growth_quarter": ("22", "EPS Growth Quarter Over Quarter"),
    "sales_growth_quarter": ("23", "Sales Growth Quarter Over Quarter"),
    "return_on_assets": ("32", "Return on Assets"),
    "return_on_equity": ("33", "Return on Equity"),
    "current_ratio": ("35", "Current Ratio"),
    "debt_to_equity": ("38", "Total Debt/Equity"),
    "gross_margin": ("39", "Gross Margin"),
    "operating_margin": ("40", "Operating Margin"),
    "profit_margin": ("41", "Profit Margin"),
}
_MILLIONS = frozenset(["market_cap"])
# The limits ask for this one, so it is no figure that a table may lack.
_REQUIRED_FIGURE = "market_cap"
# The last column ends with a sign, so that a table that was cut off in the middle of it shows.
COLUMNS: Mapping[str, str] = {
    "1": "Ticker",
    **dict(FIGURES.values()),
    "63": "Average Volume",
    "65": "Price",
    "67": "Volume",
    "52": "20-Day Simple Moving Average",
    "50": "Volatility (Week)",
}
_REQUIRED = frozenset(COLUMNS.values()) - {
    header for name, (_, header) in FIGURES.items() if name != _REQUIRED_FIGURE
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds applied again to what comes back; dollars and shares, None where there is none."""

    market_cap: tuple[float | None, float | None] = (None, None)
    price: tuple[float | None, float | None] = (None, None)
    average_volume: tuple[float | None, float | None] = (None, None)


@dataclass(frozen=True, slots=True)
class Screen:
    """A named set of filter codes, all of which a share must pass."""

    name: str
    filters: tuple[str, ...]
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row of a screen; what the provider left empty is None."""

    symbol: Symbol
    market_cap: float | None
    average_volume: float | None
    price: float | None
    volume: float | None
    sma20_distance: float | None
    weekly_volatility: float | None
    # By the names of `shared.domain.fundamentals`, without those whose columns did not come.
    figures: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Taken:
    """A screen's result as it was seen, for a backtest that must not see more."""

    screen: str
    filters: tuple[str, ...]
    taken_at: datetime
    symbols: tuple[Symbol, ...]


PRESETS: Mapping[str, Screen] = {
    screen.name: screen
    for screen in (
        Screen(
            "small_caps",
            (
                "cap_smallunder",
                "sh_avgvol_o1000",
                "sh_price_5to35",
                "ta_sma20_pa",
                "ta_volatility_wo6",
            ),
            Limits((2e6, 2e9), (5.0, 35.0), (1e6, None)),
        ),
        Screen(
            "liquid",
            ("cap_midover", "sh_avgvol_o2000", "sh_price_o10"),
            Limits((2e9, None), (10.0, None), (2e6, None)),
        ),
    )
}


def parse_screen(text: str) -> Screen:
    """The preset of that name, or free filter codes separated by commas.

    Raises:
        InvalidInput: a code that would be ignored.
    """
    text = text.strip()
    if text in PRESETS:
        return PRESETS[text]
    codes = tuple(code.strip() for code in text.split(",") if code.strip())
    if not 0 < len(codes) <= _MAX_FILTERS:
        raise InvalidInput(f"a screen is one of {', '.join(PRESETS)}, or 1 to 20 filter codes")
    for code in codes:
        group, _, value = code.rpartition("_")
        if group not in _GROUPS or _VALUE.fullmatch(value) is None:
            raise InvalidInput(
                f"{code[:40]!r} is no filter code of FinViz, which would ignore it; write it like "
                "sh_price_5to35"
            )
    return Screen("free", codes)


def read_export(body: bytes, screen: Screen) -> tuple[list[Candidate], int]:
    """The rows that pass `screen`, and how many did not although they came.

    A column that only figures of companies are read from may be missing: which symbols pass does not hang on it.

    Raises:
        NotData, Truncated: it is no whole table of this screen.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise NotData("FinViz answered with something that is no text") from None
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        raise Truncated("FinViz answered with a table that ends in the middle of a cell") from None
    header = rows[0] if rows else []
    missing = [name for name in COLUMNS.values() if name in _REQUIRED and name not in header]
    if missing:
        raise NotData(f"FinViz answered without the column {missing[0]!r}; has it been renamed?")
    if len(rows) - 1 > _MAX_ROWS:
        raise NotData(
            f"FinViz answered with {len(rows) - 1} rows, so it has ignored a filter of the screen"
        )
    found, dropped = [], 0
    for row in rows[1:]:
        if len(row) != len(header) or not (row[-1].endswith("%") or row[-1] in ("", "-")):
            raise Truncated("FinViz answered with a table that ends in the middle of a row")
        candidate = _candidate(dict(zip(header, row, strict=True)))
        if candidate is None or not passes(candidate, screen.limits):
            dropped += 1
        else:
            found.append(candidate)
    return found, dropped


def missing_columns(found: Sequence[Candidate]) -> tuple[str, ...]:
    """The columns of figures, as FinViz names them, that did not come with these candidates; of none nothing is known."""
    known = set().union(*(candidate.figures for candidate in found))
    return tuple(header for name, (_, header) in FIGURES.items() if found and name not in known)


def passes(candidate: Candidate, limits: Limits) -> bool:
    """Whether a row is inside the limits; a figure that is not known is outside."""
    return all(
        (low is None and high is None)
        or (value is not None and (low is None or value >= low) and (high is None or value <= high))
        for value, (low, high) in (
            (candidate.market_cap, limits.market_cap),
            (candidate.price, limits.price),
            (candidate.average_volume, limits.average_volume),
        )
    )


def _candidate(row: Mapping[str, str]) -> Candidate | None:
    try:
        symbol = parse_symbol(row["Ticker"].replace("-", "."))
    except InvalidSymbol:
        return None
    return Candidate(
        symbol,
        figure(row["Market Cap"], unit=1e6),
        figure(row["Average Volume"], unit=1e3),
        figure(row["Price"]),
        figure(row["Volume"]),
        figure(row["20-Day Simple Moving Average"]),
        figure(row["Volatility (Week)"]),
        {name: _plain(name, row[header]) for name, (_, header) in FIGURES.items() if header in row},
    )


def _plain(name: str, text: str) -> float | None:
    """A company's figure; what is written in percent as a fraction."""
    value = figure(text, unit=1e6 if name in _MILLIONS else 1.0)
    is_percent = text.rstrip().endswith("%")
    return value / 100.0 if value is not None and is_percent else value


def figure(text: str, unit: float = 1.0) -> float | None:
    """A number as FinViz writes it: plain (in `unit`), with %, or with K, M, B; None where it is missing."""
    match = re.fullmatch(r"(-?\d+(?:\.\d+)?)([%KMB]?)", text.strip().replace(",", ""))
    if match is None:
        return None
    scale = {"": unit, "%": 1.0, "K": 1e3, "M": 1e6, "B": 1e9}[match[2]]
    value = float(match[1]) * scale
    # So many digits that they are no number any more.
    return value if math.isfinite(value) else None
