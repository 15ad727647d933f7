"""What does the account look like at the instant of a decision?

`Book` is what is stored (one consistent read), `Market` what the bars say, `Exposure` both together:
filled + open + reserved + unknown, in exact decimals. An approval is added to the exposure before the next order is
looked at. Sums are decimals and become float64 on the grid of a millionth where a rule takes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal

from risk_manager.limits import OPEN_GAP, Closes, drawdown_of
from shared.domain.arithmetic import quantised
from shared.domain.decisions import Approved, Purpose, TradingMode
from shared.domain.orders import OrderType, Side
from shared.domain.symbols import Symbol

ZERO = Decimal(0)
_GAP = Decimal(1) + Decimal(str(OPEN_GAP))


def figure(amount: Decimal) -> float:
    """An exact amount as the rules take it."""
    return quantised(float(amount))


@dataclass(frozen=True, slots=True)
class Protection:
    """Shares that one entry brought and the stop it was decided with; None for an entry without one."""

    quantity: Decimal
    stop: Decimal | None


@dataclass(frozen=True, slots=True)
class Holding:
    """Signed shares held. `entries` are the latest ones that filled, newest first."""

    symbol: Symbol
    quantity: Decimal
    last_fill_price: Decimal | None
    entries: tuple[Protection, ...]

    def risk(self, price: Decimal) -> Decimal:
        """Dollars lost from here if each stop were hit; shares without a stop count whole."""
        if self.quantity < 0:
            return -self.quantity * price
        left, total = self.quantity, ZERO
        for entry in self.entries:
            covered = min(left, entry.quantity)
            if entry.stop is not None:
                total += covered * max(ZERO, price - entry.stop)
                left -= covered
        return total + left * price


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

    @classmethod
    def of(cls, approved: Approved) -> Working:
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
        )

    def price(self, market: Decimal | None) -> Decimal:
        """What a share of it is expected to cost: its limit or stop, else the higher of then and now."""
        if self.type is OrderType.LIMIT and self.limit_price is not None:
            return self.limit_price
        if self.type is OrderType.STOP and self.stop_price is not None:
            return self.stop_price
        return max(self.reference_price, market or ZERO)

    def cash(self, market: Decimal | None) -> Decimal:
        """What it may cost; anything but a limit may fill above its price."""
        gap = Decimal(1) if self.type is OrderType.LIMIT else _GAP
        return self.quantity * self.price(market) * gap

    def risk(self, market: Decimal | None) -> Decimal:
        """Dollars lost if it fills at its price and its stop is hit; without a stop, all of it."""
        price = self.price(market)
        return self.quantity * (
            price if self.stop_loss is None else max(ZERO, price - self.stop_loss)
        )


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

    @property
    def symbols(self) -> frozenset[Symbol]:
        """Everything held or on order."""
        return frozenset(h.symbol for h in self.holdings) | frozenset(
            w.symbol for w in self.working
        )


@dataclass(frozen=True, slots=True)
class Price:
    """The close of a symbol's newest bar that had ended, dollars per share."""

    amount: Decimal
    end_at: datetime


@dataclass(frozen=True, slots=True)
class Market:
    """Prices at an instant, and the closes that correlations are made of.

    `asked` are the symbols that were looked for: one of them without a price has none.
    """

    asked: frozenset[Symbol]
    prices: Mapping[Symbol, Price]
    closes: Mapping[Symbol, Closes] = field(default_factory=dict)


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

    @classmethod
    def of(cls, book: Book, market: Market) -> Exposure:
        """The exposure of `book` at the prices of `market`.

        A position without a price is valued at its last fill and named in `unpriced`.
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
                sorted(h.symbol for h in book.holdings if h.symbol not in market.prices)
            ),
            entries_by_day=book.entries_by_day,
        )
        committed: dict[Symbol, Decimal] = {}
        gross = net = risk = ZERO
        for holding in book.holdings:
            price = exposure.price(holding.symbol) or holding.last_fill_price or ZERO
            value = holding.quantity * price
            net += value
            gross += abs(value)
            risk += holding.risk(price)
            committed[holding.symbol] = abs(value)
        exposure = replace(
            exposure,
            equity=book.cash + net,
            gross=gross,
            net=net,
            risk=risk,
            committed_value=committed,
        )
        for order in book.working:
            exposure = exposure.with_order(order)
        return exposure

    def price(self, symbol: Symbol) -> Decimal | None:
        """The newest price of `symbol`, dollars per share."""
        found = self.market.prices.get(symbol)
        return None if found is None else found.amount

    def with_order(self, order: Working) -> Exposure:
        """The exposure once `order` counts."""
        symbol = order.symbol
        if order.purpose is Purpose.EXIT:
            return replace(self, leaving=_plus(self.leaving, symbol, order.quantity))
        market = self.price(symbol)
        return replace(
            self,
            reserved_cash=self.reserved_cash + order.cash(market),
            risk=self.risk + order.risk(market),
            committed_value=_plus(
                self.committed_value, symbol, order.quantity * order.price(market)
            ),
            entering=_plus(self.entering, symbol, order.quantity),
        )

    def with_approval(self, approved: Approved, day: date) -> Exposure:
        """The exposure once `approved` counts; an entry also counts among those of `day`."""
        exposure = self.with_order(Working.of(approved))
        if approved.purpose is Purpose.EXIT:
            return exposure
        counted = {**self.entries_by_day, day: self.entries_by_day.get(day, 0) + 1}
        return replace(exposure, entries_by_day=counted)

    @property
    def available_cash(self) -> Decimal:
        """Cash that no open or approved entry may still need; below zero when gaps took more."""
        return self.cash - self.reserved_cash

    def reducible(self, symbol: Symbol) -> Decimal:
        """Shares that an exit may have to sell (or buy back): held, and still to be filled."""
        return abs(self.held.get(symbol, ZERO)) + self.entering.get(symbol, ZERO)

    def others(self, symbol: Symbol) -> list[Symbol]:
        """Every other symbol held or on order, in order."""
        there = {s for s, q in self.held.items() if q} | {s for s, q in self.entering.items() if q}
        return sorted(there - {symbol})


def _plus(
    amounts: Mapping[Symbol, Decimal], symbol: Symbol, more: Decimal
) -> dict[Symbol, Decimal]:
    return {**amounts, symbol: amounts.get(symbol, ZERO) + more}


def mark(book: Book, exposure: Exposure, instant_at: datetime) -> Mark:
    """Value the account: the peak never falls, except where a person chose to measure it anew."""
    last = book.last_mark
    restarted = (
        last is not None and book.mode.restarts_peak and (last.mode_version < book.mode.version)
    )
    peak = exposure.equity if last is None or restarted else max(last.peak_equity, exposure.equity)
    return Mark(
        instant_at,
        book.cash,
        exposure.equity,
        peak,
        drawdown_of(figure(exposure.equity), figure(peak)),
        exposure.gross,
        exposure.net,
        book.mode.version,
    )
