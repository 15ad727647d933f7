"""A stranger's code is waited for so long and no longer, and takes nobody else down."""

from __future__ import annotations

import sys
import threading

import pytest

from strategy_engine.patience import EndedTheProcess, TookTooLong, within

LONG_S = 60.0


def test_what_is_returned_and_what_is_raised_comes_through() -> None:
    def fails() -> None:
        raise KeyError("no such thing")

    assert within(LONG_S, lambda: 7) == 7
    assert within(LONG_S, lambda: None) is None
    with pytest.raises(KeyError, match="no such thing"):
        within(LONG_S, fails)


def test_an_endless_loop_is_left_and_its_thread_ends() -> None:
    running: list[threading.Thread] = []

    def endless() -> None:
        running.append(threading.current_thread())
        while True:
            pass

    with pytest.raises(TookTooLong, match=r"longer than 0\.05 s and was stopped"):
        within(0.05, endless)

    running[0].join(LONG_S)
    assert not running[0].is_alive()


def test_who_would_end_the_program_does_not() -> None:
    with pytest.raises(EndedTheProcess, match="SystemExit"):
        within(LONG_S, lambda: sys.exit(3))
