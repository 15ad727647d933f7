"""Which shares were sold, and what did they bring?

Purchases are matched to sales, short sales to the purchases that cover them, share by share in exact decimals. First in,
first out, unless a sale has picked its lots, as the tax rules let an owner do (26 CFR 1.1012-1(c)). A fee is spread
over the shares of its execution on the grid of a micro so that the parts add up to the whole. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal

from shared.domain.errors import InvalidInput
from shared.domain.orders import Side
from shared.domain.symbols import Symbol

ZERO = Decimal(0)
_MICRO = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Execution:
    """Shares that moved: dollars per share, fee in dollars. A price of None is not known to us."""

    execution_id: str
    order_id: str
    strategy: str
    symbol: Symbol
    side: Side
    quantity: Decimal
    price: Decimal | None
    fee: Decimal
    executed_at: datetime

    def fee_between(self, start: Decimal, end: Decimal) -> Decimal:
        """The fee's part that falls on the shares from `start` to `end` of this execution."""
        return self._fee_up_to(end) - self._fee_up_to(start)

    def _fee_up_to(self, shares: Decimal) -> Decimal:
        part = self.fee * shares / self.quantity
        return self.fee if shares == self.quantity else part.quantize(_MICRO, ROUND_HALF_EVEN)


@dataclass(frozen=True, slots=True)
class Part:
    """Shares of one execution: those from `start` to `end`, counted from its first."""

    execution: Execution
    start: Decimal
    end: Decimal

    @property
    def quantity(self) -> Decimal:
        """How many shares."""
        return self.end - self.start

    @property
    def amount(self) -> Decimal | None:
        """Dollars paid for a purchase with its fee, or got for a sale after its fee; None if not known."""
        if self.execution.price is None:
            return None
        fee = self.execution.fee_between(self.start, self.end)
        return self.quantity * self.execution.price + self.execution.side.sign * fee

    def split(self, quantity: Decimal) -> tuple[Part, Part]:
        """The first `quantity` shares, and the others."""
        cut = self.start + quantity
        return Part(self.execution, self.start, cut), Part(self.execution, cut, self.end)


@dataclass(frozen=True, slots=True)
class Closing:
    """Shares that were bought and sold; for a short sale `opened` is the sale."""

    opened: Part
    closed: Part

    @property
    def quantity(self) -> Decimal:
        """How many shares; the same on both sides."""
        return self.opened.quantity

    @property
    def is_short(self) -> bool:
        """Whether they were sold first."""
        return self.opened.execution.side is Side.SELL

    @property
    def cost(self) -> Decimal | None:
        """Dollars paid with fees; None where the purchase is not known."""
        return (self.closed if self.is_short else self.opened).amount

    @property
    def proceeds(self) -> Decimal | None:
        """Dollars got after fees; None where the sale is not known."""
        return (self.opened if self.is_short else self.closed).amount

    @property
    def gain(self) -> Decimal | None:
        """Dollars earned, negative for a loss; None where one side is not known."""
        cost, proceeds = self.cost, self.proceeds
        return None if cost is None or proceeds is None else proceeds - cost

    def split(self, quantity: Decimal) -> tuple[Closing, Closing]:
        """The first `quantity` shares, and the others."""
        opened, opened_left = self.opened.split(quantity)
        closed, closed_left = self.closed.split(quantity)
        return Closing(opened, closed), Closing(opened_left, closed_left)


@dataclass(frozen=True, slots=True)
class Pick:
    """Shares of the purchase `lot_id` that the sale `sale_id` sells; ids of executions."""

    sale_id: str
    lot_id: str
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Matching:
    """Everything closed, in the order of closing, and what is still open, oldest first."""

    closings: tuple[Closing, ...]
    open_lots: tuple[Part, ...]


@dataclass(slots=True)
class _Holding:
    lots: deque[Part] = field(default_factory=deque)

    def is_closed_by(self, side: Side) -> bool:
        return bool(self.lots) and self.lots[0].execution.side is not side

    def take(self, most: Decimal) -> Part:
        """The oldest open shares, at most that many."""
        lot = self.lots.popleft()
        if lot.quantity <= most:
            return lot
        taken, left = lot.split(most)
        self.lots.appendleft(left)
        return taken

    def take_picked(self, pick: Pick) -> list[Part]:
        """The picked shares; they may lie in several parts when others of the lot are gone."""
        taken, kept, wanted = [], deque[Part](), pick.quantity
        for lot in self.lots:
            if lot.execution.execution_id != pick.lot_id or not wanted:
                kept.append(lot)
                continue
            part, left = lot.split(min(wanted, lot.quantity))
            taken.append(part)
            wanted -= part.quantity
            if left.quantity:
                kept.append(left)
        if wanted:
            raise InvalidInput(
                f"sale {pick.sale_id} picks {pick.quantity} shares of {pick.lot_id}, which has "
                f"{pick.quantity - wanted} open then; pick others or fewer"
            )
        self.lots = kept
        return taken


def match(executions: Iterable[Execution], picks: Iterable[Pick] = ()) -> Matching:
    """Match what closes to what it closes.

    Args:
        executions: oldest first. One that crosses zero closes what is open and opens the rest.
        picks: lots that sales take before the oldest.

    Raises:
        InvalidInput: a pick names a sale or lot that is not there, or more shares than either has.
    """
    picked: dict[str, list[Pick]] = {}
    for pick in picks:
        picked.setdefault(pick.sale_id, []).append(pick)
    holdings: dict[Symbol, _Holding] = {}
    closings: list[Closing] = []
    for execution in executions:
        holding = holdings.setdefault(execution.symbol, _Holding())
        rest = Part(execution, ZERO, execution.quantity)
        for pick in picked.pop(execution.execution_id, ()):
            if pick.quantity > rest.quantity or not holding.is_closed_by(execution.side):
                raise InvalidInput(
                    f"{pick.sale_id} closes {rest.quantity} shares besides its other picks, not "
                    f"{pick.quantity}; correct its picks"
                )
            for opened in holding.take_picked(pick):
                closed, rest = rest.split(opened.quantity)
                closings.append(Closing(opened, closed))
        while rest.quantity and holding.is_closed_by(execution.side):
            opened = holding.take(rest.quantity)
            closed, rest = rest.split(opened.quantity)
            closings.append(Closing(opened, closed))
        if rest.quantity:
            holding.lots.append(rest)
    for sale_id in picked:
        raise InvalidInput(f"a pick names {sale_id!r}, which is no execution of this account")
    return Matching(
        tuple(closings), tuple(lot for holding in holdings.values() for lot in holding.lots)
    )
