"""Builders for the simulator's tests: a calendar, a tape of invented minutes, a session at the venue."""

import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from shared.adapters.exchange_calendar import load_calendar
from shared.domain.calendar import TradingCalendar
from shared.domain.symbols import Symbol
from simulator.book import Book
from simulator.matching import TapeBar
from simulator.orders import BookRules
from simulator.tape import Tape
from simulator.testing import OPEN_AT, tape_of

with warnings.catch_warnings():
    # The official client imports the old half of websockets, which says so once, at its first import.
    warnings.simplefilter("ignore", DeprecationWarning)
    import alpaca.trading.stream  # noqa: F401

CLOSE_AT = datetime(2026, 1, 5, 21, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def calendar(tmp_path_factory: pytest.TempPathFactory) -> TradingCalendar:
    return load_calendar(tmp_path_factory.getbasetemp().parent / "sessions")


@pytest.fixture(scope="session")
def make_tape(calendar: TradingCalendar) -> Callable[..., Tape]:
    """See `tape_of`; of one symbol unless told otherwise."""

    def make(
        minutes: Sequence[tuple[float, float, float, float, int]],
        symbols: Sequence[str] = ("AAPL",),
        history: int = 0,
    ) -> Tape:
        return tape_of(minutes, symbols, calendar, history=history)

    return make


class Floor:
    """A book with one symbol, AAPL at 100 dollars, and the steps of a trading day to drive it with."""

    def __init__(self, rules: BookRules) -> None:
        self.book = Book("test", rules, OPEN_AT - timedelta(hours=1), CLOSE_AT)
        self.book.prices[Symbol("AAPL")] = Decimal(100)
        self.minute = 0

    def start(self) -> None:
        at = OPEN_AT + timedelta(minutes=self.minute)
        self.book.open_step(at, CLOSE_AT, new_session=self.minute == 0)

    def fill(
        self, opened: float, high: float, low: float, close: float, volume: int = 1_000_000
    ) -> None:
        self.book.fill_step({Symbol("AAPL"): TapeBar(opened, high, low, close, volume)})
        self._last_close = Decimal(str(close))

    def finish(self, *, ends: bool = False) -> None:
        self.minute += 1
        self.book.close_step(
            OPEN_AT + timedelta(minutes=self.minute),
            [(Symbol("AAPL"), self._last_close)],
            session_ends=ends,
            market_open=not ends,
            close_at=CLOSE_AT,
        )

    def bar(
        self,
        opened: float,
        high: float,
        low: float,
        close: float,
        volume: int = 1_000_000,
        *,
        ends: bool = False,
    ) -> None:
        """All three steps of one minute."""
        self.start()
        self.fill(opened, high, low, close, volume)
        self.finish(ends=ends)


@pytest.fixture(scope="session")
def make_floor() -> Callable[..., Floor]:
    def make(
        cash: int = 100_000,
        slippage_bps: float = 0.0,
        max_volume_share: float = 1.0,
        allow_short: bool = False,
        not_lent: frozenset[Symbol] = frozenset(),
    ) -> Floor:
        rules = BookRules(Decimal(cash), slippage_bps, max_volume_share, allow_short, not_lent)
        return Floor(rules)

    return make


@pytest.fixture
def floor(make_floor: Callable[..., Floor]) -> Floor:
    return make_floor()
