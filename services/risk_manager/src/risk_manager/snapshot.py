"""What is known of the account and the market at the instant of a decision?

`Book` is what is stored (one consistent read), `Market` what the bars say; `exposure` puts both together. Sums are
decimals and become float64 on the grid of a millionth where a rule takes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from risk_manager.limits import Changes, Closes
from risk_manager.share_counts import BookedSplit
from risk_manager.sizing import OPEN_GAP, SHORT_RESERVE, TradeRecord
from shared.domain.arithmetic import quantised
from shared.domain.corporate_actions import Split, exchange_day
from shared.domain.decisions import Approved, Purpose, TradingMode
from shared.domain.orders import OrderType, Side
from shared.domain.signals import Signal
from shared.domain.symbols import Symbol

ZERO = Decimal(0)
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
