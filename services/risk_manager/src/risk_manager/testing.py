"""Accounts, markets and wishes for tests, each with one word for what matters in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from risk_manager.limits import Closes, Limits
from risk_manager.review import Venue
from risk_manager.snapshot import (
    Book,
    Holding,
    Lending,
    LimitChange,
    Mark,
    Market,
    Mode,
    Price,
    Protection,
    Recent,
    Turn,
    Word,
    Working,
)
from shared.domain.arithmetic import quantised
from shared.domain.calendar import Session, TradingCalendar, TradingWindow
from shared.domain.decisions import Purpose, TradingMode
from shared.domain.ids import turn_signal_id
from shared.domain.orders import OrderType, Side, TimeInForce
from shared.domain.signals import Direction, Evaluation, ManualOrder, Signal
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe

ACCOUNT = "paper"
NEW_YORK = ZoneInfo("America/New_York")
# A Thursday in the winter of New York, half an hour after the open at 14:30 UTC.
NOW = datetime(2026, 1, 15, 15, 0, tzinfo=UTC)
CLOSE = datetime(2026, 1, 15, 21, 0, tzinfo=UTC)
NEXT_OPEN = datetime(2026, 1, 16, 14, 30, tzinfo=UTC)
AAPL, MSFT = Symbol("AAPL"), Symbol("MSFT")


def a_calendar(first: date = date(2026, 1, 5), days: int = 42) -> TradingCalendar:
    """Weekdays without a holiday, 09:30 to 16:00 in New York."""
    sessions = []
    for offset in range(days):
        day = first + timedelta(days=offset)
        if day.weekday() < 5:
            opens, closes = (
                datetime.combine(day, at, NEW_YORK).astimezone(UTC)
                for at in (time(9, 30), time(16))
            )
            sessions.append(Session(day, opens, closes))
    return TradingCalendar(sessions)


def a_venue(
    timeframe: Timeframe = Timeframe.MINUTE, start: time = time(9, 30), end: time = time(16)
) -> Venue:
    """The whole session, unless narrowed."""
    return Venue(a_calendar(), TradingWindow(start, end, NEW_YORK), timeframe)


def some_limits(**changes: Any) -> Limits:
    """The defaults of the settings, with `changes`."""
    values: dict[str, Any] = {
        "max_position_size": 0.05,
        "max_portfolio_risk": 0.02,
        "drawdown_limit": 0.15,
        "max_daily_trades": 50,
        "max_correlation": 0.9,
        "correlation_bars": 20,
        "stop_loss": 0.05,
        "take_profit": 0.10,
        "max_signal_age_bars": 2,
        **changes,
    }
    return Limits(**values)


def a_mode(mode: TradingMode = TradingMode.ACTIVE, version: int = 1) -> Mode:
    """A mode that somebody once chose."""
    return Mode(mode, version, "a test began", "token:operate", NOW - timedelta(days=1))


def a_mark(
    equity: float,
    peak: float,
    version: int = 1,
    *,
    day: float | None = None,
    at: datetime = NOW - timedelta(minutes=1),
    paid_in: float = 0,
) -> Mark:
    """What the account was worth a minute ago; `day` is what the day began with."""
    worth, best = Decimal(str(equity)), Decimal(str(peak))
    return Mark(
        at,
        worth,
        worth,
        best,
        float((best - worth) / best),
        Decimal(0),
        Decimal(0),
        version,
        None if day is None else Decimal(str(day)),
        Decimal(str(paid_in)),
    )


def a_book(
    cash: float = 100_000,
    holdings: Iterable[Holding] = (),
    working: Iterable[Working] = (),
    unknown: Mapping[Symbol, int] | None = None,
    mode: Mode | None = None,
    last_mark: Mark | None = None,
    entries_by_day: Mapping[date, int] | None = None,
    recent: Recent | None = None,
    limit_change: LimitChange | None = None,
    turns: Iterable[Turn] = (),
    lending: Lending | None = None,
    paid_in: float = 0,
) -> Book:
    """An account with nothing but cash, unless more is said."""
    return Book(
        ACCOUNT,
        Decimal(str(cash)),
        tuple(holdings),
        tuple(working),
        unknown or {},
        mode or a_mode(),
        last_mark,
        entries_by_day or {},
        recent or Recent(),
        limit_change,
        turns=tuple(turns),
        lending=lending or Lending(),
        paid_in=Decimal(str(paid_in)),
    )


def a_lending(
    *symbols: str, account: bool = True, lent: bool = True, seen_at: datetime = NOW
) -> Lending:
    """The broker's word on the account and on `symbols`."""
    return Lending(Word(account, seen_at), {Symbol(s): Word(lent, seen_at) for s in symbols})


def a_turn(signal: Signal, *, is_superseded: bool = False) -> Turn:
    """An entry for `signal`, which waits for its exit."""
    answer = replace(signal, signal_id=turn_signal_id(signal.signal_id))
    return Turn(answer, signal.signal_id, is_superseded)


def a_holding(
    symbol: str = "AAPL",
    quantity: float = 10,
    stop: float | None = None,
    paid: float | None = 100,
    strategy: str = "",
) -> Holding:
    """Shares that one entry brought."""
    shares = Decimal(str(quantity))
    entry = Protection(abs(shares), None if stop is None else Decimal(str(stop)), strategy)
    return Holding(Symbol(symbol), shares, None if paid is None else Decimal(str(paid)), (entry,))


def an_order(
    symbol: str = "AAPL",
    quantity: float = 10,
    *,
    purpose: Purpose = Purpose.ENTRY,
    reference: float = 100,
    stop_loss: float | None = 95,
    strategy: str = "",
    side: Side | None = None,
    is_foreign: bool = False,
) -> Working:
    """A market order that may still fill; of a long position unless its side is said."""
    return Working(
        Symbol(symbol),
        side or (Side.BUY if purpose is Purpose.ENTRY else Side.SELL),
        purpose,
        Decimal(str(quantity)),
        OrderType.MARKET,
        None,
        None,
        None if stop_loss is None else Decimal(str(stop_loss)),
        Decimal(str(reference)),
        strategy,
        is_foreign,
    )


def some_closes(seed: int, price: float = 100.0, count: int = 30) -> Closes:
    """Closes that move by a pattern of their own: different seeds hardly correlate."""
    closes, state, level = {}, (seed * 2_654_435_761 + 12_345) % 2**32, price
    for i in range(count):
        state = (state * 1_103_515_245 + 12_345) % 2**31
        level *= 1.0 + (state / 2**31 - 0.5) / 100.0
        closes[i] = quantised(level)
    return closes


def a_market(
    prices: Mapping[str, float], at: datetime = NOW, closes: Mapping[str, Closes] | None = None
) -> Market:
    """Prices of bars that ended `at`; every symbol with closes of its own."""
    made = closes or {symbol: some_closes(i + 1) for i, symbol in enumerate(sorted(prices))}
    return Market(
        frozenset(Symbol(symbol) for symbol in (*prices, *made)),
        {Symbol(symbol): Price(Decimal(str(price)), at) for symbol, price in prices.items()},
        {Symbol(symbol): history for symbol, history in made.items()},
        # A tenth of a percent around each close, and volume enough for any order.
        {Symbol(s): {i: c * 1.001 for i, c in history.items()} for s, history in made.items()},
        {Symbol(s): {i: c * 0.999 for i, c in history.items()} for s, history in made.items()},
        {Symbol(s): dict.fromkeys(history, 1e9) for s, history in made.items()},
    )


def a_signal(
    symbol: str = "AAPL",
    direction: Direction = Direction.LONG,
    *,
    price: float = 100,
    conviction: float = 0.5,
    at: datetime = NOW,
    timeframe: Timeframe = Timeframe.MINUTE,
    strategy: str = "moving_average",
) -> Signal:
    """A wish made from the bar that ended `at`."""
    return Signal(
        f"sig-{strategy}-{symbol}-{direction}-{at:%Y%m%d%H%M}",
        ACCOUNT,
        strategy,
        Symbol(symbol),
        timeframe,
        at - timeframe.length,
        at,
        direction,
        conviction,
        "the short average crossed the long one",
        Decimal(str(price)),
        {"sma_short": "101", "sma_long": "100"},
    )


def an_evaluation(
    *signals: Signal, at: datetime = NOW, timeframe: Timeframe = Timeframe.MINUTE
) -> Evaluation:
    """Everything wished for at one instant."""
    return Evaluation(ACCOUNT, timeframe, at, signals)


def a_manual_order(
    symbol: str = "AAPL",
    side: Side = Side.BUY,
    quantity: float = 10,
    *,
    signal_id: str = "man-1",
    limit_price: float | None = None,
    stop_loss: float | None = 95,
    take_profit: float | None = 110,
    at: datetime = NOW,
) -> ManualOrder:
    """An order that a person asked for: a bracket when bought, unless said otherwise."""

    def price(value: float | None) -> Decimal | None:
        return None if value is None else Decimal(str(value))

    is_buy = side is Side.BUY
    return ManualOrder(
        signal_id,
        ACCOUNT,
        Symbol(symbol),
        side,
        Decimal(str(quantity)),
        OrderType.MARKET if limit_price is None else OrderType.LIMIT,
        TimeInForce.GTC,
        price(limit_price),
        None,
        price(take_profit if is_buy else None),
        price(stop_loss if is_buy else None),
        at,
        "token:operate",
    )
