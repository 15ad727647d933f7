"""What bars know of companies: the newest snapshot taken by their end, and nothing that came later."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.bar_blocks import to_epoch_us
from shared.domain.errors import InvalidInput
from shared.domain.fundamentals import FUNDAMENTALS
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.testing.bar_stores import a_bar
from strategy_engine.checks import check_lookahead, check_warmup, made_up_bars
from strategy_engine.fundamentals import NO_SNAPSHOTS, Floats, Snapshots, snapshots_of
from strategy_engine.panels import Panel
from strategy_engine.strategies.hybrid import Hybrid
from strategy_engine.strategy import VectorStrategy, Wishes
from strategy_engine.testing import Market, work_off
from strategy_engine.universe import OLDEST, with_fundamentals

DAY_US = 86_400_000_000
NAMES = tuple(FUNDAMENTALS)


def a_panel(ends: list[int], symbols: int = 1) -> Panel:
    close = np.full((len(ends), symbols), 100.0)
    return Panel(
        Timeframe.DAY,
        tuple(Symbol(f"S{n}") for n in range(symbols)),
        *(close for _ in range(5)),
        end_us=np.repeat(np.array(ends, np.int64)[:, None], symbols, axis=1),
    )


def taken(*given: tuple[str, int, float]) -> Snapshots:
    """Snapshots of symbol, instant and P/E; of nothing else is anything known."""
    figures = np.full((len(given), len(NAMES)), np.nan)
    figures[:, NAMES.index("pe")] = [pe for _, _, pe in given]
    return snapshots_of(
        [Symbol(symbol) for symbol, _, _ in given],
        np.array([at for _, at, _ in given], np.int64),
        figures,
    )


def test_a_bar_knows_the_newest_snapshot_taken_before_its_end_and_no_later_one() -> None:
    panel = a_panel([10, 20, 30, 40], 2)
    snapshots = taken(("S0", 29, 3.0), ("S0", 19, 2.0), ("S1", 30, 9.0), ("ELSE", 5, 7.0))

    known = with_fundamentals(panel, snapshots)

    nothing = float("nan")
    expected = np.array([[nothing, nothing], [2.0, nothing], [3.0, nothing], [3.0, 9.0]])
    assert np.array_equal(known.fundamental("pe"), expected, equal_nan=True)
    assert np.isnan(known.fundamental("pb")).all()


def test_what_is_too_old_says_nothing() -> None:
    oldest_us = OLDEST.days * DAY_US
    panel = a_panel([1 + oldest_us, 2 + oldest_us])

    pe = with_fundamentals(panel, taken(("S0", 1, 8.0))).fundamental("pe")

    assert pe[0, 0] == 8.0
    assert np.isnan(pe[1, 0])


def test_a_figure_that_does_not_exist_and_bars_without_any_are_named() -> None:
    with pytest.raises(InvalidInput, match=r"did you mean forward_pe\?"):
        with_fundamentals(a_panel([1]), NO_SNAPSHOTS).fundamental("foward_pe")
    with pytest.raises(InvalidInput, match="say uses_fundamentals = True"):
        a_panel([1]).fundamental("pe")


markets = st.lists(
    st.tuples(st.sampled_from(["S0", "S1"]), st.integers(0, 60), st.integers(1, 9).map(float)),
    max_size=12,
)


@given(given_=markets, row=st.integers(0, 5))
def test_a_panel_cut_at_a_bar_says_the_same_and_holds_nothing_that_was_taken_later(
    given_: list[tuple[str, int, float]], row: int
) -> None:
    ends = [10, 20, 30, 40, 50, 60]
    whole = with_fundamentals(a_panel(ends, 2), taken(*given_))

    for cut in (whole.until(row), whole.newest(row, row + 1)):
        assert np.array_equal(
            cut.fundamental("pe"), whole.fundamental("pe")[: row + 1], equal_nan=True
        )
        known = {pe for _, at, pe in given_ if at <= ends[row]}
        assert set(cut.companies["pe"][1:].tolist()) <= known
    for column in range(2):
        alone = whole.view(column)
        expected = whole.fundamental("pe")[:, column]
        assert np.array_equal(alone.fundamental("pe"), expected, equal_nan=True)
        again = alone.as_panel().fundamental("pe")[:, 0]
        assert np.array_equal(again, expected, equal_nan=True)


@given(given_=markets, kept=st.integers(0, 60))
def test_snapshots_that_come_in_parts_are_as_if_they_had_come_at_once(
    given_: list[tuple[str, int, float]], kept: int
) -> None:
    panel = a_panel([10, 20, 30, 40, 50, 60], 2)
    in_order = sorted(given_, key=lambda each: each[1])
    parts = taken(*in_order[:5]).then(taken(*in_order[5:]), kept)

    at_once = taken(*(each for each in in_order if each[1] >= kept))

    assert len(parts) == len(at_once)
    assert np.array_equal(
        with_fundamentals(panel, parts).fundamental("pe"),
        with_fundamentals(panel, at_once).fundamental("pe"),
        equal_nan=True,
    )


class Cheap(VectorStrategy):
    """Long where the P/E is below 10."""

    uses_fundamentals: ClassVar[bool] = True

    @property
    def bars_needed(self) -> int:
        return 1

    def wishes(self, panel: Panel) -> Wishes:
        pe = panel.fundamental("pe")
        return Wishes(pe < 10, pe >= 10, "cheap", "dear", companies=panel.companies)


class Peeks(Cheap):
    """As cheap as it will be once the next snapshot is known."""

    def wishes(self, panel: Panel) -> Wishes:
        known = panel.companies
        later: Floats = np.append(known["pe"][1:], np.nan)
        pe = known.spread(later)
        return Wishes(pe < 0.9, pe >= 0.9, "cheap", "dear")


def test_a_figure_taken_later_is_found_by_the_check_of_look_ahead() -> None:
    panel = made_up_bars(Cheap(), Timeframe.DAY)

    assert check_lookahead(Cheap(), panel).differences == ()
    assert check_warmup(Cheap(), panel).differences == ()
    assert check_lookahead(Peeks(), panel).differences


def test_live_a_batch_knows_what_was_taken_before_its_end_and_the_signal_keeps_the_figures() -> (
    None
):
    market = Market()
    first, second = market.announce(a_bar("AAPL", 0)), market.announce(a_bar("AAPL", 1))
    ends = [to_epoch_us(batch.end_at) for batch in (first, second)]
    market.store.companies = [
        taken(("AAPL", ends[0] - 1, 12.0)),
        taken(("AAPL", ends[0], 9.0), ("MSFT", ends[0], 5.0)),
        taken(("AAPL", ends[1], 30.0)),
    ]
    engine = market.engine(Cheap())

    asyncio.run(work_off(engine))
    preview = asyncio.run(engine.preview(Cheap(), second))

    signals = [signal for evaluation in market.store.outbox for signal in evaluation.signals]
    assert [(s.direction.value, s.figures) for s in signals] == [
        ("FLAT", {"pe": "12"}),
        ("LONG", {"pe": "9"}),
    ]
    assert preview.signals == tuple(signals[1:])


GOOD = {
    "pe": 8.0,
    "pb": 0.8,
    "eps_growth_quarter": 0.3,
    "sales_growth_quarter": 0.3,
    "return_on_equity": 0.25,
    "operating_margin": 0.25,
    "debt_to_equity": 0.0,
}


def hybrid_score(**figures: float) -> dict[str, float]:
    """The parts that one snapshot with these figures earns, and nothing else known."""
    row = np.array([[figures.get(name, np.nan) for name in NAMES]])
    known = with_fundamentals(a_panel([10]), snapshots_of([Symbol("S0")], np.array([5]), row))
    wishes = Hybrid().wishes(known)
    assert wishes.companies is not None
    parts = {
        **wishes.companies.at(0, 0),
        "fundamentals": float(wishes.figures["fundamentals"][0, 0]),
    }
    names = ("fundamentals", "value", "growth", "quality", "leverage")
    return {name: round(parts[name], 6) for name in names}


def test_hybrid_scores_value_growth_quality_and_leverage_from_0_to_1() -> None:
    assert set(hybrid_score(**GOOD).values()) == {1.0}
    assert hybrid_score(**GOOD | {"pe": 20.0, "pb": 4.0})["value"] == 0.375
    assert hybrid_score(**GOOD | {"eps_growth_quarter": -0.5})["growth"] == 0.5
    assert (
        hybrid_score(**GOOD | {"return_on_equity": 0.1, "operating_margin": 0.05})["quality"]
        == 0.375
    )
    assert hybrid_score(**GOOD | {"debt_to_equity": 1.0})["leverage"] == 0.5
    assert hybrid_score(**GOOD | {"debt_to_equity": 3.0})["fundamentals"] == 0.75


def test_hybrid_gives_nothing_for_a_price_of_zero_times_earnings_or_book_value() -> None:
    assert hybrid_score(**GOOD | {"pe": 0.0})["value"] == 0.5
    assert hybrid_score(**GOOD | {"pe": 0.0, "pb": 0.0})["value"] == 0.0


def test_hybrid_gives_nothing_for_figures_that_are_missing_or_below_zero() -> None:
    assert set(hybrid_score().values()) == {0.0}
    without = {name: value for name, value in GOOD.items() if name not in ("pe", "debt_to_equity")}
    assert hybrid_score(**without) == {
        "fundamentals": 0.625, "value": 0.5, "growth": 1.0, "quality": 1.0, "leverage": 0.0
    }  # fmt: skip
    assert hybrid_score(**GOOD | {"pe": -5.0, "pb": -1.0})["value"] == 0.0
