"""Can this file be replayed, and what is in one that is made up?

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
    _run(command, f"{bars} cannot be read")


def write_made_up_bars(file: Path, *, symbols: str, sessions: int, seed: int) -> int:
    """Let the simulator write made-up minute bars to `file`; how many.

    Raises:
        InvalidInput: why not, in one sentence.
    """
    command = [sys.executable, "-m", "simulator", "--write", str(file), "--symbols", symbols]
    command += ["--sessions", str(sessions), "--seed", str(seed)]
    said = _run(command, f"{file} cannot be written").split()
    return int(said[0])


def _run(command: list[str], otherwise: str) -> str:
    """What the simulator says, or the last line of its complaint as an error."""
    done = subprocess.run(  # noqa: S603  # our own interpreter and module, arguments as a list
        command, capture_output=True, text=True, check=False, timeout=_CHECK_WITHIN_S
    )
    if done.returncode != 0:
        words = [line for line in done.stderr.splitlines() if line.strip()]
        raise InvalidInput(words[-1].removeprefix("simulator: ") if words else otherwise)
    return done.stdout
