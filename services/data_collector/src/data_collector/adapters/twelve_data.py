"""How are past bars, quotes and the used credits read from Twelve Data?

Its own words decide: an answer of status 200 may be an error, and `No data is available` is an empty answer that
comes as an error. The key travels in a header, never in an address. Raw prices are asked for; splits are applied
on read. Each symbol costs one credit, also in a batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx

from data_collector.adapters.web import Answer, get, json_of, make_client, quoted, retry_after_s
from data_collector.boundary import RawBar
from data_collector.outcomes import NotData, ServerFailed, SymbolsRefused
from data_collector.ports import Budget
from shared.config import Settings
from shared.domain.calendar import NEW_YORK
from shared.domain.errors import Misconfigured, RateLimited, Rejected, Unavailable
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.ports import Clock

PROVIDER = "twelve_data"
VENUE = "Twelve Data"
INTERVALS: Mapping[Timeframe, str] = {
    Timeframe.MINUTE: "1min",
    Timeframe.FIVE_MINUTES: "5min",
    Timeframe.FIFTEEN_MINUTES: "15min",
    Timeframe.HOUR: "1h",
    Timeframe.DAY: "1day",
}
MAX_BARS = 5_000
# The provider's own bound of one request; the budget of a minute may be narrower.
_MAX_GROUP = 100
_NO_DATA = "no data is available"
_MINUTE_S = 60.0
_PENNY = Decimal("0.0001")
_MICRO = Decimal("0.000001")


class SymbolRefused(Rejected):
    """There is no such symbol for this key: unknown, or not part of its plan."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Credits as the provider counts them; the day's are known on the free plan only."""

    minute_used: int
    minute_limit: int
    day_used: int | None
    day_limit: int | None


@dataclass(frozen=True, slots=True)
class DayQuote:
    """The running day of a symbol."""

    symbol: str
    close: Decimal
    previous_close: Decimal | None
    volume: int
    at: datetime
    is_market_open: bool


@contextlib.asynccontextmanager
async def open_twelve_data(
    settings: Settings, clock: Clock, budget: Budget
) -> AsyncIterator[TwelveData]:
    """The client of the configured key. Raises Misconfigured without one."""
    key = settings.twelve_data_api_key
    if key is None:
        raise Misconfigured("missing setting TWELVE_DATA_API_KEY: set it in .env")
    headers = {"Authorization": f"apikey {key.get_secret_value()}"}
    async with make_client(settings.twelve_data_url, headers) as client:
        group = min(_MAX_GROUP, settings.twelve_data_credits_per_minute)
        yield TwelveData(client, budget, clock, group=group)


class TwelveData:
    """See `History`."""

    def __init__(
        self, client: httpx.AsyncClient, budget: Budget, clock: Clock, *, group: int
    ) -> None:
        """`group`: how many symbols one request may name; each is a credit of one minute's budget."""
        self._client = client
        self._budget = budget
        self._clock = clock
        self._group = group

    @property
    def provider(self) -> str:
        """See `History`."""
        return PROVIDER

    @property
    def group(self) -> int:
        """See `History`."""
        return self._group

    @property
    def max_bars(self) -> int:
        """See `History`."""
        return MAX_BARS - 1

    async def pages(
        self, symbols: Sequence[Symbol], timeframe: Timeframe, start_at: datetime, end_at: datetime
    ) -> AsyncIterator[list[RawBar]]:
        """See `History`."""
        refused: dict[Symbol, str] = {}
        for at in range(0, len(symbols), self._group):
            waiting = [(tuple(symbols[at : at + self._group]), start_at, end_at)]
            while waiting:
                some, low, high = waiting.pop()
                rows, cut_off = await self._page(some, timeframe, low, high, refused)
                yield rows
                if cut_off:
                    # Which end of a range an answer leaves out is not promised; halves have both.
                    middle = low + (high - low) / 2
                    if high - low <= timeframe.length:
                        raise Unavailable(f"{VENUE} has more than {MAX_BARS} bars for one instant")
                    waiting += [(cut_off, middle, high), (cut_off, low, middle)]
        if refused:
            raise SymbolsRefused(VENUE, sorted(refused), next(iter(refused.values())))

    async def _page(
        self,
        symbols: tuple[Symbol, ...],
        timeframe: Timeframe,
        start_at: datetime,
        end_at: datetime,
        refused: dict[Symbol, str],
    ) -> tuple[list[RawBar], tuple[Symbol, ...]]:
        """The bars of one request, and the symbols that have more than fits into one.

        Symbols that the provider refuses go into `refused` with its reason.
        """
        query = {
            "symbol": ",".join(symbols),
            "interval": INTERVALS[timeframe],
            "start_date": _wire_time(start_at, timeframe),
            "end_date": _wire_time(end_at, timeframe),
            "outputsize": str(MAX_BARS),
            # Days have no time of day; everything else is told apart from summer time by UTC.
            "timezone": "Exchange" if timeframe is Timeframe.DAY else "UTC",
            "order": "asc",
            "adjust": "none",
            "prepost": "false",
        }
        what = f"{timeframe} bars of {symbols[0]}" + (" and others" if len(symbols) > 1 else "")
        try:
            answer = await self._ask("/time_series", query, len(symbols), what)
        except SymbolRefused as error:
            if len(symbols) > 1:
                raise
            refused[symbols[0]] = str(error)
            return [], ()
        rows: list[RawBar] = []
        cut_off: list[Symbol] = []
        for symbol in symbols:
            entry = answer if len(symbols) == 1 else answer.get(symbol)
            try:
                found = self._series(symbol, entry, timeframe)
            except SymbolRefused as error:
                # Of a batch, one symbol that is not there says nothing of the others.
                refused[symbol] = str(error)
                continue
            rows += found
            if len(found) >= MAX_BARS:
                cut_off.append(symbol)
        return rows, tuple(cut_off)

    def _series(self, symbol: Symbol, entry: Any, timeframe: Timeframe) -> list[RawBar]:
        if not isinstance(entry, dict):
            raise NotData(f"{VENUE} left {symbol} out of its answer")
        if _is_empty(entry):
            return []
        if is_error(entry):
            raise refusal(entry, {}, self._clock.now())
        meta, values = entry.get("meta"), entry.get("values")
        if not isinstance(meta, dict) or not isinstance(values, list):
            raise NotData(f"{VENUE} answered without bars for {symbol}")
        if meta.get("symbol") != symbol:
            raise NotData(f"{VENUE} answered for another symbol than {symbol}")
        zone = _zone(meta) if timeframe is Timeframe.DAY else ZoneInfo("UTC")
        return [raw_bar(symbol, value, zone) for value in values]

    async def quotes(self, symbols: Sequence[Symbol]) -> dict[Symbol, DayQuote]:
        """The running day of each symbol; one that is unknown is left out."""
        found: dict[Symbol, DayQuote] = {}
        for at in range(0, len(symbols), self._group):
            some = symbols[at : at + self._group]
            answer = await self._ask("/quote", {"symbol": ",".join(some)}, len(some), "quotes")
            for symbol in some:
                entry = answer if len(some) == 1 else answer.get(symbol)
                if not isinstance(entry, dict):
                    raise NotData(f"{VENUE} left {symbol} out of its answer")
                if not is_error(entry):
                    found[symbol] = _quote(entry)
        return found

    async def usage(self) -> Usage:
        """The credits as the provider counts them; asking costs one."""
        said = await self._ask("/api_usage", {}, 1, "credit usage")
        try:
            return Usage(
                int(said["current_usage"]),
                int(said["plan_limit"]),
                int(said["daily_usage"]) if "daily_usage" in said else None,
                int(said["plan_daily_limit"]) if "plan_daily_limit" in said else None,
            )
        except (KeyError, TypeError, ValueError):
            raise NotData(f"{VENUE} did not say how many credits are used") from None

    async def _ask(
        self, path: str, query: Mapping[str, str], cost: int, what: str
    ) -> dict[str, Any]:
        """One request within the budget; what is no data and not merely empty raises."""
        await self._budget.spend(cost, what)
        answer = await get(self._client, path, query, venue=VENUE)
        said = read_answer(answer)
        if is_error(said) and not _is_empty(said):
            error = refusal(said, answer.headers, self._clock.now())
            if isinstance(error, RateLimited):
                await self._budget.refused(error.pause_s, str(error))
            raise error
        return said


def read_answer(answer: Answer) -> dict[str, Any]:
    """The JSON object of an answer, its status told apart by its own `code` where it has one."""
    good = Answer(200, answer.headers, answer.body) if 400 <= answer.status < 500 else answer
    try:
        said = json_of(good, VENUE)
    except Unavailable:
        if answer.status == httpx.codes.TOO_MANY_REQUESTS:
            return {"status": "error", "code": 429, "message": "too many requests"}
        if answer.status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise NotData(f"{VENUE} answered {answer.status} with no reason of its own") from None
        raise
    if not isinstance(said, dict):
        raise NotData(f"{VENUE} answered with something that is no object")
    if 400 <= answer.status < 500 and not is_error(said):
        raise NotData(f"{VENUE} answered {answer.status} without saying why")
    return said


def is_error(said: Mapping[str, Any]) -> bool:
    """Whether an answer, or one symbol's part of it, says that it is an error."""
    return said.get("status") == "error"


def refusal(said: Mapping[str, Any], headers: Mapping[str, str], now: datetime) -> Exception:
    """What an error means for the caller."""
    code, message = _code(said), quoted(said.get("message"))
    if code == 429:
        pause_s = retry_after_s(headers)
        if pause_s is None:
            pause_s = _until_next_window_s(message, now)
        return RateLimited(f"{VENUE} ({message})", pause_s)
    if code in (401, 403):
        return Misconfigured(
            f"{VENUE} refused ({code}: {message}); check TWELVE_DATA_API_KEY and its plan"
        )
    if code == 404:
        return SymbolRefused(f"{VENUE} refused the symbol ({message})")
    if 400 <= code < 500:
        return Rejected(f"{VENUE} refused the request ({code}: {message})")
    return ServerFailed(f"{VENUE} answered {code}: {message}")


def _is_empty(said: Mapping[str, Any]) -> bool:
    message = said.get("message")
    return is_error(said) and isinstance(message, str) and message.lower().startswith(_NO_DATA)


def _code(said: Mapping[str, Any]) -> int:
    code = said.get("code")
    return code if isinstance(code, int) else 500


def _until_next_window_s(message: str, now: datetime) -> float:
    """The provider counts by the clock's minute, and by days that begin at midnight UTC."""
    if "for the day" in message:
        tomorrow = datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(0), UTC)
        return max((tomorrow - now).total_seconds(), 1.0)
    return _MINUTE_S - now.timestamp() % _MINUTE_S + 1.0


def raw_bar(symbol: object, value: object, zone: ZoneInfo) -> RawBar:
    """A bar in the provider's words; what is missing shows as None and is refused at the boundary."""
    said: Mapping[str, Any] = value if isinstance(value, dict) else {"bar": value}
    return RawBar(
        symbol,
        _instant(said.get("datetime"), zone),
        _price(said.get("open")),
        _price(said.get("high")),
        _price(said.get("low")),
        _price(said.get("close")),
        _volume(said.get("volume")),
        said,
    )


def read_again(symbol: object, value: object, timeframe: Timeframe) -> RawBar:
    """A bar from the words that were kept of it."""
    return raw_bar(symbol, value, NEW_YORK if timeframe is Timeframe.DAY else ZoneInfo("UTC"))


def _instant(text: object, zone: ZoneInfo) -> object:
    """The naive local time with its zone; what is no time is left for the boundary to refuse."""
    if isinstance(text, str):
        with contextlib.suppress(ValueError):
            at = datetime.fromisoformat(text)
            if at.tzinfo is None:
                return at.replace(tzinfo=zone).astimezone(UTC).isoformat()
    return text


def _price(text: object) -> object:
    """Without the noise of a float that was written out: shares trade in hundredths of a cent at finest."""
    if isinstance(text, str):
        with contextlib.suppress(InvalidOperation):
            price = Decimal(text)
            if price.is_finite():
                return str(price.quantize(_PENNY if price >= 1 else _MICRO))
    return text


def _volume(text: object) -> object:
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 15:
        return int(text)
    return text


def _quote(said: Mapping[str, Any]) -> DayQuote:
    try:
        previous = said.get("previous_close")
        return DayQuote(
            str(said["symbol"]),
            Decimal(said["close"]),
            None if previous is None else Decimal(previous),
            int(said["volume"]),
            datetime.fromtimestamp(int(said["timestamp"]), UTC),
            said["is_market_open"] is True,
        )
    except (KeyError, TypeError, ValueError, InvalidOperation, OverflowError):
        raise NotData(f"{VENUE} answered with a quote that misses something") from None


def _zone(meta: Mapping[str, Any]) -> ZoneInfo:
    with contextlib.suppress(ZoneInfoNotFoundError, ValueError, TypeError):
        return ZoneInfo(str(meta["exchange_timezone"]))
    return NEW_YORK


def _wire_time(at: datetime, timeframe: Timeframe) -> str:
    if timeframe is Timeframe.DAY:
        return at.astimezone(NEW_YORK).date().isoformat()
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
