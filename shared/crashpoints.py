"""Where may a process die between two durable effects?

Each such place bears a name and says it as it is passed. Outside tests nobody listens and nothing happens; a test
ends the process there, as a power cut would, and looks at what the restart makes of it.
"""

from __future__ import annotations

from collections.abc import Callable

# In the order in which a bar's consequences pass them, one line for each service.
UPSTREAM = {
    "strategy_engine": ("sig.received", "sig.committed", "sig.announced"),
    "risk_manager": ("risk.received", "risk.committed", "risk.announced"),
}
EXECUTOR = (
    "exec.received",
    "intent.committed",
    "intent.sending",
    "post.sent",
    "post.replied",
    "ack.committed",
    "fill.received",
    "fill.committed",
    "cancel.sending",
    "cancel.replied",
    "cancel.committed",
    "recon.started",
    "recon.applied",
)
POINTS = (*UPSTREAM["strategy_engine"], *UPSTREAM["risk_manager"], *EXECUTOR)
_listener: Callable[[str], None] | None = None


def crashpoint(name: str) -> None:
    """Say that the place called `name` is passed."""
    if _listener is not None:
        _listener(name)


def listen(listener: Callable[[str], None]) -> None:
    """Have `listener` called with every name; tests alone do."""
    global _listener  # noqa: PLW0603  # one process, one listener, set before anything runs
    _listener = listener
