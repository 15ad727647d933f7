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
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np

from backtester import costs, kernel, risk_rules
from backtester.history import History
from backtester.kernel import ENTRY, EXIT, MICROS, STOP, TARGET, Outcome, micros
from backtester.plan import DEFAULT_LIMITS, Plan
from backtester.wishing import Wished
from risk_manager import limits as rules
from risk_manager.attribution import Execution, matched, records_of
from risk_manager.limits import LONGEST_WINDOW_S, MOST_RECENT
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
from shared.domain.arithmetic import quantised
from shared.domain.bar_blocks import EPOCH, from_epoch_us
from shared.domain.calendar import NEW_YORK, Session, TradingCalendar, TradingWindow
from shared.domain.decisions import Approved, Purpose, Refused, TradingMode
from shared.domain.money import parse_price
from shared.domain.orders import OrderClass, OrderStatus, OrderType, Side, TimeInForce
from shared.domain.signals import Direction, Evaluation, Signal
from shared.domain.symbols import Symbol
from simulator import fill_rules
from simulator.book import Book, BookedExecution, BookRules, Cancel, Order, Role, Submit
from simulator.matching import TapeBar

ZERO = Decimal(0)
ACCOUNT = "backtest"
_CODES = {name: code for code, name in enumerate(risk_rules.CODES)}
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

    def __post_init__(self) -> None:
        panel = self.history.panel
        self.terms = self.plan.terms(panel.timeframe, self.strategy, has_gaps=self.history.has_gaps)
        self.days = self.history.days(self.plan.fees)
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
            BookRules(cash, self.terms.slippage_bps, self.terms.max_volume_share),
            self.opens_at[0],
            self._close_after(self.opens_at[0]),
        )
        self.limits = self.plan.limits or DEFAULT_LIMITS
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
        at_row = _by_row(self.wished, self.symbols, len(self.history))
        for row in range(len(self.history)):
            bars = self._bars(row)
            self._open(row, bars)
            self._close(row, bars)
            equity[row] = self._mark_equity()
            self._decide(row, at_row[row])
            if self.terms.bracket:
                self._give_up_rests()
                self._guard_anew()
        whole = np.array([fill[:3] for fill in self.fills], np.int64).reshape(-1, 3).T
        parts = np.array([fill[3:] for fill in self.fills], np.float64).reshape(-1, 4).T
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
            self.refused,
            self.reduced_row,
            self.rows_held,
            self.max_drawdown,
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
        leaving = {order.symbol for order in self.book.open_orders() if _is_exit(order)}
        self._fill(row, {s: bar for s, bar in bars.items() if s in leaving})
        self._send_unsized(bars)
        self._fill(row, {s: bar for s, bar in bars.items() if s not in leaving})

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
        kind = _kind(order)
        shares, price = float(execution.quantity), float(execution.price)
        value = micros(shares * price)
        # A fraction of a share times its price is booked on the grid of a micro.
        exact = execution.quantity * execution.price
        booked = Decimal(int(value)).scaleb(-6)
        self.book.cash += (exact - booked) if kind == ENTRY else (booked - exact)
        fee = costs.commission(
            shares, value / MICROS, self.terms.commission_bps, self.terms.commission_per_share
        )
        if kind != ENTRY:
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
        slipped = quantised(shares * (price - unslipped if kind == ENTRY else unslipped - price))
        self.fills.append((row, self.columns[execution.symbol], kind, shares, price, fee, slipped))
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

    def _decide(self, row: int, wishes: Sequence[tuple[Symbol, bool, float]]) -> None:
        if self.terms.sizing == kernel.BY_LIMITS:
            self._review(row, wishes)
            return
        # Every close is marked, whether or not anything is wished for.
        outcome = self._asked(row, ())
        for symbol, is_entry, conviction in wishes:
            if is_entry:
                self._wish_for_an_open(row, symbol, conviction)
            else:
                self._leave(symbol)
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

    def _review(self, row: int, wishes: Sequence[tuple[Symbol, bool, float]]) -> None:
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

    def _asked(self, row: int, wishes: Sequence[tuple[Symbol, bool, float]]) -> Reviewed:
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
                Direction.LONG if is_entry else Direction.FLAT,
                conviction,
                "",
                parse_price(float(panel.close[row, self.columns[symbol]])),
                {},
            )
            for symbol, is_entry, conviction in wishes
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
                order.side,
                order.remaining,
                self._stop_of(order.symbol) if order.side is Side.BUY else None,
                order.reserve_price,
            )
            for order in self.book.open_orders()
            if order.type is OrderType.MARKET
        ]
        # How many shares these will be is not known yet, but they are on order.
        working += [
            self._working(i.symbol, Side.BUY, Decimal(1), None, parse_price(i.reference))
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
        self, symbol: Symbol, side: Side, quantity: Decimal, stop: Decimal | None, price: Decimal
    ) -> Working:
        purpose = Purpose.ENTRY if side is Side.BUY else Purpose.EXIT
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
                closes[symbol] = {r: by_row[r].close for r in newest}
                highs[symbol] = {r: by_row[r].high for r in newest}
                lows[symbol] = {r: by_row[r].low for r in newest}
                volumes[symbol] = {r: float(by_row[r].volume) for r in newest}
        return Market(frozenset(self.symbols), prices, closes, highs, lows, volumes)

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
        """Cancel what rests and sell what is left, once."""
        self.unsized = [intent for intent in self.unsized if intent.symbol != symbol]
        mine = [order for order in self.book.open_orders() if order.symbol == symbol]
        if any(_is_exit(order) for order in mine):
            return
        for order in mine:
            self.book.apply(Cancel(order.id))
        held = self.book.quantity_of(symbol)
        if held > 0:
            force = TimeInForce.GTC
            self.book.apply(Submit(symbol, Side.SELL, held, OrderType.MARKET, force))

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
            if position.quantity > 0 and symbol not in busy:
                stop, target = self.stops[symbol]
                self.book.apply(
                    Submit(
                        symbol,
                        Side.SELL,
                        position.quantity,
                        OrderType.LIMIT,
                        TimeInForce.GTC,
                        OrderClass.OCO,
                        take_profit=target,
                        stop_loss=stop,
                    )
                )

    # ------------------------------------------------------------------ sized at the open

    def _wish_for_an_open(self, row: int, symbol: Symbol, conviction: float) -> None:
        """An entry whose size is known only at the open; all that is no question of size is decided now."""
        (decision,) = self._asked(row, [(symbol, True, conviction)]).decisions[:1]
        asked = _ALWAYS | (_BY_RULES if self.terms.limited else frozenset())
        if self.terms.bracket:
            asked |= {"BRACKET_PRICES"}
        failed = [c.code for c in decision.answer.checks if not c.passed and c.code in asked]
        if failed:
            self.refused[_CODES[failed[0]]] += 1
            return
        price = float(self.history.panel.close[row, self.columns[symbol]])
        stop = target = None
        if self.terms.bracket:
            stop = stop_price(price, self.terms.stop_loss)
            target = target_price(price, self.terms.take_profit)
        self._count_entry(row, symbol, int(self.days.acts_on[row]))
        self.unsized.append(_Intent(symbol, price, stop, target))

    def _send_unsized(self, bars: dict[Symbol, TapeBar]) -> None:
        ready = [i for i in self.unsized if i.symbol in bars and bars[i.symbol].volume > 0]
        if not ready:
            return
        self.unsized = [intent for intent in self.unsized if intent not in ready]
        worth, at_risk, reserved = micros(float(self.book.cash)), 0.0, 0.0
        # Micros held and on order per symbol.
        committed: dict[Symbol, float] = {}
        for symbol, position in self.book.positions.items():
            if not position.quantity:
                continue
            price = bars[symbol].open if symbol in bars else float(self.book.prices[symbol])
            shares = float(position.quantity)
            value = micros(shares * price)
            worth += value
            committed[symbol] = committed.get(symbol, 0.0) + value
            stop = float(self.stops[symbol][0]) if self.terms.bracket else 0.0
            at_risk += kernel.risk_of(shares, value, price, self.terms.bracket, stop)
        for order in self.book.open_orders():
            if order.side is Side.BUY:
                shares, price = float(order.remaining), self.sized_at[order.symbol]
                stop = float(self.stops[order.symbol][0]) if self.terms.bracket else 0.0
                reserved += micros(shares * price) + 1.0
                value = micros(shares * price)
                committed[order.symbol] = committed.get(order.symbol, 0.0) + value
                at_risk += kernel.open_risk(shares, price, stop, self.terms.bracket)
        for intent in ready:
            opened = bars[intent.symbol].open
            price = fill_rules.market_price(opened, True, self.terms.slippage_bps)
            if (
                self.terms.bracket
                and not rules.bracket_prices(price, intent.stop, intent.target).passed
            ):
                self.refused[risk_rules.BRACKET_PRICES] += 1
                continue
            stop = intent.stop or 0.0
            free = micros(float(self.book.cash)) - reserved
            sectors = self.limits.sectors
            sector = sectors.get(intent.symbol)
            shares, code = kernel.size_at_open(
                price,
                stop,
                worth,
                free,
                at_risk,
                sum(committed.values()),
                sum(v for s, v in committed.items() if sector and sectors.get(s) == sector),
                sector is not None,
                self._session_volume(intent.symbol),
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
            reserved += micros(shares * price) + 1.0 + fee
            committed[intent.symbol] = committed.get(intent.symbol, 0.0) + micros(shares * price)
            worth -= fee
            at_risk += kernel.open_risk(shares, price, stop, self.terms.bracket)
            self._submit_at_open(intent, shares, price)

    def _session_volume(self, symbol: Symbol) -> float:
        """Shares that trade in an average session, as the review has it."""
        newest = list(self.seen[symbol].values())[-(self.limits.correlation_bars + 1) :]
        total = float(sum(bar.volume for bar in newest))
        return total / len(newest) * self.terms.rules.bars_a_session if newest else 0.0

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
                Side.BUY,
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


def _by_row(
    wished: Wished, symbols: Sequence[Symbol], rows: int
) -> list[list[tuple[Symbol, bool, float]]]:
    found: list[list[tuple[Symbol, bool, float]]] = [[] for _ in range(rows)]
    wishes = wished.wishes
    for row, column, is_entry, conviction in zip(
        wishes.row.tolist(),
        wishes.column.tolist(),
        wishes.is_entry.tolist(),
        wishes.conviction.tolist(),
        strict=True,
    ):
        found[row].append((symbols[column], is_entry, conviction))
    return found


def _is_exit(order: Order) -> bool:
    return order.side is Side.SELL and order.type is OrderType.MARKET


def _kind(order: Order) -> int:
    if order.side is Side.BUY:
        return ENTRY
    if order.type is OrderType.MARKET:
        return EXIT
    return STOP if order.type is OrderType.STOP else TARGET
