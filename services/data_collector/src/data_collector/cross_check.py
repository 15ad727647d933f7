"""Do two providers say the same of the last sessions?

Whole days are compared, each figure with a tolerance of its own: closes are one auction's and hardly differ, opens, highs
and lows depend on which trades a tape counts, and volumes on how many venues it hears, so these are added up over the
sessions and may differ many times over. A symbol of which two providers say different things is held, with both figures,
until they agree again or a person has looked. What one of them does not know is counted and proves nothing. What the
budget does not carry in one night has its turn in the next, and is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import structlog

from data_collector.boundary import admit
from data_collector.outcomes import SymbolsRefused
from data_collector.ports import Doubt, History, Hold, Journal
from shared.domain.bar_blocks import BarBlock, from_epoch_us, joined
from shared.domain.calendar import NEW_YORK, TradingCalendar
from shared.domain.corporate_actions import exchange_day
from shared.domain.errors import RateLimited
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.ports import Clock

_log = structlog.get_logger(__name__)
SESSIONS = 5
# Symbols whose bars are asked for, compared and held together, so that a budget that ends spoils only what is left.
_TOGETHER = 50
_PRICES = ("close", "open", "high", "low")
# Where one tape has nothing, the other may have this many shares a session before it counts.
_FEW_SHARES = 10_000
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Tolerances:
    """How far two providers may be apart.

    `close` and `range_` (open, high, low) as shares of the smaller price: 0.01 is 1 %. `volume_times`: how many times the
    smaller volume the larger may be.
    """

    close: float
    range_: float
    volume_times: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was compared: the symbols with sessions in both, and of those that disagree a sentence for people."""

    compared: frozenset[Symbol]
    apart: Mapping[Symbol, str]


def compare(
    one: BarBlock, other: BarBlock, names: tuple[str, str], tolerances: Tolerances
) -> Comparison:
    """Both providers' bars of the sessions that both have; `names` are theirs."""
    theirs = {
        key: row for row, key in enumerate(zip(other.symbols, other.start_us.tolist(), strict=True))
    }
    rows: dict[Symbol, list[tuple[int, int]]] = {}
    for row, key in enumerate(zip(one.symbols, one.start_us.tolist(), strict=True)):
        if key in theirs:
            rows.setdefault(key[0], []).append((row, theirs[key]))
    apart = {}
    for symbol, pairs in rows.items():
        ours, others = (np.array(side) for side in zip(*pairs, strict=True))
        complaints = [
            *_prices_apart(one, other, ours, others, names, tolerances),
            *_volumes_apart(one.volume[ours], other.volume[others], names, tolerances),
        ]
        if complaints:
            apart[symbol] = "; ".join(complaints)
    return Comparison(frozenset(rows), apart)


def _prices_apart(
    one: BarBlock,
    other: BarBlock,
    ours: np.ndarray,
    others: np.ndarray,
    names: tuple[str, str],
    tolerances: Tolerances,
) -> list[str]:
    """One sentence for each price that is beyond its tolerance, about the session where it is worst."""
    found = []
    for figure in _PRICES:
        mine, yours = getattr(one, figure)[ours], getattr(other, figure)[others]
        shares = np.abs(mine - yours) / np.minimum(mine, yours)
        worst = int(shares.argmax())
        if shares[worst] > (tolerances.close if figure == "close" else tolerances.range_):
            on = exchange_day(from_epoch_us(int(one.start_us[ours[worst]])))
            found.append(
                f"{figure} of {on}: {names[0]} says {mine[worst] / 1e6:g}, {names[1]} "
                f"{yours[worst] / 1e6:g}, {shares[worst]:.2%} apart"
            )
    return found


def _volumes_apart(
    mine: np.ndarray, yours: np.ndarray, names: tuple[str, str], tolerances: Tolerances
) -> list[str]:
    sums = int(mine.sum()), int(yours.sum())
    # A share in place of none keeps the quotient finite, and a quiet symbol out of it.
    floor = max(min(sums), _FEW_SHARES * len(mine) / tolerances.volume_times)
    if max(sums) <= floor * tolerances.volume_times:
        return []
    return [
        (
            f"volume of {len(mine)} sessions: {names[0]} says {sums[0]}, {names[1]} {sums[1]}, more than "
            f"{tolerances.volume_times:g} times apart"
        )
    ]


def tonights(symbols: Sequence[Symbol], night: int, most: int) -> list[Symbol]:
    """`most` of `symbols` at most, so that all have had their turn after some nights in a row."""
    ordered = sorted(symbols)
    if len(ordered) <= most:
        return ordered
    first = night * most % len(ordered)
    return (ordered + ordered)[first : first + most]


class CrossCheck:
    """Compares the first two of the providers, and holds what they disagree on."""

    def __init__(
        self,
        histories: Sequence[History],
        journal: Journal,
        calendar: TradingCalendar,
        clock: Clock,
        *,
        tolerances: Tolerances,
        most: int,
    ) -> None:
        """`most`: how many symbols the budgets carry in one night, and leave enough for the day."""
        self._histories = histories
        self._journal = journal
        self._calendar = calendar
        self._clock = clock
        self._tolerances = tolerances
        self._most = most

    async def run(self, symbols: Sequence[Symbol]) -> Mapping[str, object]:
        """Look at tonight's symbols; returns figures for people."""
        if len(self._histories) < 2:
            return {
                "skipped": "one provider alone cannot be cross-checked; set TWELVE_DATA_API_KEY"
            }
        now = self._clock.now()
        tonight = tonights(symbols, exchange_day(now).toordinal(), self._most)
        asked: list[Symbol] = []
        compared: set[Symbol] = set()
        apart: dict[Symbol, str] = {}
        ended_by = None
        for at in range(0, len(tonight), _TOGETHER):
            some = tonight[at : at + _TOGETHER]
            try:
                found = await self._compare(some, now)
            except RateLimited as error:
                ended_by = str(error)
                break
            asked += some
            compared |= found.compared
            apart |= found.apart
        unreached = sorted(set(symbols) - set(asked))
        if apart:
            _log.warning("providers disagree", symbols=sorted(apart)[:_SHOWN], count=len(apart))
        if unreached:
            _log.info("not cross-checked tonight", symbols=unreached, reason=ended_by)
        return {
            "providers": [history.provider for history in self._histories[:2]],
            "asked": len(asked),
            "compared": len(compared),
            "disagree": len(apart),
            "symbols": sorted(apart)[:_SHOWN],
            "known_to_one_only": len(asked) - len(compared),
            "not_reached": len(unreached),
            "not_reached_symbols": unreached[:_SHOWN],
            **({} if ended_by is None else {"ended_by": ended_by}),
        }

    async def _compare(self, symbols: Sequence[Symbol], now: datetime) -> Comparison:
        """Compare `symbols`, hold those that are apart, and let go of those that agree."""
        one, other = self._histories[:2]
        blocks = [await self._days(history, symbols, now) for history in (one, other)]
        found = compare(blocks[0], blocks[1], (one.provider, other.provider), self._tolerances)
        await self._journal.hold(
            [Hold(symbol, Doubt.DISAGREEMENT, why, now) for symbol, why in found.apart.items()]
        )
        await self._journal.end_holds(
            sorted(found.compared - found.apart.keys()),
            Doubt.DISAGREEMENT,
            reason="two providers agree again",
            at=now,
        )
        return found

    async def _days(self, history: History, symbols: Sequence[Symbol], now: datetime) -> BarBlock:
        """The closed sessions' bars that `history` has."""
        today = exchange_day(now)
        closed = [
            session
            for session in self._calendar.between(today - timedelta(days=4 * SESSIONS), today)
            if session.close_at <= now
        ][-SESSIONS:]
        blocks = [admit([], Timeframe.DAY, self._calendar, now).block]
        if not closed:
            return blocks[0]
        start_at = closed[0].open_at.astimezone(NEW_YORK).replace(hour=0, minute=0)
        try:
            async for rows in history.pages(symbols, Timeframe.DAY, start_at, now):
                # Page by page, since what came before a refusal counts.
                blocks += [admit(rows, Timeframe.DAY, self._calendar, now).block]
        except SymbolsRefused as error:
            _log.info("not cross-checked", reason=str(error))
        return joined(Timeframe.DAY, blocks)
