"""Which shares were sold, and what did they bring?

Purchases are matched to sales, short sales to the purchases that cover them, share by share in exact decimals. First in,
first out, unless a sale has picked its lots, as the tax rules let an owner do (26 CFR 1.1012-1(c)). A fee is spread
over the shares of its execution on the grid of a micro so that the parts add up to the whole. A split counts open lots
anew, a change of symbol or a merger into shares moves them, each at its own cost and day (26 USC 307, 354). Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal

from shared.domain.activities import CONVERSIONS, SPLITS
from shared.domain.errors import InvalidInput
from shared.domain.orders import Side
from shared.domain.symbols import Symbol

ZERO = Decimal(0)
_MICRO = Decimal("0.000001")
_NANO = Decimal("0.000000001")


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
    # What moved the shares when it was no trade: the kind of the broker's activity, or of our correction.
    reason: str = ""

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

    def counted_as(self, shares: Decimal, reason: str) -> Part:
        """The same lot in `shares` shares, at the same cost as a whole and under a name that tells of `reason`."""
        old = self.execution
        price = None if old.price is None else old.price * self.quantity / shares
        fee = old.fee_between(self.start, self.end)
        name = f"{old.execution_id}:{reason.lower()}"
        counted = replace(old, execution_id=name, quantity=shares, price=price, fee=fee)
        return Part(counted, ZERO, shares)

    def of_symbol(self, symbol: Symbol) -> Part:
        """The same lot under another symbol."""
        return replace(self, execution=replace(self.execution, symbol=symbol))

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

    @property
    def quantity(self) -> Decimal:
        """Shares held, whichever side they are on."""
        return sum((lot.quantity for lot in self.lots), ZERO)

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


def _is_no_trade(
    execution: Execution, holding: _Holding, parked: dict[tuple[str, datetime], list[Part]]
) -> bool:
    """Count lots anew, or move them between symbols, when that is what `execution` stands for."""
    key, held = (execution.reason, execution.executed_at), holding.quantity
    if execution.price is not None:
        return False
    if execution.reason in SPLITS and held:
        grows = holding.lots[0].execution.side is execution.side
        after = held + execution.quantity if grows else held - execution.quantity
        if after <= 0:
            return False
        holding.lots = deque(_recounted(holding.lots, after, execution.reason))
        return True
    if execution.reason not in CONVERSIONS:
        return False
    if holding.is_closed_by(execution.side) and execution.quantity == held:
        parked.setdefault(key, []).extend(holding.lots)
        holding.lots = deque()
        return True
    leaving = parked.pop(key, [])
    # Of two changes at one instant nobody can tell whose lots these are: their cost is not known then.
    if len({lot.execution.symbol for lot in leaving}) != 1:
        return False
    moved = _recounted(leaving, execution.quantity, execution.reason)
    holding.lots.extend(lot.of_symbol(execution.symbol) for lot in moved)
    return True


def _recounted(lots: Iterable[Part], shares: Decimal, reason: str) -> list[Part]:
    """The lots as `shares` shares altogether; each keeps what it cost and the day it was bought."""
    before = list(lots)
    total = sum((lot.quantity for lot in before), ZERO)
    counted, left = [], shares
    for number, lot in enumerate(before):
        is_last = number == len(before) - 1
        mine = left if is_last else (lot.quantity * shares / total).quantize(_NANO, ROUND_DOWN)
        left -= mine
        if mine > 0:
            counted.append(lot.counted_as(mine, reason))
    return counted


def _whole_splits(executions: Iterable[Execution]) -> Iterator[Execution]:
    """`executions` with the legs of each split, old shares that leave and new ones that come, as the one they are.

    Legs of one split have one instant: what they do together stands in the place of the first.
    """
    known = list(executions)
    legs: dict[tuple[Symbol, datetime], list[Execution]] = {}
    for execution in known:
        if _is_leg(execution):
            legs.setdefault((execution.symbol, execution.executed_at), []).append(execution)
    for execution in known:
        of_split = legs.get((execution.symbol, execution.executed_at), [])
        if len(of_split) < 2 or not _is_leg(execution):
            yield execution
        elif execution is of_split[0]:
            net = sum((leg.side.sign * leg.quantity for leg in of_split), ZERO)
            side = Side.BUY if net > 0 else Side.SELL
            yield from [replace(execution, side=side, quantity=abs(net))] if net else []


def _is_leg(execution: Execution) -> bool:
    return execution.reason in SPLITS and execution.price is None


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
    parked: dict[tuple[str, datetime], list[Part]] = {}
    for execution in _whole_splits(executions):
        holding = holdings.setdefault(execution.symbol, _Holding())
        if _is_no_trade(execution, holding, parked):
            continue
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
