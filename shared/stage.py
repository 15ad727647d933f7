"""How does one stage of the pipeline keep going?

It works until there is nothing left, then waits for a bell, with a slow poll behind it. What may pass by
itself (a database restart, a venue's pause) is waited out with growing pauses and said once; anything else
ends the process, and the supervisor starts it anew: there is one recovery path, the start.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from shared.domain.errors import RateLimited, Retryable
from shared.ports import Ear, Timer

_log = structlog.get_logger(__name__)


async def keep_working(
    name: str,
    work: Callable[[], Awaitable[bool]],
    ear: Ear,
    timer: Timer,
    *,
    poll_s: float = 1.0,
) -> None:
    """Call `work` until it returns False (nothing left), wait for a bell or `poll_s`, and so on."""
    pause_s = 0.1
    failing = False
    while True:
        try:
            while await work():
                pass
            if failing:
                _log.info("stage works again", stage=name)
            failing, pause_s = False, 0.1
        except Retryable as error:
            if not failing:
                _log.warning("stage waits", stage=name, reason=str(error))
            failing = True
            await timer.sleep(error.pause_s if isinstance(error, RateLimited) else pause_s)
            pause_s = min(pause_s * 2, 2.0)
            continue
        await ear.wait(poll_s)
