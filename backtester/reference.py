"""The same backtest with the objects that trade live: slow, obvious, and what the fast engine is measured against.

The risk manager's own `review` answers every signal, the simulator's `Book` takes every order and matches it, and between
the two stands what the executor does: an exit cancels what rests before it sells, the rest of a bracket entry that a
bar filled in part is given up and its shares guarded by a pair of their own. Sized by the limits it is live trading but for
transport and tables. The sizings that live trading does not know are asked of the kernel's own rule at the open.

What differs from the live services is said here: sessions count whole, since the engines know no trading window, and fees
are taken from cash as each fill happens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from math import ceil, floor

import numpy as np

from backtester import costs, entries, protection, risk_rules
from backtester.history import History
from backtester.plan import DEFAULT_LIMITS, Plan
from backtester.terms import (
    BY_LIMITS,
    ENTRY,
    EXIT,
    FLAT,
    LONG,
    MICROS,
    SHORT,
    SPLIT,
    STOP,
    TARGET,
    Outcome,
    micros,
)
from backtester.wishing import Wished
from risk_manager import limits as rules
from risk_manager.attribution import Execution, matched, records_of
from risk_manager.limits import LONGEST_WINDOW_S, MOST_RECENT
from risk_manager.management import ManagementPlan
from risk_manager.review import Outcome as Reviewed
from risk_manager.review import Venue, review_evaluation
from risk_manager.sizing import SizingMethod, TradeRecord, stop_price, target_price
from risk_manager.snapshot import Book as RiskBook
from risk_manager.snapshot import (
    Holding,
    Mark,
    Market,
    Mode,
    Price,
    Protection,
    Recent,
    RecentEntry,
    StopHit,
    Working,
    figure,
)
from shared.domain.arithmetic import quantised, to_tick
from shared.domain.bar_blocks import EPOCH, from_epoch_us
from shared.domain.calendar import NEW_YORK, Session, TradingCalendar, TradingWindow
from shared.domain.decisions import Approved, Purpose, Refused, TradingMode
from shared.domain.ledger import Position
from shared.domain.money import parse_price
from shared.domain.orders import OrderClass, OrderStatus, OrderType, Side, TimeInForce
from shared.domain.signals import Direction, Evaluation, Signal
from shared.domain.symbols import Symbol
from simulator import fill_rules
from simulator.book import Book
from simulator.matching import TapeBar
from simulator.orders import BookedExecution, BookRules, Cancel, Order, Role, Submit

ZERO = Decimal(0)
ACCOUNT = "backtest"
_CODES = {name: code for code, name in enumerate(risk_rules.CODES)}
_Wish = tuple[Symbol, Direction, float]
_DIRECTIONS = {LONG: Direction.LONG, FLAT: Direction.FLAT, SHORT: Direction.SHORT}
# What an entry that is sized at the open is asked at the close: without the rules, and with them.
_ALWAYS = frozenset({"EXIT_IN_PROGRESS", "ALREADY_HELD", "MARKET_HOURS"})
_BY_RULES = frozenset(
    {
        "MODE", "SYMBOL_HALTED", "DRAWDOWN", "DAILY_LOSS", "COOL_DOWN", "STOP_LOSS_GUARD", "DAILY_TRADES",
        "ORDERS_PER_MINUTE", "REPEATED_EXECUTION", "PATTERN_DAY_TRADER", "CORRELATION",
        "CONCURRENT_POSITIONS",
    }
)  # fmt: skip


def simulate(history: History, wished: Wished, plan: Plan, strategy: str) -> Outcome:
    """Trade what `strategy` wished over `history`; the outcome has the shape of the kernel's."""
    return _Account(history, wished, plan, strategy).run()


@dataclass(frozen=True, slots=True)
class _Intent:
    """An entry that waits for its open, and what was decided with it."""

    symbol: Symbol
    side: Side
    reference: float
    stop: float | None
    target: float | None


@dataclass
class _Account:
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
        self.days = self.history.days(self.plan.fees)
        self.factor = self.history.actions_as_arrays.factor
        self.symbols = panel.symbols
        self.columns = {symbol: i for i, symbol in enumerate(self.symbols)}
        self.opens_at = [from_epoch_us(us) for us in self.history.open_us.tolist()]
        self.ends_at = [from_epoch_us(us) for us in self.history.end_us.tolist()]
        self.calendar = _calendar(self.history)
        self.venue = Venue(
            self.calendar,
            # Sessions as they are: the engines know no narrower window.
            TradingWindow(_MIDNIGHT, _DAYS_END, NEW_YORK),
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
            self._close_after(self.opens_at[0]),
        )
        # Positions are not managed in backtests, in neither engine.
        self.limits = replace(self.plan.limits or DEFAULT_LIMITS, management=ManagementPlan())
        self.mode = Mode(TradingMode.ACTIVE, 1, "first start", "backtest", self.opens_at[0])
        self.mark: Mark | None = None
        self.peak = self.terms.cash
        # By symbol: what the newest entry was decided with; orders that still buy; entries not yet sized.
        self.stops: dict[Symbol, tuple[Decimal, Decimal]] = {}
        self.unsized: list[_Intent] = []
        self.sized_at: dict[Symbol, float] = {}
        self.entries_by_day: dict[int, int] = {}
        # The bars that have closed, newest last, by their row.
        self.seen: dict[Symbol, dict[int, TapeBar]] = {symbol: {} for symbol in self.symbols}
        # What the executor's tables would tell the risk manager of the past.
        self.approved: list[RecentEntry] = []
        self.stop_hits: dict[str, StopHit] = {}
        self.dealt: dict[tuple[date, Symbol], set[Side]] = {}
        self.booked: list[Execution] = []

    def run(self) -> Outcome:
        """Every bar in order."""
        equity = np.empty(len(self.history))
        actions = self.history.actions_by_row
        at_row = _by_row(self.wished, self.symbols, len(self.history))
        for row in range(len(self.history)):
            bars = self._bars(row)
            self._pay_for_borrowing(row)
            for column, ratio, amount in actions.get(row, ()):
                self._act(row, self.symbols[column], ratio, amount)
            self._open(row, bars)
            self._close(row, bars)
            equity[row] = self._mark_equity()
            self._decide(row, at_row[row])
            if self.terms.bracket:
                self._give_up_rests()
                self._guard_anew()
            if self.terms.trail > 0.0:
                self._trail(bars)
        whole = np.array([fill[:3] for fill in self.fills], np.int64).reshape(-1, 3).T
        parts = np.array([fill[3:7] for fill in self.fills], np.float64).reshape(-1, 4).T
        sides = np.array([fill[7] for fill in self.fills], np.int64)
        return Outcome(
            equity,
            float(self.book.cash),
            whole[0],
            whole[1],
            whole[2],
            parts[0],
            parts[1],
            parts[2],
            parts[3],
            sides,
            self.refused,
            self.reduced_row,
            self.rows_held,
            self.max_drawdown,
            self.borrow_fees,
            self.dividends,
        )

    # ------------------------------------------------------------------ one bar

    def _bars(self, row: int) -> dict[Symbol, TapeBar]:
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

    def _open(self, row: int, bars: dict[Symbol, TapeBar]) -> None:
        """The market opens: exits first, then entries that are sized at the open, then all else."""
        session = int(self.history.session[row])
        new = row == 0 or session != int(self.history.session[row - 1])
        self.book.open_step(
            self.opens_at[row], self._close_after(self.opens_at[row]), new_session=new
        )
        leaving = {order.symbol for order in self.book.open_orders() if self._is_exit(order)}
        known = len(self.book.executions)
        self._fill(row, {s: bar for s, bar in bars.items() if s in leaving})
        self._send_unsized(row, bars)
        rest = {s: bar for s, bar in bars.items() if s not in leaving}
        for execution in self.book.executions[known:]:
            # An entry that turns a position around fills from what the exit leaves of the bar's volume.
            bar, share = bars[execution.symbol], self.terms.max_volume_share
            cap = fill_rules.volume_cap(float(bar.volume), share)
            left = risk_rules.whole(cap - float(execution.quantity))
            if left > 0.0:
                rest[execution.symbol] = bar._replace(volume=ceil(left / share))
        self._fill(row, rest)

    def _fill(self, row: int, bars: dict[Symbol, TapeBar]) -> None:
        touched_before = {order.id for order in self.book.open_orders() if order.triggered}
        known = len(self.book.executions)
        self.book.fill_step(bars)
        for execution in self.book.executions[known:]:
            self._pay(row, execution, bars[execution.symbol], touched_before)

    def _pay(
        self, row: int, execution: BookedExecution, bar: TapeBar, touched_before: set[str]
    ) -> None:
        """Take the fill's costs from cash and write it down."""
        order = self.book.orders[execution.order_id]
        kind = self._kind(order)
        buys = order.side is Side.BUY
        shares, price = float(execution.quantity), float(execution.price)
        value = micros(shares * price)
        # A fraction of a share times its price is booked on the grid of a micro.
        exact = execution.quantity * execution.price
        booked = Decimal(int(value)).scaleb(-6)
        self.book.cash += (exact - booked) if buys else (booked - exact)
        fee = costs.commission(
            shares, value / MICROS, self.terms.commission_bps, self.terms.commission_per_share
        )
        if not buys:
            period = int(np.searchsorted(self.days.fee_row, row, side="right")) - 1
            fee += costs.regulatory_fee(
                shares,
                value / MICROS,
                float(self.days.sec_rate[period]),
                float(self.days.taf_per_share[period]),
                float(self.days.taf_most[period]),
            )
        self.book.cash -= Decimal(int(micros(fee))).scaleb(-6)
        is_market = order.type is OrderType.MARKET or order.id in touched_before
        unslipped = bar.open if is_market else price
        slipped = quantised(shares * (price - unslipped if buys else unslipped - price))
        self._write(row, execution.symbol, kind, shares, price, fee, slipped, buys=buys)
        if order.type is OrderType.STOP:
            self.stop_hits[order.id] = StopHit(order.symbol, execution.at)
        day = execution.at.astimezone(NEW_YORK).date()
        self.dealt.setdefault((day, order.symbol), set()).add(order.side)
        self.booked.append(
            Execution(
                order.id,
                self.strategy,
                order.symbol,
                order.side,
                execution.quantity,
                execution.price,
                Decimal(int(micros(fee))).scaleb(-6),
                execution.at,
            )
        )

    def _write(
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
        column = self.columns[symbol]
        self.fills.append((row, column, kind, shares, price, fee, slipped, 1 if buys else -1))

    # ------------------------------------------------------------------ what a new day brings

    def _pay_for_borrowing(self, row: int) -> None:
        session = self.history.session
        nights = int(session[row] - session[row - 1]) if row else 0
        if not nights:
            return
        for symbol, position in self.book.positions.items():
            if position.quantity < 0:
                worth = -float(position.quantity) * float(self.book.prices[symbol])
                owed = costs.borrow_fee(worth, self.terms.borrow_rate, nights)
                self.book.cash -= Decimal(int(owed)).scaleb(-6)
                self.borrow_fees = (micros(self.borrow_fees) + owed) / MICROS

    def _act(self, row: int, symbol: Symbol, ratio: float, amount: float) -> None:
        """A split changes shares, prices and orders together; a dividend is paid on the new shares."""
        if ratio != 1.0:
            self._split(row, symbol, ratio)
        held = float(self.book.quantity_of(symbol))
        if amount > 0.0 and held:
            paid = micros(held * amount)
            self.book.cash += Decimal(int(paid)).scaleb(-6)
            self.dividends = (micros(self.dividends) + paid) / MICROS

    def _split(self, row: int, symbol: Symbol, ratio: float) -> None:
        def moved(price: Decimal | float) -> float:
            return to_tick(float(price) / ratio)

        book = self.book
        if symbol in book.prices:
            book.prices[symbol] = parse_price(quantised(float(book.prices[symbol]) / ratio))
        if symbol in self.sized_at:
            self.sized_at[symbol] = quantised(self.sized_at[symbol] / ratio)
        if symbol in self.stops:
            stop, target = self.stops[symbol]
            self.stops[symbol] = (_decimal(moved(stop)), _decimal(moved(target)))
        self.unsized = [
            _Intent(
                i.symbol,
                i.side,
                quantised(i.reference / ratio),
                None if i.stop is None else moved(i.stop),
                None if i.target is None else moved(i.target),
            )
            if i.symbol == symbol
            else i
            for i in self.unsized
        ]
        position = book.positions.get(symbol)
        held = 0.0 if position is None else float(position.quantity)
        if position is not None and held:
            total = quantised(held * ratio)
            kept = total
            if total != held:
                change = quantised(total - held)
                self._write(row, symbol, SPLIT, change, 0.0, buys=total > held)
            if self.terms.whole_shares:
                kept = risk_rules.whole(abs(total)) * (1 if total > 0 else -1)
            rest = quantised(abs(total) - abs(kept))
            if rest > 0.0:
                price = float(book.prices[symbol])
                value = Decimal(int(micros(rest * price))).scaleb(-6)
                book.cash += value if total > 0 else -value
                self._write(row, symbol, EXIT, rest, price, buys=total < 0)
            book.positions[symbol] = Position(
                symbol, _decimal(kept), position.average_price / _decimal(ratio)
            )
        for order in book.open_orders():
            if order.symbol == symbol:
                self._split_order(order, ratio, moved)

    def _split_order(self, order: Order, ratio: float, moved: Callable[[Decimal], float]) -> None:
        """What the venue does to an order that rests; its legs guard what is held."""
        more = float(order.remaining) * ratio
        if self._kind(order) == ENTRY or order.status is OrderStatus.HELD:
            cut = risk_rules.whole if self.terms.whole_shares else risk_rules.parts
            remaining = _decimal(cut(more))
        else:
            remaining = abs(self.book.quantity_of(order.symbol))
        if not remaining:
            self.book.apply(Cancel(order.id))
            return
        self.book._set(
            replace(
                order,
                quantity=order.filled_quantity + remaining,
                reserve_price=parse_price(quantised(float(order.reserve_price) / ratio)),
                limit_price=None
                if order.limit_price is None
                else _decimal(moved(order.limit_price)),
                stop_price=None if order.stop_price is None else _decimal(moved(order.stop_price)),
            )
        )

    def _trail(self, bars: dict[Symbol, TapeBar]) -> None:
        """Move the stops that nothing has touched."""
        for order in self.book.open_orders():
            if order.type is not OrderType.STOP or order.symbol not in bars or order.triggered:
                continue
            if order.status is OrderStatus.HELD or order.stop_price is None:
                continue
            stop = float(order.stop_price)
            close = bars[order.symbol].close
            moved = protection.trailed(stop, close, self.terms.trail, order.side is Side.BUY)
            if moved != stop:
                self.book._set(replace(order, stop_price=_decimal(moved)))
                self.stops[order.symbol] = (_decimal(moved), self.stops[order.symbol][1])

    def _close(self, row: int, bars: dict[Symbol, TapeBar]) -> None:
        end_at = self.ends_at[row]
        running = self.calendar.session_at(end_at)
        self.book.close_step(
            end_at,
            [(symbol, parse_price(bar.close)) for symbol, bar in bars.items()],
            session_ends=running is None,
            market_open=running is not None,
            close_at=self._close_after(end_at),
        )
        for symbol, bar in bars.items():
            self.seen[symbol][row] = bar

    def _mark_equity(self) -> float:
        equity = self._equity()
        if any(position.quantity for position in self.book.positions.values()):
            self.rows_held += 1
        self.peak = max(self.peak, equity)
        self.max_drawdown = max(self.max_drawdown, rules.drawdown_of(equity, self.peak))
        return equity

    # ------------------------------------------------------------------ decisions

    def _decide(self, row: int, wishes: Sequence[_Wish]) -> None:
        if self.terms.sizing == BY_LIMITS:
            self._review(row, wishes)
            return
        # Every close is marked, whether or not anything is wished for.
        outcome = self._asked(row, ())
        for symbol, direction, conviction in wishes:
            if direction is Direction.FLAT:
                self._leave(symbol)
            else:
                self._wish_for_an_open(row, symbol, direction, conviction)
        self._keep_mark(row, outcome)
        for decision in outcome.decisions:
            self._leave(decision.answer.symbol)

    def _equity(self) -> float:
        if self.terms.whole_shares:
            return figure(self.book.equity)
        # The worth of a fraction is booked on the grid of a micro, as its fills are.
        worth = sum(
            micros(float(position.quantity) * float(self.book.prices[symbol]))
            for symbol, position in self.book.positions.items()
        )
        return (micros(float(self.book.cash)) + worth) / MICROS

    def _review(self, row: int, wishes: Sequence[_Wish]) -> None:
        """Ask the risk manager, as live, and do what its answers say."""
        outcome = self._asked(row, wishes)
        self._keep_mark(row, outcome)
        for decision in outcome.decisions:
            answer = decision.answer
            if isinstance(answer, Refused):
                if answer.purpose is Purpose.ENTRY:
                    self.refused[_CODES[answer.reason_code]] += 1
            elif answer.purpose is Purpose.EXIT:
                self._leave(answer.symbol)
            else:
                assert decision.trade_on is not None
                self._count_entry(row, answer.symbol, decision.trade_on.toordinal())
                self._send_entry(answer)

    def _asked(self, row: int, wishes: Sequence[_Wish]) -> Reviewed:
        panel, at = self.history.panel, self.ends_at[row]
        signals = tuple(
            Signal(
                f"{row}-{symbol}",
                ACCOUNT,
                self.strategy,
                symbol,
                panel.timeframe,
                self.opens_at[row],
                at,
                direction,
                conviction,
                "",
                parse_price(float(panel.close[row, self.columns[symbol]])),
                {},
            )
            for symbol, direction, conviction in wishes
        )
        return review_evaluation(
            Evaluation(ACCOUNT, panel.timeframe, at, signals),
            self._risk_book(at),
            self._market(),
            self.limits,
            self.venue,
            at,
        )

    def _keep_mark(self, row: int, outcome: Reviewed) -> None:
        self.mark = outcome.mark
        if outcome.reduce_because is not None and self.terms.limited:
            self.reduced_row = row
            self.mode = Mode(
                TradingMode.REDUCING, 2, outcome.reduce_because, "risk_manager", self.ends_at[row]
            )

    def _count_entry(self, row: int, symbol: Symbol, day: int) -> None:
        self.entries_by_day[day] = self.entries_by_day.get(day, 0) + 1
        self.approved.append(RecentEntry(self.strategy, symbol, self.ends_at[row]))

    def _risk_book(self, at: datetime) -> RiskBook:
        holdings = []
        for symbol, position in sorted(self.book.positions.items()):
            if position.quantity:
                guarded = (Protection(position.quantity, self._stop_of(symbol), self.strategy),)
                holdings.append(Holding(symbol, position.quantity, position.average_price, guarded))
        working = [
            self._working(
                order.symbol,
                Purpose.EXIT if self._is_exit(order) else Purpose.ENTRY,
                order.remaining,
                None if self._is_exit(order) else self._stop_of(order.symbol),
                order.reserve_price,
            )
            for order in self.book.open_orders()
            if order.type is OrderType.MARKET
        ]
        # How many shares these will be is not known yet, but they are on order.
        working += [
            self._working(i.symbol, Purpose.ENTRY, Decimal(1), None, parse_price(i.reference))
            for i in self.unsized
        ]
        days = {
            datetime.fromordinal(day).date(): count for day, count in self.entries_by_day.items()
        }
        return RiskBook(
            ACCOUNT,
            self.book.cash,
            tuple(holdings),
            tuple(working),
            {},
            self.mode,
            self.mark or self._first_mark(),
            days,
            self._recent(at),
        )

    def _working(
        self,
        symbol: Symbol,
        purpose: Purpose,
        quantity: Decimal,
        stop: Decimal | None,
        price: Decimal,
    ) -> Working:
        # Which side it is on counts in none of the rules that are asked.
        side = Side.BUY if purpose is Purpose.ENTRY else Side.SELL
        kind = OrderType.MARKET
        return Working(
            symbol, side, purpose, quantity, kind, None, None, stop, price, self.strategy
        )

    def _stop_of(self, symbol: Symbol) -> Decimal | None:
        return self.stops[symbol][0] if self.terms.bracket else None

    def _recent(self, at: datetime) -> Recent:
        """What happened lately, as the tables of the risk manager and the executor tell it."""
        self.approved = [
            entry
            for entry in self.approved
            if entry.decided_at > at - timedelta(seconds=LONGEST_WINDOW_S)
        ]
        traded_twice = Counter(day for (day, _), sides in self.dealt.items() if len(sides) == 2)
        records: dict[str, TradeRecord] = {}
        if self.limits.sizing.method is SizingMethod.KELLY:
            records = records_of(matched(self.booked[-MOST_RECENT:]).trades)
        return Recent(
            entries=tuple(self.approved),
            stops=tuple(self.stop_hits.values()),
            day_trades=traded_twice,
            records=records,
        )

    def _first_mark(self) -> Mark:
        cash = self.book.rules.cash
        return Mark(self.opens_at[0], cash, cash, cash, 0.0, ZERO, ZERO, 1)

    def _market(self) -> Market:
        kept = self.limits.correlation_bars + 1
        prices: dict[Symbol, Price] = {}
        closes: dict[Symbol, dict[int, float]] = {}
        highs: dict[Symbol, dict[int, float]] = {}
        lows: dict[Symbol, dict[int, float]] = {}
        volumes: dict[Symbol, dict[int, float]] = {}
        for symbol, by_row in self.seen.items():
            if by_row:
                newest = list(by_row)[-kept:]
                row = newest[-1]
                prices[symbol] = Price(parse_price(by_row[row].close), self.ends_at[row])
                # In the shares of the newest bar, as the store gives them live.
                closes[symbol] = {
                    r: self._in_shares_of(symbol, by_row[r].close, r, row) for r in newest
                }
                highs[symbol] = {
                    r: self._in_shares_of(symbol, by_row[r].high, r, row) for r in newest
                }
                lows[symbol] = {
                    r: self._in_shares_of(symbol, by_row[r].low, r, row) for r in newest
                }
                volumes[symbol] = {r: self._volume(symbol, r, row) for r in newest}
        return Market(frozenset(self.symbols), prices, closes, highs, lows, volumes)

    def _in_shares_of(self, symbol: Symbol, price: float, then: int, now: int) -> float:
        if not self.factor.size:
            return price
        column = self.columns[symbol]
        return risk_rules.price_on(price, self.factor[then, column], self.factor[now, column])

    def _volume(self, symbol: Symbol, then: int, now: int) -> float:
        shares = float(self.seen[symbol][then].volume)
        if not self.factor.size:
            return shares
        column = self.columns[symbol]
        return float(floor(shares * (self.factor[now, column] / self.factor[then, column]) + 0.5))

    # ------------------------------------------------------------------ what the executor does

    def _send_entry(self, approved: Approved) -> None:
        assert approved.stop_loss is not None
        assert approved.take_profit is not None
        self.stops[approved.symbol] = (approved.stop_loss, approved.take_profit)
        self.book.apply(
            Submit(
                approved.symbol,
                Side.BUY,
                approved.quantity,
                OrderType.MARKET,
                TimeInForce.GTC,
                OrderClass.BRACKET,
                take_profit=approved.take_profit,
                stop_loss=approved.stop_loss,
            )
        )

    def _leave(self, symbol: Symbol) -> None:
        """Take back what was wished for and get out of what is held."""
        self.unsized = [intent for intent in self.unsized if intent.symbol != symbol]
        self._leave_keeping_intents(symbol)

    def _leave_keeping_intents(self, symbol: Symbol) -> None:
        """Cancel what rests and sell what is left, once."""
        mine = [order for order in self.book.open_orders() if order.symbol == symbol]
        if any(self._is_exit(order) for order in mine):
            return
        for order in mine:
            if not self.book.orders[order.id].status.is_final:
                self.book.apply(Cancel(order.id))
        held = self.book.quantity_of(symbol)
        if held:
            side = Side.SELL if held > 0 else Side.BUY
            self.book.apply(Submit(symbol, side, abs(held), OrderType.MARKET, TimeInForce.GTC))

    def _give_up_rests(self) -> None:
        for order in self.book.open_orders():
            if (
                order.role is Role.ENTRY
                and order.status is OrderStatus.PARTIALLY_FILLED
                and not order.status.is_final
            ):
                self.book.apply(Cancel(order.id))

    def _guard_anew(self) -> None:
        """A pair of stop and target for whatever is held without one and is not being sold."""
        busy = {order.symbol for order in self.book.open_orders()}
        for symbol, position in sorted(self.book.positions.items()):
            if position.quantity and symbol not in busy:
                stop, target = self.stops[symbol]
                self.book.apply(
                    Submit(
                        symbol,
                        Side.SELL if position.quantity > 0 else Side.BUY,
                        abs(position.quantity),
                        OrderType.LIMIT,
                        TimeInForce.GTC,
                        OrderClass.OCO,
                        take_profit=target,
                        stop_loss=stop,
                    )
                )

    # ------------------------------------------------------------------ sized at the open

    def _wish_for_an_open(
        self, row: int, symbol: Symbol, direction: Direction, conviction: float
    ) -> None:
        """An entry whose size is known only at the open; all that is no question of size is decided now."""
        side = Side.BUY if direction is Direction.LONG else Side.SELL
        waiting = [intent.side for intent in self.unsized if intent.symbol == symbol]
        waiting += [
            order.side
            for order in self.book.open_orders()
            if order.symbol == symbol and self._kind(order) == ENTRY
        ]
        opposite = self.book.quantity_of(symbol) * side.sign < 0
        turns = opposite or (bool(waiting) and side not in waiting)
        if turns and side not in waiting:
            self._leave(symbol)
        elif opposite:
            self._leave_keeping_intents(symbol)
        price = float(self.history.panel.close[row, self.columns[symbol]])
        stop, target = self._bracket(price, side)
        # The rules that are asked do not look at the side, and the review knows no entry that sells.
        (decision,) = self._asked(row, [(symbol, Direction.LONG, conviction)]).decisions[:1]
        asked = _ALWAYS | (_BY_RULES if self.terms.limited else frozenset())
        failed = []
        for check in decision.answer.checks:
            passed = check.passed
            if check.code == "BRACKET_PRICES" and stop is not None and target is not None:
                passed = rules.bracket_prices(price, min(stop, target), max(stop, target)).passed
            elif check.code == "ALREADY_HELD":
                # What is owed and what is still to be sold short are not one sum to the review.
                is_held = bool(self.book.quantity_of(symbol)) and not turns
                passed = not (is_held or side in waiting)
            elif (check.code == "EXIT_IN_PROGRESS" and turns) or check.code not in asked:
                passed = True
            if check.code == "MARKET_HOURS" and passed and side is Side.SELL:
                passed = symbol not in self.plan.unlent
                if not passed:
                    failed.append("NOT_LENT")
                    continue
            if not passed:
                failed.append(check.code)
        if failed:
            self.refused[_CODES[failed[0]]] += 1
            return
        self._count_entry(row, symbol, int(self.days.acts_on[row]))
        self.unsized.append(_Intent(symbol, side, price, stop, target))

    def _bracket(self, price: float, side: Side) -> tuple[float | None, float | None]:
        """Stop and target of an entry that was decided at `price`."""
        if not self.terms.bracket:
            return None, None
        lose, win = self.terms.stop_loss, self.terms.take_profit
        if side is Side.BUY:
            return stop_price(price, lose), target_price(price, win)
        return target_price(price, lose), stop_price(price, win)

    def _send_unsized(self, row: int, bars: dict[Symbol, TapeBar]) -> None:
        ready = [
            intent
            for intent in self.unsized
            # One that turns a position around waits until that is gone.
            if intent.symbol in bars
            and bars[intent.symbol].volume > 0
            and not self.book.quantity_of(intent.symbol)
        ]
        if not ready:
            return
        self.unsized = [intent for intent in self.unsized if intent not in ready]
        worth, at_risk, reserved = micros(float(self.book.cash)), 0.0, 0.0
        # Micros held and on order per symbol.
        committed: dict[Symbol, float] = {}
        net = 0.0
        # The market has just opened: what the broker blocks and reserves is measured by that.
        self.book.prices.update((s, parse_price(bar.open)) for s, bar in bars.items())
        for symbol, position in self.book.positions.items():
            if not position.quantity:
                continue
            price = float(self.book.prices[symbol])
            shares = float(position.quantity)
            value = micros(shares * price)
            worth += value
            committed[symbol] = committed.get(symbol, 0.0) + abs(value)
            net += value
            if value < 0.0:
                reserved -= 2.0 * value
            stop = float(self.stops[symbol][0]) if self.terms.bracket else 0.0
            at_risk += entries.risk_of(shares, value, price, self.terms.bracket, stop)
        for order in self.book.open_orders():
            if self._kind(order) == ENTRY:
                short = order.side is Side.SELL
                shares, price = float(order.remaining), self.sized_at[order.symbol]
                stop = float(self.stops[order.symbol][0]) if self.terms.bracket else 0.0
                value = micros(shares * price)
                committed[order.symbol] = committed.get(order.symbol, 0.0) + value
                net += -value if short else value
                at_risk += entries.open_risk(shares, price, stop, self.terms.bracket, short)
                if short:
                    now = float(self.book.prices[order.symbol])
                    value = micros(shares * now * entries.SHORT_MARGIN)
                reserved += value + 1.0
        for intent in ready:
            opened = bars[intent.symbol].open
            short = intent.side is Side.SELL
            price = fill_rules.market_price(opened, not short, self.terms.slippage_bps)
            lower, upper = intent.stop, intent.target
            if short:
                lower, upper = upper, lower
            if self.terms.bracket and not rules.bracket_prices(price, lower, upper).passed:
                self.refused[risk_rules.BRACKET_PRICES] += 1
                continue
            stop = intent.stop or 0.0
            free = micros(float(self.book.cash)) - reserved
            sectors = self.limits.sectors
            sector = sectors.get(intent.symbol)
            shares, code = entries.size_at_open(
                price,
                stop,
                short,
                worth,
                free,
                at_risk,
                sum(committed.values()),
                net,
                sum(v for s, v in committed.items() if sector and sectors.get(s) == sector),
                sector is not None,
                self._session_volume(intent.symbol, row - 1),
                self.terms,
            )
            if code != risk_rules.ACCEPTED:
                self.refused[code] += 1
                continue
            fee = micros(
                costs.commission(
                    shares,
                    shares * price,
                    self.terms.commission_bps,
                    self.terms.commission_per_share,
                )
            )
            value = micros(shares * price)
            committed[intent.symbol] = committed.get(intent.symbol, 0.0) + value
            net += -value if short else value
            if short:
                value = micros(shares * price * entries.SHORT_MARGIN)
            reserved += value + 1.0 + fee
            worth -= fee
            at_risk += entries.open_risk(shares, price, stop, self.terms.bracket, short)
            self._submit_at_open(intent, shares, price)

    def _session_volume(self, symbol: Symbol, now: int) -> float:
        """Shares that trade in an average session, as the review has it."""
        newest = list(self.seen[symbol])[-(self.limits.correlation_bars + 1) :]
        total = sum(self._volume(symbol, row, now) for row in newest)
        return total / len(newest) * self.terms.rules.bars_a_session if newest else 0.0

    def _is_exit(self, order: Order) -> bool:
        return self._kind(order) == EXIT

    def _kind(self, order: Order) -> int:
        if order.type is OrderType.MARKET:
            is_exit = order.position_intent.endswith("_to_close")
            return EXIT if is_exit else ENTRY
        return STOP if order.type is OrderType.STOP else TARGET

    def _submit_at_open(self, intent: _Intent, shares: float, price: float) -> None:
        # The market has just opened: what the broker reserves is measured by that.
        self.book.prices[intent.symbol] = parse_price(price)
        self.sized_at[intent.symbol] = price
        quantity = Decimal(repr(shares)) if not self.terms.whole_shares else Decimal(int(shares))
        stop = target = None
        kind = OrderClass.SIMPLE
        if intent.stop is not None and intent.target is not None:
            stop, target = Decimal(repr(intent.stop)), Decimal(repr(intent.target))
            self.stops[intent.symbol] = (stop, target)
            kind = OrderClass.BRACKET
        self.book.apply(
            Submit(
                intent.symbol,
                intent.side,
                quantity,
                OrderType.MARKET,
                TimeInForce.GTC,
                kind,
                take_profit=target,
                stop_loss=stop,
            )
        )

    def _close_after(self, at: datetime) -> datetime:
        running = self.calendar.session_at(at)
        return running.close_at if running else self.calendar.next_session(at).close_at


_MIDNIGHT = datetime.min.time()
_DAYS_END = datetime.max.time()


def _calendar(history: History) -> TradingCalendar:
    """The sessions that the rows lie in, and the one in which the last decision is sent."""
    first: dict[int, list[int]] = {}
    for day, opened, ended in zip(
        history.session.tolist(), history.open_us.tolist(), history.end_us.tolist(), strict=True
    ):
        span = first.setdefault(day, [opened, ended])
        span[1] = ended
    # A session goes on after its last bar here when what is decided at that bar's end is sent the same day.
    for row, day in enumerate(history.session.tolist()):
        if history.acts_on[row] == day:
            first[day][1] = max(first[day][1], int(history.end_us[row]) + 1)
    sessions = [
        Session(
            (EPOCH + timedelta(microseconds=opened)).date(),
            from_epoch_us(opened),
            from_epoch_us(ended),
        )
        for opened, ended in first.values()
    ]
    last = sessions[-1]
    coming = int(history.acts_on[-1])
    if coming > last.on.toordinal():
        later = timedelta(days=coming - last.on.toordinal())
        sessions.append(Session(last.on + later, last.open_at + later, last.close_at + later))
    else:
        far = timedelta(days=60)
        sessions.append(Session(last.on + far, last.open_at + far, last.close_at + far))
    return TradingCalendar(sessions)


def _by_row(wished: Wished, symbols: Sequence[Symbol], rows: int) -> list[list[_Wish]]:
    found: list[list[_Wish]] = [[] for _ in range(rows)]
    wishes = wished.wishes
    for row, column, direction, conviction in zip(
        wishes.row.tolist(),
        wishes.column.tolist(),
        wishes.direction.tolist(),
        wishes.conviction.tolist(),
        strict=True,
    ):
        found[row].append((symbols[column], _DIRECTIONS[direction], conviction))
    return found


def _decimal(figure: float) -> Decimal:
    return Decimal(repr(figure))
