"""Alpaca's market-data REST API over one tape.

Nothing is answered that the venue's clock has not reached: a bar shows up once it has ended. The running day
of a minute tape appears in snapshots alone, made of the minutes that have ended.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.domain.bar_blocks import from_epoch_us, to_epoch_us
from shared.domain.calendar import NEW_YORK
from shared.domain.errors import InvalidInput, InvalidSymbol
from shared.domain.money import MICROS
from shared.domain.symbols import Symbol, parse_symbol
from shared.domain.timeframes import Timeframe, parse_timeframe
from simulator import wire
from simulator.http_edge import answer
from simulator.tape import SeenBar
from simulator.trading_api import parse_instant
from simulator.venue import Venue

_MAX_LIMIT = 10_000
_DEFAULT_LIMIT = 1_000
_MAX_SYMBOLS = 5_000
_ONE_DAY = timedelta(days=1)


class BadQuery(InvalidInput):
    """A query parameter that cannot be right; the API answers 400 with the sentence."""


Handler = Callable[[Request], Awaitable[Response]]


class DataApi:
    """The routes of the data host; here they live on the same port."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._symbols = frozenset(venue.tape.symbols)

    def routes(self) -> list[Route]:
        """All of them; more exact paths first."""
        table: list[tuple[str, Handler]] = [
            ("/v2/stocks/bars", self.bars),
            ("/v2/stocks/{symbol}/bars", self.bars_of),
            ("/v2/stocks/snapshots", self.snapshots),
            ("/v2/stocks/{symbol}/snapshot", self.snapshot_of),
            ("/v2/stocks/{kind}/latest", self.latest),
            ("/v2/stocks/{symbol}/{kind}/latest", self.latest_of),
        ]
        return [Route(path, plain_errors(handler), methods=["GET"]) for path, handler in table]

    # ------------------------------------------------------------------ history

    async def bars(self, request: Request) -> Response:
        """Bars of several symbols; a page is cut by symbol, then time."""
        symbols = sorted(set(symbols_of(request.query_params)))
        found, token = self._page(symbols, request.query_params)
        return answer({"bars": found, "next_page_token": token})

    async def bars_of(self, request: Request) -> Response:
        """Bars of one symbol."""
        symbol = _symbol(request.path_params["symbol"])
        found, token = self._page([symbol], request.query_params)
        return answer({"bars": found.get(symbol, []), "symbol": symbol, "next_page_token": token})

    def _page(
        self, symbols: list[Symbol], query: Mapping[str, str]
    ) -> tuple[dict[str, list[dict[str, Any]]], str | None]:
        timeframe = self._timeframe(query)
        limit = _limit(query)
        sort = query.get("sort") or "asc"
        if sort not in ("asc", "desc"):
            raise BadQuery("invalid sort: must be asc or desc")
        now_us = to_epoch_us(self._venue.venue_at)
        midnight = self._venue.venue_at.astimezone(NEW_YORK).replace(
            hour=0, minute=0, second=0, microsecond=0
        )
        first_us = _instant_us(query, "start", to_epoch_us(midnight))
        last_us = _instant_us(query, "end", now_us)
        reached = _decode_token(query.get("page_token"))
        found: dict[str, list[dict[str, Any]]] = {}
        left = limit
        for symbol in symbols:
            if symbol not in self._symbols or (reached is not None and symbol < reached[0]):
                continue
            low, high = first_us, last_us
            if reached is not None and symbol == reached[0]:
                low, high = (reached[1] + 1, high) if sort == "asc" else (low, reached[1] - 1)
            rows = list(
                islice(self.seen(symbol, timeframe, low, high, now_us, sort == "desc"), left + 1)
            )
            if rows[:left]:
                found[symbol] = [wire.data_bar(row) for row in rows[:left]]
            if len(rows) > left:
                last = rows[left - 1].start_us if left else (low - 1 if sort == "asc" else high + 1)
                return found, _encode_token(symbol, last)
            left -= len(rows)
        return found, None

    def seen(
        self,
        symbol: Symbol,
        timeframe: Timeframe,
        first_us: int,
        last_us: int,
        now_us: int,
        newest_first: bool,
    ) -> Iterator[SeenBar]:
        """Bars of the tape's own length, or days, that start within the bounds and have ended."""
        tape = self._venue.tape
        if timeframe is tape.timeframe:
            return tape.bars(symbol, first_us, last_us, now_us, newest_first=newest_first)
        return self._days(symbol, first_us, last_us, now_us, newest_first)

    def _days(
        self, symbol: Symbol, first_us: int, last_us: int, now_us: int, newest_first: bool
    ) -> Iterator[SeenBar]:
        """Whole days made of intraday bars; a day is there once its session has closed."""
        first_on = from_epoch_us(max(first_us, 0)).astimezone(NEW_YORK).date()
        last_on = from_epoch_us(min(last_us, now_us)).astimezone(NEW_YORK).date()
        sessions = list(self._venue.tape.calendar.between(first_on, last_on))
        for session in reversed(sessions) if newest_first else sessions:
            midnight = datetime(session.on.year, session.on.month, session.on.day, tzinfo=NEW_YORK)
            start_us, close_us = to_epoch_us(midnight), to_epoch_us(session.close_at)
            if first_us <= start_us <= last_us and close_us <= now_us:
                day = self._day(symbol, midnight, close_us, now_us)
                if day is not None:
                    yield day

    def _day(
        self, symbol: Symbol, midnight: datetime, close_us: int, now_us: int
    ) -> SeenBar | None:
        start_us = to_epoch_us(midnight)
        rows = list(self._venue.tape.bars(symbol, start_us, close_us, now_us, newest_first=False))
        if not rows:
            return None
        return SeenBar(
            start_us,
            close_us,
            rows[0].open,
            max(row.high for row in rows),
            min(row.low for row in rows),
            rows[-1].close,
            sum(row.volume for row in rows),
        )

    def _timeframe(self, query: Mapping[str, str]) -> Timeframe:
        own = self._venue.tape.timeframe
        text = query.get("timeframe")
        if not text:
            raise BadQuery("timeframe is required")
        offered = [own.value] if own is Timeframe.DAY else [own.value, Timeframe.DAY.value]
        try:
            wanted = parse_timeframe(text)
        except InvalidInput:
            wanted = None
        if wanted is None or wanted.value not in offered:
            raise BadQuery(
                f"invalid timeframe {text[:20]}: this simulator plays {own.value} bars and offers "
                f"{' and '.join(offered)}"
            )
        return wanted

    # ------------------------------------------------------------------ latest

    async def latest(self, request: Request) -> Response:
        """The newest bar, quote or trade of several symbols; one without is left out."""
        kind = _kind(request)
        found = {}
        for symbol in symbols_of(request.query_params):
            newest = self._newest(symbol, kind)
            if newest is not None:
                found[symbol] = newest
        return answer({kind: found})

    async def latest_of(self, request: Request) -> Response:
        """The newest bar, quote or trade of one symbol."""
        symbol, kind = _symbol(request.path_params["symbol"]), _kind(request)
        newest = self._newest(symbol, kind)
        if newest is None:
            return answer({"message": f"no {kind} found for {symbol}"}, 404)
        return answer({"symbol": symbol, kind.removesuffix("s"): newest})

    def _newest(self, symbol: Symbol, kind: str) -> dict[str, Any] | None:
        if kind == "quotes":
            return self._quote(symbol)
        bar = self.last(symbol)
        if bar is None:
            return None
        if kind == "bars":
            return wire.data_bar(bar)
        return wire.latest_trade(bar.close / MICROS, from_epoch_us(bar.end_us))

    def _quote(self, symbol: Symbol) -> dict[str, Any] | None:
        """Somebody quotes around the last price for as long as the exchange is open, also before the first bar."""
        price = self._venue.book.prices.get(symbol)
        if symbol not in self._symbols or price is None:
            return None
        bar = self.last(symbol)
        at = self._venue.venue_at
        if bar is not None and not self._venue.is_open:
            at = from_epoch_us(bar.end_us)
        return wire.latest_quote(float(price), at)

    def last(self, symbol: Symbol) -> SeenBar | None:
        """The newest bar of a symbol that has ended."""
        if symbol not in self._symbols:
            return None
        return self._venue.tape.last_before(symbol, to_epoch_us(self._venue.venue_at))

    async def snapshots(self, request: Request) -> Response:
        """Everything newest of several symbols, without a wrapper."""
        found = {}
        for symbol in symbols_of(request.query_params):
            snapshot = self._snapshot(symbol)
            if snapshot is not None:
                found[symbol] = snapshot
        return answer(found)

    async def snapshot_of(self, request: Request) -> Response:
        """Everything newest of one symbol."""
        symbol = _symbol(request.path_params["symbol"])
        snapshot = self._snapshot(symbol)
        if snapshot is None:
            return answer({"message": f"no snapshot found for {symbol}"}, 404)
        return answer({"symbol": symbol, **snapshot})

    def _snapshot(self, symbol: Symbol) -> dict[str, Any] | None:
        last = self.last(symbol)
        if last is None:
            return None
        tape = self._venue.tape
        now_us = to_epoch_us(self._venue.venue_at)
        if tape.timeframe is Timeframe.DAY:
            minute, day = None, last
            before = next(tape.bars(symbol, 0, last.start_us - 1, now_us, newest_first=True), None)
        else:
            minute = last
            midnight = (
                from_epoch_us(last.start_us)
                .astimezone(NEW_YORK)
                .replace(hour=0, minute=0, second=0, microsecond=0)
            )
            running = self._day(symbol, midnight, last.end_us, now_us)
            assert running is not None  # it holds `last` at least
            day = running
            start_us = to_epoch_us(midnight)
            before = next(
                self._days(symbol, start_us - 14 * 86_400 * MICROS, start_us - 1, now_us, True),
                None,
            )
        price, at = last.close / MICROS, from_epoch_us(last.end_us)
        return {
            "latestTrade": wire.latest_trade(price, at),
            "latestQuote": self._quote(symbol),
            "minuteBar": None if minute is None else wire.data_bar(minute),
            "dailyBar": wire.data_bar(day),
            "prevDailyBar": None if before is None else wire.data_bar(before),
        }


def plain_errors(handler: Handler) -> Handler:
    """`handler` with bad queries answered in the API's words."""

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except BadQuery as error:
            return answer({"message": str(error)}, 400)

    return handle


def _kind(request: Request) -> str:
    kind: str = request.path_params["kind"]
    if kind not in ("bars", "quotes", "trades"):
        raise BadQuery(f"no latest {kind[:20]}: ask for bars, quotes or trades")
    return kind


def symbols_of(query: Mapping[str, str]) -> list[Symbol]:
    """The symbols that a query names. Raises BadQuery for none, too many, or what is none."""
    texts = [text.strip() for text in query.get("symbols", "").split(",") if text.strip()]
    if not texts:
        raise BadQuery("symbols is required")
    if len(texts) > _MAX_SYMBOLS:
        raise BadQuery(f"too many symbols: at most {_MAX_SYMBOLS}")
    return [_symbol(text) for text in texts]


def _symbol(text: str) -> Symbol:
    try:
        return parse_symbol(text)
    except InvalidSymbol:
        raise BadQuery(f"invalid symbol: {text[:20]}") from None


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit")
    if not text:
        return _DEFAULT_LIMIT
    if not text.isdecimal() or len(text) > 18 or int(text) < 1:
        raise BadQuery("invalid limit: must be a whole number above zero")
    if int(text) > _MAX_LIMIT:
        raise BadQuery(f"invalid limit: larger than the allowed maximum of {_MAX_LIMIT}")
    return int(text)


def _instant_us(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if not text:
        return default
    try:
        at = parse_instant(text)
    except ValueError:
        raise BadQuery(f"invalid {name}: write it as RFC 3339 or YYYY-MM-DD") from None
    # A bare date as the end means the whole of that day.
    if name == "end" and len(text) == 10:
        at += _ONE_DAY - timedelta(microseconds=1)
    return to_epoch_us(at)


def _encode_token(symbol: Symbol, start_us: int) -> str:
    return base64.urlsafe_b64encode(f"{symbol}|{start_us}".encode()).decode()


def _decode_token(token: str | None) -> tuple[Symbol, int] | None:
    if not token:
        return None
    try:
        symbol, start_us = base64.urlsafe_b64decode(token).decode().split("|")
        return parse_symbol(symbol), int(start_us)
    except (ValueError, InvalidSymbol):
        raise BadQuery("invalid page_token") from None
