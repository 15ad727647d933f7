"""What is the account worth and what has it committed, counting filled + open + reserved + unknown?

`Exposure` is made of `Book` and `Market`, in exact decimals. An approval is added to it before the next order is looked
at. `mark` values the account by it: how far below its peak and what its day has brought, whatever its owner pays in or
takes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal

from risk_manager.limits import drawdown_of
from risk_manager.share_counts import Unsettled, unsettled
from risk_manager.snapshot import ZERO, Book, Holding, Mark, Market, RecentEntry, Working, figure
from shared.domain.corporate_actions import exchange_day
from shared.domain.decisions import Approved, Purpose
from shared.domain.orders import OrderType, Side
from shared.domain.symbols import Symbol

_MICRO = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Exposure:
    """The account in figures, each approval counted at once. Dollars and shares, exact."""

    market: Market
    cash: Decimal
    equity: Decimal
    gross: Decimal
    net: Decimal
    reserved_cash: Decimal
    risk: Decimal
    # Per symbol: worth of what is held and on order; shares held; shares of entries and exits that live.
    committed_value: Mapping[Symbol, Decimal]
    held: Mapping[Symbol, Decimal]
    entering: Mapping[Symbol, Decimal]
    leaving: Mapping[Symbol, Decimal]
    unknown: Mapping[Symbol, int]
    unpriced: tuple[Symbol, ...]
    entries_by_day: Mapping[date, int]
    # Per symbol: shares of the exits among them that wait for a price, and may never fill.
    resting: Mapping[Symbol, Decimal] = field(default_factory=dict)
    # Per symbol: shares of the entries that are not ours; dollars held, with their sign; and the side of our entries.
    foreign: Mapping[Symbol, Decimal] = field(default_factory=dict)
    worth_held: Mapping[Symbol, Decimal] = field(default_factory=dict)
    opening: Mapping[Symbol, Side] = field(default_factory=dict)
    # Dollars on order by side.
    buying: Decimal = ZERO
    shorting: Decimal = ZERO
    # Dollars held and on order by the strategy whose entries brought them.
    by_strategy: Mapping[str, Decimal] = field(default_factory=dict)
    recent_entries: tuple[RecentEntry, ...] = ()
    # Positions of other shares than their price, until a split has arrived in both.
    unsettled: Mapping[Symbol, Unsettled] = field(default_factory=dict)
    # Why equity is an estimate, by which nothing is sold; None where it is none.
    estimated: str | None = None
    # The estimate may be of more than there is, so that it makes no peak and is not kept for later days to be measured by.
    may_be_too_high: bool = False

    @classmethod
    def of(cls, book: Book, market: Market) -> Exposure:
        """The exposure of `book` at the prices of `market`.

        A position without a price is valued at its last fill and named in `unpriced`, as is one whose price is in doubt.
        """
        exposure = cls(
            market=market,
            cash=book.cash,
            equity=book.cash,
            gross=ZERO,
            net=ZERO,
            reserved_cash=ZERO,
            risk=ZERO,
            committed_value={},
            held={h.symbol: h.quantity for h in book.holdings},
            entering={},
            leaving={},
            unknown=book.unknown,
            unpriced=tuple(
                sorted(
                    h.symbol
                    for h in book.holdings
                    if h.symbol not in market.prices or h.symbol in book.recent.stepped
                )
            ),
            entries_by_day=book.entries_by_day,
            recent_entries=book.recent.entries,
            unsettled=_unsettled(book, market),
            estimated=_why_estimated(book, market),
            may_be_too_high=_may_be_too_high(book, market),
        )
        # The broker keeps shares for one order alone: a limit that a person lets rest has taken the place of their stops.
        unguarded: dict[Symbol, Decimal] = {}
        for order in book.working:
            is_limit = order.purpose is Purpose.EXIT and order.type is OrderType.LIMIT
            if is_limit and order.stop_loss is None:
                unguarded[order.symbol] = unguarded.get(order.symbol, ZERO) + order.quantity
        committed: dict[Symbol, Decimal] = {}
        worth_held: dict[Symbol, Decimal] = {}
        by_strategy: dict[str, Decimal] = {}
        gross = net = risk = ZERO
        for holding in book.holdings:
            price = exposure.worth(holding)
            value = holding.quantity * price
            net += value
            gross += abs(value)
            risk += holding.risk(price, unguarded.get(holding.symbol, ZERO))
            committed[holding.symbol] = abs(value)
            worth_held[holding.symbol] = value
            for strategy, shares in holding.by_strategy().items():
                by_strategy[strategy] = by_strategy.get(strategy, ZERO) + shares * price
        exposure = replace(
            exposure,
            equity=book.cash + net,
            gross=gross,
            net=net,
            risk=risk,
            committed_value=committed,
            worth_held=worth_held,
            by_strategy=by_strategy,
        )
        return exposure.with_orders(book.working)

    def price(self, symbol: Symbol) -> Decimal | None:
        """The newest price of `symbol`, dollars per share."""
        found = self.market.prices.get(symbol)
        return None if found is None else found.amount

    def worth(self, holding: Holding) -> Decimal:
        """What a share of the position counts for: its price in the ledger's shares, else its last fill's, else 0."""
        price = self.price(holding.symbol)
        if price is None:
            return holding.last_fill_price or ZERO
        other = self.unsettled.get(holding.symbol)
        return price if other is None else other.worth(price)

    def with_orders(self, orders: Iterable[Working]) -> Exposure:
        """The exposure once all `orders` count."""
        leaving, entering, opening = dict(self.leaving), dict(self.entering), dict(self.opening)
        foreign, resting = dict(self.foreign), dict(self.resting)
        committed, by_strategy = dict(self.committed_value), dict(self.by_strategy)
        buying, shorting, reserved, risk = (
            self.buying,
            self.shorting,
            self.reserved_cash,
            self.risk,
        )
        for order in orders:
            symbol = order.symbol
            if order.purpose is Purpose.EXIT:
                leaving[symbol] = leaving.get(symbol, ZERO) + order.quantity
                if order.type is not OrderType.MARKET:
                    resting[symbol] = resting.get(symbol, ZERO) + order.quantity
                continue
            market = self.price(symbol)
            value = order.quantity * order.price(market)
            if order.side is Side.BUY:
                buying += value
            else:
                shorting += value
            if order.is_foreign:
                foreign[symbol] = foreign.get(symbol, ZERO) + order.quantity
            else:
                opening.setdefault(symbol, order.side)
            reserved += order.cash(market)
            risk += order.risk(market)
            by_strategy[order.strategy] = by_strategy.get(order.strategy, ZERO) + value
            committed[symbol] = committed.get(symbol, ZERO) + value
            entering[symbol] = entering.get(symbol, ZERO) + order.quantity
        return replace(
            self,
            leaving=leaving,
            resting=resting,
            entering=entering,
            foreign=foreign,
            opening=opening,
            committed_value=committed,
            by_strategy=by_strategy,
            buying=buying,
            shorting=shorting,
            reserved_cash=reserved,
            risk=risk,
        )

    def with_approval(
        self, approved: Approved, strategy: str, day: date, decided_at: datetime
    ) -> Exposure:
        """The exposure once `approved` counts; an entry also among those of `day` and the recent ones."""
        exposure = self.with_orders((Working.of(approved, strategy),))
        if approved.purpose is Purpose.EXIT:
            return exposure
        counted = {**self.entries_by_day, day: self.entries_by_day.get(day, 0) + 1}
        entry = RecentEntry(strategy, approved.symbol, decided_at)
        return replace(
            exposure, entries_by_day=counted, recent_entries=(*self.recent_entries, entry)
        )

    @property
    def committed(self) -> Decimal:
        """Dollars held and on order, whichever side."""
        return sum(self.committed_value.values(), ZERO)

    def net_on(self, side: Side) -> Decimal:
        """The most that can come to be held net on `side`, dollars, however what is on order and under way ends.

        What is held on the other side counts against it, unless it is on its way out.
        """
        own = self.buying if side is Side.BUY else self.shorting
        against = ZERO
        for symbol, value in self.worth_held.items():
            if value * side.sign > 0:
                own += abs(value)
            elif not self.leaving.get(symbol):
                against += abs(value)
        return own - against

    @property
    def blocked_cash(self) -> Decimal:
        """What the broker keeps for shares that are owed: what their sale brought, and as much again."""
        return sum((-2 * value for value in self.worth_held.values() if value < 0), ZERO)

    @property
    def available_cash(self) -> Decimal:
        """Cash that nothing owed, open or approved may still need; below zero when gaps took more."""
        return self.cash - self.reserved_cash - self.blocked_cash

    def leaving_now(self, symbol: Symbol) -> Decimal:
        """Shares of the exits that wait for no price."""
        return self.leaving.get(symbol, ZERO) - self.resting.get(symbol, ZERO)

    def leaves_whole(self, symbol: Symbol) -> bool:
        """Whether exits that wait for no price are under way for all that could leave."""
        return self.leaving_now(symbol) >= self.reducible(symbol)

    def reducible(self, symbol: Symbol) -> Decimal:
        """Shares that an exit may have to sell (or buy back): held, and still to be filled by entries of ours."""
        return self.there(symbol) - self.foreign.get(symbol, ZERO)

    def there(self, symbol: Symbol) -> Decimal:
        """Shares held and on order, whoever gave the orders."""
        return abs(self.held.get(symbol, ZERO)) + self.entering.get(symbol, ZERO)

    def side_of(self, symbol: Symbol) -> Side | None:
        """On which side the symbol is held, else on order by us; None for neither."""
        held = self.held.get(symbol, ZERO)
        if held:
            return Side.BUY if held > 0 else Side.SELL
        return self.opening.get(symbol)

    def others(self, symbol: Symbol) -> list[Symbol]:
        """Every other symbol held or on order, in order."""
        there = {s for s, q in self.held.items() if q} | {s for s, q in self.entering.items() if q}
        return sorted(there - {symbol})


def _why_estimated(book: Book, market: Market) -> str | None:
    """See `Exposure.estimated`.

    Shares that count 0 look like a loss of all of them, and a split of which nobody has told like one of half.
    """
    reasons = []
    if market.unread is not None:
        reasons.append(f"the store of bars gives no answer: {market.unread}")
    for holding in book.holdings:
        if _counts_nothing(holding, market):
            reasons.append(f"no price of {holding.symbol} is known, so it counts 0")
        elif holding.symbol in book.recent.stepped:
            reasons.append(
                f"the price of {holding.symbol} stepped as after a split of which nobody has told"
            )
    return "; ".join(reasons) or None


def _may_be_too_high(book: Book, market: Market) -> bool:
    """Shares owed that count 0 look like a gain; a step like a split and prices of other moments may be one."""
    return market.unread is not None or any(
        holding.symbol in book.recent.stepped
        or (holding.quantity < 0 and _counts_nothing(holding, market))
        for holding in book.holdings
    )


def _counts_nothing(holding: Holding, market: Market) -> bool:
    return holding.last_fill_price is None and holding.symbol not in market.prices


def _unsettled(book: Book, market: Market) -> Mapping[Symbol, Unsettled]:
    found = {}
    for holding in book.holdings:
        told, price = market.splits.get(holding.symbol, ()), market.prices.get(holding.symbol)
        if price is None or not (told or holding.splits):
            continue
        priced_on = exchange_day(price.end_at)
        since = book.adopted_at

        def was_held(on: date, holding: Holding = holding, since: datetime | None = since) -> bool:
            # What the account was adopted with is counted as it was on that day.
            return (since is None or exchange_day(since) < on) and holding.was_held(on)

        other = unsettled(
            told,
            holding.splits,
            today=market.on or priced_on,
            priced_on=priced_on,
            was_held=was_held,
        )
        if other is not None:
            found[holding.symbol] = other
    return found


def mark(book: Book, exposure: Exposure, instant_at: datetime) -> Mark:
    """Value the account: only trading moves its peak and its day, and the peak never falls by trading.

    Money that came or went since the last mark grows or shrinks peak and day by the share of the account that it is, as
    if it had moved right after that mark: a loss stays the fraction that it was, so that no payment makes a breach and
    none mends one. A loss and a payment between the same two marks are both seen. The day begins with what the account
    was worth at the last mark before it, so that a gap at the open counts among the day's losses. A person who resumes
    although a limit is passed has accepted what was lost by the last mark, and nothing that is lost after it. What may be
    too high makes no peak.
    Source: time-weighted return, as the Global Investment Performance Standards link it over external cash flows.
    """
    last, equity = book.last_mark, exposure.equity
    peak = day = equity
    if last is not None and (share := _share_kept(book, last)) is not None:
        is_resumed = last.mode_version < book.mode.version
        begins_day = (
            exchange_day(instant_at) > exchange_day(last.instant_at)
            or (is_resumed and book.mode.restarts_day)
            or last.day_equity is None
        )
        day = _moved(last.equity if begins_day else last.day_equity or ZERO, share)
        restarts = is_resumed and book.mode.restarts_peak
        peak = _moved(last.equity if restarts else last.peak_equity, share)
        if not exposure.may_be_too_high:
            peak = max(peak, equity)
    return Mark(
        instant_at,
        book.cash,
        equity,
        peak,
        drawdown_of(figure(equity), figure(peak)),
        exposure.gross,
        exposure.net,
        book.mode.version,
        day,
        book.paid_in,
    )


def _share_kept(book: Book, last: Mark) -> Decimal | None:
    """What each dollar of `last` became by payments since: 1 without any; None where none of them was left."""
    flow = ZERO if last.paid_in is None else book.paid_in - last.paid_in
    if not flow:
        return Decimal(1)
    return (last.equity + flow) / last.equity if min(last.equity, last.equity + flow) > 0 else None


def _moved(amount: Decimal, share: Decimal) -> Decimal:
    return amount if share == 1 else (amount * share).quantize(_MICRO)
