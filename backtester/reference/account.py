"""What does the reference engine keep beside the simulator's book?

The objects that trade live, wired to one history; what their tables would tell of the past; and the fills as the kernel
writes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from math import floor

import numpy as np

from backtester import risk_rules
from backtester.history import History
from backtester.plan import DEFAULT_LIMITS, Plan
from backtester.reference.sessions import calendar_of
from backtester.terms import BY_LIMITS, ENTRY, EXIT, MICROS, STOP, TARGET, micros
from backtester.wishing import Wished
from risk_manager import limits as rules
from risk_manager.review import Venue
from risk_manager.snapshot import Mark, Mode, RecentEntry, StopHit, Throttle, Turn, figure
from shared.domain.bar_blocks import from_epoch_us
from shared.domain.calendar import NEW_YORK, TradingWindow
from shared.domain.decisions import TradingMode
from shared.domain.lots import Execution
from shared.domain.money import parse_price
from shared.domain.orders import OrderType, Side
from shared.domain.symbols import Symbol
from simulator.book import Book
from simulator.matching import TapeBar
from simulator.orders import BookRules, Order

ZERO = Decimal(0)
ACCOUNT = "backtest"


@dataclass(frozen=True, slots=True)
class Intent:
    """An entry that waits for its open, and what was decided with it."""

    symbol: Symbol
    side: Side
    reference: float
    stop: float | None
    target: float | None


@dataclass(frozen=True, slots=True)
class Entered:
    """The newest entry of a symbol: under which name, at which price it was decided, and how much of it filled."""

    decision_id: str
    reference: Decimal
    filled: Decimal = ZERO


def decimal_of(figure: float) -> Decimal:
    """The figure as it is written."""
    return Decimal(repr(figure))


@dataclass
class Account:
    """The state of one run beside what the book keeps."""

    history: History
    wished: Wished
    plan: Plan
    strategy: str
    fills: list[tuple[float, ...]] = field(default_factory=list)
    refused: np.ndarray = field(default_factory=lambda: np.zeros(len(risk_rules.CODES), np.int64))
    reduced_row: int = -1
    rows_held: int = 0
    max_drawdown: float = 0.0
    borrow_fees: float = 0.0
    dividends: float = 0.0

    def __post_init__(self) -> None:
        panel = self.history.panel
        self.terms = self.plan.terms(panel.timeframe, self.strategy, has_gaps=self.history.has_gaps)
        self.days = self.history.days(self.plan.fees, self.plan.flat_before_s(self.strategy))
        self.factor = self.history.actions_as_arrays.factor
        self.symbols = panel.symbols
        self.columns = {symbol: i for i, symbol in enumerate(self.symbols)}
        self.opens_at = [from_epoch_us(us) for us in self.history.open_us.tolist()]
        self.ends_at = [from_epoch_us(us) for us in self.history.end_us.tolist()]
        self.calendar = calendar_of(self.history)
        self.venue = Venue(
            self.calendar,
            # Sessions as they are: the engines know no narrower window.
            TradingWindow(datetime.min.time(), datetime.max.time(), NEW_YORK),
            panel.timeframe,
        )
        cash = (
            parse_price(self.terms.cash)
            if self.terms.cash < 10_000_000
            else Decimal(repr(self.terms.cash))
        )
        self.book = Book(
            ACCOUNT,
            BookRules(cash, self.terms.slippage_bps, self.terms.max_volume_share, allow_short=True),
            self.opens_at[0],
            self.close_after(self.opens_at[0]),
        )
        given = self.plan.limits or DEFAULT_LIMITS
        # The review turns nothing around whose entry is sized at the open.
        allow_short = given.allow_short and self.terms.sizing == BY_LIMITS
        self.limits = replace(given, management=self.plan.managed, allow_short=allow_short)
        self.mode = Mode(TradingMode.ACTIVE, 1, "first start", "backtest", self.opens_at[0])
        self.mark: Mark | None = None
        self.peak = self.terms.cash
        # By symbol: stop and target as they stand; the newest entry; entries not yet sized; those that wait for an exit;
        # what they were sized at.
        self.stops: dict[Symbol, tuple[Decimal, Decimal]] = {}
        self.entered: dict[Symbol, Entered] = {}
        self.unsized: list[Intent] = []
        self.turns: dict[Symbol, Turn] = {}
        self.sized_at: dict[Symbol, float] = {}
        self.entries_by_day: dict[int, int] = {}
        # The bars that have closed, newest last, by their row.
        self.seen: dict[Symbol, dict[int, TapeBar]] = {symbol: {} for symbol in self.symbols}
        # What the tables would tell of the past: sales that nobody wished for, targets of scaling out that were met.
        self.sales: dict[str, int] = {}
        self.scaled_out: set[str] = set()
        self.approved: list[RecentEntry] = []
        self.throttles: dict[tuple[str, Symbol], Throttle] = {}
        self.stop_hits: dict[str, StopHit] = {}
        self.dealt: dict[tuple[date, Symbol], set[Side]] = {}
        self.booked: list[Execution] = []

    def bars(self, row: int) -> dict[Symbol, TapeBar]:
        """The bars of a row, by symbol."""
        panel = self.history.panel
        return {
            symbol: TapeBar(
                float(panel.open[row, k]),
                float(panel.high[row, k]),
                float(panel.low[row, k]),
                float(panel.close[row, k]),
                int(panel.volume[row, k]),
            )
            for k, symbol in enumerate(self.symbols)
            if not np.isnan(panel.close[row, k])
        }

    def write(
        self,
        row: int,
        symbol: Symbol,
        kind: int,
        shares: float,
        price: float,
        fee: float = 0.0,
        slipped: float = 0.0,
        *,
        buys: bool,
    ) -> None:
        """Keep one fill, as the kernel does."""
        column = self.columns[symbol]
        self.fills.append((row, column, kind, shares, price, fee, slipped, 1 if buys else -1))

    def kind(self, order: Order) -> int:
        """Why a fill of `order` happens."""
        if self.is_exit(order):
            return self.sales.get(order.id, EXIT)
        if order.type is OrderType.MARKET:
            return ENTRY
        return STOP if order.type is OrderType.STOP else TARGET

    def is_exit(self, order: Order) -> bool:
        """Whether it sells, or buys back, at the market."""
        return order.type is OrderType.MARKET and order.position_intent.endswith("_to_close")

    def stop_of(self, symbol: Symbol) -> Decimal | None:
        """Where the symbol's stop stands; None where entries have none."""
        return self.stops[symbol][0] if self.terms.bracket else None

    def equity(self) -> float:
        """Dollars at the newest prices."""
        if self.terms.whole_shares:
            return figure(self.book.equity)
        # The worth of a fraction is booked on the grid of a micro, as its fills are.
        worth = sum(
            micros(float(position.quantity) * float(self.book.prices[symbol]))
            for symbol, position in self.book.positions.items()
        )
        return (micros(float(self.book.cash)) + worth) / MICROS

    def mark_equity(self) -> float:
        """What the account is worth at this close, noted as its peak and deepest fall."""
        equity = self.equity()
        if any(position.quantity for position in self.book.positions.values()):
            self.rows_held += 1
        self.peak = max(self.peak, equity)
        self.max_drawdown = max(self.max_drawdown, rules.drawdown_of(equity, self.peak))
        return equity

    def close_after(self, at: datetime) -> datetime:
        """When the session that runs at `at`, or the next one, closes."""
        running = self.calendar.session_at(at)
        return running.close_at if running else self.calendar.next_session(at).close_at

    def count_entry(self, row: int, symbol: Symbol, day: int) -> None:
        """Note an approved entry that is sent on `day`, an ordinal."""
        self.entries_by_day[day] = self.entries_by_day.get(day, 0) + 1
        self.approved.append(RecentEntry(self.strategy, symbol, self.ends_at[row]))

    def session_volume(self, symbol: Symbol, now: int) -> float:
        """Shares that trade in an average session, as the review has it."""
        newest = list(self.seen[symbol])[-(self.limits.correlation_bars + 1) :]
        total = sum(self.volume(symbol, row, now) for row in newest)
        return total / len(newest) * self.terms.rules.bars_a_session if newest else 0.0

    def volume(self, symbol: Symbol, then: int, now: int) -> float:
        """Shares traded in bar `then`, counted as of bar `now`."""
        shares = float(self.seen[symbol][then].volume)
        if not self.factor.size:
            return shares
        column = self.columns[symbol]
        return float(floor(shares * (self.factor[now, column] / self.factor[then, column]) + 0.5))

    def in_shares_of(self, symbol: Symbol, price: float, then: int, now: int) -> float:
        """A price of bar `then` in the shares of bar `now`."""
        if not self.factor.size:
            return price
        column = self.columns[symbol]
        return risk_rules.price_on(price, self.factor[then, column], self.factor[now, column])
