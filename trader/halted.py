"""What is whoever starts or resumes told of a halt that he may not have made?

The halt file holds for every account of a home: the one that a demo or another account left behind holds a person's own back
too, on purpose. So its sentence says where it came from and how it ends.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from shared.adapters.halt_file import HaltFile


def halt_of(file: Path) -> str | None:
    """Who threw the halt in `file`, why and when; None where there is none."""
    note = HaltFile(file).note()
    if note is None:
        return None
    said = " ".join("".join(c if c.isprintable() else " " for c in note).split())
    try:
        since = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    except OSError:
        return said
    return f"{said} ({since:%Y-%m-%d %H:%M} UTC)"


def sentence_of_halt(file: Path) -> str | None:
    """The one sentence for whoever starts an account in this home; None where nothing is halted by `file`."""
    said = halt_of(file)
    if said is None:
        return None
    return (
        f"trading is halted by {file}, for every account of this home: {said}; no order leaves until you have looked and "
        'say trader resume --reason "..."'
    )
