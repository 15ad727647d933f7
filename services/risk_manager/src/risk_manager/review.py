"""What is the answer to each wish?

Everything wished for at one instant goes in with one snapshot of the account; approvals and refusals come out,
each with all its checks. Exits go first, then entries by conviction, then symbol; each approval counts before the
next wish is looked at, so no two share the last of the room. The pipeline, `POST /risk/validate` and flatten
take this one road. Pure: the same inputs give the same answers, in live trading as in a backtest.

How exits meet entries that have not filled: an exit is approved for all that is held *and* all that may still
fill. The executor cancels what is open, then sells what was filled, which may be nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from risk_manager import limits as rules
from risk_manager import positions
from risk_manager.limits import Limits
from risk_manager.management import is_day_over
from risk_manager.sizing import (
    Sizing,
    SizingMethod,
    TradeRecord,
    Wanted,
    annual_volatility,
    average_true_range,
    size,
    stop_price,
    target_price,
    wanted,
)
from risk_manager.snapshot import (
    ZERO,
    Book,
    Exposure,
    Mark,
    Market,
    Recent,
    Working,
    figure,
    mark,
)
from shared.domain.calendar import NEW_YORK, TradingCalendar, TradingWindow
from shared.domain.decisions import Approved, Check, Purpose, Refused, Review, TradingMode
from shared.domain.errors import InvalidTime
from shared.domain.ids import MANAGEMENT_PREFIX, flatten_signal_id, management_signal_id
from shared.domain.money import plain
from shared.domain.orders import PLAIN_TERMS, OrderTerms, OrderType, Side, TimeInForce
from shared.domain.signals import Direction, Evaluation, ManualOrder, Signal
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe

# An exit stays wanted: it may leave until the close of this many sessions, counted from the first possible one.
EXIT_SESSIONS = 5
# Fractions may be held, and must be able to go: the smallest is the grid of the rules.
LEAST_EXIT = 0.000001
# A regular session, which is how long a daily bar is in open hours.
_SESSION = timedelta(hours=6, minutes=30)
_SESSIONS_A_YEAR = 252


@dataclass(frozen=True, slots=True)
class Venue:
    """When the exchange is open and when entries may be sent."""

    calendar: TradingCalendar
    window: TradingWindow
    timeframe: Timeframe

    @property
    def bar_length(self) -> timedelta:
        """A bar's length in open hours."""
        return self.timeframe.length if self.timeframe.is_intraday else _SESSION


@dataclass(frozen=True, slots=True)
class Decision:
    """One answer with what is kept beside it: who wished, for which exchange day, and the arithmetic."""

    answer: Approved | Refused
    strategy: str
    quantity: Decimal
    trade_on: date | None
    figures: dict[str, str]

    @property
    def is_approved(self) -> bool:
        """Whether an order follows from it."""
        return isinstance(self.answer, Approved)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A review with all that is stored along with it."""

    review: Review
    decisions: tuple[Decision, ...]
    mark: Mark
    # Why trading goes to REDUCING by itself; None when it does not.
    reduce_because: str | None


@dataclass(frozen=True, slots=True)
class _Wish:
    """A signal, a manual order or one position of a flatten, in one shape."""

    signal_id: str
    strategy: str
    symbol: Symbol
    side: Side
    purpose: Purpose
    # None: as much as the limits allow.
    quantity: Decimal | None
    type: OrderType
    time_in_force: TimeInForce
    limit_price: Decimal | None
    stop_price: Decimal | None
    stop_loss: Decimal | None
    take_profit: Decimal | None
    reference_price: Decimal | None
    wished_at: datetime
    # Wants to hold the symbol, so that holding any of it fulfils the wish.
    wants_to_hold: bool
    figures: dict[str, str]
    conviction: float = 1.0
    terms: OrderTerms = PLAIN_TERMS


@dataclass(frozen=True, slots=True)
class _Sized:
    """A size with what it was found from."""

    sizing: Sizing
    wanted: Wanted
    method: SizingMethod


@dataclass(frozen=True, slots=True)
class _Case:
    """What all wishes of one review are judged by."""

    account: str
    mode: TradingMode
    limits: Limits
    venue: Venue
    mark: Mark
    now: datetime
    recent: Recent
    limits_version: int


_Wishes = Callable[[Exposure], list[_Wish]]
_Span = tuple[datetime | None, datetime | None]


def decision_id(signal_id: str) -> str:
    """The one id of the answer to that signal."""
    return f"dec-{signal_id}"


def source_of(message: Evaluation | ManualOrder) -> str:
    """The key under which the review of `message` is announced, once."""
    if isinstance(message, ManualOrder):
        return f"manual:{message.signal_id}"
    return f"evaluation:{message.timeframe}:{message.instant_at.isoformat()}"


def flatten_source(flatten_id: str) -> str:
    """The key under which the review of that flatten is announced."""
    return f"flatten:{flatten_id}"


def review_evaluation(
    evaluation: Evaluation,
    book: Book,
    market: Market,
    limits: Limits,
    venue: Venue,
    now: datetime,
) -> Outcome:
    """Answer every signal of one instant."""
    limits = limits.changed_by(book.limit_changes)

    def wishes(exposure: Exposure) -> list[_Wish]:
        exits = [s for s in evaluation.signals if s.direction is Direction.FLAT]
        entries = [s for s in evaluation.signals if s.direction is not Direction.FLAT]
        exits.sort(key=lambda s: (s.symbol, s.strategy, s.signal_id))
        entries.sort(key=lambda s: (-s.conviction, s.symbol, s.strategy, s.signal_id))
        return [
            *(_exit_of(s, exposure) for s in exits),
            *_management_wishes(evaluation, book, exposure, limits, venue),
            *(_entry_of(s, limits) for s in entries),
        ]

    outcome = _review(
        source_of(evaluation), evaluation.instant_at, wishes, book, market, limits, venue, now
    )
    if book.mode.mode is TradingMode.HALTED or not limits.management.moves_stops:
        return outcome
    moved = positions.stop_moves(
        book,
        Exposure.of(book, market),
        limits.management,
        atr_bars=limits.sizing.atr_bars,
        besides={a.symbol for a in outcome.review.approved if a.purpose is Purpose.EXIT},
    )
    return replace(outcome, review=replace(outcome.review, moved=moved))


def review_manual(
    order: ManualOrder,
    book: Book,
    market: Market,
    limits: Limits,
    venue: Venue,
    now: datetime,
) -> Outcome:
    """Answer an order that a person asked for: as given or not at all, never resized.

    A buy may add to what is held, since it names its quantity; a sale is always an exit.
    """

    def wishes(exposure: Exposure) -> list[_Wish]:
        return [_manual(order, exposure)]

    return _review(source_of(order), order.requested_at, wishes, book, market, limits, venue, now)


def review_flatten(
    flatten_id: str,
    asked: dict[str, str],
    book: Book,
    market: Market,
    limits: Limits,
    venue: Venue,
    now: datetime,
) -> Outcome:
    """An exit for everything held or on order; `asked` (who and why) is kept with each."""

    def wishes(exposure: Exposure) -> list[_Wish]:
        return _flatten_wishes(flatten_id, asked, book, exposure, now)

    return _review(flatten_source(flatten_id), now, wishes, book, market, limits, venue, now)


def _review(
    source: str,
    instant_at: datetime,
    wishes: _Wishes,
    book: Book,
    market: Market,
    limits: Limits,
    venue: Venue,
    now: datetime,
) -> Outcome:
    # As they are under the account's lock: a change counts from the next decision on.
    limits = limits.changed_by(book.limit_changes)
    exposure = Exposure.of(book, market)
    marked = mark(book, exposure, instant_at)
    case = _Case(
        book.account,
        book.mode.mode,
        limits,
        venue,
        marked,
        max(now, instant_at),
        book.recent,
        0 if book.limit_change is None else book.limit_change.version,
    )
    breach = _breach(case) if book.mode.mode is TradingMode.ACTIVE else None
    wished = wishes(exposure)
    if breach is not None and limits.flatten_on_breach:
        # All is sold, so nothing is left to be managed.
        wished = [wish for wish in wished if not wish.signal_id.startswith(MANAGEMENT_PREFIX)]
        wished += _flatten_wishes(
            f"breach-{book.mode.version + 1}",
            {"reason": breach, "actor": "risk_manager"},
            book,
            exposure,
            case.now,
            besides={wish.symbol for wish in wished if wish.purpose is Purpose.EXIT},
        )
    decisions: list[Decision] = []
    for wish in wished:
        decision = _decide(wish, exposure, case)
        decisions.append(decision)
        if isinstance(decision.answer, Approved):
            exposure = exposure.with_approval(
                decision.answer, decision.strategy, _day(decision.answer.act_from), case.now
            )
    answers = [d.answer for d in decisions]
    return Outcome(
        Review(
            book.account,
            source,
            instant_at,
            tuple(a for a in answers if isinstance(a, Approved)),
            tuple(a for a in answers if isinstance(a, Refused)),
        ),
        tuple(decisions),
        marked,
        breach,
    )


def _flatten_wishes(
    flatten_id: str,
    asked: dict[str, str],
    book: Book,
    exposure: Exposure,
    now: datetime,
    besides: AbstractSet[Symbol] = frozenset(),
) -> list[_Wish]:
    """A way out of everything held or on order, except for `besides`."""
    return [
        _out_of(
            flatten_signal_id(book.account, flatten_id, symbol),
            "flatten",
            symbol,
            exposure,
            exposure.price(symbol),
            now,
            asked,
        )
        for symbol in sorted(book.symbols - besides)
        if exposure.reducible(symbol)
    ]


def _management_wishes(
    evaluation: Evaluation, book: Book, exposure: Exposure, limits: Limits, venue: Venue
) -> list[_Wish]:
    """What positions themselves ask for once a bar has closed; under HALTED nothing could leave."""
    if book.mode.mode is TradingMode.HALTED:
        return []
    at, plan = evaluation.instant_at, limits.management
    found = positions.reductions(
        book,
        exposure,
        plan,
        max_position_size=limits.max_position_size,
        day_is_over=bool(plan.day_strategies)
        and is_day_over(at, venue.calendar, plan.flat_before_close_s),
        besides={s.symbol for s in evaluation.signals if s.direction is Direction.FLAT},
    )
    return [
        _out_of(
            management_signal_id(book.account, reduction.kind, reduction.symbol, at),
            reduction.kind,
            reduction.symbol,
            exposure,
            exposure.price(reduction.symbol),
            at,
            {
                "reason": reduction.reason,
                "actor": "risk_manager",
                **({"targets": " ".join(reduction.targets)} if reduction.targets else {}),
            },
            quantity=reduction.quantity,
        )
        for reduction in found
    ]


# ------------------------------------------------------------------ wishes


def _entry_of(signal: Signal, limits: Limits) -> _Wish:
    """A market bracket, good till cancelled so that its legs outlive the day."""
    reference = figure(signal.reference_price)
    is_long = signal.direction is Direction.LONG
    return _Wish(
        signal.signal_id,
        signal.strategy,
        signal.symbol,
        Side.BUY if is_long else Side.SELL,
        Purpose.ENTRY,
        None,
        OrderType.MARKET,
        TimeInForce.GTC,
        None,
        None,
        _decimal(stop_price(reference, limits.stop_loss)) if is_long else None,
        _decimal(target_price(reference, limits.take_profit)) if is_long else None,
        signal.reference_price,
        signal.bar_end_at,
        wants_to_hold=True,
        figures={"conviction": repr(signal.conviction), **signal.figures},
        conviction=signal.conviction,
    )


def _exit_of(signal: Signal, exposure: Exposure) -> _Wish:
    return _out_of(
        signal.signal_id,
        signal.strategy,
        signal.symbol,
        exposure,
        signal.reference_price,
        signal.bar_end_at,
        dict(signal.figures),
    )


def _out_of(
    signal_id: str,
    strategy: str,
    symbol: Symbol,
    exposure: Exposure,
    reference: Decimal | None,
    wished_at: datetime,
    figures: dict[str, str],
    quantity: Decimal | None = None,
) -> _Wish:
    """A market order for `quantity`, else for all that is held and all that may still fill."""
    if quantity is None:
        quantity = exposure.reducible(symbol)
    return _Wish(
        signal_id,
        strategy,
        symbol,
        Side.BUY if exposure.held.get(symbol, ZERO) < 0 else Side.SELL,
        Purpose.EXIT,
        quantity,
        OrderType.MARKET,
        # What does not sell today goes on tomorrow; the broker takes fractions for the day only.
        TimeInForce.GTC if quantity == quantity.to_integral_value() else TimeInForce.DAY,
        None,
        None,
        None,
        None,
        reference,
        wished_at,
        wants_to_hold=False,
        figures=figures,
    )


def _manual(order: ManualOrder, exposure: Exposure) -> _Wish:
    held = exposure.held.get(order.symbol, ZERO)
    is_exit = order.side is Side.SELL or held < 0
    return _Wish(
        order.signal_id,
        "manual",
        order.symbol,
        order.side,
        Purpose.EXIT if is_exit else Purpose.ENTRY,
        order.quantity,
        order.type,
        order.time_in_force,
        order.limit_price,
        order.stop_price,
        order.stop_loss,
        order.take_profit,
        exposure.price(order.symbol) or order.limit_price or order.stop_price,
        order.requested_at,
        wants_to_hold=False,
        figures={"actor": order.actor},
        terms=order.terms,
    )


# ------------------------------------------------------------------ answers


def _decide(wish: _Wish, exposure: Exposure, case: _Case) -> Decision:
    if wish.purpose is Purpose.EXIT:
        return _decide_exit(wish, exposure, case)
    return _decide_entry(wish, exposure, case)


def _decide_exit(wish: _Wish, exposure: Exposure, case: _Case) -> Decision:
    quantity = wish.quantity if wish.quantity is not None else ZERO
    reducible = exposure.reducible(wish.symbol)
    leaving = exposure.leaving.get(wish.symbol, ZERO) + quantity
    span = _exit_span(case)
    reference = wish.reference_price or _last_value(wish.symbol, exposure)
    checks = [rules.mode(case.mode, Purpose.EXIT), rules.no_position(figure(reducible))]
    if wish.side is Side.SELL:
        checks.append(rules.short_not_allowed(figure(quantity), figure(reducible)))
    else:
        checks.append(rules.crosses_zero(figure(quantity), figure(reducible)))
    checks += [
        rules.exit_in_progress(figure(leaving), figure(reducible)),
        rules.market_hours(*span),
        rules.quantity_zero(figure(quantity), least=LEAST_EXIT),
    ]
    if reference is None:
        checks.append(
            rules.stale_price(None, case.venue.bar_length, case.limits.max_signal_age_bars)
        )
    return _answer(wish, quantity, reference, span, tuple(checks), exposure, case, wish.figures)


def _decide_entry(wish: _Wish, exposure: Exposure, case: _Case) -> Decision:
    limits, venue, symbol = case.limits, case.venue, wish.symbol
    entering = exposure.entering.get(symbol, ZERO)
    committed = exposure.held.get(symbol, ZERO) + entering
    span = _entry_span(wish, case)
    price = exposure.market.prices.get(symbol)
    price_age = (
        None if price is None else venue.calendar.session_time_between(price.end_at, case.now)
    )
    trade_on = _day(span[0]) if span[0] is not None else None
    counted = exposure.entries_by_day.get(trade_on, 0) if trade_on is not None else 0
    checks = [
        rules.mode(case.mode, Purpose.ENTRY),
        rules.short_not_allowed(1.0 if wish.side is Side.SELL else 0.0, 0.0),
        rules.unknown_order(exposure.unknown.get(symbol, 0)),
        rules.entry_during_exit(figure(exposure.leaving.get(symbol, ZERO))),
    ]
    if wish.wants_to_hold:
        checks.append(rules.already_held(figure(committed)))
    checks += [
        rules.market_hours(*span),
        rules.signal_age(
            venue.calendar.session_time_between(wish.wished_at, span[0] or case.now),
            venue.bar_length,
            limits.max_signal_age_bars,
        ),
        rules.stale_price(price_age, venue.bar_length, limits.max_signal_age_bars),
        rules.symbol_halted(symbol, limits.halted_symbols, case.recent.paused),
        rules.symbol_quarantined(
            case.recent.refused_bars.get(symbol),
            None if price is None else price.end_at,
            case.recent.held.get(symbol),
        ),
        rules.unpriced_position(exposure.unpriced),
        _drawdown(case),
        _daily_loss(case),
        _cool_down(symbol, case),
        _stop_loss_guard(case),
        rules.daily_trades(counted + 1, limits.max_daily_trades),
        *_pace(wish, exposure, case),
    ]
    if limits.pattern_day_trader_rule:
        checks.append(
            rules.pattern_day_trader(_day_trades(case), figure(exposure.equity)),
        )
    if wish.side is Side.SELL or wish.reference_price is None:
        # Without a price there is nothing to measure the rest by, and one of the checks has failed.
        quantity = wish.quantity if wish.quantity is not None else ZERO
        return _answer(
            wish, quantity, wish.reference_price, span, tuple(checks), exposure, case, wish.figures
        )
    quantity, sized = _quantity(wish, wish.reference_price, exposure, case)
    # Where there is no room for a share, the rules say what one share would have needed.
    candidate = _candidate(wish, max(quantity, Decimal(1)), wish.reference_price)
    market_price = exposure.price(symbol)
    unit, cost = candidate.price(market_price), candidate.cash(market_price)
    equity, value = figure(exposure.equity), figure(candidate.quantity * unit)
    shares = figure(candidate.quantity)
    checks += [
        rules.whole_shares_only(figure(quantity)),
        rules.bracket_prices(figure(unit), _float(wish.stop_loss), _float(wish.take_profit)),
        rules.quantity_zero(
            figure(quantity)
            if sized is None
            else min(sized.sizing.by_position_size, sized.wanted.shares)
        ),
        rules.position_size(
            figure(exposure.committed_value.get(symbol, ZERO)),
            value,
            equity,
            limits.max_position_size,
        ),
        rules.buying_power(
            figure(cost), figure(exposure.available_cash), figure(cost / candidate.quantity)
        ),
        rules.portfolio_risk(
            figure(exposure.risk),
            figure(candidate.risk(market_price)),
            figure(exposure.equity),
            limits.max_portfolio_risk,
        ),
        rules.correlation(
            exposure.market.closes.get(symbol, {}),
            {s: exposure.market.closes.get(s, {}) for s in exposure.others(symbol)},
            limits,
        ),
        rules.price_collar(figure(unit), _float(market_price), limits.max_price_deviation),
        rules.order_value(value, limits.max_order_value),
        rules.order_shares(shares, limits.max_order_shares),
        rules.fat_finger(shares, _session_volume(symbol, exposure, case), limits.max_volume_share),
        rules.concurrent_positions(len(exposure.others(symbol)) + 1, limits.max_positions),
        rules.gross_exposure(figure(exposure.committed), value, equity, limits.max_gross_exposure),
        rules.net_exposure(figure(exposure.net_committed), value, equity, limits.max_net_exposure),
        rules.sector_exposure(
            limits.sectors.get(symbol),
            figure(_sector_value(symbol, exposure, limits)),
            value,
            equity,
            limits.max_sector_exposure,
        ),
        rules.strategy_exposure(
            wish.strategy,
            figure(exposure.by_strategy.get(wish.strategy, ZERO)),
            value,
            equity,
            limits.max_strategy_exposure,
        ),
        rules.strategy_capital(
            wish.strategy,
            figure(exposure.by_strategy.get(wish.strategy, ZERO)),
            value,
            equity,
            limits.strategy_capital.get(wish.strategy),
        ),
        rules.intraday_margin(figure(exposure.committed), value, equity, limits.maintenance_margin),
        rules.wash_trade(
            _float(wish.limit_price) if wish.type.has_limit else None,
            [_float(s.limit_price) for s in case.recent.open_sales if s.symbol == symbol],
        ),
    ]
    figures = {**wish.figures, "price": plain(unit), **_arithmetic(sized)}
    return _answer(
        wish, quantity, wish.reference_price, span, tuple(checks), exposure, case, figures
    )


def _quantity(
    wish: _Wish, reference: Decimal, exposure: Exposure, case: _Case
) -> tuple[Decimal, _Sized | None]:
    if wish.quantity is not None:
        return wish.quantity, None
    price = _candidate(wish, Decimal(1), reference).price(exposure.price(wish.symbol))
    wish_for = _wanted(wish, figure(price), exposure, case)
    sized = size(
        by_method=wish_for.shares,
        equity=figure(exposure.equity),
        price=figure(price),
        stop=_float(wish.stop_loss) or 0.0,
        available_cash=figure(exposure.available_cash),
        portfolio_risk=figure(exposure.risk),
        max_position_size=case.limits.max_position_size,
        max_portfolio_risk=case.limits.max_portfolio_risk,
        rooms=_rooms(wish, figure(price), exposure, case),
    )
    return Decimal(sized.shares), _Sized(sized, wish_for, case.limits.sizing.method)


def _wanted(wish: _Wish, price: float, exposure: Exposure, case: _Case) -> Wanted:
    """What the sizing method asks for, from the bars and trades that are known."""
    plan, market, symbol = case.limits.sizing, exposure.market, wish.symbol
    closes = market.closes.get(symbol, {})
    # The same bars as correlations are made of, and no more: how many happen to be loaded must not count.
    ends = list(closes)[-(case.limits.correlation_bars + 1) :]
    highs, lows = market.highs.get(symbol, {}), market.lows.get(symbol, {})
    has_ranges = all(end in highs and end in lows for end in ends)
    return wanted(
        plan,
        equity=figure(exposure.equity),
        price=price,
        stop=_float(wish.stop_loss) or 0.0,
        conviction=wish.conviction,
        volatility=annual_volatility(
            rules.log_returns(closes, ends), _SESSIONS_A_YEAR * (_SESSION / case.venue.bar_length)
        ),
        true_range=average_true_range(
            [highs[end] for end in ends],
            [lows[end] for end in ends],
            [closes[end] for end in ends],
            plan.atr_bars,
        )
        if has_ranges
        else None,
        record=case.recent.records.get(wish.strategy, TradeRecord()),
    )


def _rooms(wish: _Wish, price: float, exposure: Exposure, case: _Case) -> dict[str, float]:
    """Dollars that an entry may be worth under each limit that is not about cash, risk or its position."""
    limits, equity = case.limits, figure(exposure.equity)
    committed = figure(exposure.committed)
    mine = figure(exposure.by_strategy.get(wish.strategy, ZERO))
    volume = _session_volume(wish.symbol, exposure, case) or 0.0
    rooms = {
        "order_value": limits.max_order_value,
        "order_shares": limits.max_order_shares * price,
        "volume": limits.max_volume_share * volume * price,
        "gross_exposure": equity * limits.max_gross_exposure - committed,
        "net_exposure": equity * limits.max_net_exposure - figure(exposure.net_committed),
        "strategy_exposure": equity * limits.max_strategy_exposure - mine,
        "intraday_margin": equity / limits.maintenance_margin - committed,
    }
    if wish.symbol in limits.sectors:
        sector = figure(_sector_value(wish.symbol, exposure, limits))
        rooms["sector_exposure"] = equity * limits.max_sector_exposure - sector
    if wish.strategy in limits.strategy_capital:
        rooms["strategy_capital"] = equity * limits.strategy_capital[wish.strategy] - mine
    return rooms


def _sector_value(symbol: Symbol, exposure: Exposure, limits: Limits) -> Decimal:
    """Dollars held and on order in the symbol's sector; 0 where it has none."""
    sector = limits.sectors.get(symbol)
    if sector is None:
        return ZERO
    return sum(
        (v for s, v in exposure.committed_value.items() if limits.sectors.get(s) == sector), ZERO
    )


def _session_volume(symbol: Symbol, exposure: Exposure, case: _Case) -> float | None:
    """Shares that trade in an average session, from the bars that are known; None without any."""
    volumes = exposure.market.volumes.get(symbol)
    if not volumes:
        return None
    total = 0.0
    for volume in volumes.values():
        total += volume
    return total / len(volumes) * (_SESSION / case.venue.bar_length)


def _pace(wish: _Wish, exposure: Exposure, case: _Case) -> list[Check]:
    """How many entries came before this one, in the last minute and of its own kind."""
    limits = case.limits
    minute = case.now - timedelta(minutes=1)
    window = case.now - timedelta(seconds=limits.repeat_window_s)
    lately = sum(1 for entry in exposure.recent_entries if entry.decided_at > minute)
    alike = sum(
        1
        for entry in exposure.recent_entries
        if entry.decided_at > window
        and (entry.strategy, entry.symbol) == (wish.strategy, wish.symbol)
    )
    return [
        rules.orders_per_minute(lately + 1, limits.max_orders_per_minute),
        rules.repeated_execution(
            wish.strategy, wish.symbol, alike + 1, limits.max_repeats, limits.repeat_window_s
        ),
    ]


def _cool_down(symbol: Symbol, case: _Case) -> Check:
    newest = max((hit.at for hit in case.recent.stops if hit.symbol == symbol), default=None)
    since = None if newest is None else _session_time_since(newest, case)
    return rules.cool_down(since, case.venue.bar_length, case.limits.cool_down_bars)


def _stop_loss_guard(case: _Case) -> Check:
    limits = case.limits
    window = case.venue.bar_length * limits.stop_guard_bars
    hits = sum(1 for hit in case.recent.stops if _session_time_since(hit.at, case) <= window)
    return rules.stop_loss_guard(hits, limits.stop_guard_stops, limits.stop_guard_bars)


def _session_time_since(at: datetime, case: _Case) -> timedelta:
    # The venue's clock may be a little ahead of ours.
    return case.venue.calendar.session_time_between(min(at, case.now), case.now)


def _day_trades(case: _Case) -> int:
    """Day trades of the newest five sessions, today's included."""
    today = _day(case.now)
    sessions = case.venue.calendar.between(today - timedelta(days=3 * rules.PDT_SESSIONS), today)
    days = [session.on for session in sessions][-rules.PDT_SESSIONS :]
    return sum(case.recent.day_trades.get(day, 0) for day in days)


def _candidate(wish: _Wish, quantity: Decimal, reference: Decimal) -> Working:
    return Working(
        wish.symbol,
        wish.side,
        wish.purpose,
        quantity,
        wish.type,
        wish.limit_price,
        wish.stop_price,
        wish.stop_loss,
        reference,
    )


def _answer(
    wish: _Wish,
    quantity: Decimal,
    reference: Decimal | None,
    span: _Span,
    checks: tuple[Check, ...],
    exposure: Exposure,
    case: _Case,
    figures: dict[str, str],
) -> Decision:
    failed = next((check for check in checks if not check.passed), None)
    act_from, act_until = span
    trade_on = _day(act_from) if act_from is not None else None
    kept = {
        **figures,
        "equity": plain(exposure.equity),
        "cash": plain(exposure.cash),
        "reserved_cash": plain(exposure.reserved_cash),
        "portfolio_risk": plain(exposure.risk),
        "mode_version": str(case.mark.mode_version),
        "limits_version": str(case.limits_version),
    }
    if failed is not None or act_from is None or act_until is None or reference is None:
        reason = failed or rules.market_hours(act_from, act_until)
        refused = Refused(
            decision_id(wish.signal_id),
            wish.signal_id,
            case.account,
            wish.symbol,
            wish.side,
            wish.purpose,
            reason.code,
            reason.text,
            checks,
        )
        return Decision(refused, wish.strategy, quantity, trade_on, kept)
    approved = Approved(
        decision_id(wish.signal_id),
        wish.signal_id,
        case.account,
        wish.symbol,
        wish.side,
        wish.purpose,
        quantity,
        wish.type,
        wish.time_in_force,
        wish.limit_price,
        wish.stop_price,
        wish.stop_loss,
        wish.take_profit,
        reference,
        act_from,
        act_until,
        checks,
        wish.terms,
    )
    return Decision(approved, wish.strategy, quantity, trade_on, kept)


# ------------------------------------------------------------------ time and figures


def _entry_span(wish: _Wish, case: _Case) -> _Span:
    """From when until when an entry may leave: inside one window, and before the wish is too old."""
    venue = case.venue
    try:
        act_from, window_ends = venue.calendar.entry_window(case.now, venue.window)
    except InvalidTime:
        return None, None
    plan = case.limits.management
    if wish.strategy in plan.day_strategies:
        session = venue.calendar.session_at(act_from)
        if session is not None:
            last_at = session.close_at - timedelta(seconds=plan.flat_before_close_s)
            window_ends = min(window_ends, last_at)
        if act_from >= window_ends:
            return None, None
    age = venue.calendar.session_time_between(wish.wished_at, act_from)
    left = max(venue.bar_length * case.limits.max_signal_age_bars - age, timedelta(0))
    return act_from, min(window_ends, act_from + left)


def _exit_span(case: _Case) -> _Span:
    """From when until when an exit may leave: any session, and for a few of them."""
    calendar = case.venue.calendar
    try:
        session = calendar.session_at(case.now) or calendar.next_session(case.now)
    except InvalidTime:
        return None, None
    later = calendar.between(session.on, session.on + timedelta(days=4 * EXIT_SESSIONS))
    return max(case.now, session.open_at), later[:EXIT_SESSIONS][-1].close_at


def _drawdown(case: _Case) -> Check:
    return rules.drawdown(
        figure(case.mark.equity), figure(case.mark.peak_equity), case.limits.drawdown_limit
    )


def _daily_loss(case: _Case) -> Check:
    began = case.mark.day_equity
    equity = figure(case.mark.equity)
    return rules.daily_loss(
        equity, equity if began is None else figure(began), case.limits.max_daily_loss
    )


def _breach(case: _Case) -> str | None:
    """Why the account may take no risk any more; None while it may."""
    failed = [check.text for check in (_drawdown(case), _daily_loss(case)) if not check.passed]
    return "; ".join(failed) or None


def _day(at: datetime) -> date:
    return at.astimezone(NEW_YORK).date()


def _decimal(price: float) -> Decimal:
    return Decimal(repr(price))


def _float(price: Decimal | None) -> float | None:
    return None if price is None else figure(price)


def _last_value(symbol: Symbol, exposure: Exposure) -> Decimal | None:
    """Dollars per share at which a symbol without a market price is carried."""
    shares = exposure.reducible(symbol)
    value = exposure.committed_value.get(symbol, ZERO)
    return value / shares if shares and value else None


def _arithmetic(given: _Sized | None) -> dict[str, str]:
    """Every bound of a size in shares, so that anybody can do the sum again."""
    if given is None:
        return {}
    sized = given.sizing
    return {
        "sizing_method": given.method.value,
        **{name: repr(value) for name, value in given.wanted.figures.items()},
        "shares_by_method": repr(given.wanted.shares),
        "shares_by_position_size": repr(sized.by_position_size),
        "shares_by_buying_power": repr(sized.by_buying_power),
        "shares_by_portfolio_risk": repr(sized.by_portfolio_risk),
        **{f"shares_by_{name}": repr(shares) for name, shares in sized.by_others.items()},
    }
