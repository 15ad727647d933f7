"""May this be bought, or sold short? Every rule for entries, in the order in which a refusal is named."""

from __future__ import annotations

from bisect import bisect_left
from datetime import datetime, timedelta
from decimal import Decimal

from risk_manager import limits as rules
from risk_manager.exposure import Exposure
from risk_manager.review.case import (
    SESSION,
    Case,
    Decision,
    Span,
    Wish,
    answered,
    daily_loss_check,
    day_of,
    drawdown_check,
    float_of,
)
from risk_manager.review.hours import has_own_hours, special_span
from risk_manager.review.sizes import (
    arithmetic_of,
    candidate_of,
    quantity_of,
    sector_value,
    session_volume,
)
from risk_manager.snapshot import ZERO, Word, figure
from shared.domain.decisions import Check, Purpose
from shared.domain.errors import InvalidTime
from shared.domain.money import plain
from shared.domain.orders import OrderClass, Side
from shared.domain.symbols import Symbol


def decide_entry(wish: Wish, exposure: Exposure, case: Case) -> Decision:
    """The answer to a wish to buy or to sell short, with every check, failed or not."""
    limits, venue, symbol = case.limits, case.venue, wish.symbol
    is_short = wish.side is Side.SELL
    span = entry_span(wish, case)
    # The last known one of a store that gives no answer is nothing to buy by.
    price = None if exposure.market.unread else exposure.market.prices.get(symbol)
    price_age = (
        None if price is None else venue.calendar.session_time_between(price.end_at, case.now)
    )
    trade_on = day_of(span[0]) if span[0] is not None else None
    counted = exposure.entries_by_day.get(trade_on, 0) if trade_on is not None else 0
    # Who asks for an auction means the next one, however far away.
    sent_at = case.now if has_own_hours(wish) else span[0] or case.now
    age = rules.signal_age(
        _age_when_sent(wish, sent_at, case), venue.bar_length, limits.max_signal_age_bars
    )
    checks = [
        rules.mode(case.mode, Purpose.ENTRY),
        rules.short_sale(is_short, limits.allow_short),
        *_patience(wish, age),
        rules.unknown_order(exposure.unknown.get(symbol, 0)),
        rules.entry_during_exit(figure(exposure.leaving.get(symbol, ZERO))),
    ]
    if wish.wants_to_hold:
        checks.append(rules.already_held(figure(exposure.there(symbol))))
    checks += [
        rules.market_hours(*span),
        *([age] if wish.is_superseded is None else []),
        *([_availability(symbol, case)] if is_short else []),
        rules.stale_price(price_age, venue.bar_length, limits.max_signal_age_bars),
        rules.symbol_halted(symbol, limits.halted_symbols, case.recent.paused),
        rules.symbol_quarantined(
            case.recent.refused_bars.get(symbol),
            None if price is None else price.end_at,
            case.recent.held.get(symbol) or _basis_doubt(symbol, exposure),
        ),
        rules.unpriced_position(exposure.unpriced),
        drawdown_check(case),
        daily_loss_check(case),
        _cool_down(symbol, case),
        _stop_loss_guard(case),
        rules.daily_trades(counted + 1, limits.max_daily_trades),
        *_pace(wish, exposure, case),
    ]
    if limits.pattern_day_trader_rule:
        checks.append(
            rules.pattern_day_trader(_day_trades(case), figure(exposure.equity)),
        )
    if wish.reference_price is None:
        # Without a price there is nothing to measure the rest by, and one of the checks has failed.
        quantity = wish.quantity if wish.quantity is not None else ZERO
        return answered(
            wish, quantity, wish.reference_price, span, tuple(checks), exposure, case, wish.figures
        )
    quantity, sized = quantity_of(wish, wish.reference_price, exposure, case)
    # Where there is no room for a share, the rules say what one share would have needed.
    # A person's order without stop and target needs no bracket, which the broker takes for whole shares only.
    is_bare = (
        wish.quantity is not None
        and wish.stop_loss is None
        and wish.take_profit is None
        and not is_short
    )
    candidate = candidate_of(
        wish,
        quantity if is_bare and quantity > 0 else max(quantity, Decimal(1)),
        wish.reference_price,
    )
    market_price = exposure.price(symbol)
    # A sum of money is spent whole, whatever its shares cost by then.
    money = wish.terms.notional or ZERO
    unit, cost = candidate.price(market_price), max(candidate.cash(market_price), money)
    equity, value = figure(exposure.equity), figure(max(candidate.quantity * unit, money))
    shares = figure(candidate.quantity)
    checks += [
        *([] if is_bare else [rules.whole_shares_only(figure(quantity))]),
        rules.bracket_prices(
            figure(unit),
            float_of(wish.stop_loss),
            float_of(wish.take_profit),
            one_is_enough=wish.terms.order_class is OrderClass.OTO,
            is_short=is_short,
        ),
        rules.quantity_zero(
            figure(quantity)
            if sized is None
            else min(sized.sizing.by_position_size, sized.wanted.shares),
            least=rules.LEAST_FRACTION if is_bare else 1.0,
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
        rules.price_collar(figure(unit), float_of(market_price), limits.max_price_deviation),
        rules.order_value(value, limits.max_order_value),
        rules.order_shares(shares, limits.max_order_shares),
        rules.fat_finger(shares, session_volume(symbol, exposure, case), limits.max_volume_share),
        rules.concurrent_positions(len(exposure.others(symbol)) + 1, limits.max_positions),
        rules.gross_exposure(figure(exposure.committed), value, equity, limits.max_gross_exposure),
        rules.net_exposure(
            figure(exposure.net_on(wish.side)), value, equity, limits.max_net_exposure
        ),
        rules.sector_exposure(
            limits.sectors.get(symbol),
            figure(sector_value(symbol, exposure, limits)),
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
            wish.side,
            float_of(wish.limit_price) if wish.type.has_limit else None,
            [
                float_of(order.limit_price)
                for order in case.recent.open_orders
                if order.symbol == symbol and order.side is not wish.side
            ],
        ),
    ]
    figures = {**wish.figures, "price": plain(unit), **arithmetic_of(sized)}
    return answered(
        wish, quantity, wish.reference_price, span, tuple(checks), exposure, case, figures
    )


def _patience(wish: Wish, age: Check) -> list[Check]:
    """Whether an entry that has waited for an exit is still meant; asked first, since what it waits for fails too."""
    return [] if wish.is_superseded is None else [rules.superseded(wish.is_superseded), age]


def _availability(symbol: Symbol, case: Case) -> Check:
    def known(word: Word | None) -> bool | None:
        # What the broker said a session ago or earlier may have changed since.
        is_old = word is not None and _session_time_since(word.seen_at, case) > SESSION
        return None if word is None or is_old else word.is_yes

    return rules.short_availability(
        known(case.lending.account), known(case.lending.shares.get(symbol))
    )


def _pace(wish: Wish, exposure: Exposure, case: Case) -> list[Check]:
    """How many entries came before this one, in the last minute and of its own kind."""
    limits = case.limits
    minute = case.now - timedelta(minutes=1)
    throttle = case.recent.throttles.get((wish.strategy, wish.symbol))
    window = case.now - timedelta(seconds=limits.repeat_window_s)
    if throttle is not None:
        # What was approved before a person enabled it again is forgiven.
        window = max(window, throttle.changed_at)
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
            wish.strategy,
            wish.symbol,
            alike + 1,
            limits.max_repeats,
            limits.repeat_window_s,
            throttle.changed_at if throttle is not None and throttle.is_stopped else None,
        ),
    ]


def _basis_doubt(symbol: Symbol, exposure: Exposure) -> str | None:
    """Why what is held of the symbol and its price are not of the same shares; None when they are."""
    other = exposure.unsettled.get(symbol)
    return None if other is None else other.why


def _cool_down(symbol: Symbol, case: Case) -> Check:
    newest = max((hit.at for hit in case.recent.stops if hit.symbol == symbol), default=None)
    since = None if newest is None else _session_time_since(newest, case)
    return rules.cool_down(since, case.venue.bar_length, case.limits.cool_down_bars)


def _stop_loss_guard(case: Case) -> Check:
    limits = case.limits
    window = case.venue.bar_length * limits.stop_guard_bars
    # The later it was hit, the less time has passed since: so the first that is inside is looked for, not each measured.
    hit_at = sorted(hit.at for hit in case.recent.stops)
    older = bisect_left(hit_at, True, key=lambda at: _session_time_since(at, case) <= window)
    return rules.stop_loss_guard(
        len(hit_at) - older, limits.stop_guard_stops, limits.stop_guard_bars
    )


def _session_time_since(at: datetime, case: Case) -> timedelta:
    # The venue's clock may be a little ahead of ours.
    return case.venue.calendar.session_time_between(min(at, case.now), case.now)


def _day_trades(case: Case) -> int:
    """Day trades of the newest five sessions, today's included."""
    today = day_of(case.now)
    sessions = case.venue.calendar.between(today - timedelta(days=3 * rules.PDT_SESSIONS), today)
    days = [session.on for session in sessions][-rules.PDT_SESSIONS :]
    return sum(case.recent.day_trades.get(day, 0) for day in days)


def entry_span(wish: Wish, case: Case) -> Span:
    """From when until when an entry may leave: inside one window, and before the wish is too old."""
    venue = case.venue
    if has_own_hours(wish):
        return special_span(wish, case, is_entry=True)
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
    left = max(_sendable_for(wish, act_from, case), timedelta(0))
    return act_from, min(window_ends, act_from + left)


def _age_when_sent(wish: Wish, sent_at: datetime, case: Case) -> timedelta:
    """Open hours that have passed since it was wished for.

    An entry that has waited for an exit is as old as at the bar that answers it, as in backtests: the seconds that an
    answer takes would cost it a whole bar. One that comes a bar late or more is late.
    """
    between, answered_at = case.venue.calendar.session_time_between, case.mark.instant_at
    if wish.is_superseded is None:
        return between(wish.wished_at, sent_at)
    age, delay = between(wish.wished_at, answered_at), between(answered_at, sent_at)
    return age if delay < case.venue.bar_length else age + delay


def _sendable_for(wish: Wish, act_from: datetime, case: Case) -> timedelta:
    """Open hours from `act_from` until it is too old; one that has waited for an exit has the bar after its answer's."""
    between, bar = case.venue.calendar.session_time_between, case.venue.bar_length
    patience, answered_at = bar * case.limits.max_signal_age_bars, case.mark.instant_at
    if wish.is_superseded is None:
        return patience - between(wish.wished_at, act_from)
    left = max(patience - between(wish.wished_at, answered_at), bar)
    return left - between(answered_at, act_from)
