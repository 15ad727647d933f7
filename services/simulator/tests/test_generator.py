"""The made-up market: the same for everybody, and lively enough to trade."""

import hashlib
import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np

from shared.domain.calendar import TradingCalendar
from shared.domain.symbols import Symbol
from simulator.generator import make_synthetic_tape
from simulator.tape import Instant, Tape

# Of the first session of seed 1: changes with any change of the arithmetic, on any machine.
FIRST_SESSION = "4890c2faf0899488"


def session(tape: Tape, first: int = 0, count: int = 390) -> list[Instant]:
    found = [tape.instant(i) for i in range(first, first + count)]
    return [instant for instant in found if instant is not None]


def fingerprint(tape: Tape) -> str:
    return hashlib.sha256(repr(session(tape)).encode()).hexdigest()[:16]


def test_the_first_session_of_seed_1_is_what_it_always_was(calendar: TradingCalendar) -> None:
    assert fingerprint(make_synthetic_tape(calendar, seed=1)) == FIRST_SESSION


def test_another_seed_makes_another_market(calendar: TradingCalendar) -> None:
    assert fingerprint(make_synthetic_tape(calendar, seed=2)) != FIRST_SESSION


def test_a_symbols_prices_do_not_depend_on_its_neighbours(calendar: TradingCalendar) -> None:
    alone = make_synthetic_tape(calendar, seed=1, symbols=[Symbol("SPY")])
    among = make_synthetic_tape(calendar, seed=1)

    assert [i.bars[Symbol("SPY")] for i in session(alone)] == [
        i.bars[Symbol("SPY")] for i in session(among)
    ]


def test_a_second_process_makes_the_same_market(calendar: TradingCalendar) -> None:
    program = (
        "import numpy as np; g = np.random.Generator(np.random.PCG64([1, 2, 3])); "
        "print(g.random(3).tobytes().hex())"
    )
    there = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    here = np.random.Generator(np.random.PCG64([1, 2, 3])).random(3).tobytes().hex()
    assert there.stdout.strip() == here


def test_bars_follow_each_other_in_cents_without_contradiction(calendar: TradingCalendar) -> None:
    tape = make_synthetic_tape(calendar, seed=3, sessions=3)
    instants = session(tape, count=3 * 390)

    assert len(instants) == 3 * 390
    assert tape.instant(3 * 390) is None
    for before, after in pairwise(instants):
        assert before.end_at <= after.opens_at
    for bar in (bar for instant in instants for bar in instant.bars.values()):
        assert 0 < bar.low <= min(bar.open, bar.close)
        assert bar.high >= max(bar.open, bar.close)
        assert round(bar.close * 100) / 100 == bar.close
        assert bar.volume > 0


def test_averages_of_20_and_50_minutes_cross_several_times_a_day(calendar: TradingCalendar) -> None:
    tape = make_synthetic_tape(calendar, seed=1, sessions=5)
    closes = np.array([[b.close for b in i.bars.values()] for i in session(tape, count=5 * 390)])

    def average(window: int) -> Any:
        sums = np.cumsum(np.vstack([np.zeros(closes.shape[1]), closes]), axis=0)
        return (sums[window:] - sums[:-window]) / window

    is_above = average(20)[30:] > average(50)
    crossings_a_day = (np.diff(is_above.astype(int), axis=0) != 0).sum(axis=0) / 5
    assert all(3 <= crossings <= 30 for crossings in crossings_a_day)


def test_the_day_is_busier_at_its_ends(calendar: TradingCalendar) -> None:
    tape = make_synthetic_tape(calendar, seed=1, sessions=1)
    volumes = np.array([sum(b.volume for b in i.bars.values()) for i in session(tape)])

    assert min(volumes[:30].mean(), volumes[-30:].mean()) > 2 * volumes[180:210].mean()


def test_a_long_run_stays_near_its_beginning(calendar: TradingCalendar) -> None:
    tape = make_synthetic_tape(calendar, seed=5, symbols=[Symbol("AAPL")], sessions=100)
    last = tape.instant(99 * 390)

    assert last is not None
    assert 50 < last.bars[Symbol("AAPL")].close < 200
