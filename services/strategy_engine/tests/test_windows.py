"""Windows hold each symbol's newest own bars, however they came to be there."""

from __future__ import annotations

import numpy as np
import pytest

from shared.domain.bar_blocks import to_epoch_us
from shared.domain.bars import Bar
from shared.domain.errors import InvalidBar
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.testing.bar_stores import a_bar, a_block
from strategy_engine.windows import Windows, on_time, select

AAPL, MSFT = Symbol("AAPL"), Symbol("MSFT")


def windows_with(*bars: Bar, depth: int = 3) -> Windows:
    windows = Windows(Timeframe.MINUTE, depth)
    until_us = max(to_epoch_us(bar.end_at) for bar in bars)
    windows.load([AAPL, MSFT], a_block(*bars), until_us)
    return windows


def closes(windows: Windows, *symbols: Symbol, bars: int = 3) -> list[list[float]]:
    panel = windows.panel(symbols, bars)
    return [np.nan_to_num(column, nan=-1.0).tolist() for column in panel.close.T]


def test_loading_keeps_the_newest_bars_with_the_newest_last() -> None:
    windows = windows_with(
        *(a_bar("AAPL", m, close=100 + m) for m in range(5)), a_bar("MSFT", 4, close=7)
    )

    assert closes(windows, AAPL, MSFT) == [[102, 103, 104], [-1, -1, 7]]


def test_a_batch_moves_only_the_symbols_that_are_in_it() -> None:
    windows = windows_with(a_bar("AAPL", 0, close=1), a_bar("MSFT", 0, close=2))

    windows.push(a_block(a_bar("AAPL", 1, close=3)))
    windows.push(a_block(a_bar("AAPL", 2, close=4), a_bar("MSFT", 2, close=5)))

    assert closes(windows, AAPL, MSFT) == [[1, 3, 4], [-1, 2, 5]]


def test_only_what_starts_where_the_last_ended_follows() -> None:
    windows = windows_with(a_bar("AAPL", 0))

    assert windows.follows(to_epoch_us(a_bar("AAPL", 1).start_at))
    assert not windows.follows(to_epoch_us(a_bar("AAPL", 2).start_at))
    assert not Windows(Timeframe.MINUTE, 3).follows(0)


def test_a_symbol_that_comes_late_is_put_in_its_place_and_disturbs_nobody() -> None:
    windows = Windows(Timeframe.MINUTE, 2)
    first = a_bar("MSFT", 0, close=2)
    windows.load([MSFT], a_block(first), to_epoch_us(first.end_at))

    assert windows.missing([AAPL, MSFT]) == [AAPL]
    windows.load([AAPL], a_block(a_bar("AAPL", 0, close=1)), to_epoch_us(first.end_at))

    assert closes(windows, AAPL, MSFT, bars=2) == [[-1, 1], [-1, 2]]
    assert windows.missing([AAPL, MSFT]) == []


def test_a_panel_does_not_change_when_the_windows_move_on() -> None:
    windows = windows_with(a_bar("AAPL", 0, close=1), a_bar("MSFT", 0, close=2))
    panel = windows.panel([AAPL, MSFT], 1)

    windows.push(a_block(a_bar("AAPL", 1, close=3), a_bar("MSFT", 1, close=4)))

    assert panel.close.tolist() == [[1, 2]]


def test_bars_stay_in_order_however_many_come_and_each_keeps_its_time() -> None:
    windows = windows_with(a_bar("AAPL", 0, close=1), a_bar("MSFT", 0, close=1))

    # Long enough that every symbol's bars have been moved together more than once; one comes every other time.
    for minute in range(1, 200):
        bars = [a_bar("AAPL", minute, close=minute)]
        if minute % 2:
            bars.append(a_bar("MSFT", minute, close=1000 + minute))
        windows.push(a_block(*bars))

    assert closes(windows, AAPL, MSFT) == [[197, 198, 199], [1195, 1197, 1199]]
    ends = windows.panel([AAPL, MSFT], 2).times
    assert ends[-1].tolist() == [to_epoch_us(a_bar("AAPL", 199).end_at)] * 2
    assert ends[0, 1] == to_epoch_us(a_bar("MSFT", 197).end_at)


def test_two_instants_are_no_batch() -> None:
    windows = windows_with(a_bar("AAPL", 0), a_bar("MSFT", 0))

    with pytest.raises(InvalidBar, match="one bar per symbol"):
        windows.push(a_block(a_bar("AAPL", 1), a_bar("MSFT", 2)))


def test_a_bar_that_missed_its_batch_is_left_out_and_one_without_batch_is_not() -> None:
    late, in_time, before_all = a_bar("AAPL", 1), a_bar("MSFT", 1), a_bar("AAPL", 0)
    block = a_block(before_all, late, in_time)

    kept = select(block, on_time(block, {to_epoch_us(late.end_at): {MSFT}}))

    assert list(kept) == [before_all, in_time]
