"""Did the strategy use what live trading would not have shown it?

Part of each run, on a few of its own bars: decided on again without the future, and in the window of live trading. What
`trader check` does thoroughly is done here in a moment, so silence means that nothing was found and not that nothing is there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from backtester.history import History
from strategy_engine.checks import Checked, check_lookahead, check_warmup
from strategy_engine.panels import Panel
from strategy_engine.patience import within
from strategy_engine.strategy import Strategy, VectorStrategy

# Instants of a strategy that states whole panels, and calls of one that is asked bar by bar.
_INSTANTS = 12
_CALLS = 240
# What hangs when it is shown fewer bars must not hold a run that is finished.
_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Foresight:
    """What was found, each as a sentence or None, and how many instants were looked at."""

    lookahead: str | None
    warmup: str | None
    instants: int


def foresight_of(strategy: Strategy, history: History) -> Foresight:
    """Look at a few bars of `history` again."""
    panel = history.in_newest_shares.panel
    most = _INSTANTS
    if not isinstance(strategy, VectorStrategy):
        most = max(1, min(_INSTANTS, _CALLS // len(panel.symbols)))
    found = [
        _sentence(check, kind, strategy, history, panel, most)
        for check, kind in (
            (check_lookahead, "It sees the future"),
            (check_warmup, "Live trading would decide otherwise"),
        )
    ]
    return Foresight(found[0][0], found[1][0], max(instants for _, instants in found))


def _sentence(
    check: Callable[[Strategy, Panel, int], Checked],
    kind: str,
    strategy: Strategy,
    history: History,
    panel: Panel,
    most: int,
) -> tuple[str | None, int]:
    # A new one each time: the one that ran may remember.
    fresh = type(strategy)(**strategy.values)
    try:
        checked = within(_WITHIN_S, partial(check, fresh, panel, most))
    except (Exception, SystemExit) as error:  # noqa: BLE001  # a stranger's code may raise anything
        said = " ".join(str(error).split())[:200]
        return f"{kind}: shown fewer bars it fails with {type(error).__name__}: {said}.", 0
    if not checked.differences:
        return None, checked.instants
    first = checked.differences[0]
    more = len(checked.differences) - 1
    others = f", and {more} more" if more else ""
    return (
        f"{kind}: of {first.symbol} on {history.day(first.row)} {first.sentence}{others} (trader check).",
        checked.instants,
    )
