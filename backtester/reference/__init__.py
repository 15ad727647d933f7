"""The same backtest with the objects that trade live: slow, obvious, and what the fast engine is measured against.

The risk manager's own `review` answers every signal and manages what is held, the simulator's `Book` takes every order and
matches it, and between the two stands what the executor does: an exit cancels what rests before it sells, the rest of a
bracket entry that a bar filled in part is given up, and shares without a stop and target get a pair of their own. Sized
by the limits it is live trading but for transport and tables. The sizings that live trading does not know are asked of
the kernel's own rule at the open.

What differs from the live services is said here: sessions count whole, since the engines know no trading window, and fees
are taken from cash as each fill happens.
"""

from backtester.reference.replay import simulate

__all__ = ["simulate"]
