"""Laws of the review: no run of approvals passes a limit, and the same wishes give the same answers.

The state machine plays an account through signals, fills, price moves and mode changes on the pure review alone.
The wishes go in as they come; what the account looks like afterwards is counted here anew, by other means than
those of the code that decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from risk_manager.limits import Limits
from risk_manager.modes import Change, changed
from risk_manager.review import Outcome, review_evaluation, review_flatten, review_manual
from risk_manager.share_counts import BookedSplit
from risk_manager.snapshot import (
    Book,
    Holding,
    LimitChange,
    Mark,
    Market,
    Mode,
    Protection,
    Recent,
    RecentEntry,
    Turn,
    Working,
)
from risk_manager.testing import (
    NOW,
    a_book,
    a_holding,
    a_lending,
    a_manual_order,
    a_market,
    a_mode,
    a_signal,
    a_turn,
    a_venue,
    an_evaluation,
    some_limits,
)
from shared.domain.corporate_actions import Split
from shared.domain.decisions import Approved, Purpose, TradingMode
from shared.domain.orders import OrderType, Side
from shared.domain.signals import Direction, Signal
from shared.domain.symbols import Symbol

SYMBOLS = ("AAPL", "AMZN", "GOOG", "MSFT", "NVDA", "TSLA")
VENUE = a_venue()
TODAY = date(2026, 1, 15)
GAP = {Side.BUY: Decimal("1.04"), Side.SELL: Decimal("1.08")}

symbols = st.sampled_from(SYMBOLS)
prices = st.dictionaries(
    symbols, st.integers(100, 90_000).map(lambda cents: cents / 100), min_size=len(SYMBOLS)
)
any_limits = st.builds(
    some_limits,
    max_position_size=st.sampled_from([0.01, 0.05, 0.33, 1.0]),
    max_portfolio_risk=st.sampled_from([0.005, 0.02, 0.5]),
    max_daily_trades=st.integers(1, 5),
    max_correlation=st.just(1.0),
    stop_loss=st.sampled_from([0.01, 0.05, 0.5]),
    allow_short=st.booleans(),
)
wishes = st.lists(
    st.tuples(symbols, st.sampled_from(Direction), st.floats(0, 1), st.sampled_from(["a", "b"])),
    max_size=10,
    unique_by=lambda wish: (wish[0], wish[1], wish[3]),
)


def signals_of(
    wished: Sequence[tuple[str, Direction, float, str]], at_prices: dict[str, float]
) -> list[Signal]:
    return [
        a_signal(s, direction, price=at_prices[s], conviction=c, strategy=strategy)
        for s, direction, c, strategy in wished
    ]


@given(wished=wishes, at_prices=prices, limits=any_limits, cash=st.integers(1_000, 1_000_000))
def test_no_run_of_approvals_passes_a_limit(
    wished: list[tuple[str, Direction, float, str]],
    at_prices: dict[str, float],
    limits: Limits,
    cash: int,
) -> None:
    outcome = review_evaluation(
        an_evaluation(*signals_of(wished, at_prices)),
        a_book(cash=cash, lending=a_lending(*SYMBOLS)),
        a_market(at_prices),
        limits,
        VENUE,
        NOW,
    )

    entries = [a for a in outcome.review.approved if a.purpose is Purpose.ENTRY]
    cost = sum(float(a.quantity * a.reference_price * GAP[a.side]) for a in entries)
    at_risk = sum(
        float(a.quantity * abs(a.reference_price - a.stop_loss)) for a in entries if a.stop_loss
    )
    assert limits.allow_short or all(a.side is Side.BUY for a in entries)
    assert cost <= cash * (1 + 1e-9)
    assert at_risk <= cash * limits.max_portfolio_risk * (1 + 1e-9)
    assert len(entries) <= limits.max_daily_trades
    assert len({a.symbol for a in entries}) == len(entries)
    for entry in entries:
        worth = float(entry.quantity * entry.reference_price)
        assert worth <= cash * limits.max_position_size * (1 + 1e-9)


@given(data=st.data(), wished=wishes, at_prices=prices, limits=any_limits)
def test_the_order_of_signals_in_an_evaluation_does_not_matter(
    data: st.DataObject,
    wished: list[tuple[str, Direction, float, str]],
    at_prices: dict[str, float],
    limits: Limits,
) -> None:
    held = [a_holding("AAPL", 3, stop=1), a_holding("AMZN", -3, stop=1_000)]
    book = a_book(cash=20_000, holdings=held, lending=a_lending(*SYMBOLS))

    def answers(signals: list[Signal]) -> Outcome:
        return review_evaluation(
            an_evaluation(*signals), book, a_market(at_prices), limits, VENUE, NOW
        )

    signals = signals_of(wished, at_prices)
    shuffled = data.draw(st.permutations(signals))

    assert answers(list(shuffled)) == answers(signals) == answers(signals)


@given(
    at_prices=prices,
    quantity=st.integers(-10_000, 10_000).filter(lambda quantity: quantity != 0),
    limits=any_limits,
)
def test_exits_are_never_blocked_in_reducing(
    at_prices: dict[str, float], quantity: int, limits: Limits
) -> None:
    book = a_book(
        cash=-50_000,
        holdings=[a_holding("AAPL", quantity), a_holding("XYZ", 1, paid=None)],
        unknown={Symbol("AAPL"): 1},
        mode=a_mode(TradingMode.REDUCING, 2),
        entries_by_day={TODAY: 10_000},
    )
    evaluation = an_evaluation(a_signal("AAPL", Direction.FLAT, price=at_prices["AAPL"]))

    outcome = review_evaluation(evaluation, book, a_market(at_prices), limits, VENUE, NOW)

    assert [a.side.sign * a.quantity for a in outcome.review.approved] == [-quantity]


@dataclass
class Live:
    """An approved order that has not ended, with what of it may still fill."""

    approved: Approved
    remaining: Decimal
    is_unknown: bool = False

    @property
    def rests(self) -> bool:
        """Whether it is a way out that waits for a price."""
        return self.approved.purpose is Purpose.EXIT and self.approved.type is not OrderType.MARKET

    def as_working(self) -> Working:
        a = self.approved
        return Working(
            a.symbol, a.side, a.purpose, self.remaining, a.type, a.limit_price, a.stop_price,
            a.stop_loss, a.reference_price,
        )  # fmt: skip


class AccountMachine(RuleBasedStateMachine):
    """An account, long, short and turned around, whose orders fill, stall or get lost while prices move."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = some_limits(
            max_position_size=0.3,
            max_portfolio_risk=0.04,
            max_daily_trades=6,
            max_correlation=1.0,
            max_gross_exposure=0.7,
            max_net_exposure=0.6,
            max_sector_exposure=0.35,
            sectors={"AAPL": "technology", "MSFT": "technology", "NVDA": "technology"},
            max_positions=4,
            max_order_value=12_000.0,
            max_order_shares=300,
            max_orders_per_minute=5,
            max_repeats=3,
            allow_short=True,
        )
        self.lent = set(SYMBOLS)
        self.turns: list[Turn] = []
        self.change: LimitChange | None = None
        self.cash = Decimal(50_000)
        self.prices = dict.fromkeys(SYMBOLS, 100.0)
        self.held: dict[str, Decimal] = {}
        self.entries: dict[str, list[Protection]] = {}
        self.live: list[Live] = []
        self.counted = 0
        self.last_mode = a_mode()
        self.last_mark: Mark | None = None
        self.paid_in = Decimal(0)
        self.units = self.best_unit = self.unit_at_mark = 1.0
        self.number = 0
        self.recent: list[RecentEntry] = []
        # Splits of today: those that prices show, and those that the ledger has booked.
        self.told: dict[str, Split] = {}
        self.booked: dict[str, BookedSplit] = {}

    def market(self) -> Market:
        told = {Symbol(s): (split,) for s, split in self.told.items()}
        return replace(a_market(self.prices), splits=told, on=TODAY)

    def worth(self, symbol: str) -> Decimal:
        """What a share of the ledger is worth, also while a split has arrived in prices or ledger alone."""
        price = Decimal(str(self.prices[symbol]))
        if symbol in self.waiting:
            price *= (
                Decimal(self.told[symbol].ratio.numerator) / self.told[symbol].ratio.denominator
            )
        return price

    @property
    def waiting(self) -> set[str]:
        """Symbols whose position is of other shares than their price."""
        held = {symbol for symbol, quantity in self.held.items() if quantity}
        return {s for s in held & self.told.keys() - self.booked.keys() if self.is_old(s)}

    def is_old(self, symbol: str) -> bool:
        """Whether it was bought before the split, which is what the broker counts anew."""
        return any(entry.since_at is None for entry in self.entries.get(symbol, []))

    def review(self, wished: Sequence[tuple[str, Direction, float, str]]) -> Outcome:
        signals = {signal.signal_id: signal for signal in signals_of(wished, self.prices)}
        evaluation = an_evaluation(*signals.values())
        outcome = self.settle(
            review_evaluation(evaluation, self.book(), self.market(), self.limits, VENUE, NOW)
        )
        answers = {decision.answer.signal_id for decision in outcome.decisions}
        self.turns = [turn for turn in self.turns if turn.signal.signal_id not in answers]
        # What waited in a symbol that is wished for anew has been answered.
        assert not {turn.signal.symbol for turn in self.turns} & {
            signal.symbol for signal in signals.values()
        }
        for decision in outcome.decisions:
            if decision.is_approved and "turns_to" in decision.figures:
                self.turns.append(a_turn(signals[decision.answer.signal_id]))
        return outcome

    def by_hand(self, outcome: Outcome, *, is_for_all: bool = False) -> None:
        """What a person does ends what waits in the symbol, or everywhere."""
        self.settle(outcome)
        symbols = {decision.answer.symbol for decision in outcome.decisions}
        self.turns = [
            replace(turn, is_superseded=True)
            if is_for_all or turn.signal.symbol in symbols
            else turn
            for turn in self.turns
        ]

    def book(self) -> Book:
        return a_book(
            cash=float(self.cash),
            holdings=[
                Holding(
                    Symbol(s),
                    q,
                    Decimal(100),
                    tuple(self.entries.get(s, [])[:20]),
                    splits=(self.booked[s],) if s in self.booked else (),
                )
                for s, q in sorted(self.held.items())
                if q
            ],
            working=[live.as_working() for live in self.live],
            unknown={live.approved.symbol: 1 for live in self.live if live.is_unknown},
            mode=self.last_mode,
            paid_in=float(self.paid_in),
            last_mark=self.last_mark,
            entries_by_day={TODAY: self.counted},
            recent=Recent(entries=tuple(self.recent)),
            limit_change=self.change,
            turns=self.turns,
            lending=a_lending(*self.lent),
        )

    def in_force(self) -> Limits:
        return self.limits if self.change is None else self.limits.changed_by(self.change.changes)

    def settle(self, outcome: Outcome) -> Outcome:
        before = {live.approved.symbol for live in self.live if live.is_unknown}
        strategies = {d.answer.decision_id: d.strategy for d in outcome.decisions}
        for approved in outcome.review.approved:
            is_by_hand = strategies[approved.decision_id] == "manual"
            if approved.purpose is Purpose.EXIT and not is_by_hand:
                # The executor withdraws what rests, and parts for the whole, before it sends another exit, and sells
                # what is held by then.
                is_whole = approved.quantity == self.there(approved.symbol)
                self.live = [
                    live
                    for live in self.live
                    if live.approved.symbol != approved.symbol
                    or live.approved.purpose is Purpose.ENTRY
                    or not (live.rests or is_whole)
                ]
            self.live.append(Live(approved, approved.quantity))
            if approved.purpose is Purpose.ENTRY:
                self.counted += 1
                strategy = strategies[approved.decision_id]
                self.recent.append(RecentEntry(strategy, approved.symbol, NOW))
                assert self.mode is TradingMode.ACTIVE
                assert approved.symbol not in before
                assert approved.symbol not in self.waiting
                self.nothing_goes_through_zero(approved)
                self.limits_hold(approved)
            else:
                assert self.mode is not TradingMode.HALTED
                self.no_more_leaves_than_there_is(approved)
        assert abs(outcome.mark.equity - self.equity()) < Decimal("0.001")
        self.peak_is_that_of_trading(outcome.mark)
        self.last_mark = outcome.mark
        if outcome.reduce_because is not None:
            reduced = a_mode(TradingMode.REDUCING, self.last_mode.version + 1)
            self.change_mode(replace(reduced, actor="risk_manager"))
            if self.limits.flatten_on_breach:
                self.everything_leaves()
        return outcome

    @property
    def mode(self) -> TradingMode:
        return self.last_mode.mode

    def peak_is_that_of_trading(self, marked: Mark) -> None:
        """The account as a fund counts it: payments buy and sell units, only trading moves what one is worth."""
        if not self.units:
            return
        worth, last = float(marked.equity) / self.units, self.last_mark
        if last is None:
            self.best_unit = worth
        elif last.mode_version < self.last_mode.version and self.last_mode.restarts_peak:
            self.best_unit = self.unit_at_mark
        self.best_unit, self.unit_at_mark = max(self.best_unit, worth), worth
        lost = 1 - worth / self.best_unit
        assert marked.drawdown == pytest.approx(lost, abs=1e-6)
        if worth <= 0:
            # Where nothing is left there is nothing to count by.
            self.units = 0.0

    def equity(self) -> Decimal:
        return self.cash + sum((q * self.worth(s) for s, q in self.held.items()), Decimal(0))

    def there(self, symbol: str) -> Decimal:
        """Shares held and in entries that may still fill."""
        return sum(
            (
                live.remaining
                for live in self.live
                if (live.approved.symbol, live.approved.purpose) == (symbol, Purpose.ENTRY)
            ),
            abs(self.held.get(symbol, Decimal(0))),
        )

    def everything_leaves(self) -> None:
        """After a breach that flattens, nothing stays and nothing waits for a price."""
        for symbol in SYMBOLS:
            leaving = [
                live.remaining
                for live in self.live
                if live.approved.symbol == symbol
                and live.approved.purpose is Purpose.EXIT
                and not live.rests
            ]
            assert sum(leaving) >= self.there(symbol)

    def nothing_goes_through_zero(self, newest: Approved) -> None:
        """An entry comes where nothing is on the other side, nor leaving; a short one where it is allowed."""
        assert newest.side.sign * self.held.get(newest.symbol, Decimal(0)) >= 0
        for live in self.live:
            if live.approved.symbol == newest.symbol:
                assert (live.approved.side, live.approved.purpose) == (newest.side, Purpose.ENTRY)
        if newest.side is Side.SELL:
            assert self.limits.allow_short
            assert newest.symbol in self.lent
            assert newest.stop_loss is not None
            assert newest.take_profit is not None
            assert newest.take_profit < newest.reference_price < newest.stop_loss

    def no_more_leaves_than_there_is(self, newest: Approved) -> None:
        held, symbol = self.held.get(newest.symbol, Decimal(0)), newest.symbol
        sums = {
            purpose: sum(
                live.remaining
                for live in self.live
                if (live.approved.symbol, live.approved.purpose) == (symbol, purpose)
            )
            for purpose in Purpose
        }
        assert held * newest.side.sign <= 0
        assert sums[Purpose.EXIT] <= abs(held) + sums[Purpose.ENTRY]

    def limits_hold(self, newest: Approved) -> None:
        """Count everything anew at the instant of an approval: nothing may be over a limit then."""
        limits = self.in_force()
        equity = float(self.equity()) * (1 + 1e-9)
        entering = [live for live in self.live if live.approved.purpose is Purpose.ENTRY]
        mine = sum(
            (live.remaining for live in entering if live.approved.symbol == newest.symbol),
            abs(self.held.get(newest.symbol, Decimal(0))),
        )
        assert float(mine) * self.prices[newest.symbol] <= equity * limits.max_position_size
        reserved = sum(
            live.remaining * self.cost(live.approved)
            * (GAP[live.approved.side] if live.approved.type is OrderType.MARKET else 1)
            for live in entering
        )  # fmt: skip
        # What the sale of shares that are owed brought, and as much again.
        blocked = sum(-2 * q * self.worth(s) for s, q in self.held.items() if q < 0)
        assert float(reserved + blocked) <= float(self.cash) + 1e-5
        at_risk = sum(self.open_risk(live) for live in entering) + sum(
            self.held_risk(symbol) for symbol in self.held
        )
        assert float(at_risk) <= equity * limits.max_portfolio_risk + 1e-5
        assert self.counted <= limits.max_daily_trades
        self.exposures_hold(limits, equity, newest)

    def exposures_hold(self, limits: Limits, equity: float, newest: Approved) -> None:
        worth: dict[str, float] = {}
        leaving = {
            live.approved.symbol for live in self.live if live.approved.purpose is Purpose.EXIT
        }
        net = 0.0
        for symbol, q in self.held.items():
            value = float(q * self.worth(symbol)) * newest.side.sign
            if q:
                worth[symbol] = abs(value)
            # What is on its way out of the other side makes no room on this one.
            net += value if value > 0 or symbol not in leaving else 0.0
        for live in self.live:
            if live.approved.purpose is Purpose.ENTRY:
                symbol = live.approved.symbol
                value = float(live.remaining * self.cost(live.approved))
                worth[symbol] = worth.get(symbol, 0.0) + value
                net += value if live.approved.side is newest.side else 0.0
        assert sum(worth.values()) <= equity * limits.max_gross_exposure + 1e-5
        assert net <= equity * limits.max_net_exposure + 1e-5
        if newest.symbol in limits.sectors:
            alike = sum(value for symbol, value in worth.items() if symbol in limits.sectors)
            assert alike <= equity * limits.max_sector_exposure + 1e-5
        assert len(worth) <= limits.max_positions
        assert float(newest.quantity * self.cost(newest)) <= limits.max_order_value + 1e-5
        assert newest.quantity <= limits.max_order_shares
        assert len(self.recent) <= limits.max_orders_per_minute
        alike_entries = [
            e
            for e in self.recent
            if (e.strategy, e.symbol) == (self.recent[-1].strategy, newest.symbol)
        ]
        assert len(alike_entries) <= limits.max_repeats

    def cost(self, approved: Approved) -> Decimal:
        if approved.limit_price is not None:
            return approved.limit_price
        return max(approved.reference_price, Decimal(str(self.prices[approved.symbol])))

    def open_risk(self, live: Live) -> Decimal:
        approved = live.approved
        if approved.side is Side.SELL:
            assert approved.stop_loss is not None
            sold_at = min(approved.reference_price, Decimal(str(self.prices[approved.symbol])))
            return live.remaining * max(Decimal(0), approved.stop_loss - sold_at)
        stop = approved.stop_loss or Decimal(0)
        return live.remaining * max(Decimal(0), self.cost(approved) - stop)

    def held_risk(self, symbol: str) -> Decimal:
        left, total = abs(self.held[symbol]), Decimal(0)
        price, is_short = self.worth(symbol), self.held[symbol] < 0
        for entry in self.entries.get(symbol, []):
            covered = min(left, entry.quantity)
            to_stop = price - (entry.stop or Decimal(0))
            total += covered * max(Decimal(0), -to_stop if is_short else to_stop)
            left -= covered
        return total + left * price

    @initialize(flattens=st.booleans())
    def what_a_breach_does(self, flattens: bool) -> None:
        self.limits = replace(self.limits, flatten_on_breach=flattens)

    @rule(wished=wishes)
    def signals_arrive(self, wished: list[tuple[str, Direction, float, str]]) -> None:
        self.review(wished)

    @rule(symbol=symbols, quantity=st.integers(1, 400), bracket=st.booleans())
    def a_person_buys(self, symbol: str, quantity: int, bracket: bool) -> None:
        self.number += 1
        price = self.prices[symbol]
        order = a_manual_order(
            symbol,
            quantity=quantity,
            signal_id=f"man-{self.number}",
            stop_loss=round(price * 0.9, 2) if bracket else None,
            take_profit=round(price * 1.2, 2) if bracket else None,
        )
        self.by_hand(review_manual(order, self.book(), self.market(), self.limits, VENUE, NOW))

    @rule(symbol=symbols, quantity=st.integers(1, 400), rests=st.booleans())
    def a_person_sells(self, symbol: str, quantity: int, rests: bool) -> None:
        self.number += 1
        order = a_manual_order(
            symbol,
            Side.SELL,
            quantity,
            signal_id=f"man-{self.number}",
            limit_price=self.prices[symbol] * 1.5 if rests else None,
        )
        self.by_hand(review_manual(order, self.book(), self.market(), self.limits, VENUE, NOW))

    @rule()
    def a_person_flattens(self) -> None:
        self.number += 1
        outcome = review_flatten(
            f"key-{self.number}", {}, self.book(), self.market(), self.limits, VENUE, NOW
        )
        self.by_hand(outcome, is_for_all=True)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), share=st.sampled_from([0.3, 1.0]), slip=st.sampled_from([1.0, 1.01]))
    def an_order_fills(self, data: st.DataObject, share: float, slip: float) -> None:
        live = data.draw(st.sampled_from(self.live))
        symbol = live.approved.symbol
        held = self.held.get(symbol, Decimal(0))
        shares = max(Decimal(1), Decimal(int(float(live.remaining) * share)))
        price = Decimal(str(round(float(self.worth(symbol)) * slip, 2)))
        side = live.approved.side
        if live.approved.purpose is Purpose.EXIT:
            # The executor sells, or buys back, what was filled, which may be nothing.
            assert held * side.sign <= 0
            shares = min(shares, abs(held))
        self.held[symbol] = held + side.sign * shares
        self.cash -= side.sign * shares * price
        if live.approved.purpose is Purpose.ENTRY:
            since = NOW if symbol in self.told else None
            entry = Protection(shares, live.approved.stop_loss, since_at=since)
            self.entries.setdefault(symbol, []).insert(0, entry)
        live.remaining -= shares
        if live.remaining <= 0 or not shares:
            self.live.remove(live)
        if not self.held[symbol]:
            self.entries[symbol] = []

    @precondition(lambda self: self.turns)
    @rule(data=st.data())
    def what_is_turned_around_has_left_when_a_bar_closes(self, data: st.DataObject) -> None:
        """As most turns end; step by step that would seldom be drawn."""
        symbol = data.draw(st.sampled_from(self.turns)).signal.symbol
        self.live = [live for live in self.live if live.approved.symbol != symbol]
        self.cash += self.held.pop(symbol, Decimal(0)) * self.worth(symbol)
        self.entries.pop(symbol, None)
        self.review([])

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def an_order_ends_unfilled(self, data: st.DataObject) -> None:
        self.live.remove(data.draw(st.sampled_from(self.live)))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def an_answer_gets_lost(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.live)).is_unknown = True

    @rule(symbol=symbols, factor=st.sampled_from([0.8, 0.97, 1.03, 1.2]))
    def a_price_moves(self, symbol: str, factor: float) -> None:
        self.prices[symbol] = max(1.0, round(self.prices[symbol] * factor, 2))

    @rule(symbol=symbols, rates=st.sampled_from([(10, 1), (3, 2), (1, 4)]))
    def prices_split(self, symbol: str, rates: tuple[int, int]) -> None:
        """Once a symbol and run; the broker takes orders off the book for it."""
        if symbol in self.told or any(live.approved.symbol == symbol for live in self.live):
            return
        new, old = rates
        self.told[symbol] = Split(Symbol(symbol), TODAY, Decimal(new), Decimal(old))
        self.prices[symbol] = max(0.01, round(self.prices[symbol] * old / new, 2))

    @rule(symbol=symbols)
    def the_ledger_books_the_split(self, symbol: str) -> None:
        if symbol not in self.waiting or any(live.approved.symbol == symbol for live in self.live):
            return
        split = self.told[symbol]
        ratio = Decimal(split.ratio.numerator) / split.ratio.denominator
        self.booked[symbol] = BookedSplit(ratio, TODAY, NOW)
        self.held[symbol] *= ratio
        self.entries[symbol] = [
            Protection(e.quantity * ratio, e.stop and e.stop / ratio) for e in self.entries[symbol]
        ]

    @rule(symbol=symbols)
    def the_broker_lends_a_share_no_more_or_again(self, symbol: str) -> None:
        self.lent ^= {symbol}

    @rule()
    def the_owner_changes_his_mind_about_shorts(self) -> None:
        self.limits = replace(self.limits, allow_short=not self.limits.allow_short)

    @rule(mode=st.sampled_from(TradingMode))
    def a_person_changes_the_mode(self, mode: TradingMode) -> None:
        if mode is not self.mode:
            wanted = Change(mode, "looked at it", "token:admin", NOW, self.last_mode.version)
            self.change_mode(changed(self.last_mode, wanted, self.last_mark, self.in_force()))

    @rule(share=st.sampled_from([-0.4, -0.05, 0.1, 0.8]))
    def the_owner_pays_in_or_takes_out(self, share: float) -> None:
        there = self.units * self.unit_at_mark if self.last_mark else 50_000.0
        dollars = Decimal(round(there * share))
        self.cash += dollars
        self.paid_in += dollars
        if self.last_mark:
            self.units += float(dollars) / self.unit_at_mark

    def change_mode(self, mode: Mode) -> None:
        """Whoever does it means what waits too."""
        self.last_mode = mode
        self.turns = [replace(turn, is_superseded=True) for turn in self.turns]

    @rule(
        name=st.sampled_from(["max_position_size", "max_gross_exposure", "max_portfolio_risk"]),
        value=st.sampled_from([0.01, 0.1, 0.5]),
    )
    def the_admin_changes_a_limit(self, name: str, value: float) -> None:
        version = 1 if self.change is None else self.change.version + 1
        known = {} if self.change is None else dict(self.change.changes)
        self.change = LimitChange(version, {**known, name: value}, "nervous", "token:admin", NOW)

    @rule(wished=wishes)
    def a_crash_before_the_commit_repeats_the_answer(
        self, wished: list[tuple[str, Direction, float, str]]
    ) -> None:
        book, market = self.book(), self.market()
        evaluation = an_evaluation(*signals_of(wished, self.prices))
        lost = review_evaluation(evaluation, book, market, self.limits, VENUE, NOW)

        again = review_evaluation(evaluation, self.book(), market, self.limits, VENUE, NOW)

        assert again == lost

    @rule()
    def minutes_go_by(self) -> None:
        self.recent.clear()
        self.turns = [
            replace(
                turn,
                signal=replace(
                    turn.signal, bar_end_at=turn.signal.bar_end_at - timedelta(minutes=1)
                ),
            )
            for turn in self.turns
        ]


TestAccount = AccountMachine.TestCase


@pytest.mark.prove
class TestAccountAtLength(AccountMachine.TestCase):  # type: ignore[misc, valid-type]  # made by Hypothesis at run time
    """500 accounts of 50 steps each."""

    settings = settings(max_examples=500, stateful_step_count=50, deadline=None)
