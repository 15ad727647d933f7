"""How long do we wait for another process, and how often do we look?

Everything here is machine time, which has nothing to do with the venue's clock: it bounds how long
a person sits before a prompt. The only file of the command line that may sleep.
"""

import time
from collections.abc import Callable

LOOK_EVERY_S = 0.05


def wait_until(done: Callable[[], bool], within_s: float) -> bool:
    """Look until `done` or until the time is up; return whether it was done."""
    deadline = time.monotonic() + within_s
    while not done():
        if time.monotonic() >= deadline:
            return False
        time.sleep(LOOK_EVERY_S)
    return True


def machine_seconds() -> float:
    """Return seconds since the machine started; only differences mean anything."""
    return time.monotonic()
