"""What does an exit code of `trader` mean?

Scripts branch on these; they never change their meaning.
"""

from enum import IntEnum

from shared.domain.errors import InvalidInput, Misconfigured
from trader.runtime.errors import NotFound, NotRunning, TimedOut, UnknownProgram


class ExitCode(IntEnum):
    """One number per kind of ending."""

    OK = 0
    ERROR = 1
    NOT_FOUND = 2
    NOT_RUNNING = 3
    USAGE = 4
    TIMED_OUT = 5
    # As shells say it of what Ctrl-C ended.
    INTERRUPTED = 130


def exit_code_of(error: Exception) -> ExitCode:
    """Return the code by which a command that failed with `error` ends."""
    match error:
        case Misconfigured() | InvalidInput():
            return ExitCode.USAGE
        case UnknownProgram() | NotFound():
            return ExitCode.NOT_FOUND
        case NotRunning():
            return ExitCode.NOT_RUNNING
        case TimedOut():
            return ExitCode.TIMED_OUT
        case _:
            return ExitCode.ERROR
