"""Can this file be replayed?

Asked of the simulator's own reader in a process of its own, before anything else is started: a wrong file ends in
the reader's one sentence and nothing half-written.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from shared.domain.errors import InvalidInput

_CHECK_WITHIN_S = 120


def check_bars(bars: Path, *, last: int | None, symbols: str | None) -> None:
    """Return when `bars` is a file of bars that the simulator can replay.

    Raises:
        InvalidInput: why not, in one sentence.
    """
    command = [sys.executable, "-m", "simulator", "--check", "--bars", str(bars)]
    if last is not None:
        command += ["--last", str(last)]
    if symbols is not None:
        command += ["--symbols", symbols]
    done = subprocess.run(  # noqa: S603  # our own interpreter and module, arguments as a list
        command, capture_output=True, text=True, check=False, timeout=_CHECK_WITHIN_S
    )
    if done.returncode != 0:
        words = [line for line in done.stderr.splitlines() if line.strip()]
        raise InvalidInput(
            words[-1].removeprefix("simulator: ") if words else f"{bars} cannot be read"
        )
