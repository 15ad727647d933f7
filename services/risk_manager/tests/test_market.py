"""The price of a symbol is the close of its newest bar by an instant, wherever it is read from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from threading import Event
from typing import Any

import pytest

from risk_manager.market import Patience, StoredMarket
from risk_manager.share_counts import KNOWN_AHEAD, KNOWN_FOR
from risk_manager.snapshot import Market, Price
from risk_manager.testing import AAPL, MSFT, NOW
from shared.domain.bar_blocks import block_of, to_epoch_us
from shared.domain.bars import Bar
from shared.domain.corporate_actions import Split
from shared.domain.errors import Unavailable
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.ports import LatestBar
from shared.testing.bar_stores import MemoryActions, MemoryBars

pytestmark = pytest.mark.anyio
MINUTE = timedelta(minutes=1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def a_bar(symbol: Symbol, end_at: datetime, close: str) -> Bar:
    price = Decimal(close)
    return Bar(symbol, Timeframe.MINUTE, end_at - MINUTE, end_at, price, price, price, price, 100)


class Cache:
    """The newest bars, as somebody put them there."""

    def __init__(self, *bars: Bar) -> None:
        self._bars = {bar.symbol: LatestBar(bar, "test", NOW) for bar in bars}
        self.asked = 0

    async def replace(self, block: object, *, provider: str, fetched_at: datetime) -> None:
        raise AssertionError("a reader of prices writes none")

    async def get(self, timeframe: Timeframe, symbols: object) -> dict[Symbol, LatestBar]:
        self.asked += 1
        return self._bars


class Watched(MemoryBars):
    """Bars that tell whose were read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[Symbol, ...]] = []

    def last(self, timeframe: Any, symbols: Any, *args: Any, **rest: Any) -> Any:
        self.reads.append(tuple(symbols))
        return super().last(timeframe, symbols, *args, **rest)


def a_store(*bars: Bar) -> MemoryBars:
    store = MemoryBars()
    store.append(block_of(Timeframe.MINUTE, bars), provider="test", fetched_at=NOW)
    return store


async def test_a_cached_bar_that_ends_at_the_instant_is_the_price() -> None:
    market = StoredMarket(
        Cache(a_bar(AAPL, NOW, "101")), MemoryBars(), MemoryActions(), Timeframe.MINUTE, 5
    )

    found = await market.at(NOW, [AAPL], with_history=False)

    assert found.prices[AAPL].amount == 101
    assert found.asked == {AAPL}


@pytest.mark.parametrize("cached_at", [NOW - 5 * MINUTE, NOW + MINUTE])
async def test_any_other_cached_bar_gives_way_to_the_store(cached_at: datetime) -> None:
    cache = Cache(a_bar(AAPL, cached_at, "99"))
    store = a_store(a_bar(AAPL, NOW - MINUTE, "100.5"), a_bar(AAPL, NOW + MINUTE, "200"))

    found = await StoredMarket(cache, store, MemoryActions(), Timeframe.MINUTE, 5).at(
        NOW, [AAPL], with_history=False
    )

    assert found.prices[AAPL].amount == Decimal("100.5")
    assert found.prices[AAPL].end_at == NOW - MINUTE


async def test_a_symbol_without_a_bar_was_asked_for_and_has_no_price() -> None:
    found = await StoredMarket(Cache(), MemoryBars(), MemoryActions(), Timeframe.MINUTE, 5).at(
        NOW, [MSFT], with_history=False
    )

    assert found.asked == {MSFT}
    assert found.prices == {}


async def test_history_is_the_newest_closes_by_the_end_of_their_bar() -> None:
    bars = [a_bar(AAPL, NOW - i * MINUTE, str(100 + i)) for i in range(10)]

    found = await StoredMarket(Cache(), a_store(*bars), MemoryActions(), Timeframe.MINUTE, 3).at(
        NOW, [AAPL], with_history=True
    )

    ends = [to_epoch_us(NOW - i * MINUTE) for i in (2, 1, 0)]
    assert found.closes[AAPL] == dict(zip(ends, [102.0, 101.0, 100.0], strict=True))
    assert found.prices[AAPL].amount == 100


async def test_history_is_read_again_once_there_are_other_bars_and_not_before() -> None:
    store = a_store(a_bar(AAPL, NOW - MINUTE, "100"))
    market = StoredMarket(Cache(), store, MemoryActions(), Timeframe.MINUTE, 5)
    first = await market.at(NOW - MINUTE, [AAPL, MSFT], with_history=True)

    again = await market.at(NOW - MINUTE, [AAPL], with_history=True)
    store.append(
        block_of(Timeframe.MINUTE, [a_bar(AAPL, NOW, "101")]), provider="t", fetched_at=NOW
    )
    later = await market.at(NOW, [AAPL], with_history=True)
    earlier = await market.at(NOW - MINUTE, [AAPL], with_history=True)

    assert again is first
    assert later.prices[AAPL].amount == 101
    assert list(later.closes[AAPL].values()) == [100.0, 101.0]
    assert earlier.prices[AAPL].amount == 100


async def test_a_symbol_that_was_not_asked_for_before_is_looked_for() -> None:
    store = a_store(a_bar(AAPL, NOW, "100"), a_bar(MSFT, NOW, "200"))
    market = StoredMarket(Cache(), store, MemoryActions(), Timeframe.MINUTE, 5)
    await market.at(NOW, [AAPL], with_history=True)

    found = await market.at(NOW, [AAPL, MSFT], with_history=True)

    assert found.prices[MSFT].amount == 200


async def test_prices_and_history_are_in_the_shares_of_the_instants_day() -> None:
    before = NOW - timedelta(days=1)
    store, actions = a_store(a_bar(AAPL, before, "100"), a_bar(AAPL, NOW, "10.5")), MemoryActions()
    split = Split(AAPL, NOW.date(), Decimal(10), Decimal(1))
    actions.put([split], provider="test", fetched_at=NOW)
    market = StoredMarket(Cache(), store, actions, Timeframe.MINUTE, 5)

    found = await market.at(NOW, [AAPL], with_history=True)
    earlier = await market.at(before, [AAPL], with_history=True)
    alone = await market.at(NOW, [AAPL], with_history=False)

    assert list(found.closes[AAPL].values()) == [10.0, 10.5]
    assert list(found.volumes[AAPL].values()) == [1000.0, 100.0]
    assert (found.splits, found.on) == ({AAPL: (split,)}, NOW.date())
    assert list(earlier.closes[AAPL].values()) == [100.0]
    assert (alone.prices[AAPL].amount, alone.splits) == (Decimal("10.5"), {AAPL: (split,)})


async def test_a_split_that_becomes_known_counts_once_there_are_other_bars() -> None:
    store, actions = a_store(a_bar(AAPL, NOW - MINUTE, "100")), MemoryActions()
    market = StoredMarket(Cache(), store, actions, Timeframe.MINUTE, 5)
    await market.at(NOW, [AAPL], with_history=True)

    actions.put([Split(AAPL, NOW.date(), Decimal(10), Decimal(1))], provider="test", fetched_at=NOW)
    store.append(block_of(Timeframe.MINUTE, [a_bar(AAPL, NOW, "10")]), provider="t", fetched_at=NOW)

    assert AAPL in (await market.at(NOW, [AAPL], with_history=True)).splits


@pytest.mark.parametrize("with_history", [True, False])
async def test_a_split_counts_for_every_bar_from_before_it_however_old(with_history: bool) -> None:
    days = timedelta(days=1)
    store, actions = a_store(a_bar(MSFT, NOW - 90 * days, "100")), MemoryActions()
    split = Split(MSFT, (NOW - 60 * days).date(), Decimal(10), Decimal(1))
    actions.put([split], provider="t", fetched_at=NOW)
    market = StoredMarket(Cache(a_bar(AAPL, NOW, "101")), store, actions, Timeframe.MINUTE, 5)

    # The splits of the last days alone are known after the first.
    await market.at(NOW, [AAPL], with_history=False)
    found = await market.at(NOW, [AAPL, MSFT], with_history=with_history)

    assert found.prices[MSFT].amount == 10
    assert found.splits == {}


async def test_a_price_that_is_at_hand_needs_the_splits_of_the_last_days_alone() -> None:
    asked: list[tuple[date | None, date | None]] = []

    class Counting(MemoryActions):
        def actions(
            self, symbols: Any = None, until_on: date | None = None, since_on: date | None = None
        ) -> Any:
            asked.append((since_on, until_on))
            return super().actions(symbols, until_on, since_on)

    market = StoredMarket(
        Cache(a_bar(AAPL, NOW, "101")), MemoryBars(), Counting(), Timeframe.MINUTE, 5
    )
    for _ in range(2):
        await market.at(NOW, [AAPL], with_history=False)

    assert asked == [(NOW.date() - KNOWN_FOR, NOW.date() + KNOWN_AHEAD)]


class Overtaken(MemoryBars):
    """A store during whose answer to one reader another one reads, as threads do."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], object] = lambda: None

    def version(self, timeframe: Timeframe, until_at: datetime) -> Hashable:
        return _Version(super().version(timeframe, until_at), self)


@dataclass(frozen=True)
class _Version:
    of: Hashable
    store: Overtaken

    def __hash__(self) -> int:
        return hash(self.of)

    def __eq__(self, other: object) -> bool:
        meanwhile, self.store.meanwhile = self.store.meanwhile, lambda: None
        meanwhile()
        return isinstance(other, _Version) and self.of == other.of


@pytest.mark.parametrize("with_history", [True, False])
async def test_another_read_at_the_same_time_changes_nothing(with_history: bool) -> None:
    store, actions = Overtaken(), MemoryActions()
    yesterday, later = NOW - timedelta(days=1), NOW + timedelta(days=1)
    bars = [a_bar(AAPL, yesterday, "100"), a_bar(AAPL, NOW, "101"), a_bar(AAPL, later, "102")]
    store.append(block_of(Timeframe.MINUTE, bars), provider="t", fetched_at=NOW)
    near, far = (
        Split(AAPL, (at + KNOWN_AHEAD).date(), Decimal(10), Decimal(1)) for at in (NOW, later)
    )
    actions.put([near, far], provider="t", fetched_at=NOW)
    market = StoredMarket(Cache(), store, actions, Timeframe.MINUTE, 5)

    def read(at: datetime) -> Market:
        return asyncio.run(market.at(at, [AAPL], with_history=with_history))

    first = await asyncio.to_thread(read, NOW)
    store.meanwhile = lambda: read(later)
    again = await asyncio.to_thread(read, NOW)

    assert (again.prices, again.splits) == (first.prices, first.splits)
    assert again.prices[AAPL].amount == 101
    assert again.splits == {AAPL: (near,)}


async def test_only_the_symbols_that_were_not_read_yet_are_read() -> None:
    store = Watched()
    bars = [a_bar(AAPL, NOW, "100"), a_bar(MSFT, NOW, "200")]
    store.append(block_of(Timeframe.MINUTE, bars), provider="t", fetched_at=NOW)
    market = StoredMarket(Cache(), store, MemoryActions(), Timeframe.MINUTE, 5)

    for asked in ([AAPL], [AAPL, MSFT], [MSFT]):
        found = await market.at(NOW, asked, with_history=True)

    assert store.reads == [(AAPL,), (MSFT,)]
    assert {s: list(found.closes[s].values()) for s in found.closes} == {AAPL: [100], MSFT: [200]}
    assert {s: price.amount for s, price in found.prices.items()} == {AAPL: 100, MSFT: 200}


async def test_what_was_asked_for_last_is_read_ahead_of_the_next_decision() -> None:
    store = Watched()
    store.append(
        block_of(Timeframe.MINUTE, [a_bar(s, NOW - MINUTE, "100") for s in (AAPL, MSFT)]),
        provider="t",
        fetched_at=NOW,
    )
    market = StoredMarket(Cache(), store, MemoryActions(), Timeframe.MINUTE, 5)
    await market.follow(NOW)
    assert store.reads == [], "nobody has asked for anything"
    await market.at(NOW - MINUTE, [AAPL], with_history=True)
    await market.at(NOW - MINUTE, [MSFT], with_history=True)
    newer = [a_bar(AAPL, NOW, "101"), a_bar(MSFT, NOW, "99")]
    store.append(block_of(Timeframe.MINUTE, newer), provider="t", fetched_at=NOW)

    store.reads.clear()
    await market.follow(NOW)
    found = await market.at(NOW, [AAPL, MSFT], with_history=True)
    prices_alone = await market.at(NOW, [MSFT], with_history=False)

    assert store.reads == [(AAPL, MSFT)]
    assert list(found.closes[AAPL].values()) == [100.0, 101.0]
    assert prices_alone.prices[MSFT].amount == 99


async def test_bars_that_come_after_the_reading_ahead_are_read_by_the_decision() -> None:
    store = a_store(a_bar(AAPL, NOW - MINUTE, "100"))
    market = StoredMarket(Cache(), store, MemoryActions(), Timeframe.MINUTE, 5)
    await market.at(NOW - MINUTE, [AAPL], with_history=True)
    await market.follow(NOW)
    store.append(
        block_of(Timeframe.MINUTE, [a_bar(AAPL, NOW, "101")]), provider="t", fetched_at=NOW
    )

    for with_history in (True, False):
        found = await market.at(NOW, [AAPL], with_history=with_history)
        assert found.prices[AAPL].amount == 101


async def test_who_asks_in_the_middle_of_a_minute_asks_no_cache() -> None:
    cache = Cache()
    store = a_store(a_bar(AAPL, NOW, "100"))
    market = StoredMarket(cache, store, MemoryActions(), Timeframe.MINUTE, 5)

    found = await market.at(NOW + timedelta(seconds=20), [AAPL], with_history=False)

    assert (found.prices[AAPL].amount, cache.asked) == (Decimal(100), 0)


async def test_a_cached_bar_that_is_not_stored_yet_counts_above_what_was_read() -> None:
    store = a_store(a_bar(AAPL, NOW - MINUTE, "100"), a_bar(MSFT, NOW - MINUTE, "200"))
    market = StoredMarket(
        Cache(a_bar(AAPL, NOW, "101")), store, MemoryActions(), Timeframe.MINUTE, 5
    )
    await market.at(NOW, [AAPL, MSFT], with_history=True)

    found = await market.at(NOW, [AAPL, MSFT], with_history=False)

    assert {s: price.amount for s, price in found.prices.items()} == {AAPL: 101, MSFT: 200}


async def test_what_nobody_has_asked_for_in_a_day_is_not_read_ahead() -> None:
    store = a_store(a_bar(AAPL, NOW, "100"))
    market = StoredMarket(Cache(), store, MemoryActions(), Timeframe.MINUTE, 5)
    await market.at(NOW, [AAPL], with_history=True)
    store.last = None  # type: ignore[assignment,method-assign]  # whoever reads fails

    await market.follow(NOW + timedelta(days=2))


@pytest.mark.parametrize("fails", [False, True])
async def test_a_decision_waits_for_the_reading_ahead_and_outlives_its_failure(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    # A busy machine may need longer for what happens meanwhile than a decision waits.
    monkeypatch.setattr("risk_manager.market._AHEAD_WITHIN_S", 60.0)
    began, go_on = Event(), Event()

    class Held(Watched):
        is_ahead = False

        def last(self, *args: Any, **rest: Any) -> Any:
            found = super().last(*args, **rest)
            if self.is_ahead:
                self.is_ahead = False
                began.set()
                assert go_on.wait(10)
                if fails:
                    raise Unavailable("the bucket is away")
            return found

    store = Held()
    store.append(
        block_of(Timeframe.MINUTE, [a_bar(AAPL, NOW, "100")]), provider="t", fetched_at=NOW
    )
    market = StoredMarket(Cache(), store, MemoryActions(), Timeframe.MINUTE, 5)
    await market.at(NOW - MINUTE, [AAPL], with_history=True)
    store.reads.clear()
    store.is_ahead = True

    ahead = asyncio.create_task(market.follow(NOW))
    await asyncio.to_thread(began.wait, 10)
    decision = asyncio.create_task(market.at(NOW, [AAPL], with_history=True))
    exit_found = await market.at(NOW, [AAPL], with_history=False)
    go_on.set()

    assert (await decision).prices[AAPL].amount == 100
    assert exit_found.prices[AAPL].amount == 100
    # What was read ahead and for the exit, and by the decision itself only where nothing was read ahead.
    assert len(store.reads) == (3 if fails else 2)
    assert (
        isinstance((await asyncio.gather(ahead, return_exceptions=True))[0], Unavailable) is fails
    )


# Who gets out is asked for here; the other is never over before a slow machine has answered.
HASTY = Patience(leaving_s=0.02, entering_s=30)


class Hanging(MemoryBars):
    """Bars on a disk that may hang, or a bucket that may be away."""

    def __init__(self) -> None:
        super().__init__()
        self.answers, self.entered, self.asked = Event(), Event(), 0
        self.answers.set()
        self.away = False

    def version(self, timeframe: Any, *args: Any, **rest: Any) -> Any:
        self.asked += 1
        self.entered.set()
        self.answers.wait(30)
        if self.away:
            raise Unavailable("the bucket gives no answer")
        return super().version(timeframe, *args, **rest)


@pytest.mark.parametrize("with_history", [False, True])
async def test_who_wants_to_get_out_waits_for_no_store_and_is_told_the_last_known_prices(
    with_history: bool,
) -> None:
    store = Hanging()
    store.append(
        block_of(Timeframe.MINUTE, [a_bar(AAPL, NOW, "100")]), provider="t", fetched_at=NOW
    )
    market = StoredMarket(Cache(), store, MemoryActions(), Timeframe.MINUTE, 5, HASTY)
    before = await market.at(NOW, [AAPL], with_history=with_history)
    later = NOW + MINUTE

    store.answers.clear()
    found = await market.at(later, [AAPL, MSFT], with_history=with_history, in_haste=True)
    asked = store.asked
    again = await market.at(later, [AAPL], with_history=with_history, in_haste=True)

    assert before.unread is None
    assert found.unread == "it has not answered within 0.02 s"
    assert found.prices == {AAPL: Price(Decimal(100), NOW)}
    assert found.asked == {AAPL, MSFT}
    assert found.closes == {}
    # Nobody else waits behind the one that hangs.
    assert (again.unread, store.asked) == ("it has not answered for a while", asked)
    store.answers.set()


async def test_a_store_that_is_away_is_asked_anew_each_time_and_believed_once_it_is_back() -> None:
    store = Hanging()
    store.append(
        block_of(Timeframe.MINUTE, [a_bar(AAPL, NOW, "100")]), provider="t", fetched_at=NOW
    )
    cache = Cache(a_bar(AAPL, NOW - MINUTE, "98"), a_bar(MSFT, NOW + MINUTE, "50"))
    market = StoredMarket(cache, store, MemoryActions(), Timeframe.MINUTE, 5, Patience(30, 30))
    store.away = True

    found = await market.at(NOW, [AAPL, MSFT], with_history=False)
    store.away = False
    back = await market.at(NOW, [AAPL, MSFT], with_history=False)

    assert found.unread == "the bucket gives no answer"
    # The cache's newest, as old as it is; what ends later than the instant is not known yet.
    assert found.prices == {AAPL: Price(Decimal(98), NOW - MINUTE)}
    assert back.unread is None
    assert back.prices == {AAPL: Price(Decimal(100), NOW)}


async def test_who_asks_while_another_reading_goes_on_waits_as_long_as_that_one() -> None:
    store = Hanging()
    store.append(
        block_of(Timeframe.MINUTE, [a_bar(AAPL, NOW, "100")]), provider="t", fetched_at=NOW
    )
    store.answers.clear()
    market = StoredMarket(Cache(), store, MemoryActions(), Timeframe.MINUTE, 5, Patience(30, 30))
    first = asyncio.create_task(market.at(NOW, [AAPL], with_history=False))
    assert await asyncio.to_thread(store.entered.wait, 30)

    async def answer() -> None:
        store.answers.set()

    found = await asyncio.gather(
        market.at(NOW, [AAPL], with_history=False, in_haste=True), answer(), first
    )

    assert [market.unread for market in found if market is not None] == [None, None]


async def test_in_a_replay_the_store_is_waited_for() -> None:
    store = Hanging()
    store.append(
        block_of(Timeframe.MINUTE, [a_bar(AAPL, NOW, "100")]), provider="t", fetched_at=NOW
    )
    store.answers.clear()
    market = StoredMarket(Cache(), store, MemoryActions(), Timeframe.MINUTE, 5)
    reading = asyncio.create_task(market.at(NOW, [AAPL], with_history=False, in_haste=True))
    assert await asyncio.to_thread(store.entered.wait, 30)

    store.answers.set()

    assert (await reading).prices[AAPL].amount == 100
