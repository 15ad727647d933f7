"""How does a service's process begin and end?

Settings first: a wrong one ends in one sentence and exit code 4 before anything is connected. SIGTERM and
SIGINT cancel the service's main task, whose contexts close what they opened; a failure of any part ends the
whole process with code 1, and the supervisor starts it anew.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable

import structlog
import uvloop

from shared.adapters.logs import set_up_logging
from shared.config import Settings, load_settings
from shared.domain.errors import Misconfigured

EXIT_FAILED = 1
EXIT_MISCONFIGURED = 4


def run_service(service: str, run: Callable[[Settings], Awaitable[None]]) -> int:
    """Run `service` until it is told to stop; returns the exit code."""
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
    try:
        uvloop.run(_until_told(run, settings))
    except Exception as error:  # the top of the process: say what ended it
        reasons = _leaves(error)
        if all(isinstance(reason, Misconfigured) for reason in reasons):
            log.critical("cannot start", reason="; ".join(str(reason) for reason in reasons))
            return EXIT_MISCONFIGURED
        log.critical("ended by a failure", exc_info=error)
        return EXIT_FAILED
    log.info("stopped")
    return 0


async def _until_told(run: Callable[[Settings], Awaitable[None]], settings: Settings) -> None:
    task = asyncio.ensure_future(run(settings))
    loop = asyncio.get_running_loop()
    told = False

    def stop() -> None:
        nonlocal told
        told = True
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not told:
            raise


def _leaves(error: BaseException) -> list[BaseException]:
    """The errors inside a task group's bundle, or the error itself."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for part in error.exceptions for leaf in _leaves(part)]
