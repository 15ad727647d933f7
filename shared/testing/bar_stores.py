"""A bar store in memory, builders of bars, and the laws that every bar store keeps.

`MemoryBars` is the obvious implementation: a dictionary of revisions. The contract suite runs over it and
over the real store, so that what a test learns with the one holds for the other.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Protocol

from shared.domain.bar_blocks import BarBlock, block_of, to_epoch_us
from shared.domain.bars import Bar
from shared.domain.corporate_actions import (
    Adjustment,
    CashDividend,
    CorporateAction,
    Split,
    adjusted,
    exchange_day,
    merged,
    moved_away,
)
from shared.domain.money import parse_price, to_micros
from shared.domain.symbols import Symbol, parse_symbol
from shared.domain.timeframes import Timeframe
from shared.ports import ActionStore, BarStore, LatestBar

# A Thursday morning in New York, inside a session.
NOON = datetime(2026, 1, 15, 15, 0, tzinfo=UTC)
_Version = tuple[datetime, str, tuple[object, ...], Bar]


def a_bar(
    symbol: str = "AAPL",
    minute: int = 0,
    *,
    close: Decimal | str | float = 100,
    volume: int = 1_000,
    timeframe: Timeframe = Timeframe.MINUTE,
    begins_at: datetime = NOON,
) -> Bar:
    """A bar that starts `minute` lengths after `begins_at`; its range is a dollar around `close`."""
    price = parse_price(close)
    start_at = begins_at + minute * timeframe.length
    return Bar(
        parse_symbol(symbol),
        timeframe,
        start_at,
        start_at + timeframe.length,
        price,
        price + 1,
        max(price - 1, Decimal("0.000001")),
        price,
        volume,
    )


def a_block(*bars: Bar, timeframe: Timeframe = Timeframe.MINUTE) -> BarBlock:
    """`bars` as one block."""
    return block_of(timeframe, bars)


class MemoryActions:
    """An `ActionStore` that forgets everything with the process."""

    def __init__(self) -> None:
        self._versions: dict[tuple[str, str, date], list[tuple[datetime, str, str]]] = {}
        self._known: dict[tuple[object, ...], CorporateAction] = {}

    def put(
        self, actions: Sequence[CorporateAction], *, provider: str, fetched_at: datetime
    ) -> int:
        """See `ActionStore`."""
        added = 0
        told = merged(actions)
        own = [
            self._known[*key, *max(versions)]
            for key, versions in self._versions.items()
            if max(versions)[1] == provider
        ]
        for action in [*told, *moved_away(own, told)]:
            key = (action.symbol, type(action).__name__, action.ex_on)
            versions = self._versions.setdefault(key, [])
            version = (fetched_at, provider, repr(replace(action, ids=())))
            if version in versions or (versions and max(versions)[2] == version[2]):
                continue
            versions.append(version)
            self._known[*key, *version] = action
            added += 1
        return added

    def actions(
        self,
        symbols: Sequence[Symbol] | None = None,
        until_on: date | None = None,
        since_on: date | None = None,
    ) -> list[CorporateAction]:
        """See `ActionStore`."""
        current = [self._known[*key, *max(versions)] for key, versions in self._versions.items()]
        return merged(
            action
            for action in current
            if (symbols is None or action.symbol in symbols)
            and (until_on is None or action.ex_on <= until_on)
            and (since_on is None or action.ex_on >= since_on)
        )


class MemoryBars:
    """A `BarStore` that forgets everything with the process."""

    def __init__(self) -> None:
        self.actions = MemoryActions()
        self._versions: dict[tuple[Timeframe, Symbol, datetime], list[_Version]] = {}

    def append(self, block: BarBlock, *, provider: str, fetched_at: datetime) -> int:
        """See `BarStore`."""
        added = 0
        for bar in block:
            versions = self._versions.setdefault((bar.timeframe, bar.symbol, bar.start_at), [])
            version = (fetched_at, provider, _figures(bar), bar)
            if version in versions or (versions and max(versions)[2] == version[2]):
                continue
            versions.append(version)
            added += 1
        return added

    def last(
        self,
        timeframe: Timeframe,
        symbols: Sequence[Symbol],
        count: int,
        until_at: datetime,
        *,
        adjustment: Adjustment = Adjustment.NONE,
        as_of_on: date | None = None,
    ) -> BarBlock:
        """See `BarStore`."""
        chosen: list[Bar] = []
        for symbol in set(symbols):
            bars = [b for b in self._current(timeframe, [symbol]) if b.end_at <= until_at]
            chosen += sorted(bars, key=lambda bar: bar.start_at)[-count:]
        block = block_of(timeframe, chosen)
        return self._seen(block, adjustment, as_of_on or exchange_day(until_at))

    def version(self, timeframe: Timeframe, until_at: datetime) -> Hashable:
        """See `BarStore`."""
        held = (v for (length, *_), v in self._versions.items() if length is timeframe)
        return sum(map(len, held)), until_at

    def between(
        self,
        timeframe: Timeframe,
        symbols: Sequence[Symbol],
        start_at: datetime,
        end_at: datetime,
        *,
        adjustment: Adjustment = Adjustment.NONE,
        as_of_on: date | None = None,
    ) -> BarBlock:
        """See `BarStore`."""
        bars = self._current(timeframe, symbols)
        block = block_of(
            timeframe, [b for b in bars if b.start_at >= start_at and b.end_at <= end_at]
        )
        return self._seen(block, adjustment, as_of_on or exchange_day(end_at))

    def _seen(self, block: BarBlock, adjustment: Adjustment, as_of_on: date) -> BarBlock:
        def close_before(symbol: Symbol, at: datetime) -> tuple[int, int] | None:
            found = self.newest(block.timeframe, symbol, at)
            if found is None:
                return None
            return to_epoch_us(found.bar.start_at), to_micros(found.bar.close)

        return adjusted(block, self.actions.actions(), adjustment, as_of_on, close_before)

    def newest(self, timeframe: Timeframe, symbol: Symbol, until_at: datetime) -> LatestBar | None:
        """The newest bar of `symbol` with end_at <= `until_at`, its provider and fetch time."""
        found = [
            max(versions)
            for (length, name, _), versions in self._versions.items()
            if length is timeframe and name == symbol and max(versions)[3].end_at <= until_at
        ]
        if not found:
            return None
        fetched_at, provider, _, bar = max(found, key=lambda version: version[3].start_at)
        return LatestBar(bar, provider, fetched_at)

    def _current(self, timeframe: Timeframe, symbols: Sequence[Symbol]) -> Iterable[Bar]:
        return [
            max(versions)[3]
            for (length, name, _), versions in self._versions.items()
            if length is timeframe and name in symbols
        ]


def _figures(bar: Bar) -> tuple[object, ...]:
    return (bar.end_at, bar.open, bar.high, bar.low, bar.close, bar.volume)


class StoreOfBarsAndActions(BarStore, Protocol):
    """Bars with the splits and dividends that are applied to them."""

    @property
    def actions(self) -> ActionStore:
        """Splits and dividends."""
        ...


class BarStoreContract:
    """What every bar store does; a test class inherits it and gives a `store` fixture."""

    FETCHED_AT = NOON + timedelta(hours=1)

    def test_a_stored_bar_reads_back_exactly(self, store: BarStore) -> None:
        bar = a_bar(close="187.123456", volume=7)

        assert store.append(a_block(bar), provider="p", fetched_at=self.FETCHED_AT) == 1

        block = store.between(Timeframe.MINUTE, [bar.symbol], bar.start_at, bar.end_at)
        assert list(block) == [bar]

    def test_an_empty_store_answers_with_no_bars(self, store: BarStore) -> None:
        symbols = [parse_symbol("AAPL")]

        assert len(store.last(Timeframe.DAY, symbols, 5, NOON)) == 0
        assert len(store.between(Timeframe.DAY, symbols, NOON, NOON + timedelta(days=1))) == 0

    def test_appending_nothing_stores_nothing(self, store: BarStore) -> None:
        assert store.append(a_block(), provider="p", fetched_at=self.FETCHED_AT) == 0

    def test_the_same_bars_again_are_not_stored_again(self, store: BarStore) -> None:
        block = a_block(a_bar("AAPL"), a_bar("MSFT", 1))
        store.append(block, provider="p", fetched_at=self.FETCHED_AT)

        later = self.FETCHED_AT + timedelta(hours=1)
        assert store.append(block, provider="p", fetched_at=self.FETCHED_AT) == 0
        assert store.append(block, provider="q", fetched_at=later) == 0

    def test_of_two_revisions_the_one_fetched_last_wins_whichever_came_first(
        self, store: BarStore
    ) -> None:
        old, new = a_bar(close=100), a_bar(close=101)
        earlier = self.FETCHED_AT - timedelta(hours=1)

        assert store.append(a_block(new), provider="p", fetched_at=self.FETCHED_AT) == 1
        assert store.append(a_block(old), provider="p", fetched_at=earlier) == 1

        assert list(store.last(Timeframe.MINUTE, [old.symbol], 9, new.end_at)) == [new]

    def test_a_revision_counts_as_stored_and_replaces_what_is_read(self, store: BarStore) -> None:
        old, new = a_bar(volume=10), a_bar(volume=11)
        store.append(a_block(old), provider="p", fetched_at=self.FETCHED_AT)

        later = self.FETCHED_AT + timedelta(seconds=1)
        assert store.append(a_block(new), provider="p", fetched_at=later) == 1

        assert list(store.last(Timeframe.MINUTE, [old.symbol], 9, new.end_at)) == [new]

    def test_last_gives_each_symbol_its_own_newest_bars_in_order(self, store: BarStore) -> None:
        often = [a_bar("AAPL", minute) for minute in range(60)]
        seldom = [a_bar("MSFT", minute) for minute in (0, 1, 50)]
        for bar in sorted([*often, *seldom], key=lambda bar: bar.start_at):
            store.append(a_block(bar), provider="p", fetched_at=self.FETCHED_AT)

        symbols = [parse_symbol("MSFT"), parse_symbol("AAPL"), parse_symbol("TSLA")]
        block = store.last(Timeframe.MINUTE, symbols, 3, often[55].end_at)

        assert list(block) == [*often[53:56], *seldom]

    def test_last_finds_a_symbol_that_was_backfilled_after_newer_bars(
        self, store: BarStore
    ) -> None:
        live = [a_bar("AAPL", minute) for minute in range(100, 140)]
        for bar in live:
            store.append(a_block(bar), provider="p", fetched_at=self.FETCHED_AT)
        old = [a_bar("MSFT", minute) for minute in range(5)]
        store.append(a_block(*old), provider="p", fetched_at=self.FETCHED_AT)

        symbols = [parse_symbol("AAPL"), parse_symbol("MSFT")]
        block = store.last(Timeframe.MINUTE, symbols, 2, live[-1].end_at)

        assert list(block) == [*live[-2:], *old[-2:]]

    def test_a_version_stays_while_answers_do_and_changes_with_them(self, store: BarStore) -> None:
        bars = [a_bar("AAPL", minute) for minute in range(3)]
        store.append(a_block(*bars[:2]), provider="p", fetched_at=self.FETCHED_AT)
        at = bars[1].end_at
        before = store.version(Timeframe.MINUTE, at)

        assert store.version(Timeframe.MINUTE, at) == before
        # The first bar alone has ended by then.
        assert store.version(Timeframe.MINUTE, bars[0].end_at) != before

        later = self.FETCHED_AT + timedelta(seconds=1)
        revised = a_bar("AAPL", 1, close="100.07")
        store.append(a_block(revised), provider="p", fetched_at=later)

        assert store.version(Timeframe.MINUTE, at) != before

    def test_a_bar_is_not_read_before_its_end(self, store: BarStore) -> None:
        bar = a_bar()
        store.append(a_block(bar), provider="p", fetched_at=self.FETCHED_AT)
        early = bar.end_at - timedelta(microseconds=1)

        assert len(store.last(Timeframe.MINUTE, [bar.symbol], 1, early)) == 0
        assert len(store.between(Timeframe.MINUTE, [bar.symbol], bar.start_at, early)) == 0

    def test_between_takes_bars_that_lie_wholly_inside(self, store: BarStore) -> None:
        bars = [a_bar("AAPL", minute) for minute in range(5)]
        store.append(a_block(*bars, a_bar("MSFT")), provider="p", fetched_at=self.FETCHED_AT)

        block = store.between(Timeframe.MINUTE, [bars[0].symbol], bars[1].start_at, bars[3].end_at)

        assert list(block) == bars[1:4]

    def test_timeframes_are_kept_apart(self, store: BarStore) -> None:
        minute = a_bar()
        day = a_bar(timeframe=Timeframe.DAY)
        store.append(a_block(minute), provider="p", fetched_at=self.FETCHED_AT)
        store.append(
            a_block(day, timeframe=Timeframe.DAY), provider="p", fetched_at=self.FETCHED_AT
        )

        assert list(store.last(Timeframe.DAY, [day.symbol], 9, day.end_at)) == [day]
        assert list(store.last(Timeframe.MINUTE, [day.symbol], 9, day.end_at)) == [minute]

    def test_bars_before_the_epoch_are_kept_too(self, store: BarStore) -> None:
        crash = a_bar(begins_at=datetime(1929, 10, 29, 15, 0, tzinfo=UTC))
        store.append(a_block(crash), provider="p", fetched_at=self.FETCHED_AT)

        assert list(store.last(Timeframe.MINUTE, [crash.symbol], 1, crash.end_at)) == [crash]

    def test_raw_bars_are_seen_in_the_shares_of_the_day_they_are_asked_for(
        self, store: StoreOfBarsAndActions
    ) -> None:
        bars = [
            a_bar(close=c, volume=10, begins_at=NOON + timedelta(days=n))
            for n, c in enumerate([200, 100])
        ]
        store.append(a_block(*bars), provider="p", fetched_at=self.FETCHED_AT)
        symbol, ex_on = bars[0].symbol, bars[1].start_at.date()
        split = Split(symbol, ex_on, Decimal(2), Decimal(1))
        store.actions.put([split], provider="p", fetched_at=self.FETCHED_AT)
        end_at = bars[1].end_at

        def seen(adjustment: Adjustment, as_of_on: date | None = None) -> list[tuple[float, int]]:
            block = store.between(
                Timeframe.MINUTE, [symbol], NOON, end_at, adjustment=adjustment, as_of_on=as_of_on
            )
            newest = store.last(
                Timeframe.MINUTE, [symbol], 9, end_at, adjustment=adjustment, as_of_on=as_of_on
            )
            assert list(block) == list(newest)
            return [(float(bar.close), bar.volume) for bar in block]

        assert seen(Adjustment.NONE) == [(200, 10), (100, 10)]
        assert seen(Adjustment.SPLIT) == seen(Adjustment.ALL) == [(100, 20), (100, 10)]
        assert seen(Adjustment.SPLIT, ex_on - timedelta(days=1)) == [(200, 10), (100, 10)]

    def test_an_action_after_what_is_read_is_not_known_unless_asked_for(
        self, store: StoreOfBarsAndActions
    ) -> None:
        bars = [a_bar(close=100, begins_at=NOON + timedelta(days=n)) for n in range(2)]
        store.append(a_block(*bars), provider="p", fetched_at=self.FETCHED_AT)
        symbol, ex_on = bars[0].symbol, bars[1].start_at.date()
        store.actions.put(
            [CashDividend(symbol, ex_on, Decimal(10))], provider="p", fetched_at=self.FETCHED_AT
        )

        def close(as_of_on: date | None) -> list[Decimal]:
            until_at = bars[0].end_at
            block = store.last(
                Timeframe.MINUTE,
                [symbol],
                1,
                until_at,
                adjustment=Adjustment.ALL,
                as_of_on=as_of_on,
            )
            return [bar.close for bar in block]

        assert close(None) == [100]
        assert close(ex_on) == [90]


class ActionStoreContract:
    """What every store of corporate actions does; a test class gives an `actions` fixture."""

    AAPL = parse_symbol("AAPL")
    EX_ON = date(2014, 6, 9)
    FETCHED_AT = NOON
    LATER = NOON + timedelta(days=1)

    def split(self, new: str = "7", symbol: str = "AAPL", days: int = 0) -> Split:
        """A split, `days` after the first."""
        ex_on = self.EX_ON + timedelta(days=days)
        return Split(parse_symbol(symbol), ex_on, Decimal(new), Decimal(1))

    def test_what_is_put_is_there_once_with_exact_figures(self, actions: ActionStore) -> None:
        dividend = CashDividend(self.AAPL, self.EX_ON, Decimal("0.4700001"))
        some: list[CorporateAction] = [self.split("1.05"), dividend]

        assert actions.put(some, provider="p", fetched_at=self.FETCHED_AT) == 2
        assert actions.put(some, provider="q", fetched_at=self.LATER) == 0

        assert actions.actions() == merged(some)

    def test_nothing_put_is_nothing_stored(self, actions: ActionStore) -> None:
        assert actions.put([], provider="p", fetched_at=self.FETCHED_AT) == 0
        assert actions.actions() == []

    def test_of_two_records_of_one_split_the_one_fetched_last_counts_alone(
        self, actions: ActionStore
    ) -> None:
        wrong, right = self.split("4"), self.split("7")

        assert actions.put([right], provider="file", fetched_at=self.LATER) == 1
        assert actions.put([wrong], provider="alpaca", fetched_at=self.FETCHED_AT) == 1

        assert actions.actions() == [right]

    def test_a_record_that_its_provider_moved_to_another_day_counts_there_alone(
        self, actions: ActionStore
    ) -> None:
        def told(days: int, *ids: str) -> list[CorporateAction]:
            ex_on = self.EX_ON + timedelta(days=days)
            amounts = [CashDividend(self.AAPL, ex_on, Decimal(1), (each,)) for each in ids[1:]]
            return [replace(self.split(days=days), ids=ids[:1]), *amounts]

        actions.put(told(0, "s", "d", "e"), provider="p", fetched_at=self.FETCHED_AT)
        # A query that does not reach that day says nothing about it, nor does another provider.
        actions.put(told(9, "x", "y"), provider="p", fetched_at=self.LATER)
        actions.put(told(1, "s", "d", "e"), provider="q", fetched_at=self.LATER)
        before = [each for each in actions.actions() if each.ex_on == self.EX_ON]
        assert before == merged(told(0, "s", "d", "e"))

        actions.put(told(2, "s", "d", "e"), provider="p", fetched_at=self.LATER)

        moved = merged(told(2, "s", "d", "e"))
        assert [each for each in actions.actions() if each.ex_on == moved[0].ex_on] == moved
        left = [each for each in actions.actions() if each.ex_on == self.EX_ON]
        assert left == [
            CashDividend(self.AAPL, self.EX_ON, Decimal(0)),
            Split(self.AAPL, self.EX_ON, Decimal(1), Decimal(1)),
        ]

    def test_only_the_symbols_and_days_asked_for_are_given(self, actions: ActionStore) -> None:
        first, later, other = self.split(), self.split(days=3), self.split(symbol="MSFT")
        actions.put([first, later, other], provider="p", fetched_at=self.FETCHED_AT)

        assert actions.actions([self.AAPL]) == [first, later]
        assert actions.actions([self.AAPL], self.EX_ON) == [first]
        assert actions.actions(None, self.EX_ON) == [first, other]
        assert actions.actions(since_on=later.ex_on) == [later]
        assert actions.actions([self.AAPL], first.ex_on, first.ex_on) == [first]
