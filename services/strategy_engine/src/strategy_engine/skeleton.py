"""What does a new strategy begin with?

A small strategy that works as it stands, with a comment where something is to be decided, and a test that holds it to what
every strategy must keep. Both are text; who writes them where is decided elsewhere.
"""

from __future__ import annotations

import keyword

from strategy_engine.parameters import InvalidParameter
from strategy_engine.strategy import NAME

_SOURCE = '''"""When should {title} be long, and when out?

Say here what the idea is, and where it comes from. Until you change it, this is a crossover of two exponential averages.
"""

from __future__ import annotations

from typing import ClassVar

from strategy_engine.indicators import crossed_above, crossed_below, ema, ema_memory
from strategy_engine.panels import Panel
from strategy_engine.parameters import InvalidParameter, Whole
from strategy_engine.strategy import VectorStrategy, Wishes


class {class_name}(VectorStrategy):
    """Long while the fast average of closes is above the slow one."""

    # How settings and commands call it, and what a SELL of it does.
    name: ClassVar[str] = "{name}"
    sell_means: ClassVar[str] = "closes the long position"

    # Whole, Number and Switch: default, bounds, meaning. What is outside the bounds is refused.
    fast = Whole(10, low=1, high=100, about="bars of the fast average")
    slow = Whole(30, low=2, high=150, about="bars of the slow average")

    def check_parameters(self) -> None:
        """Refuse values that make no sense together."""
        if self.fast >= self.slow:
            raise InvalidParameter(f"fast {{self.fast}} must be below slow {{self.slow}}")

    @property
    def bars_needed(self) -> int:
        """How many bars of a symbol decide; a crossing also looks at the bar before."""
        return ema_memory(self.slow) + 1

    def wishes(self, panel: Panel) -> Wishes:
        """All wishes of all symbols at once: arrays of shape (bars, symbols), NaN where a symbol has no bar."""
        fast, slow = ema(panel.close, self.fast), ema(panel.close, self.slow)
        return Wishes(
            entries=crossed_above(fast, slow),
            exits=crossed_below(fast, slow),
            entry_reason=f"EMA {{self.fast}} crossed above EMA {{self.slow}}",
            exit_reason=f"EMA {{self.fast}} crossed below EMA {{self.slow}}",
            # What is shown beside each signal, so that somebody can see why.
            figures={{"fast": fast, "slow": slow, "close": panel.close}},
        )
'''

_TEST = '''"""{class_name} is found, gives signals, sees no future and needs no more bars than it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.domain.timeframes import Timeframe
from strategy_engine.catalogue import discover
from strategy_engine.checks import check_lookahead, check_warmup, made_up_bars
from strategy_engine.strategy import Strategy, VectorStrategy


@pytest.fixture
def strategy() -> Strategy:
    return discover(Path(__file__).parents[1]).find("{name}")()


def test_it_goes_in_and_out(strategy: Strategy) -> None:
    assert isinstance(strategy, VectorStrategy)
    wishes = strategy.wishes(made_up_bars(strategy, Timeframe.DAY))

    assert wishes.entries.any()
    assert wishes.exits.any()


def test_it_sees_no_future_and_needs_no_more_bars_than_it_says(strategy: Strategy) -> None:
    bars = made_up_bars(strategy, Timeframe.DAY)

    assert check_lookahead(strategy, bars).differences == ()
    assert check_warmup(strategy, bars).differences == ()
'''


def skeleton(name: str) -> tuple[str, str]:
    """The module of a strategy called `name`, and that of its test.

    Raises:
        InvalidParameter: no strategy can be called so.
    """
    if NAME.fullmatch(name) is None:
        raise InvalidParameter(
            f"{name[:80]!r} cannot name a strategy: use a-z, 0-9 and _, a letter first, at most 64 characters"
        )
    if keyword.iskeyword(name):
        raise InvalidParameter(
            f"{name!r} is a word of Python's own and cannot name a strategy; add another, like my_{name}"
        )
    class_name = "".join(part.capitalize() for part in name.split("_"))
    words = {"name": name, "class_name": class_name, "title": name.replace("_", " ")}
    return _SOURCE.format(**words), _TEST.format(**words)
