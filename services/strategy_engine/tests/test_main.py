"""The stage itself: one evaluation per batch, the same ones however often it was restarted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config import load_settings
from shared.domain.bar_blocks import to_epoch_us
from shared.domain.bars import Bar
from shared.domain.corporate_actions import Split
from shared.domain.errors import InvalidInput, Misconfigured, Unavailable
from shared.domain.ids import signal_id
from shared.domain.signals import Direction, Evaluation
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.messages import BELL_EVALUATIONS
from shared.testing.bar_stores import NOON, a_bar, a_block
from strategy_engine.catalogue import discover
from strategy_engine.choosing import chosen_strategy
from strategy_engine.evaluation import evaluate
from strategy_engine.panels import Panel, View
from strategy_engine.parameters import Whole
from strategy_engine.ports import Batch, StrategyRun
from strategy_engine.strategies.moving_average import MovingAverage
from strategy_engine.strategy import Strategy, VectorStrategy, Wish, Wishes
from strategy_engine.testing import Market, MemoryEvaluations, batch_of, work_off
from strategy_engine.universe import Screen
from strategy_engine.windows import Windows

QUICK = MovingAverage(short_window=1, long_window=2)
SYMBOLS = ("AAPL", "MSFT", "TSLA")


class Moody(Strategy):
    """Long on even closes; on odd ones it raises, or answers what its class says."""

    answer: ClassVar[object] = None

    @property
    def bars_needed(self) -> int:
        return 1

    def generate_signal(self, view: View) -> Wish | Direction | None:
        if view.close[-1] % 2 == 0:
            return Direction.LONG
        if self.answer is None:
            raise ZeroDivisionError("odd")
        return self.answer  # type: ignore[return-value]  # nonsense on purpose


def wishes(evaluations: Sequence[Evaluation]) -> list[list[tuple[str, str]]]:
    return [[(s.symbol, s.direction.value) for s in e.signals] for e in evaluations]


def test_a_crossover_becomes_a_signal_with_its_id_reason_and_figures() -> None:
    market = Market()
    for minute, close in enumerate([10, 9]):
        market.keep(a_bar("AAPL", minute, close=close))
    bar = a_bar("AAPL", 2, close="12.5")
    batch = market.announce(bar)

    asyncio.run(work_off(market.engine(QUICK)))

    [evaluation] = market.store.outbox
    assert (evaluation.instant_at, evaluation.timeframe) == (batch.end_at, Timeframe.MINUTE)
    [signal] = evaluation.signals
    assert signal.signal_id == signal_id("paper", "moving_average", "AAPL", "1Min", bar.end_at)
    assert (signal.direction, signal.reference_price) == (Direction.LONG, bar.close)
    assert signal.reason == "SMA 1 crossed above SMA 2"
    assert signal.figures == {"sma_short": "12.5", "sma_long": "10.75", "close": "12.5"}
    assert signal.conviction == 1.0
    assert [stored.signal for stored in market.store.kept] == [signal]
    assert market.bells.rung == [BELL_EVALUATIONS]


def test_a_cross_below_becomes_a_wish_to_be_short_where_the_strategy_allows_it() -> None:
    market = Market()
    for minute, close in enumerate([10, 11]):
        market.keep(a_bar("AAPL", minute, close=close))
    bar = a_bar("AAPL", 2, close=8)
    market.announce(bar)

    asyncio.run(
        work_off(market.engine(MovingAverage(short_window=1, long_window=2, allow_short=True)))
    )

    [[signal]] = [evaluation.signals for evaluation in market.store.outbox]
    assert signal.signal_id == signal_id("paper", "moving_average", "AAPL", "1Min", bar.end_at)
    assert (signal.direction, signal.reference_price) == (Direction.SHORT, bar.close)
    assert signal.reason == "SMA 1 crossed below SMA 2"
    assert signal.figures == {"sma_short": "8", "sma_long": "9.5", "close": "8"}
    assert [stored.signal for stored in market.store.kept] == [signal]


def test_an_instant_without_wishes_still_leaves_an_evaluation() -> None:
    market = Market()
    for minute in range(3):
        market.announce(a_bar("AAPL", minute, close=100))

    asyncio.run(work_off(market.engine(QUICK)))

    assert wishes(market.store.outbox) == [[], [], []]
    assert market.store.read == 3


def test_a_batch_that_may_not_be_decided_on_moves_the_windows_and_gives_no_signal() -> None:
    market = Market()
    market.announce(a_bar("AAPL", 0, close=10))
    market.announce(a_bar("AAPL", 1, close=9))
    market.announce(a_bar("AAPL", 2, close=12), decidable=False)
    market.announce(a_bar("AAPL", 3, close=8))

    asyncio.run(work_off(market.engine(QUICK)))

    # The rise gave no signal, and only somebody who has seen it can see the last bar fall below.
    assert wishes(market.store.outbox) == [[], [], [], [("AAPL", "FLAT")]]


def test_a_batch_of_another_timeframe_marks_its_instant_and_nothing_else() -> None:
    market = Market()
    day = a_bar("AAPL", 0, timeframe=Timeframe.DAY)
    market.store.batches.append(
        Batch(1, Timeframe.DAY, day.start_at, day.end_at, (day.symbol,), decidable=True)
    )

    asyncio.run(work_off(market.engine(QUICK)))

    assert market.store.outbox == [Evaluation("paper", Timeframe.DAY, day.end_at, ())]


def test_a_batch_whose_bars_the_store_does_not_have_yet_is_waited_for() -> None:
    async def scenario() -> None:
        market = Market()
        bar = a_bar("AAPL", 0)
        batch = market.announce(bar, a_bar("MSFT", 0))
        market.stream.blocks.clear()
        market.bars = type(market.bars)()
        market.keep(bar)
        engine = market.engine(QUICK)

        with pytest.raises(Unavailable, match="announces 2 bars and the store has 1; MSFT missing"):
            await engine.step()
        assert (market.store.outbox, market.store.read) == ([], 0)

        market.keep(a_bar("MSFT", 0))
        await work_off(engine)
        assert market.store.read == batch.id

    asyncio.run(scenario())


def test_what_a_stream_remembers_of_another_batch_is_not_taken() -> None:
    market = Market()
    for minute, close in enumerate([10, 9]):
        market.announce(a_bar("AAPL", minute, close=close))
    batch = market.announce(a_bar("AAPL", 2, close=12))
    market.stream.blocks[batch.id] = market.stream.blocks[1]

    asyncio.run(work_off(market.engine(QUICK)))

    assert [s.figures["close"] for s in market.store.outbox[-1].signals] == ["12"]


def test_a_failing_strategy_is_off_after_three_failures_in_a_row_and_others_go_on() -> None:
    market = Market()
    for minute, close in enumerate([1, 2, 3, 5, 7, 8]):
        market.announce(a_bar("AAPL", minute, close=close))

    asyncio.run(work_off(market.engine(Moody(), QUICK)))

    found = [[(s.strategy, s.direction.value) for s in e.signals] for e in market.store.outbox]
    # Failed, well, failed three times; the last bar would have been a wish.
    assert found == [[], [("moody", "LONG")], [], [], [], []]
    run = market.store.fared["moody"]
    assert (run.failures, run.is_off) == (3, True)
    assert run.last_error is not None
    assert run.last_error.endswith("ZeroDivisionError: odd")
    assert market.store.fared["moving_average"].failures == 0


def test_a_split_overnight_is_no_fall_of_the_price() -> None:
    market = Market()
    market.keep(*(a_bar("AAPL", minute, close=200) for minute in range(3)))
    today = NOON + timedelta(days=1)
    split = Split(Symbol("AAPL"), today.date(), Decimal(2), Decimal(1))
    market.bars.actions.put([split], provider="test", fetched_at=NOON)
    for minute, close in enumerate([100, 101]):
        market.announce(a_bar("AAPL", minute, close=close, begins_at=today))

    asyncio.run(work_off(market.engine(QUICK)))

    # A hundred is what two hundred were; only the dollar after it is a rise.
    assert wishes(market.store.outbox) == [[], [("AAPL", "LONG")]]


class Endless(Strategy):
    """Never answers."""

    @property
    def bars_needed(self) -> int:
        return 1

    def generate_signal(self, view: View) -> None:
        while True:
            pass


def test_a_strategy_that_never_ends_is_a_failure_and_the_others_are_heard() -> None:
    bar = a_bar("AAPL", close=2)
    block, windows = a_block(bar), Windows(Timeframe.MINUTE, 3)
    windows.load([bar.symbol], a_block(), 0)
    windows.push(block)

    found = evaluate(
        [Endless(), Moody()],
        {},
        windows,
        block,
        batch_of(1, [bar]),
        "paper",
        bar.end_at,
        limit_s=0.05,
    )

    assert [signal.strategy for signal in found.signals] == ["moody"]
    endless = next(run for run in found.runs if run.strategy == "endless")
    assert endless.failures == 1
    assert endless.last_error is not None
    assert endless.last_error.endswith("TookTooLong: it took longer than 0.05 s and was stopped")


class Shapeless(VectorStrategy):
    """Answers with something else than wishes of the panel's shape."""

    how = Whole(0, low=0, high=2, about="what it answers")

    @property
    def bars_needed(self) -> int:
        return 1

    def wishes(self, panel: Panel) -> Wishes:
        nothing = np.zeros(panel.close.shape, np.bool_)
        answers: list[object] = [
            None,
            Wishes(nothing[:, :0], nothing, "", ""),
            Wishes(~nothing, nothing, "", "", figures={"x": np.full(nothing.shape, np.nan)}),
        ]
        return answers[self.how]  # type: ignore[return-value]  # nonsense on purpose


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        (0, "wishes must give Wishes, gave None"),
        (1, "entries must be an array of shape (1, 1)"),
        (2, "figure x of AAPL is nan"),
    ],
)
def test_wishes_that_cannot_be_meant_are_a_failure(how: int, complaint: str) -> None:
    market = Market()
    market.announce(a_bar("AAPL"))

    asyncio.run(work_off(market.engine(Shapeless(how=how), Moody())))

    error = market.store.fared["shapeless"].last_error
    assert error is not None
    assert error.endswith(f"InvalidWish: {complaint}")
    assert market.store.fared["moody"].failures == 0


class Screened(VectorStrategy):
    """Long in what passes the screen."""

    uses_screens: ClassVar[bool] = True

    @property
    def bars_needed(self) -> int:
        return 1

    def wishes(self, panel: Panel) -> Wishes:
        passed = panel.passed_screen == 1.0
        return Wishes(passed, panel.passed_screen == 0.0, "passed", "did not pass")


def test_a_strategy_that_asks_for_screens_sees_the_one_taken_before_the_end_of_the_bar() -> None:
    market = Market()
    bars = [a_bar(symbol) for symbol in ("AAPL", "MSFT")]
    batch = market.announce(*bars)
    end_us = to_epoch_us(batch.end_at)
    market.store.taken = [
        Screen(end_us - 1, frozenset({"MSFT"})),
        Screen(end_us, frozenset({"AAPL", "MSFT"})),
    ]
    engine = market.engine(Screened())

    preview = asyncio.run(engine.preview(Screened(), batch))
    asyncio.run(work_off(engine))

    assert wishes(market.store.outbox) == [[("AAPL", "FLAT"), ("MSFT", "LONG")]]
    assert preview.signals == market.store.outbox[0].signals


@pytest.mark.parametrize(
    "answer",
    ["BUY", 1, Direction.SHORT, Wish(Direction.LONG, figures={"x": float("nan")})],
)
def test_nonsense_counts_as_a_failure(answer: object) -> None:
    nonsense = type("Nonsense", (Moody,), {"answer": answer, "name": "nonsense"})
    market = Market()
    market.announce(a_bar("AAPL", 0, close=1), a_bar("MSFT", 0, close=2))

    asyncio.run(work_off(market.engine(nonsense())))

    # Not even the wish for the other symbol counts.
    assert wishes(market.store.outbox) == [[]]
    run = market.store.fared["nonsense"]
    assert (run.failures, run.last_error is not None) == (1, True)
    assert "InvalidWish: " in str(run.last_error)


def test_a_strategy_that_is_off_stays_off_over_a_restart_until_a_person_turns_it_on() -> None:
    async def scenario() -> None:
        market = Market()
        for minute in range(3):
            market.announce(a_bar("AAPL", minute, close=1))
        await work_off(market.engine(Moody()))
        market.announce(a_bar("AAPL", 3, close=2))
        engine = market.engine(Moody())
        await work_off(engine)
        assert wishes(market.store.outbox)[3] == []

        run = await engine.turn_on("moody", "repaired")
        assert (run.failures, run.is_off) == (0, False)
        market.announce(a_bar("AAPL", 4, close=2))
        await work_off(engine)
        assert wishes(market.store.outbox)[4] == [("AAPL", "LONG")]

        with pytest.raises(InvalidInput, match="moody is not off"):
            await engine.turn_on("moody", "again")

    asyncio.run(scenario())


def test_a_strategy_that_a_person_turns_off_wishes_for_nothing_until_it_is_turned_on() -> None:
    async def scenario() -> None:
        market = Market()
        # Off before its first bar, and over a restart.
        run = await market.engine(Moody()).turn_off("moody", "earnings week", "token:operate")
        assert (run.is_off, run.last_error) == (True, "turned off by token:operate: earnings week")
        engine = market.engine(Moody())
        market.announce(a_bar("AAPL", 0, close=2))
        await work_off(engine)
        assert wishes(market.store.outbox) == [[]]
        with pytest.raises(InvalidInput, match="moody is off already"):
            await engine.turn_off("moody", "again", "token:operate")

        await engine.turn_on("moody", "earnings are out")
        market.announce(a_bar("AAPL", 1, close=2))
        await work_off(engine)
        assert wishes(market.store.outbox)[1] == [("AAPL", "LONG")]

    asyncio.run(scenario())


class LosesAnswers(MemoryEvaluations):
    """A database that goes away once, before the commit took effect."""

    lost = False

    async def commit(
        self, batch: Batch, evaluation: Evaluation, runs: Sequence[StrategyRun], at: datetime
    ) -> bool:
        if batch.id == 3 and not self.lost:
            self.lost = True
            raise Unavailable("PostgreSQL gave no answer")
        return await super().commit(batch, evaluation, runs, at)


def test_an_attempt_that_was_not_stored_counts_no_failure_and_shifts_no_window() -> None:
    async def scenario() -> None:
        market = Market()
        market.store = LosesAnswers()
        for minute, close in enumerate([10, 8, 9]):
            market.announce(a_bar("AAPL", minute, close=close))
        engine = market.engine(QUICK, Moody())

        with pytest.raises(Unavailable):
            await work_off(engine)
        await work_off(engine)

        assert market.store.fared["moody"].failures == 1
        [crossing] = market.store.outbox[2].signals
        assert crossing.figures["sma_long"] == "8.5"

    asyncio.run(scenario())


class Wide(Moody):
    """Asks for so many bars that it is asked beside the event loop."""

    @property
    def bars_needed(self) -> int:
        return 2_000


def test_a_large_market_is_evaluated_too() -> None:
    market = Market()
    names = [f"S{i:04d}" for i in range(30)]
    market.announce(*(a_bar(name, 0, close=2) for name in names))

    asyncio.run(work_off(market.engine(Wide())))

    assert [s.symbol for s in market.store.outbox[-1].signals] == names


closes = st.integers(1, 6)
presences = st.lists(st.booleans(), min_size=3, max_size=3)
# What an instant may be: announced, stored without an announcement, or nothing at all.
instants = st.lists(
    st.tuples(
        st.sampled_from(["announced", "announced", "announced", "unannounced", "nothing"]),
        presences,
        presences,
        st.lists(closes, min_size=3, max_size=3),
    ),
    min_size=1,
    max_size=24,
)


@given(
    story=instants,
    restarts=st.sets(st.integers(0, 23)),
    emptied=st.sets(st.integers(0, 23)),
)
def test_the_outcome_is_the_same_whether_it_ran_through_or_was_restarted_anywhere(
    story: list[tuple[str, list[bool], list[bool], list[int]]],
    restarts: set[int],
    emptied: set[int],
) -> None:
    strategy = MovingAverage(short_window=2, long_window=3)

    async def tell(*, faults: bool) -> tuple[list[Evaluation], list[list[Bar]]]:
        market = Market()
        engine = market.engine(strategy)
        seen: list[list[Bar]] = []
        for minute, (kind, present, late, prices) in enumerate(story):
            bars = [
                a_bar(name, minute, close=close)
                for name, close in zip(SYMBOLS, prices, strict=True)
            ]
            in_time = [bar for bar, is_in in zip(bars, present, strict=True) if is_in]
            if kind == "nothing" or not in_time:
                continue
            seen.append(in_time)
            if kind == "unannounced":
                market.keep(*in_time)
                continue
            batch = market.announce(*in_time)
            if faults and minute in emptied:
                del market.stream.blocks[batch.id]
            if faults and minute in restarts:
                engine = market.engine(strategy)
            await work_off(engine)
            for bar, is_late in zip(bars, late, strict=True):
                if is_late and bar not in in_time:
                    market.keep(bar)
        return market.store.outbox, seen

    through, seen = asyncio.run(tell(faults=False))
    restarted, _ = asyncio.run(tell(faults=True))

    assert restarted == through
    # And it is what the strategy says to each symbol's own bars, one at a time.
    announced = {evaluation.instant_at: evaluation for evaluation in through}
    own: dict[Symbol, list[float]] = {}
    for bars in seen:
        expected = []
        for bar in bars:
            history = own.setdefault(bar.symbol, [])
            history.append(float(bar.close))
            column = np.asarray(history)
            view = View(Timeframe.MINUTE, bar.symbol, column, column, column, column, column)
            wish = strategy.generate_signal(view)
            if wish is not None:
                expected.append((bar.symbol, wish.direction, wish.conviction))
        if bars[0].end_at in announced:
            said = announced[bars[0].end_at].signals
            assert [(s.symbol, s.direction, s.conviction) for s in said] == expected


def test_batches_out_of_order_are_each_decided_with_what_was_known_at_their_time() -> None:
    market = Market()
    market.keep(a_bar("AAPL", 0, close=10), a_bar("AAPL", 1, close=9))

    async def scenario() -> None:
        engine = market.engine(QUICK)
        market.announce(a_bar("AAPL", 3, close=8))
        await work_off(engine)
        market.announce(a_bar("AAPL", 2, close=12))
        await work_off(engine)
        market.announce(a_bar("AAPL", 4, close=7))
        await work_off(engine)

    asyncio.run(scenario())

    # 10, 9, 8; then 10, 9, 12; then 10, 9, 12, 8, 7, which has been below since the bar before.
    assert wishes(market.store.outbox) == [[], [("AAPL", "LONG")], []]


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"STRATEGY_NAME": "moving_averag"}, "STRATEGY_NAME: .*did you mean moving_average"),
        ({"STRATEGY_PARAMS": "short_windw=5"}, "STRATEGY_PARAMS: .*did you mean short_window"),
        ({"STRATEGY_PARAMS": "short_window=60"}, "STRATEGY_PARAMS: .*must be below long_window"),
        ({"STRATEGY_PARAMS": "short_window"}, "STRATEGY_PARAMS: .*write name=value"),
        ({"STRATEGY_PARAMS": "allow_short=true"}, "two switches, .* RISK_ALLOW_SHORT=true"),
    ],
)
def test_a_wrong_strategy_setting_is_named_with_its_mend(
    environment: dict[str, str], complaint: str
) -> None:
    with pytest.raises(Misconfigured, match=complaint):
        chosen_strategy(load_settings(environment), discover())


def test_a_strategy_that_opens_short_positions_starts_where_both_switches_are_on() -> None:
    switches = {"STRATEGY_PARAMS": "allow_short=true", "RISK_ALLOW_SHORT": "true"}

    assert chosen_strategy(load_settings(switches), discover()).allows_shorts
    assert not chosen_strategy(
        load_settings({"RISK_ALLOW_SHORT": "true"}), discover()
    ).allows_shorts


def test_more_bars_than_memory_should_hold_are_refused_at_start() -> None:
    names = ",".join(f"S{i}" for i in range(30_000))
    settings = load_settings({"TRADING_SYMBOLS": names, "STRATEGY_PARAMS": "long_window=900"})

    with pytest.raises(Misconfigured, match="901 bars of 30000 symbols"):
        chosen_strategy(settings, discover())


def test_without_a_strategy_setting_it_is_the_specified_crossover() -> None:
    strategy = chosen_strategy(load_settings({}), discover())

    assert dict(strategy.values) == {
        "short_window": 20,
        "long_window": 50,
        "allow_short": False,
    }
