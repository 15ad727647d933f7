"""What is the risk manager told, and what does it answer?

The book of the review is made from the simulator's book and from what the tables would hold; the market from the bars that
have closed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from backtester import risk_rules
from backtester.reference import executor
from backtester.reference.account import ACCOUNT, ZERO, Account
from backtester.terms import DAY_END, REBALANCE, SCALE_OUT
from risk_manager.attribution import matched, records_of
from risk_manager.limits import LONGEST_WINDOW_S, MOST_RECENT
from risk_manager.positions import Kind
from risk_manager.review import Outcome as Reviewed
from risk_manager.review import review_evaluation
from risk_manager.sizing import SizingMethod, TradeRecord
from risk_manager.snapshot import Book as RiskBook
from risk_manager.snapshot import (
    Holding,
    Lending,
    Mark,
    Market,
    Mode,
    Price,
    Protection,
    Recent,
    Throttle,
    Turn,
    Word,
    Working,
)
from shared.domain.decisions import Approved, Purpose, Refused, TradingMode
from shared.domain.ids import turn_signal_id
from shared.domain.money import parse_price
from shared.domain.orders import OrderType, Side
from shared.domain.signals import Direction, Evaluation, Signal
from shared.domain.symbols import Symbol

Wish = tuple[Symbol, Direction, float]
CODES = {name: code for code, name in enumerate(risk_rules.CODES)}
_KINDS = {Kind.DAY_END: DAY_END, Kind.REBALANCE: REBALANCE, Kind.SCALE_OUT: SCALE_OUT}


def review(account: Account, row: int, wishes: Sequence[Wish]) -> None:
    """Ask the risk manager, as live, and do what its answers say."""
    signals = signals_of(account, row, wishes)
    outcome = answered(account, row, signals)
    keep_mark(account, row, outcome)
    keep_turns(account, outcome, signals)
    for decision in outcome.decisions:
        answer = decision.answer
        if isinstance(answer, Refused):
            if answer.purpose is Purpose.ENTRY:
                account.refused[CODES[answer.reason_code]] += 1
        elif answer.purpose is Purpose.ENTRY:
            assert decision.trade_on is not None
            account.count_entry(row, answer.symbol, decision.trade_on.toordinal())
            executor.send_entry(account, answer)
        elif decision.strategy not in _KINDS:
            executor.leave(account, answer.symbol)
    manage(account, outcome)
    executor.move_stops(account, moves(outcome))


def manage(account: Account, outcome: Reviewed) -> None:
    """Make the sales that positions themselves asked for."""
    for decision in outcome.decisions:
        answer = decision.answer
        if decision.strategy not in _KINDS or not isinstance(answer, Approved):
            continue
        kind = _KINDS[Kind(decision.strategy)]
        account.scaled_out.update(decision.figures.get("targets", "").split())
        if kind == DAY_END:
            executor.leave(account, answer.symbol, kind)
        else:
            executor.sell(account, answer.symbol, answer.quantity, kind)


def flattened(outcome: Reviewed) -> list[Symbol]:
    """What is sold because a limit on losses was passed."""
    return [
        decision.answer.symbol
        for decision in outcome.decisions
        if decision.strategy == "flatten" and decision.is_approved
    ]


def moves(outcome: Reviewed) -> list[tuple[Symbol, Decimal]]:
    """Where stops follow the price to."""
    return [(move.symbol, move.stop_loss) for move in outcome.review.moved]


def keep_turns(account: Account, outcome: Reviewed, signals: Sequence[Signal]) -> None:
    """Note which entries wait for the exit of what they turn around, as the stored signals and decisions say live."""
    by_id = {signal.signal_id: signal for signal in signals}
    answers = {decision.answer.signal_id for decision in outcome.decisions}
    decided = {decision.answer.symbol for decision in outcome.decisions}
    account.turns = {
        # Whatever is decided in the symbol ends the wait.
        symbol: replace(turn, is_superseded=turn.is_superseded or symbol in decided)
        for symbol, turn in account.turns.items()
        if turn.signal.signal_id not in answers
    }
    for decision in outcome.decisions:
        answer = decision.answer
        if decision.is_approved and "turns_to" in decision.figures:
            signal = by_id[answer.signal_id]
            entry = replace(signal, signal_id=turn_signal_id(signal.signal_id))
            account.turns[answer.symbol] = Turn(entry, signal.signal_id)


def asked(account: Account, row: int, wishes: Sequence[Wish]) -> Reviewed:
    """What the risk manager answers to `wishes` at the close of `row`."""
    return answered(account, row, signals_of(account, row, wishes))


def signals_of(account: Account, row: int, wishes: Sequence[Wish]) -> tuple[Signal, ...]:
    """What the strategy engine would store of `wishes` at the close of `row`."""
    panel, at = account.history.panel, account.ends_at[row]
    return tuple(
        Signal(
            f"{row}-{symbol}",
            ACCOUNT,
            account.strategy,
            symbol,
            panel.timeframe,
            account.opens_at[row],
            at,
            direction,
            conviction,
            "",
            parse_price(float(panel.close[row, account.columns[symbol]])),
            {},
        )
        for symbol, direction, conviction in wishes
    )


def answered(account: Account, row: int, signals: tuple[Signal, ...]) -> Reviewed:
    """What the risk manager answers to `signals` at the close of `row`."""
    at = account.ends_at[row]
    return review_evaluation(
        Evaluation(ACCOUNT, account.history.panel.timeframe, at, signals),
        risk_book(account, at),
        market(account),
        account.limits,
        account.venue,
        at,
    )


def keep_mark(account: Account, row: int, outcome: Reviewed) -> None:
    """Note what the account is worth, and that a limit on losses was passed."""
    account.mark = outcome.mark
    # Nobody enables them again in a backtest.
    account.throttles |= {(each.strategy, each.symbol): each for each in outcome.stopped}
    if outcome.reduce_because is not None and account.terms.limited:
        account.reduced_row = row
        account.mode = Mode(
            TradingMode.REDUCING, 2, outcome.reduce_because, "risk_manager", account.ends_at[row]
        )


def stop(account: Account, row: int, symbol: Symbol) -> None:
    """The strategy has repeated itself in `symbol`, and nobody enables it again in a backtest."""
    pair, at = (account.strategy, symbol), account.ends_at[row]
    account.throttles.setdefault(pair, Throttle(*pair, 1, True, "repeats", "risk_manager", at))


def risk_book(account: Account, at: datetime) -> RiskBook:
    """What the tables would tell of the account."""
    holdings = []
    for symbol, position in sorted(account.book.positions.items()):
        if position.quantity:
            entered = account.entered[symbol]
            guarded = Protection(
                entered.filled,
                account.stop_of(symbol),
                account.strategy,
                entered.decision_id,
                entered.reference,
            )
            met = frozenset(account.scaled_out)
            holdings.append(
                Holding(symbol, position.quantity, position.average_price, (guarded,), met)
            )
    under_way = [
        working_of(
            account,
            order.symbol,
            order.side,
            Purpose.EXIT if account.is_exit(order) else Purpose.ENTRY,
            order.remaining,
            None if account.is_exit(order) else account.stop_of(order.symbol),
            order.reserve_price,
        )
        for order in account.book.open_orders()
        if order.type is OrderType.MARKET
    ]
    # How many shares these will be is not known yet, but they are on order.
    under_way += [
        # As of a purchase, whichever side it is: the rules that are asked about such entries do not look at it.
        working_of(
            account, i.symbol, Side.BUY, Purpose.ENTRY, Decimal(1), None, parse_price(i.reference)
        )
        for i in account.unsized
    ]
    days = {
        datetime.fromordinal(day).date(): count for day, count in account.entries_by_day.items()
    }
    return RiskBook(
        ACCOUNT,
        account.book.cash,
        tuple(holdings),
        tuple(under_way),
        {},
        account.mode,
        account.mark or first_mark(account),
        days,
        recent(account, at),
        turns=tuple(account.turns.values()),
        lending=lending(account, at),
    )


def lending(account: Account, at: datetime) -> Lending:
    """Every share is lent but those that the plan names; no history of the broker's list can be had."""
    return Lending(
        Word(True, at),
        {symbol: Word(symbol not in account.plan.unlent, at) for symbol in account.symbols},
    )


def working_of(
    account: Account,
    symbol: Symbol,
    side: Side,
    purpose: Purpose,
    quantity: Decimal,
    stop: Decimal | None,
    price: Decimal,
) -> Working:
    """An order as the risk manager counts it."""
    kind = OrderType.MARKET
    return Working(symbol, side, purpose, quantity, kind, None, None, stop, price, account.strategy)


def recent(account: Account, at: datetime) -> Recent:
    """What happened lately, as the tables of the risk manager and the executor tell it."""
    account.approved = [
        entry
        for entry in account.approved
        if entry.decided_at > at - timedelta(seconds=LONGEST_WINDOW_S)
    ]
    traded_twice = Counter(day for (day, _), sides in account.dealt.items() if len(sides) == 2)
    records: dict[str, TradeRecord] = {}
    if account.limits.sizing.method is SizingMethod.KELLY:
        held = {symbol: each.quantity for symbol, each in account.book.positions.items()}
        records = records_of(matched(account.booked[-MOST_RECENT:], held).trades)
    return Recent(
        entries=tuple(account.approved),
        stops=tuple(account.stop_hits.values()),
        day_trades=traded_twice,
        records=records,
        throttles=account.throttles,
    )


def first_mark(account: Account) -> Mark:
    """What the account began with."""
    cash = account.book.rules.cash
    return Mark(account.opens_at[0], cash, cash, cash, 0.0, ZERO, ZERO, 1)


def market(account: Account) -> Market:
    """What the bars that have closed say."""
    kept = account.limits.correlation_bars + 1
    prices: dict[Symbol, Price] = {}
    closes: dict[Symbol, dict[int, float]] = {}
    highs: dict[Symbol, dict[int, float]] = {}
    lows: dict[Symbol, dict[int, float]] = {}
    volumes: dict[Symbol, dict[int, float]] = {}
    for symbol, by_row in account.seen.items():
        if by_row:
            newest = list(by_row)[-kept:]
            row = newest[-1]
            prices[symbol] = Price(account.book.prices[symbol], account.ends_at[row])
            # In the shares of the newest bar, as the store gives them live.
            closes[symbol] = {
                r: account.in_shares_of(symbol, by_row[r].close, r, row) for r in newest
            }
            highs[symbol] = {
                r: account.in_shares_of(symbol, by_row[r].high, r, row) for r in newest
            }
            lows[symbol] = {r: account.in_shares_of(symbol, by_row[r].low, r, row) for r in newest}
            volumes[symbol] = {r: account.volume(symbol, r, row) for r in newest}
    return Market(frozenset(account.symbols), prices, closes, highs, lows, volumes)
