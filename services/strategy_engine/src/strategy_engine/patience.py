"""How long may a stranger's code take?

What somebody else wrote runs in a thread of its own, and whoever asked waits so long and no longer. Python code is then told
to stop; what cannot be told, such as one endless call into a library, is left behind in a thread that does not keep
the process alive. Time here is the machine's, since no venue is involved.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import TypeVar

from shared.domain.errors import Rejected

T = TypeVar("T")


class TookTooLong(Rejected):
    """It was still running when the patience was at its end."""


class EndedTheProcess(Rejected):
    """It raised what ends a program and not what reports a failure, e.g. by calling `sys.exit`."""


class _Stop(BaseException):
    """Raised inside the thread that is no longer waited for."""


def within(limit_s: float, task: Callable[[], T]) -> T:
    """What `task` returns, or raises, if that takes no longer than `limit_s` seconds.

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
    thread.join(limit_s)
    if returned:
        return returned[0]
    if raised:
        if isinstance(raised[0], Exception):
            raise raised[0]
        raise EndedTheProcess(f"it raised {type(raised[0]).__name__}, which ends a program")
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(_Stop)
        )
    raise TookTooLong(f"it took longer than {limit_s:g} s and was stopped")
