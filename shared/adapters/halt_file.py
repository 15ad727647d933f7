"""How is trading halted when nothing but the disk answers?

By a file that the kill command writes and every executor looks for before it sends. It holds for every account of a home,
whoever wrote it, so it begins with who that was; it stays until a person removes it. A file that cannot be looked at counts as thrown: whoever cannot see the switch must not trade.
"""

from __future__ import annotations

import os
from pathlib import Path

_LONGEST = 600


class HaltFile:
    """See `ports.HaltSwitch`."""

    def __init__(self, path: Path, thrown_by: str = "") -> None:
        """`thrown_by`: what whoever meets the file later is told of who wrote it; empty for who only reads."""
        self.path = path
        self._thrown_by = thrown_by

    def note(self) -> str | None:
        """See `ports.HaltSwitch`."""
        try:
            text = self.path.read_bytes()[:_LONGEST].decode(errors="replace").strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"{self.path} cannot be read: {error.strerror}"
        return text or "no reason was written"

    def throw(self, note: str) -> None:
        """Write the file so that it survives a crash of the machine. A second throw keeps the first note.

        Raises:
            OSError: the disk does not take it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return
        with os.fdopen(descriptor, "wb") as file:
            said = f"{self._thrown_by}: {note}" if self._thrown_by else note
            file.write(said.encode(errors="replace")[:_LONGEST])
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def take_back(self) -> None:
        """Remove the file; nothing happens where there is none."""
        self.path.unlink(missing_ok=True)
