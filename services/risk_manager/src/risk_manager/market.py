"""What was a symbol worth at an instant?

The close of its newest bar that had ended by then: one rule, so that the answer does not depend on when it is
asked. The cache is taken at its word only where its bar ends at that very instant, since then none can be newer;
everything else is read from the store. What was read is kept for as long as the store says that it holds, and read
ahead of the next decision when bars have come. All of it is in the shares of the instant's day, or a split would look
like a crash, and twins from before it like strangers.

Nobody waits for a store that hangs or is away, since what is held must be able to go: the answer is then made of the
last known prices and says so. In a replay time stands still meanwhile, so there it waits for as long as it takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Hashable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any

import structlog

from risk_manager.limits import Closes, KeptCloses
from risk_manager.share_counts import KNOWN_AHEAD, KNOWN_FOR
from risk_manager.snapshot import Market, Price
from shared.domain.bar_blocks import BarBlock, from_epoch_us
from shared.domain.corporate_actions import Adjustment, Split, adjusted, exchange_day
from shared.domain.errors import TradingError, Unavailable
from shared.domain.money import MICROS, from_micros
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.ports import ActionStore, BarStore, LatestBars

# More symbols than any account holds; a minute in which people ask about more of them is not remembered whole.
_MOST_KEPT = 2_000
# Symbols whose history is read ahead: those that were asked for last, and within so long.
_MOST_FOLLOWED = 500
_FOLLOWED_FOR = timedelta(days=1)
# So long a decision waits for a reading ahead that has begun; then it reads what it needs by itself.
_AHEAD_WITHIN_S = 0.5
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """For how many seconds the store is waited for: by a way out, and by who only wants to get in."""

    # More than a reading ahead is waited for, or a way out that meets one would never see fresh prices.
    leaving_s: float = 2 * _AHEAD_WITHIN_S
    entering_s: float = 5.0


class StoredMarket:
    """See `ports.MarketReader`."""

    def __init__(
        self,
        latest: LatestBars,
        store: BarStore,
        actions: ActionStore,
        timeframe: Timeframe,
        history_bars: int,
        patience: Patience | None = None,
    ) -> None:
        """`history_bars`: closes per symbol when history is wanted. Without `patience` there is no end to it."""
        self._latest = latest
        self._store = store
        self._actions = actions
        self._timeframe = timeframe
        self._history_bars = history_bars
        # The newest history that was read, and the version of the store that it was read from.
        self._kept: _Seen | None = None
        # All splits of the days around an instant's, what they were read for and from which day on.
        self._splits: tuple[Hashable, date, list[Split]] = (None, date.max, [])
        # Whose history was asked for, and about when, the latest last; and the reading ahead that is going on, if one is.
        self._followed: dict[Symbol, datetime] = {}
        self._ahead: asyncio.Task[None] | None = None
        self._patience = patience
        # What the last answers said, and the reading that was given up and has not come to its end.
        self._last_known: dict[Symbol, Price] = {}
        self._stuck: asyncio.Task[Market] | None = None

    async def at(
        self,
        instant_at: datetime,
        symbols: Iterable[Symbol],
        *,
        with_history: bool,
        in_haste: bool = False,
    ) -> Market:
        """See `ports.MarketReader`."""
        asked = sorted(set(symbols))
        if self._patience is None:
            return await self._as_stored(asked, instant_at, with_history=with_history)
        within_s = self._patience.leaving_s if in_haste else self._patience.entering_s
        try:
            market = await self._within(
                within_s, self._as_stored(asked, instant_at, with_history=with_history)
            )
        except (TradingError, OSError) as error:
            _log.warning("the store of bars gives no answer; nothing is bought", reason=str(error))
            return await self._without_store(asked, instant_at, str(error))
        if len(self._last_known) > _MOST_KEPT:
            self._last_known = {}
        self._last_known |= market.prices
        return market

    async def _within(self, within_s: float, reading: Coroutine[Any, Any, Market]) -> Market:
        """What `reading` says. Raises Unavailable when it takes longer, or one that was given up still does."""
        if self._stuck is not None and not self._stuck.done():
            # Another thread in vain, and as long a wait again, would help nobody.
            reading.close()
            raise Unavailable("it has not answered for a while")
        task = asyncio.create_task(reading)
        try:
            await asyncio.wait({task}, timeout=within_s)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if task.done():
            return task.result()
        # Only now: others that read meanwhile, a page that shows the account, are no sign of a store that hangs.
        self._stuck = task
        # Whatever becomes of it has no reader any more.
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
        raise Unavailable(f"it has not answered within {within_s:g} s")

    async def _without_store(self, asked: list[Symbol], instant_at: datetime, why: str) -> Market:
        known = dict(self._last_known)
        assert self._patience is not None  # only then the store is given up
        with suppress(TradingError, OSError, TimeoutError):
            async with asyncio.timeout(self._patience.leaving_s):
                for symbol, newest in (await self._latest.get(self._timeframe, asked)).items():
                    price = Price(newest.bar.close, newest.bar.end_at)
                    if symbol not in known or known[symbol].end_at < price.end_at:
                        known[symbol] = price
        prices = {
            symbol: known[symbol]
            for symbol in asked
            if symbol in known and known[symbol].end_at <= instant_at
        }
        return Market(frozenset(asked), prices, unread=why)

    async def _as_stored(
        self, asked: list[Symbol], instant_at: datetime, *, with_history: bool
    ) -> Market:
        if with_history:
            self._remember(asked, instant_at)
            if self._ahead is not None and not self._ahead.done():
                # It reads the very same files; how it fares is the business of whoever began it.
                await asyncio.wait({self._ahead}, timeout=_AHEAD_WITHIN_S)
            return await asyncio.to_thread(self._history, asked, instant_at)
        prices: dict[Symbol, Price] = {}
        # No bar ends in the middle of a minute, so most of what people ask need not look.
        if instant_at.second == 0 and instant_at.microsecond == 0:
            for symbol, newest in (await self._latest.get(self._timeframe, asked)).items():
                if newest.bar.end_at == instant_at:
                    prices[symbol] = Price(newest.bar.close, newest.bar.end_at)
        return await asyncio.to_thread(self._prices_alone, asked, prices, instant_at)

    async def follow(self, instant_at: datetime) -> None:
        """See `ports.MarketReader`."""
        followed = sorted(
            symbol
            for symbol, asked_at in self._followed.items()
            if instant_at - asked_at <= _FOLLOWED_FOR
        )
        if followed:
            self._ahead = asyncio.create_task(
                asyncio.to_thread(self._read_ahead, followed, instant_at)
            )
            await self._ahead

    def _remember(self, asked: Iterable[Symbol], instant_at: datetime) -> None:
        for symbol in asked:
            self._followed.pop(symbol, None)
            self._followed[symbol] = instant_at
        while len(self._followed) > _MOST_FOLLOWED:
            del self._followed[next(iter(self._followed))]

    def _read_ahead(self, followed: list[Symbol], instant_at: datetime) -> None:
        """Read the history of `followed`, and work out of it what every decision asks of every symbol."""
        for closes in self._history(followed, instant_at).closes.values():
            assert isinstance(closes, KeptCloses)  # as `_ByEnd` makes them
            closes.moves(closes.newest_ends(self._history_bars - 1))

    def _prices_alone(
        self, asked: list[Symbol], prices: dict[Symbol, Price], instant_at: datetime
    ) -> Market:
        """`prices`, and those that are missing there from what was read or is stored."""
        version = self._store.version(self._timeframe, instant_at)
        on = exchange_day(instant_at)
        kept = self._kept
        if (
            kept is not None
            and kept.version == (version, on)
            and kept.market.asked.issuperset(asked)
        ):
            return replace(kept.market, prices={**kept.market.prices, **prices})
        missing = [symbol for symbol in asked if symbol not in prices]
        if missing:
            block, splits = self._block(missing, 1, instant_at, version)
            prices |= _prices(block, _rows_by_symbol(block))
        else:
            splits = self._splits_since(on - KNOWN_FOR, on, version)
        return Market(frozenset(asked), prices, splits=_around(splits, asked, on), on=on)

    def _block(
        self, symbols: list[Symbol], count: int, instant_at: datetime, version: Hashable
    ) -> tuple[BarBlock, list[Split]]:
        """Each symbol's newest bars in the shares of the instant's day, and the splits from the oldest of them on."""
        raw = self._store.last(self._timeframe, symbols, count, instant_at)
        on = exchange_day(instant_at)
        since_on = on - KNOWN_FOR
        if len(raw):
            since_on = min(since_on, exchange_day(from_epoch_us(int(raw.start_us.min()))))
        splits = self._splits_since(since_on, on, version)
        return adjusted(raw, splits, Adjustment.SPLIT, on, lambda _symbol, _at: None), splits

    def _splits_since(self, since_on: date, on: date, version: Hashable) -> list[Split]:
        """Every split from that day, or earlier, up to some days after `on`; looked for anew when there are new bars.

        Not all there ever were: years of them take longer to read than a decision may.
        """
        until_on = on + KNOWN_AHEAD
        # Looked at once, here and in `_history`: other threads read for other instants meanwhile and keep what they found.
        read_for, read_since_on, found = self._splits
        if read_for != (version, until_on) or read_since_on > since_on:
            known = self._actions.actions(until_on=until_on, since_on=since_on)
            found = [action for action in known if isinstance(action, Split)]
            self._splits = (version, until_on), since_on, found
        return found

    def _history(self, asked: list[Symbol], instant_at: datetime) -> Market:
        version = self._store.version(self._timeframe, instant_at), exchange_day(instant_at)
        kept = self._kept
        known = kept if kept is not None and kept.version == version else None
        wanted = [symbol for symbol in asked if known is None or symbol not in known.market.asked]
        if known is not None and not wanted:
            return known.market
        seen = self._read(wanted, instant_at, version)
        if known is not None:
            seen = _joined(known, seen)
        # What came in while it was read may or may not be there, so that is kept by no version.
        if self._store.version(self._timeframe, instant_at) == version[0]:
            self._keep(seen)
        return seen.market

    def _keep(self, seen: _Seen) -> None:
        """Keep it, unless another thread has read more of the same version meanwhile, or it is too much."""
        kept = self._kept
        if kept is None or kept.version != seen.version or kept.market.asked < seen.market.asked:
            self._kept = seen if len(seen.market.asked) <= _MOST_KEPT else None

    def _read(
        self,
        asked: list[Symbol],
        instant_at: datetime,
        version: tuple[Hashable, date],
    ) -> _Seen:
        block, splits = self._block(asked, self._history_bars, instant_at, version[0])
        rows = _rows_by_symbol(block)
        runs = {symbol: (block, span) for symbol, span in rows.items()}
        columns = (
            _ByEnd(runs, "close"),
            _ByEnd(runs, "high"),
            _ByEnd(runs, "low"),
            _ByEnd(runs, "volume"),
        )
        on = version[1]
        market = Market(
            frozenset(asked), _prices(block, rows), *columns, _around(splits, asked, on), on
        )
        return _Seen(version, market, columns)


@dataclass(frozen=True, slots=True)
class _Seen:
    """History that was read, with the version of the store and the day that it was read for."""

    version: tuple[Hashable, date]
    market: Market
    columns: tuple[_ByEnd, _ByEnd, _ByEnd, _ByEnd]


def _joined(first: _Seen, second: _Seen) -> _Seen:
    """Both, of one version and different symbols."""
    one, other = first.market, second.market
    closes, highs, lows, volumes = (
        a.joined(b) for a, b in zip(first.columns, second.columns, strict=True)
    )
    columns = closes, highs, lows, volumes
    market = Market(
        one.asked | other.asked,
        {**one.prices, **other.prices},
        *columns,
        {**one.splits, **other.splits},
        one.on,
    )
    return _Seen(first.version, market, columns)


def _around(
    splits: Iterable[Split], asked: Iterable[Symbol], on: date
) -> dict[Symbol, tuple[Split, ...]]:
    """Those that a position, or a price, may still wait for on that day."""
    found: dict[Symbol, tuple[Split, ...]] = {}
    wanted = set(asked)
    for split in splits:
        if split.symbol in wanted and split.ex_on >= on - KNOWN_FOR:
            found[split.symbol] = (*found.get(split.symbol, ()), split)
    return found


def _prices(block: BarBlock, rows: Mapping[Symbol, slice]) -> dict[Symbol, Price]:
    """The close of each symbol's last row."""
    return {
        symbol: Price(
            from_micros(int(block.close[span.stop - 1])),
            from_epoch_us(int(block.end_us[span.stop - 1])),
        )
        for symbol, span in rows.items()
    }


class _ByEnd(Mapping[Symbol, Closes]):
    """A column's figures by symbol and end of the bar, made when asked for: few rules look at all symbols."""

    def __init__(self, runs: Mapping[Symbol, tuple[BarBlock, slice]], column: str) -> None:
        """`runs`: where the bars of each symbol stand."""
        self._runs, self._column = runs, column
        self._made: dict[Symbol, Closes] = {}

    def __getitem__(self, symbol: Symbol) -> Closes:
        made = self._made.get(symbol)
        if made is None:
            block, span = self._runs[symbol]
            unit = 1 if self._column == "volume" else MICROS
            values = (getattr(block, self._column)[span] / unit).tolist()
            made = KeptCloses(zip(block.end_us[span].tolist(), values, strict=True))
            self._made[symbol] = made
        return made

    def joined(self, other: _ByEnd) -> _ByEnd:
        """The figures of both; those of one symbol are the same in both."""
        both = _ByEnd({**self._runs, **other._runs}, self._column)
        both._made = {**self._made, **other._made}
        return both

    def __iter__(self) -> Iterator[Symbol]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)


def _rows_by_symbol(block: BarBlock) -> dict[Symbol, slice]:
    """Where each symbol's bars stand, oldest first; blocks are sorted that way."""
    rows: dict[Symbol, slice] = {}
    begin = 0
    for symbol, run in groupby(block.symbols):
        end = begin + len(list(run))
        rows[symbol] = slice(begin, end)
        begin = end
    return rows
