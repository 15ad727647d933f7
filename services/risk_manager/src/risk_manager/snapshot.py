"""What does the account look like at the instant of a decision?

`Book` is what is stored (one consistent read), `Market` what the bars say, `Exposure` both together:
filled + open + reserved + unknown, in exact decimals. An approval is added to the exposure before the next order is
looked at. Sums are decimals and become float64 on the grid of a millionth where a rule takes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal

from risk_manager.limits import Changes, Closes, drawdown_of
from risk_manager.share_counts import BookedSplit, Unsettled, unsettled
from risk_manager.sizing import OPEN_GAP, SHORT_RESERVE, TradeRecord
from shared.domain.arithmetic import quantised
from shared.domain.corporate_actions import Split, exchange_day
from shared.domain.decisions import Approved, Purpose, TradingMode
from shared.domain.orders import OrderType, Side
from shared.domain.signals import Signal
from shared.domain.symbols import Symbol

ZERO = Decimal(0)
_MICRO = Decimal("0.000001")
_GAP = Decimal(1) + Decimal(str(OPEN_GAP))
_SHORT_GAP = Decimal(1) + Decimal(str(SHORT_RESERVE))
# Alpaca reckons a short sale with a limit at the limit, or at 3 % above the market.
_SHORT_MARGIN = Decimal("1.03")


def figure(amount: Decimal) -> float:
    """An exact amount as the rules take it."""
    return quantised(float(amount))


@dataclass(frozen=True, slots=True)
class Protection:
    """Shares that one entry brought and where their stop stands by now; None for an entry without one.

    `reference` is the price that the entry was decided at, None for an entry that is not ours. All in the ledger's present
    shares. `since_at` is when the shares came; None when that is not known.
    """

    quantity: Decimal
    stop: Decimal | None
    strategy: str = ""
    decision_id: str = ""
    reference: Decimal | None = None
    since_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Holding:
    """Signed shares held. `entries` are the latest ones of its side that filled, newest first."""

    symbol: Symbol
    quantity: Decimal
    last_fill_price: Decimal | None
    entries: tuple[Protection, ...]
    # Targets of scaling out that were met, by the names `management` gives them.
    scaled_out: frozenset[str] = frozenset()
    # Splits that the ledger has booked.
    splits: tuple[BookedSplit, ...] = ()
    # The entries that brought what is held, newest first, with how many of their shares are left.
    covered: tuple[tuple[Protection, Decimal], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Once, since each decision looks at every position, and most positions are the same for many decisions.
        object.__setattr__(self, "covered", tuple(self._covered()))

    def was_held(self, on: date) -> bool:
        """Whether some of the shares may have been there before `on` began."""
        newer = sum(
            (
                shares
                for entry, shares in self.covered
                if entry.since_at is not None and exchange_day(entry.since_at) >= on
            ),
            ZERO,
        )
        return newer < abs(self.quantity)

    def _covered(self) -> Iterator[tuple[Protection, Decimal]]:
        left = abs(self.quantity)
        for entry in self.entries:
            shares = min(left, entry.quantity)
            if shares:
                yield entry, shares
            left -= shares

    def risk(self, price: Decimal, unguarded: Decimal = ZERO) -> Decimal:
        """Dollars lost from here if each stop were hit; shares without a stop, and the `unguarded` ones, count whole.

        What is owed without a stop can lose more than that: it counts as if its price doubled.
        """
        side = Side.SELL if self.quantity < 0 else Side.BUY
        left, total = abs(self.quantity), ZERO
        guarded = max(ZERO, left - unguarded)
        for entry, covered in self.covered:
            if entry.stop is not None:
                shares = min(covered, guarded)
                total += shares * max(ZERO, side.sign * (price - entry.stop))
                guarded -= shares
                left -= shares
        return total + left * price

    def by_strategy(self) -> dict[str, Decimal]:
        """How many of the shares each strategy's entries brought; what they do not explain is nobody's."""
        left, shares = abs(self.quantity), dict[str, Decimal]()
        for entry, covered in self.covered:
            shares[entry.strategy] = shares.get(entry.strategy, ZERO) + covered
            left -= covered
        if left:
            shares[""] = shares.get("", ZERO) + left
        return shares


@dataclass(frozen=True, slots=True)
class Working:
    """An order that may still fill: open at the broker, approved and not yet sent, or unknown.

    `quantity` is what may still fill; an order of unknown outcome counts whole. Protective orders are not
    among them: they sell only what an exit would sell.
    """

    symbol: Symbol
    side: Side
    purpose: Purpose
    quantity: Decimal
    type: OrderType
    limit_price: Decimal | None
    stop_price: Decimal | None
    stop_loss: Decimal | None
    reference_price: Decimal
    # Whose entry it is; empty for an order that somebody else gave.
    strategy: str = ""
    # Given by somebody else at the broker: it counts, and is nothing that we could get out of.
    is_foreign: bool = False

    @classmethod
    def of(cls, approved: Approved, strategy: str = "") -> Working:
        """The order that an approval reserves for until it is sent."""
        return cls(
            approved.symbol,
            approved.side,
            approved.purpose,
            approved.quantity,
            approved.type,
            approved.limit_price,
            approved.stop_price,
            approved.stop_loss,
            approved.reference_price,
            strategy,
        )

    def price(self, market: Decimal | None) -> Decimal:
        """What a share of it is expected to cost, or is worth: its limit or stop, else the higher of then and now."""
        if self.type.has_limit and self.limit_price is not None:
            return self.limit_price
        if self.type is OrderType.STOP and self.stop_price is not None:
            return self.stop_price
        return max(self.reference_price, market or ZERO)

    def cash(self, market: Decimal | None) -> Decimal:
        """What it may cost; anything but a limit may fill above its price. A short sale binds what the broker blocks for it."""
        price = self.price(market)
        if self.side is Side.SELL:
            if self.type.has_limit:
                return self.quantity * max(price, (market or ZERO) * _SHORT_MARGIN)
            return self.quantity * price * _SHORT_GAP
        gap = Decimal(1) if self.type.has_limit else _GAP
        return self.quantity * price * gap

    def risk(self, market: Decimal | None) -> Decimal:
        """Dollars lost if it fills at its price and its stop is hit; without a stop, all of it."""
        if self.stop_loss is None:
            return self.quantity * self.price(market)
        way = self.side.sign * (self.risk_price(market) - self.stop_loss)
        return self.quantity * max(ZERO, way)

    def risk_price(self, market: Decimal | None) -> Decimal:
        """From where its way to the stop is measured: a short sale at the market may fill at the lower of then and now."""
        if self.side is Side.SELL and self.type is OrderType.MARKET and market is not None:
            return min(self.reference_price, market)
        return self.price(market)


@dataclass(frozen=True, slots=True)
class Mode:
    """Which orders may leave, since when, by whom and why; `version` counts the changes."""

    mode: TradingMode
    version: int
    reason: str
    actor: str
    changed_at: datetime
    # Left by a person although the drawdown limit was passed: the peak is measured anew from there on.
    restarts_peak: bool = False
    # The same for the loss of a day, which says nothing about the peak.
    restarts_day: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """What the account was worth at an instant; dollars, drawdown as a fraction of the peak."""

    instant_at: datetime
    cash: Decimal
    equity: Decimal
    peak_equity: Decimal
    drawdown: float
    gross_exposure: Decimal
    net_exposure: Decimal
    mode_version: int
    # What the account was worth when the exchange day began; None in marks from before this was kept.
    day_equity: Decimal | None = None
    # All that was paid in by then less all that was taken out; None in marks from before this was kept.
    paid_in: Decimal | None = None


@dataclass(frozen=True, slots=True)
class RecentEntry:
    """An entry that was approved lately, sent or not."""

    strategy: str
    symbol: Symbol
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class Throttle:
    """Whether a strategy that repeated itself may buy a symbol again; `version` counts stops and enablings."""

    strategy: str
    symbol: Symbol
    version: int
    is_stopped: bool
    reason: str
    actor: str
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class StopHit:
    """A protective stop that was hit."""

    symbol: Symbol
    at: datetime


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order at the broker that is not ours; its limit, None where it takes the market's price."""

    symbol: Symbol
    side: Side
    limit_price: Decimal | None


@dataclass(frozen=True, slots=True)
class Recent:
    """What happened lately that rules look at; each list is bounded, and holds the newest."""

    entries: tuple[RecentEntry, ...] = ()
    stops: tuple[StopHit, ...] = ()
    # Symbols bought and sold on one exchange day, counted by day; read where the old rule about them is asked for.
    day_trades: Mapping[date, int] = field(default_factory=dict)
    open_orders: tuple[OpenOrder, ...] = ()
    # Symbols with differences to the broker that nobody has looked at yet.
    paused: frozenset[Symbol] = frozenset()
    # When the collector last refused a bar of a symbol.
    refused_bars: Mapping[Symbol, datetime] = field(default_factory=dict)
    # Symbols that the collector holds, with its reasons; and those of them whose price stepped as after a split of which
    # nobody has told.
    held: Mapping[Symbol, str] = field(default_factory=dict)
    stepped: frozenset[Symbol] = frozenset()
    # How the newest closed trades of each strategy went; read where Kelly's sizes are asked for.
    records: Mapping[str, TradeRecord] = field(default_factory=dict)
    # Strategies that were ever stopped in a symbol, as it stands with them.
    throttles: Mapping[tuple[str, Symbol], Throttle] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LimitChange:
    """What a person has set above the settings' limits, since when and why; `version` counts the changes."""

    version: int
    changes: Changes
    reason: str
    actor: str
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Turn:
    """A wish for the other side of what was held: its exit was approved, its entry is answered once that has filled.

    `signal` bears the id that the answer to the entry has; `because` is the wish that it stands for. `is_superseded`: an
    order by hand, a flatten or another exit in the symbol has been answered since, or the mode has changed.
    """

    signal: Signal
    because: str
    is_superseded: bool = False


@dataclass(frozen=True, slots=True)
class Word:
    """A yes or no of the broker, and when it was heard."""

    is_yes: bool
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Lending:
    """What may be sold short, as the executor has it from the broker; None and missing where that is not known."""

    # Whether the account may sell short at all.
    account: Word | None = None
    # Whether the broker lends the share, and easily.
    shares: Mapping[Symbol, Word] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Book:
    """All that is stored about the account, from one consistent read under the account's lock."""

    account: str
    cash: Decimal
    holdings: tuple[Holding, ...]
    working: tuple[Working, ...]
    # How many orders of unknown outcome each symbol has, protective ones included.
    unknown: Mapping[Symbol, int]
    mode: Mode
    last_mark: Mark | None
    # Entries approved so far, by the exchange day on which they may be sent.
    entries_by_day: Mapping[date, int]
    recent: Recent = field(default_factory=Recent)
    # None while the settings alone hold.
    limit_change: LimitChange | None = None
    # When the executor took the account over as it was then; None when that is not known.
    adopted_at: datetime | None = None
    # Entries that wait for the exit of what they turn around, oldest first.
    turns: tuple[Turn, ...] = ()
    lending: Lending = field(default_factory=Lending)
    # Dollars paid in since the account was adopted, less those taken out.
    paid_in: Decimal = ZERO

    @property
    def limit_changes(self) -> Changes:
        """What is set above the settings' limits."""
        return {} if self.limit_change is None else self.limit_change.changes

    @property
    def symbols(self) -> frozenset[Symbol]:
        """Everything held or on order, or about to be."""
        return (
            frozenset(h.symbol for h in self.holdings)
            | frozenset(w.symbol for w in self.working)
            | frozenset(t.signal.symbol for t in self.turns)
        )


@dataclass(frozen=True, slots=True)
class Price:
    """The close of a symbol's newest bar that had ended, dollars per share."""

    amount: Decimal
    end_at: datetime


@dataclass(frozen=True, slots=True)
class Market:
    """Prices at an instant, and the closes that correlations are made of, all in the shares of its day.

    `asked` are the symbols that were looked for: one of them without a price has none. `splits` are those around the
    instant that the data knows of; `on` is its exchange day, None where nobody looked for splits. `unread` says why
    the store could not be asked: the prices are then the last known ones, each as old as it says and in the shares of
    its own day, and there is nothing else. They do for leaving; what they make of equity is an estimate, by which
    nothing is bought, no stop is moved and no loss or drawdown is judged.
    """

    asked: frozenset[Symbol]
    prices: Mapping[Symbol, Price]
    closes: Mapping[Symbol, Closes] = field(default_factory=dict)
    # Of the same bars: dollars, dollars, shares.
    highs: Mapping[Symbol, Closes] = field(default_factory=dict)
    lows: Mapping[Symbol, Closes] = field(default_factory=dict)
    volumes: Mapping[Symbol, Closes] = field(default_factory=dict)
    splits: Mapping[Symbol, tuple[Split, ...]] = field(default_factory=dict)
    on: date | None = None
    unread: str | None = None


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
    # Why equity is no figure that a loss is judged by, nothing is sold and no peak is raised by; None where it is one.
    estimated: str | None = None

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

    Shares that count 0 would be a loss of all of them, and shares owed a gain; a split of which nobody has told, a loss
    of half. What really was lost is judged once the worth is known again.
    """
    reasons = []
    if market.unread is not None:
        reasons.append(f"the store of bars gives no answer: {market.unread}")
    for holding in book.holdings:
        if holding.last_fill_price is None and holding.symbol not in market.prices:
            reasons.append(f"no price of {holding.symbol} is known, so it counts 0")
        elif holding.symbol in book.recent.stepped:
            reasons.append(
                f"the price of {holding.symbol} stepped as after a split of which nobody has told"
            )
    return "; ".join(reasons) or None


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
    although a limit is passed has accepted what was lost by the last mark, and nothing that is lost after it. An estimate
    makes no peak.
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
        if exposure.estimated is None:
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
