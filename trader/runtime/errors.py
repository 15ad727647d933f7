"""What can go wrong while running a stack, by what the person does next.

Misconfigured (shared)   change a setting, a file or the machine, then try again
StackError
├── AlreadyRunning       nothing, or stop the other stack first
├── NotRunning           start it first
├── UnknownProgram       name one that exists
├── NotFound             name one that exists
├── ProgramFailed        read the log that the sentence quotes
└── TimedOut             the same; a bound on waiting was reached
"""

from shared.domain.errors import TradingError


class StackError(TradingError):
    """One sentence that names the thing and the mend."""


class AlreadyRunning(StackError):
    """Another supervisor holds this home."""


class NotRunning(StackError):
    """No supervisor holds this home, or the program is stopped."""


class UnknownProgram(StackError):
    """No program of this stack has that name."""


class NotFound(StackError):
    """A service knows nothing of that name."""


class ProgramFailed(StackError):
    """A program ended instead of starting."""


class TimedOut(StackError):
    """A bound on waiting was reached."""
