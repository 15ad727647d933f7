"""How does a service's process begin and end?

Settings first: a wrong one ends in one sentence and exit code 4 before anything is connected. SIGTERM and
SIGINT cancel the service's main task, whose contexts close what they opened; a failure of any of its
`ServiceTasks` ends the whole process with code 1, and the supervisor starts it anew. Both ends are bounded: what
has not closed by then is left as by a crash, which every service must survive anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from typing import Any, NoReturn, TypeVar

import structlog
import uvloop

from shared.adapters.logs import set_up_logging
from shared.config import Settings, load_settings
from shared.domain.errors import Misconfigured

EXIT_FAILED = 1
EXIT_MISCONFIGURED = 4
# With what a busy machine adds to it an end stays within three seconds.
ENDS_WITHIN_S = 2.5

T = TypeVar("T")
# Of this process's service: done, with the error, as soon as one of its parts has failed.
_failed: ContextVar[asyncio.Future[BaseException]] = ContextVar("_failed")


class ServiceTasks(asyncio.TaskGroup):
    """The parts of a service, that run until one fails or all are cancelled.

    A task group waits without a bound for those that are left; from the first failure on the process does not.
    For the outermost group alone: what fails in a part's own group may be mended there.
    """

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """Start a part."""
        task = super().create_task(coro, name=name, context=context)
        task.add_done_callback(_tell_failure)
        return task


def _tell_failure(part: asyncio.Task[Any]) -> None:
    failed = _failed.get(None)
    if failed is None or failed.done() or part.cancelled():
        return
    error = part.exception()
    if error is not None:
        failed.set_result(error)


def run_service(service: str, run: Callable[[Settings], Awaitable[None]]) -> NoReturn:
    """Run `service` until it is told to stop, and end this process: 0, 1 after a failure, 4 for a wrong setting."""
    end_process(_exit_code(service, run))


def end_process(code: int) -> NoReturn:
    """End this process with `code`, after what it said is written out.

    Taking the interpreter apart keeps a processor busy for half a second, and nobody gains by it: the caller has
    closed what it opened.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def _exit_code(service: str, run: Callable[[Settings], Awaitable[None]]) -> int:
    try:
        settings = load_settings()
        set_up_logging(
            service,
            settings.log_dir,
            settings.log_level,
            secrets=[value for _, value in settings if hasattr(value, "get_secret_value")],
        )
    except Misconfigured as error:
        print(f"{service}: {error}", file=sys.stderr)
        return EXIT_MISCONFIGURED
    except OSError as error:
        print(
            f"{service}: LOG_DIR cannot be used ({error.filename}: {error.strerror}); "
            "make it writable or set another",
            file=sys.stderr,
        )
        return EXIT_MISCONFIGURED
    log = structlog.get_logger(service)
    # What was imported stays: to look through it for garbage again and again takes a tenth of a second each time.
    gc.freeze()
    # Not closed: that would wait without a bound for tasks and threads that are left.
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    try:
        is_whole = runner.run(_until_told(run, settings))
    except (
        Exception,
        asyncio.CancelledError,
    ) as error:  # the top of the process: say what ended it
        reasons = _leaves(error)
        if all(isinstance(reason, Misconfigured) for reason in reasons):
            log.critical("cannot start", reason="; ".join(str(reason) for reason in reasons))
            return EXIT_MISCONFIGURED
        log.critical("ended by a failure", exc_info=error)
        return EXIT_FAILED
    if is_whole:
        log.info("stopped")
    else:
        log.warning("stopped in the middle of something; the next start takes it up")
    return 0


async def _until_told(run: Callable[[Settings], Awaitable[None]], settings: Settings) -> bool:
    """Run until told to stop; whether all was closed within the bound then. Raises what a part failed of."""
    loop = asyncio.get_running_loop()
    failed: asyncio.Future[BaseException] = loop.create_future()
    _failed.set(failed)
    task = asyncio.ensure_future(run(settings))
    told = asyncio.Event()

    def stop() -> None:
        told.set()
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    waiting = asyncio.ensure_future(told.wait())
    ends: set[asyncio.Future[Any]] = {task, waiting, failed}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    ending = asyncio.ensure_future(_ended(task))
    await asyncio.wait({ending}, timeout=ENDS_WITHIN_S)
    if task.done() and not (told.is_set() and task.cancelled()):
        task.result()
    if failed.done() and not told.is_set():
        raise failed.result()
    return ending.done()


async def _ended(task: asyncio.Future[None]) -> None:
    """Return when `task` has closed what it opened, and what it had given to threads is done."""
    await asyncio.wait({task})
    await asyncio.get_running_loop().shutdown_default_executor()


def _leaves(error: BaseException) -> list[BaseException]:
    """The errors inside a task group's bundle, or the error itself."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for part in error.exceptions for leaf in _leaves(part)]
