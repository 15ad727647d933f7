"""What goes into the columns of IRS Form 8949?

One row per closed lot, or two where only a part of its loss is a wash sale. Sources: instructions for Form 8949;
26 USC 1091 and 26 CFR 1.1091-1 (wash sales: shares of the same symbol bought within 30 days before or after a sale
at a loss; by 1091(e) likewise shares sold short again around the covering of a short sale at a loss). Conventions, where
those leave a choice: purchases replace sold shares, and short sales covered ones, in the order in which they were
made, each share once; what was bought (or sold short) before counts only as far as it is still open after it. A disallowed
loss and the time held go over to the replacing shares. Only this account is known: purchases elsewhere, options, and
shares held that were sold around the covering of a short sale are for the filer to judge. No tax advice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import groupby

from shared.domain.calendar import NEW_YORK
from shared.domain.lots import ZERO, Closing, Execution, Matching, Part
from shared.domain.money import plain, to_cents
from shared.domain.orders import Side

WINDOW = timedelta(days=30)
COLUMNS = (
    "(a) Description of property", "(b) Date acquired", "(c) Date sold or disposed of", "(d) Proceeds",
    "(e) Cost or other basis", "(f) Code(s)", "(g) Amount of adjustment", "(h) Gain or (loss)", "Term",
    "Open execution", "Close execution",
)  # fmt: skip
_MICRO = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class TaxRow:
    """One line of the form; dollars exact, None where the purchase is not known to us."""

    closing: Closing
    # With what was added by earlier wash sales.
    cost: Decimal | None
    disallowed: Decimal
    # Days that earlier wash sales add to the time held.
    held_before: timedelta

    @property
    def gain(self) -> Decimal | None:
        """What counts after the adjustment."""
        proceeds = self.closing.proceeds
        if self.cost is None or proceeds is None:
            return None
        return proceeds - self.cost + self.disallowed

    @property
    def is_long_term(self) -> bool:
        """Whether the shares were held for more than a year; never for a short sale."""
        if self.closing.is_short:
            return False
        bought = _day(self.closing.opened.execution) - self.held_before
        try:
            anniversary = bought.replace(year=bought.year + 1)
        except ValueError:  # of February 29
            anniversary = date(bought.year + 1, 3, 1)
        return _day(self.closing.closed.execution) > anniversary


@dataclass(frozen=True, slots=True)
class _Carried:
    """A disallowed loss that went over to the shares of `part`, with the days they count as held."""

    part: Part
    amount: Decimal
    held: timedelta


@dataclass(slots=True)
class _Replacements:
    """Opened shares that may still replace closed ones of their kind, and what went over to those that did."""

    waiting: dict[str, list[Part]] = field(default_factory=dict)
    carried: dict[str, list[_Carried]] = field(default_factory=dict)

    def add(self, part: Part) -> None:
        """These shares were bought, or sold short."""
        self.waiting.setdefault(part.execution.execution_id, []).append(part)

    def drop(self, part: Part) -> None:
        """These shares were closed now, or have replaced others."""
        mine = self.waiting.get(part.execution.execution_id, [])
        self.waiting[part.execution.execution_id] = [
            piece
            for each in mine
            for piece in (
                Part(part.execution, each.start, min(each.end, part.start)),
                Part(part.execution, max(each.start, part.end), each.end),
            )
            if piece.start < piece.end
        ]

    def first(self, candidates: Sequence[Execution]) -> Part | None:
        """The first shares of `candidates` that may replace others."""
        for execution in candidates:
            for part in self.waiting.get(execution.execution_id, ()):
                return part
        return None

    def carry(self, part: Part, amount: Decimal, held: timedelta) -> None:
        """Let `part` replace shares whose loss of `amount` is disallowed."""
        self.drop(part)
        self.carried.setdefault(part.execution.execution_id, []).append(
            _Carried(part, amount, held)
        )

    def pieces(self, closing: Closing) -> list[tuple[Closing, Decimal, timedelta]]:
        """`closing` cut where something was carried over, each piece with what that adds: dollars, days."""
        pieces, left = [], closing
        carried = self.carried.get(closing.opened.execution.execution_id, ())
        for each in sorted(carried, key=lambda one: one.part.start):
            if each.part.end <= left.opened.start or left.opened.end <= each.part.start:
                continue
            plain_shares = max(ZERO, each.part.start - left.opened.start)
            before, left = left.split(plain_shares)
            mine, left = left.split(min(each.part.end, left.opened.end) - left.opened.start)
            if plain_shares:
                pieces.append((before, ZERO, timedelta()))
            amount = _share(each.amount, each.part, mine.opened)
            pieces.append((mine, amount, each.held))
        if left.quantity:
            pieces.append((left, ZERO, timedelta()))
        return pieces


def form_rows(matching: Matching) -> list[TaxRow]:
    """The rows of every closed lot, in the order of closing."""
    replacements = _Replacements()
    # A purchase replaces what was bought, a short sale what was sold short.
    openings: dict[tuple[str, Side], dict[str, Execution]] = {}
    opened = [each.opened for each in matching.closings] + list(matching.open_lots)
    for part in sorted(opened, key=lambda one: (one.execution.executed_at, one.start)):
        replacements.add(part)
        alike = openings.setdefault((part.execution.symbol, part.execution.side), {})
        alike[part.execution.execution_id] = part.execution
    rows = []
    for _, group in groupby(matching.closings, key=lambda c: c.closed.execution.execution_id):
        sold = list(group)
        for closing in sold:
            replacements.drop(closing.opened)
        for closing in sold:
            mine = closing.opened.execution
            alike = openings[(mine.symbol, mine.side)]
            for piece, added, held in replacements.pieces(closing):
                rows += _rows_of(piece, added, held, list(alike.values()), replacements)
    return rows


def _rows_of(
    closing: Closing,
    added: Decimal,
    held: timedelta,
    openings: Sequence[Execution],
    replacements: _Replacements,
) -> list[TaxRow]:
    """The rows of shares that share one cost and one time held."""
    whole = _row(closing, added, held)
    sold_on = _day(closing.closed.execution)
    near = [each for each in openings if abs(_day(each) - sold_on) <= WINDOW]
    rows = []
    while whole.gain is not None and whole.gain < 0:
        replacing = replacements.first(near)
        if replacing is None:
            break
        replacing, _ = replacing.split(min(replacing.quantity, closing.quantity))
        washed, left = closing.split(replacing.quantity)
        added_here = _share(added, closing.opened, washed.opened)
        row = _row(washed, added_here, held)
        assert row.gain is not None
        # Rounding of fees can leave a piece of a loss without one.
        disallowed = max(ZERO, -row.gain)
        replacements.carry(replacing, disallowed, sold_on - _day(closing.opened.execution) + held)
        rows.append(replace(row, disallowed=disallowed))
        if not left.quantity:
            return rows
        closing, added = left, added - added_here
        whole = _row(closing, added, held)
    return [*rows, whole]


def _row(closing: Closing, added: Decimal, held: timedelta) -> TaxRow:
    cost = None if closing.cost is None else closing.cost + added
    return TaxRow(closing, cost, ZERO, held)


def _share(amount: Decimal, whole: Part, part: Part) -> Decimal:
    """What of `amount`, spread over the shares of `whole`, falls on those of `part`."""

    def up_to(shares: Decimal) -> Decimal:
        if shares == whole.end:
            return amount
        portion = amount * (shares - whole.start) / whole.quantity
        return portion.quantize(_MICRO, ROUND_HALF_EVEN)

    return up_to(part.end) - up_to(part.start)


def _day(execution: Execution) -> date:
    return execution.executed_at.astimezone(NEW_YORK).date()


def cells(row: TaxRow) -> dict[str, str]:
    """The row as the form shows it: dollars to the cent, so that (d) - (e) + (g) is (h)."""
    opened, closed = row.closing.opened.execution, row.closing.closed.execution
    # What is delivered against a short sale is acquired when it is covered.
    acquired = closed if row.closing.is_short else opened
    proceeds = None if row.closing.proceeds is None else to_cents(row.closing.proceeds)
    cost = None if row.cost is None else to_cents(row.cost)
    adjustment = to_cents(row.disallowed)
    gain = "" if proceeds is None or cost is None else _money(proceeds - cost + adjustment)
    values = (
        f"{plain(row.closing.quantity)} sh. {opened.symbol}",
        f"{_day(acquired):%m/%d/%Y}",
        f"{_day(closed):%m/%d/%Y}",
        "" if proceeds is None else _money(proceeds),
        "" if cost is None else _money(cost),
        "W" if row.disallowed else "",
        _money(adjustment) if row.disallowed else "",
        gain,
        "long" if row.is_long_term else "short",
        opened.execution_id,
        closed.execution_id,
    )
    return dict(zip(COLUMNS, values, strict=True))


def _money(amount: Decimal) -> str:
    return f"{amount:.2f}"
