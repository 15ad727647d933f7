"""Twelve Data's REST API over one tape: time_series, quote, price, eod, api_usage.

One key may spend so many credits in a minute of the machine's clock and in a UTC day; a request over the limit is
refused whole and counts all the same. Errors carry their code in the body and in the status. Nothing is answered
that the venue's clock has not reached.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.domain.bar_blocks import from_epoch_us, to_epoch_us
from shared.domain.calendar import NEW_YORK
from shared.domain.errors import InvalidInput, InvalidSymbol
from shared.domain.money import from_micros, plain
from shared.domain.symbols import Symbol, parse_symbol
from shared.domain.timeframes import Timeframe
from shared.ports import Clock
from simulator.data_api import DataApi
from simulator.http_edge import answer
from simulator.tape import SeenBar
from simulator.venue import Venue

INTERVALS = {
    "1min": Timeframe.MINUTE,
    "5min": Timeframe.FIVE_MINUTES,
    "15min": Timeframe.FIFTEEN_MINUTES,
    "1h": Timeframe.HOUR,
    "1day": Timeframe.DAY,
}
_MAX_BARS = 5_000
_DEFAULT_BARS = 30
_MAX_SYMBOLS = 120
_DAYS_TO_MINUTES = 100
_MAX_KEYS = 1_000
_MINUTE_S = 60
_UNKNOWN = (
    "**symbol** or **figi** parameter is missing or invalid. Please provide a valid symbol according "
    "to API documentation: https://twelvedata.com/docs#reference-data"
)
_NO_KEY = (
    "**apikey** parameter is incorrect or not specified. You can get your free API key instantly "
    "following this link: https://twelvedata.com/pricing."
)
_NO_DATA = "No data is available on the specified dates. Try setting different start/end dates."

Handler = Callable[[Request], Awaitable[Response]]


class Refused(InvalidInput):
    """An error in the provider's words, with its code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def body(self) -> dict[str, Any]:
        """As it is answered."""
        return {"code": self.code, "message": str(self), "status": "error"}


class TwelveDataApi:
    """The routes of api.twelvedata.com; here they live on the same port as everything else."""

    def __init__(
        self, venue: Venue, data: DataApi, machine_clock: Clock, credits_per_minute: int
    ) -> None:
        self._venue = venue
        self._data = data
        self._clock = machine_clock
        self._per_minute = credits_per_minute
        self._per_day = credits_per_minute * _DAYS_TO_MINUTES
        self._symbols = frozenset(venue.tape.symbols)
        # Of each key: minute since the epoch, its credits, day, its credits.
        self._used: dict[str, tuple[int, int, int, int]] = {}

    def routes(self) -> list[Route]:
        """All of them."""
        table: list[tuple[str, Handler]] = [
            ("/time_series", self.time_series),
            ("/quote", self.quote),
            ("/price", self.price),
            ("/eod", self.eod),
            ("/api_usage", self.api_usage),
            # The official client loads this list when it is made.
            ("/technical_indicators", self.technical_indicators),
        ]
        return [Route(path, _worded(handler), methods=["GET"]) for path, handler in table]

    async def time_series(self, request: Request) -> Response:
        """Bars of one symbol, or of each of several."""
        query = _query(request)
        timeframe = INTERVALS.get(query.get("interval", ""))
        offered = [t for t in (self._venue.tape.timeframe, Timeframe.DAY) if t is timeframe]
        if timeframe is None or not offered:
            raise Refused(
                400,
                f"Invalid **interval** provided: {query.get('interval', '')[:20]}. Supported "
                f"intervals: {', '.join(INTERVALS)}",
            )
        return self._each(
            request, query, lambda symbol: self._series(symbol, timeframe, query), with_csv=True
        )

    def _series(
        self, symbol: Symbol, timeframe: Timeframe, query: Mapping[str, str]
    ) -> dict[str, Any]:
        zone = _zone(query)
        count = _whole(
            query, "outputsize", _DEFAULT_BARS if "start_date" not in query else _MAX_BARS
        )
        now_us = to_epoch_us(self._venue.venue_at)
        day = timeframe is Timeframe.DAY
        low = _bound(query, "start_date", zone, day=day, default=0)
        high = _bound(query, "end_date", zone, day=day, default=now_us)
        found = self._data.seen(symbol, timeframe, low, high, now_us, True)
        # The newest of the range, whichever way they are then ordered.
        rows = [bar for bar, _ in zip(found, range(count), strict=False)]
        if not rows:
            raise Refused(400, _NO_DATA)
        if query.get("order", "desc").lower() == "asc":
            rows.reverse()
        places = _whole(query, "dp", -1, low=-1, high=11)
        return {
            "meta": {
                "symbol": symbol,
                "interval": query["interval"],
                "currency": "USD",
                "exchange_timezone": "America/New_York",
                "exchange": "NASDAQ",
                "mic_code": "XNGS",
                "type": "Common Stock",
            },
            "values": [_value(bar, zone, places, day=day) for bar in rows],
            "status": "ok",
        }

    async def quote(self, request: Request) -> Response:
        """The running day."""
        query = _query(request)
        return self._each(request, query, self._quote)

    def _quote(self, symbol: Symbol) -> dict[str, Any]:
        last = self._data.last(symbol)
        if last is None:
            raise Refused(400, _NO_DATA)
        now_us = to_epoch_us(self._venue.venue_at)
        midnight = from_epoch_us(last.start_us).astimezone(NEW_YORK).replace(hour=0, minute=0)
        today_us = to_epoch_us(midnight)
        bars = list(self._venue.tape.bars(symbol, today_us, now_us, now_us, newest_first=False))
        before = next(
            self._venue.tape.bars(symbol, 0, today_us - 1, now_us, newest_first=True), None
        )
        ended_at = from_epoch_us(last.end_us)
        said = {
            "symbol": symbol,
            "name": f"{symbol} Inc.",
            "exchange": "NASDAQ",
            "mic_code": "XNGS",
            "currency": "USD",
            "datetime": midnight.date().isoformat(),
            "timestamp": int(from_epoch_us(bars[0].start_us).timestamp()),
            "last_quote_at": int(ended_at.timestamp()),
            "open": _text(bars[0].open),
            "high": _text(max(bar.high for bar in bars)),
            "low": _text(min(bar.low for bar in bars)),
            "close": _text(last.close),
            "volume": str(sum(bar.volume for bar in bars)),
            "is_market_open": self._venue.tape.calendar.session_at(self._venue.venue_at)
            is not None,
        }
        if before is not None:
            change = from_micros(last.close) - from_micros(before.close)
            percent = change / from_micros(before.close) * 100
            said |= {
                "previous_close": _text(before.close),
                "change": plain(change),
                "percent_change": plain(percent.quantize(Decimal("0.00001"))),
            }
        return said

    async def price(self, request: Request) -> Response:
        """The newest price."""
        return self._each(request, _query(request), lambda s: {"price": self._quote(s)["close"]})

    async def eod(self, request: Request) -> Response:
        """The newest close with its day."""
        names = ("symbol", "exchange", "mic_code", "currency", "datetime", "close")

        def one(symbol: Symbol) -> dict[str, Any]:
            quote = self._quote(symbol)
            return {name: quote[name] for name in names}

        return self._each(request, _query(request), one)

    async def api_usage(self, request: Request) -> Response:
        """Credits used, as this API counts them."""
        key = self._key(request, _query(request))
        headers = self._pay(key, 1)
        _, minute_used, _, day_used = self._used.get(key, (0, 0, 0, 0))
        said = {
            "timestamp": self._clock.now().astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"),
            "current_usage": minute_used,
            "plan_limit": self._per_minute,
            "daily_usage": day_used,
            "plan_daily_limit": self._per_day,
            "plan_category": "basic",
        }
        return answer(said, headers=headers)

    async def technical_indicators(self, request: Request) -> Response:
        """None is computed here."""
        self._key(request, _query(request))
        return answer({"data": {}, "status": "ok"})

    def _each(
        self,
        request: Request,
        query: Mapping[str, str],
        one: Callable[[Symbol], dict[str, Any]],
        *,
        with_csv: bool = False,
    ) -> Response:
        """The flat answer for one symbol, a map for several; each is a credit."""
        key = self._key(request, query)
        names = [name.strip() for name in query.get("symbol", "").split(",") if name.strip()]
        if not names:
            raise Refused(404, _UNKNOWN)
        if len(names) > _MAX_SYMBOLS:
            raise Refused(414, "The requested URL is too long")
        headers = self._pay(key, len(names))
        if len(names) == 1:
            said = one(self._symbol(names[0]))
            if with_csv and query.get("format", "").upper() == "CSV":
                text = _csv(said["values"], query.get("delimiter", ";"))
                # Exactly this, without a charset: the official client compares it so.
                return Response(text, headers={**headers, "content-type": "text/csv"})
            return answer(said, headers=headers)
        parts: dict[str, Any] = {}
        for name in names:
            try:
                parts[name] = one(self._symbol(name))
            except Refused as error:
                parts[name] = error.body
        return answer(parts, headers={**headers, "Is_batch": "true"})

    def _symbol(self, text: str) -> Symbol:
        try:
            symbol = parse_symbol(text.upper())
        except InvalidSymbol:
            raise Refused(404, _UNKNOWN) from None
        if symbol not in self._symbols:
            raise Refused(404, _UNKNOWN)
        return symbol

    def _key(self, request: Request, query: Mapping[str, str]) -> str:
        given = request.headers.get("authorization", "")
        key = query.get("apikey") or (given[7:].strip() if given[:7] == "apikey " else "")
        if not key:
            raise Refused(401, _NO_KEY)
        return key

    def _pay(self, key: str, cost: int) -> dict[str, str]:
        """Count `cost` credits; the headers that say so."""
        if not self._per_minute:
            return {}
        now = self._clock.now()
        minute, day = int(now.timestamp()) // _MINUTE_S, now.astimezone(UTC).toordinal()
        began, used, today, used_today = self._used.get(key, (minute, 0, day, 0))
        # What is refused counts as well, as it does there.
        used = cost + (used if began == minute else 0)
        used_today = cost + (used_today if today == day else 0)
        if key not in self._used and len(self._used) >= _MAX_KEYS:
            self._used.pop(next(iter(self._used)))
        self._used[key] = (minute, used, day, used_today)
        for amount, limit, span, wait in (
            (used_today, self._per_day, "for the day", "Wait for the next day"),
            (used, self._per_minute, "for the current minute", "Wait for the next minute"),
        ):
            if amount > limit:
                raise Refused(
                    429,
                    f"You have run out of API credits {span}. {amount} API credits were used, with "
                    f"the current limit being {limit}. {wait} or consider switching to a higher "
                    "tier plan at https://twelvedata.com/pricing",
                )
        return {"api-credits-used": str(used), "api-credits-left": str(self._per_minute - used)}


def _worded(handler: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except Refused as error:
            return answer(error.body, error.code)

    return handle


def _query(request: Request) -> dict[str, str]:
    """Parameters, whose names are taken in any case."""
    return {name.lower(): value for name, value in request.query_params.items()}


def _zone(query: Mapping[str, str]) -> tzinfo:
    name = query.get("timezone", "Exchange")
    if name.lower() == "exchange":
        return NEW_YORK
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise Refused(400, f"Invalid **timezone** provided: {name[:30]}") from None


def _whole(
    query: Mapping[str, str], name: str, default: int, low: int = 1, high: int = _MAX_BARS
) -> int:
    text = query.get(name, str(default))
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise Refused(400, f"Invalid **{name}** provided: {text[:20]}. From {low} to {high}")
    return value


def _bound(query: Mapping[str, str], name: str, zone: tzinfo, *, day: bool, default: int) -> int:
    text = query.get(name)
    if not text:
        return default
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(400, f"Invalid **{name}** provided: {text[:30]}") from None
    if at.tzinfo is None:
        at = at.replace(tzinfo=NEW_YORK if day else zone)
    # Bars are stamped with their beginning; a day named as the end belongs to the range.
    if name == "end_date" and len(text) == len("2026-01-15"):
        at += timedelta(days=1, microseconds=-1)
    return to_epoch_us(at)


def _value(bar: SeenBar, zone: tzinfo, places: int, *, day: bool) -> dict[str, str]:
    at = from_epoch_us(bar.start_us)
    shown = (
        at.astimezone(NEW_YORK).date().isoformat()
        if day
        else at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
    )
    return {
        "datetime": shown,
        "open": _text(bar.open, places),
        "high": _text(bar.high, places),
        "low": _text(bar.low, places),
        "close": _text(bar.close, places),
        "volume": str(bar.volume),
    }


def _text(micros: int, places: int = -1) -> str:
    price = from_micros(micros)
    return plain(price) if places < 0 else str(round(price, places))


def _csv(values: list[dict[str, str]], delimiter: str) -> str:
    lines = [delimiter.join(("datetime", "open", "high", "low", "close", "volume"))]
    lines += [delimiter.join(value.values()) for value in values]
    return "\n".join(lines)
