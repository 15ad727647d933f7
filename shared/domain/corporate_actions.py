"""How do splits and dividends change what past prices mean?

Raw prices are what was paid, and are what is stored. Seen from a day (`as_of_on`), bars from before an action's
ex-date are put into that day's shares: with `split` for changes of the share count, with `all` for cash dividends as
well. An action counts from its ex-date on, so a view of the past never knows of a later one. Nothing here is stored
or reads a clock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from shared.domain.bar_blocks import BarBlock, to_epoch_us
from shared.domain.calendar import NEW_YORK
from shared.domain.errors import InvalidInput
from shared.domain.money import MAX_PRICE, MICROS
from shared.domain.symbols import Symbol

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]
# Far beyond any split there ever was; above it the record is garbage.
_MAX_RATIO = 100_000


class Adjustment(StrEnum):
    """What was done to prices; the values are how Alpaca writes them, but for `none` (its `raw`)."""

    NONE = "none"
    SPLIT = "split"
    ALL = "all"


class InvalidAction(InvalidInput):
    """A split or dividend that cannot have been."""


@dataclass(frozen=True, slots=True)
class Split:
    """From `ex_on` on there are `new_rate` shares for every `old_rate`; 1:1 takes an earlier record back.

    `ids`: what its provider calls the records that it was read from, by which it is known again on another day.
    """

    symbol: Symbol
    ex_on: date
    new_rate: Decimal
    old_rate: Decimal
    ids: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        rates = (self.new_rate, self.old_rate)
        if not all(rate.is_finite() and rate > 0 for rate in rates):
            raise InvalidAction(f"{self._name()}: both rates must be finite and above zero")
        if not 1 <= max(rates) / min(rates) <= _MAX_RATIO:
            raise InvalidAction(f"{self._name()}: no split multiplies shares by that much")

    @property
    def ratio(self) -> Fraction:
        """New shares per old one."""
        return Fraction(self.new_rate) / Fraction(self.old_rate)

    def _name(self) -> str:
        return f"split of {self.symbol} on {self.ex_on}, {self.new_rate} for {self.old_rate}"


@dataclass(frozen=True, slots=True)
class CashDividend:
    """Whoever held a share before `ex_on` is paid `amount` dollars; 0 takes an earlier record back. `ids`: see `Split`."""

    symbol: Symbol
    ex_on: date
    amount: Decimal
    ids: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not (self.amount.is_finite() and 0 <= self.amount <= MAX_PRICE):
            raise InvalidAction(
                f"dividend of {self.symbol} on {self.ex_on}: {self.amount} is no amount of dollars"
            )


CorporateAction = Split | CashDividend
# The start (microseconds since the epoch) and raw close (micros) of the newest bar of a symbol that has ended by an
# instant; None without one.
CloseBefore = Callable[[Symbol, datetime], tuple[int, int] | None]


def parse_adjustment(text: str) -> Adjustment:
    """Return the adjustment written as `text`.

    Raises:
        InvalidInput: none of those that are known.
    """
    try:
        return Adjustment(text.strip().lower())
    except ValueError:
        raise InvalidInput(
            f"{text[:20]!r} is not an adjustment: use one of {', '.join(Adjustment)}"
        ) from None


def exchange_day(at: datetime) -> date:
    """The New York day of an instant."""
    return at.astimezone(NEW_YORK).date()


def merged(actions: Iterable[CorporateAction]) -> list[CorporateAction]:
    """One split and one dividend per symbol and day: splits multiply, dividends add up; in order."""
    splits: dict[tuple[Symbol, date], Fraction] = {}
    amounts: dict[tuple[Symbol, date], Decimal] = {}
    ids: dict[tuple[type, Symbol, date], set[str]] = defaultdict(set)
    for action in actions:
        key = (action.symbol, action.ex_on)
        ids[type(action), *key].update(action.ids)
        if isinstance(action, Split):
            splits[key] = splits.get(key, Fraction(1)) * action.ratio
        else:
            amounts[key] = amounts.get(key, Decimal(0)) + action.amount
    found: list[CorporateAction] = [
        Split(
            *key,
            Decimal(ratio.numerator),
            Decimal(ratio.denominator),
            tuple(sorted(ids[Split, *key])),
        )
        for key, ratio in splits.items()
    ]
    found += [
        CashDividend(*key, amount, tuple(sorted(ids[CashDividend, *key])))
        for key, amount in amounts.items()
    ]
    return sorted(found, key=lambda each: (each.symbol, each.ex_on, type(each).__name__))


def moved_away(
    stored: Iterable[CorporateAction], told: Sequence[CorporateAction]
) -> list[CorporateAction]:
    """What takes back those of `stored` that their provider tells (`told`) for other days by now.

    A record is known by its ids: one that is told for another day was moved, and would otherwise count twice. One
    that is merely not told, since nobody asked about its day, stays.
    """
    keys = {(type(action), action.symbol, action.ex_on) for action in told}
    elsewhere = {identity for action in told for identity in action.ids}
    found: list[CorporateAction] = []
    for old in stored:
        if (type(old), old.symbol, old.ex_on) in keys or not old.ids:
            continue
        if elsewhere.issuperset(old.ids):
            found.append(
                Split(old.symbol, old.ex_on, Decimal(1), Decimal(1))
                if isinstance(old, Split)
                else CashDividend(old.symbol, old.ex_on, Decimal(0))
            )
    return found


def has_split(
    actions: Iterable[CorporateAction], symbol: Symbol, after_on: date, until_on: date
) -> bool:
    """Whether a split of `symbol` went ex after `after_on`, up to and with `until_on`."""
    return any(
        isinstance(action, Split)
        and action.symbol == symbol
        and after_on < action.ex_on <= until_on
        and action.ratio != 1
        for action in actions
    )


def cumulative_split_factors(actions: Iterable[CorporateAction], days: Sequence[date]) -> Floats:
    """Per day of `days`, how many shares one share from before all of one symbol's splits has become.

    A price of day d in the shares of day a is `price * factor[d] / factor[a]`, volume the other way round.
    """
    factors = []
    splits = [action for action in actions if isinstance(action, Split)]
    for day in days:
        product = Fraction(1)
        for split in splits:
            if split.ex_on <= day:
                product *= split.ratio
        factors.append(float(product))
    return np.array(factors, dtype=np.float64)


def adjusted(
    block: BarBlock,
    actions: Iterable[CorporateAction],
    adjustment: Adjustment,
    as_of_on: date,
    close_before: CloseBefore,
) -> BarBlock:
    """`block` of raw bars (sorted by symbol, then start) in the shares of `as_of_on`.

    A dividend's factor is 1 - amount / (the last close before its ex-date); that close is taken from the block, or
    from `close_before` for a dividend after the block's last bar, so that a bar's figures do not depend on how
    much was read. Prices are rounded to a micro, volumes to a share and changed by splits alone.

    Raises:
        InvalidAction: a dividend as large as the share's price.
    """
    wanted = _by_symbol(actions, adjustment, as_of_on)
    if not wanted or not len(block):
        return block
    names = np.array(block.symbols)
    prices, volumes = np.ones(len(block)), np.ones(len(block))
    for symbol, its_actions in wanted.items():
        low = int(np.searchsorted(names, symbol, side="left"))
        high = int(np.searchsorted(names, symbol, side="right"))
        if low < high:
            starts_us, closes = block.start_us[low:high], block.close[low:high]
            for first, last, of_price, of_volume in _spans(
                symbol, its_actions, starts_us, closes, close_before
            ):
                prices[low + first : low + last] = of_price
                volumes[low + first : low + last] = of_volume
    figures = {
        name: np.maximum(np.rint(getattr(block, name) * prices), 1).astype(np.int64)
        for name in ("open", "high", "low", "close")
    }
    figures["volume"] = np.rint(block.volume * volumes).astype(np.int64)
    return replace(block, **figures)


def _by_symbol(
    actions: Iterable[CorporateAction], adjustment: Adjustment, as_of_on: date
) -> Mapping[Symbol, list[CorporateAction]]:
    """What counts, of each symbol newest first."""
    found: dict[Symbol, list[CorporateAction]] = defaultdict(list)
    if adjustment is Adjustment.NONE:
        return found
    for action in actions:
        counts = isinstance(action, Split) or adjustment is Adjustment.ALL
        if counts and action.ex_on <= as_of_on:
            found[action.symbol].append(action)
    for some in found.values():
        some.sort(key=lambda each: each.ex_on, reverse=True)
    return found


def _spans(
    symbol: Symbol,
    actions: Sequence[CorporateAction],
    starts_us: Int64s,
    closes: Int64s,
    close_before: CloseBefore,
) -> Iterator[tuple[int, int, float, float]]:
    """Rows [first, last) of one symbol with the factors of their prices and volumes, newest first."""
    shares, paid = Fraction(1), 1.0
    last = len(starts_us)
    for action in actions:
        ex_at = _midnight(action.ex_on)
        before = int(np.searchsorted(starts_us, to_epoch_us(ex_at), side="left"))
        if before < last:
            yield before, last, float(1 / shares) * paid, float(shares)
            last = before
        if before == 0:
            # No bar of the block is older, so none is changed by this or by what is older still.
            return
        if isinstance(action, Split):
            shares *= action.ratio
            continue
        seen = (
            (int(starts_us[before - 1]), int(closes[before - 1]))
            if before < len(starts_us)
            else close_before(symbol, ex_at)
        )
        if seen is None:
            continue
        price = Fraction(seen[1], MICROS) / _ratio_between(actions, seen[0], action.ex_on)
        if action.amount >= price:
            raise InvalidAction(
                f"the dividend of {action.amount} that {symbol} paid on {action.ex_on} is not below its "
                f"price of {float(price):g}; correct it with `trader actions import`"
            )
        paid *= float(1 - Fraction(action.amount) / price)
    if last:
        yield 0, last, float(1 / shares) * paid, float(shares)


def _ratio_between(actions: Iterable[CorporateAction], after_us: int, until_on: date) -> Fraction:
    """How many shares one of the bar that starts at `after_us` has become on `until_on`.

    A dividend is paid on the shares of its own day.
    """
    ratio = Fraction(1)
    for action in actions:
        if not isinstance(action, Split) or action.ex_on > until_on:
            continue
        if to_epoch_us(_midnight(action.ex_on)) > after_us:
            ratio *= action.ratio
    return ratio


def _midnight(on: date) -> datetime:
    return datetime.combine(on, time(0), NEW_YORK)
