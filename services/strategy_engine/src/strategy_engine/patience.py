"""How long may a stranger's code take?

What somebody else wrote runs in a thread of its own, and whoever asked waits so long and no longer. Python code is then told
to stop; what cannot be told, such as one endless call into a library, is left behind in a thread that does not keep
the process alive. Time here is the machine's, since no venue is involved.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from shared.domain.errors import Rejected

T = TypeVar("T")
Line = tuple[str, int]
"""A file's path and a line in it."""

# So long may a strategy think about one instant: a minute's bars have to be decided on well within the minute.
LIMIT_S = 10.0


class TookTooLong(Rejected):
    """It was still running when the patience was at its end.

    `lines` are the files and lines it was in then, the innermost first.
    """

    def __init__(self, limit_s: float, lines: Sequence[Line] = ()) -> None:
        super().__init__(f"it took longer than {limit_s:g} s and was stopped")
        self.limit_s = limit_s
        self.lines = tuple(lines)


class EndedTheProcess(Rejected):
    """It raised what ends a program and not what reports a failure, e.g. by calling `sys.exit`."""


class _Stop(BaseException):
    """Raised inside the thread that is no longer waited for."""


def within(limit_s: float, task: Callable[[], T], reached: Callable[[], object] | None = None) -> T:
    """What `task` returns, or raises, if that takes no longer than `limit_s` seconds.

    Args:
        reached: says how far it has come; with it, the time counts anew while that changes.
    Raises:
        TookTooLong: it took longer; it is stopped if it can be.
        EndedTheProcess: it raised something that is no Exception.
    """
    returned: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            returned.append(task())
        except BaseException as error:  # noqa: BLE001  # a stranger's code may raise anything
            raised.append(error)

    thread = threading.Thread(target=run, name="strategy", daemon=True)
    thread.start()
    before = reached() if reached is not None else None
    while True:
        thread.join(limit_s)
        now = reached() if reached is not None else None
        if now == before or not thread.is_alive():
            break
        before = now
    if returned:
        return returned[0]
    if raised:
        if isinstance(raised[0], Exception):
            raise raised[0]
        raise EndedTheProcess(
            f"it raised {type(raised[0]).__name__}, which ends a program"
        ) from raised[0]
    lines: list[Line] = []
    if thread.ident is not None:
        frame = sys._current_frames().get(thread.ident)
        while frame is not None:
            lines.append((frame.f_code.co_filename, frame.f_lineno))
            frame = frame.f_back
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(_Stop)
        )
    raise TookTooLong(limit_s, lines)
