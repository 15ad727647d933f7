"""Do two providers say the same of the last sessions?

Closes of whole days are compared, since highs, lows and volumes differ between tapes for good reasons. A symbol of which
they say different things is held, with both figures, until they agree again or a person has looked. What one of them
does not know is counted and proves nothing. Few symbols are looked at in one night, others in the next, because
budgets are small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from data_collector.boundary import admit
from data_collector.outcomes import SymbolsRefused
from data_collector.ports import Doubt, History, Hold, Journal
from shared.domain.bar_blocks import BarBlock, from_epoch_us, joined
from shared.domain.calendar import NEW_YORK, TradingCalendar
from shared.domain.corporate_actions import exchange_day
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.ports import Clock

_log = structlog.get_logger(__name__)
SESSIONS = 5
# Half of what the free plan of the smaller budget allows in a day.
MOST_SYMBOLS = 400
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """Two closes of one symbol and session, in micros, and how far they are apart (0.01 is 1 %)."""

    start_us: int
    one: int
    other: int

    @property
    def share(self) -> float:
        """Of the smaller of the two."""
        return abs(self.one - self.other) / min(self.one, self.other)


def differences(one: BarBlock, other: BarBlock) -> Mapping[Symbol, Difference]:
    """The largest difference of each symbol that has sessions in both."""
    closes = {
        (symbol, start_us): close
        for symbol, start_us, close in zip(
            other.symbols, other.start_us.tolist(), other.close.tolist(), strict=True
        )
    }
    found: dict[Symbol, Difference] = {}
    for symbol, start_us, close in zip(
        one.symbols, one.start_us.tolist(), one.close.tolist(), strict=True
    ):
        theirs = closes.get((symbol, start_us))
        if theirs is not None:
            difference = Difference(start_us, close, theirs)
            if symbol not in found or difference.share > found[symbol].share:
                found[symbol] = difference
    return found


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
        tolerance: float,
    ) -> None:
        """`tolerance`: how far two closes may be apart; 0.01 is 1 %."""
        self._histories = histories
        self._journal = journal
        self._calendar = calendar
        self._clock = clock
        self._tolerance = tolerance

    async def run(self, symbols: Sequence[Symbol]) -> Mapping[str, object]:
        """Look at tonight's symbols; returns figures for people."""
        if len(self._histories) < 2:
            return {
                "skipped": "one provider alone cannot be cross-checked; set TWELVE_DATA_API_KEY"
            }
        now = self._clock.now()
        asked = tonights(symbols, exchange_day(now).toordinal(), MOST_SYMBOLS)
        one, other = self._histories[:2]
        blocks = [await self._days(history, asked, now) for history in (one, other)]
        found = differences(*blocks)
        apart = {s: d for s, d in found.items() if d.share > self._tolerance}
        await self._journal.hold(
            [
                Hold(
                    symbol,
                    Doubt.DISAGREEMENT,
                    f"close of {exchange_day(from_epoch_us(each.start_us))}: {one.provider} says "
                    f"{each.one / 1e6:g}, {other.provider} {each.other / 1e6:g}, {each.share:.2%} apart",
                    now,
                )
                for symbol, each in apart.items()
            ]
        )
        await self._journal.end_holds(
            sorted(found.keys() - apart.keys()),
            Doubt.DISAGREEMENT,
            reason="two providers agree again",
            at=now,
        )
        if apart:
            _log.warning("providers disagree", symbols=sorted(apart)[:_SHOWN], count=len(apart))
        return {
            "providers": [one.provider, other.provider],
            "asked": len(asked),
            "compared": len(found),
            "disagree": len(apart),
            "symbols": sorted(apart)[:_SHOWN],
            "known_to_one_only": len(asked) - len(found),
        }

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
