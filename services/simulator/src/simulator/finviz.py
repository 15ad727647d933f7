"""FinViz' export of a screen, over the symbols of one tape.

What a tape does not know of a company (its size, its sector) is made up from the symbol's name, always the same. As
there: the old path redirects with an empty body, a wrong token is a login page with status 200, a filter that does
not exist is ignored without a word, and without `c` the columns are whatever the account has saved.
"""

from __future__ import annotations

import csv
import io
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.domain.bar_blocks import to_epoch_us
from shared.domain.money import MICROS
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from simulator.data_api import DataApi
from simulator.venue import Venue

Handler = Callable[[Request], Awaitable[Response]]

_LOGIN_PAGE = "<!DOCTYPE html><html><head><title>FinViz Elite login</title></head></html>"
_SECTORS = ("Technology", "Healthcare", "Energy", "Financial", "Industrials")
_SAVED_LAYOUT = "1,2,65,66,67"
_SMA_BARS = 20
_WEEK_BARS = 5
_CAPS = {
    # Millions of dollars.
    "mega": (200_000, None),
    "large": (10_000, 200_000),
    "mid": (2_000, 10_000),
    "small": (300, 2_000),
    "micro": (50, 300),
    "nano": (0, 50),
    "largeover": (10_000, None),
    "midover": (2_000, None),
    "smallover": (300, None),
    "microover": (50, None),
    "largeunder": (0, 200_000),
    "midunder": (0, 10_000),
    "smallunder": (0, 2_000),
    "microunder": (0, 300),
}


@dataclass(frozen=True, slots=True)
class Company:
    """A row of the screen; percentages as numbers."""

    symbol: Symbol
    sector: str
    market_cap_millions: float
    average_volume: float
    price: float
    change: float
    volume: int
    sma20_distance: float
    weekly_volatility: float
    # As written, by number of the column; empty where a company has no such figure.
    figures: Mapping[str, str]


class FinvizApi:
    """The export's routes."""

    def __init__(self, venue: Venue, data: DataApi) -> None:
        self._venue = venue
        self._data = data

    def routes(self) -> list[Route]:
        """The old path and the two that work."""
        table: list[tuple[str, Handler]] = [
            ("/export.ashx", self.moved),
            ("/export", self.export),
            ("/export/screener", self.export),
        ]
        return [Route(path, handler, methods=["GET"]) for path, handler in table]

    async def moved(self, request: Request) -> Response:
        """A redirect with an empty body."""
        return Response(
            status_code=301, headers={"Location": f"/export/screener?{request.url.query}"}
        )

    async def export(self, request: Request) -> Response:
        """All rows that pass the filters, as CSV."""
        query = request.query_params
        if not query.get("auth"):
            return Response(_LOGIN_PAGE, media_type="text/html")
        wanted = {name for name in query.get("t", "").upper().split(",") if name}
        rows = [
            company
            for company in map(self._company, self._venue.tape.symbols)
            if company is not None
            and (not wanted or company.symbol in wanted)
            and passes(company, query.get("f", ""))
        ]
        columns = [c for c in query.get("c", _SAVED_LAYOUT).split(",") if c in _COLUMNS]
        out = io.StringIO()
        writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
        writer.writerow([_COLUMNS[c][0] for c in columns])
        for number, company in enumerate(rows, 1):
            writer.writerow([_COLUMNS[c][1](number, company) for c in columns])
        return Response(out.getvalue(), media_type="text/csv")

    def _company(self, symbol: Symbol) -> Company | None:
        now_us = to_epoch_us(self._venue.venue_at)
        timeframe = self._venue.tape.timeframe
        # On a tape of minutes a day is what the clock has reached of it.
        length = Timeframe.DAY if timeframe is Timeframe.DAY else timeframe
        found = self._data.seen(symbol, length, 0, now_us, now_us, True)
        bars = list(islice(found, _SMA_BARS))
        if not bars:
            return None
        closes = np.array([bar.close for bar in bars]) / MICROS
        ranges = np.array([(bar.high - bar.low) / bar.close for bar in bars[:_WEEK_BARS]])
        made_up = np.random.default_rng(zlib.crc32(symbol.encode()))
        return Company(
            symbol,
            _SECTORS[int(made_up.integers(len(_SECTORS)))],
            float(np.round(10 ** made_up.uniform(0, 5), 2)),
            float(np.mean([bar.volume for bar in bars])),
            float(closes[0]),
            float(closes[0] / closes[min(1, len(closes) - 1)] - 1) * 100,
            bars[0].volume,
            float(closes[0] / closes.mean() - 1) * 100,
            float(ranges.mean()) * 100,
            _made_up_figures(made_up),
        )


def _made_up_figures(random: np.random.Generator) -> dict[str, str]:
    """What a company earns, owes and costs; every fifth loses money, and every seventh has no debt to speak of."""
    draw = random.uniform
    has_profit, margin = draw() < 0.8, draw(0.02, 0.35)
    margin = margin if has_profit else -margin
    pe, growth = draw(6, 60), draw(-0.4, 0.9)
    return {
        "7": f"{pe:.2f}" if has_profit else "",
        "8": f"{pe * draw(0.6, 1.1):.2f}" if has_profit else "",
        "9": f"{pe / (growth * 100):.2f}" if has_profit and growth > 0 else "",
        "10": f"{draw(0.3, 12):.2f}",
        "11": f"{draw(0.5, 15):.2f}",
        "13": f"{draw(5, 80):.2f}" if has_profit else "-",
        "14": _percent(draw(0, 0.05)) if draw() < 0.5 else "",
        "17": _percent(growth),
        "18": _percent(draw(-0.1, 0.4)),
        "22": _percent(draw(-0.5, 0.8)),
        "23": _percent(draw(-0.2, 0.5)),
        "32": _percent(margin * draw(0.3, 0.9)),
        "33": _percent(margin * draw(0.8, 2.0)),
        "35": f"{draw(0.5, 4):.2f}",
        "38": "0.00" if draw() < 1 / 7 else f"{draw(0.05, 3):.2f}",
        "39": _percent(draw(0.2, 0.8)),
        "40": _percent(margin * 1.2),
        "41": _percent(margin),
    }


def _percent(fraction: float) -> str:
    return f"{fraction * 100:.2f}%"


def _figure(number: str) -> Callable[[int, Company], object]:
    return lambda _, company: company.figures[number]


_HEADERS = {
    "7": "P/E",
    "8": "Forward P/E",
    "9": "PEG",
    "10": "P/S",
    "11": "P/B",
    "13": "P/Free Cash Flow",
    "14": "Dividend Yield",
    "17": "EPS Growth This Year",
    "18": "EPS Growth Next Year",
    "22": "EPS Growth Quarter Over Quarter",
    "23": "Sales Growth Quarter Over Quarter",
    "32": "Return on Assets",
    "33": "Return on Equity",
    "35": "Current Ratio",
    "38": "Total Debt/Equity",
    "39": "Gross Margin",
    "40": "Operating Margin",
    "41": "Profit Margin",
}
_COLUMNS: Mapping[str, tuple[str, Callable[[int, Company], object]]] = {
    "0": ("No.", lambda number, _: number),
    "1": ("Ticker", lambda _, c: str(c.symbol)),
    "2": ("Company", lambda _, c: f"{c.symbol}, Inc."),
    "3": ("Sector", lambda _, c: c.sector),
    "6": ("Market Cap", lambda _, c: c.market_cap_millions),
    "50": ("Volatility (Week)", lambda _, c: f"{c.weekly_volatility:.2f}%"),
    "52": ("20-Day Simple Moving Average", lambda _, c: f"{c.sma20_distance:.2f}%"),
    "63": ("Average Volume", lambda _, c: round(c.average_volume / 1_000, 2)),
    "65": ("Price", lambda _, c: round(c.price, 2)),
    "66": ("Change", lambda _, c: f"{c.change:.2f}%"),
    "67": ("Volume", lambda _, c: c.volume),
    **{number: (header, _figure(number)) for number, header in _HEADERS.items()},
}


def passes(company: Company, filters: str) -> bool:
    """Whether a company passes all filter codes; codes that are unknown here let everything pass."""
    for code in filter(None, filters.split(",")):
        low, high, value = _range_of(code, company)
        if (low is not None and value < low) or (high is not None and value > high):
            return False
    return True


def _range_of(code: str, company: Company) -> tuple[float | None, float | None, float]:
    group, _, rest = code.rpartition("_")
    if group == "cap" and rest in _CAPS:
        return (*_CAPS[rest], company.market_cap_millions)
    if group == "sh_price":
        return (*_bounds(rest, 1.0), company.price)
    if group == "sh_avgvol":
        return (*_bounds(rest, 1_000.0), company.average_volume)
    if code == "ta_sma20_pa":
        return 0.0, None, company.sma20_distance
    if code == "ta_sma20_pb":
        return None, 0.0, company.sma20_distance
    if group == "ta_volatility" and (match := re.fullmatch(r"wo(\d+)", rest)):
        return float(match[1]), None, company.weekly_volatility
    return None, None, 0.0


def _bounds(text: str, unit: float) -> tuple[float | None, float | None]:
    """`o5`, `u10`, `5to35`, `to35`: the bounds in units of one."""
    if match := re.fullmatch(r"o([\d.]+)", text):
        return float(match[1]) * unit, None
    if match := re.fullmatch(r"u([\d.]+)", text):
        return None, float(match[1]) * unit
    if match := re.fullmatch(r"([\d.]*)to([\d.]*)", text):
        low, high = match.groups()
        return (float(low) * unit if low else None), (float(high) * unit if high else None)
    return None, None
