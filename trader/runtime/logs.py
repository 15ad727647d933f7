"""Read what the programs say: the last lines, and what comes after them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trader.runtime.waiting import wait_until

FOLLOW_LOOK_S = 3600.0
# The end of a file that is searched for its last lines; a bound on what is held in memory.
TAIL_BYTES = 1024 * 1024


@dataclass(slots=True)
class Follower:
    """One log file, read on from where it was left, also across its rotation."""

    name: str
    path: Path
    _position: int = 0
    _inode: int = 0
    _rest: bytes = field(default=b"")

    def last(self, count: int) -> list[str]:
        """Return the last `count` lines and read on from there."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            size = self.path.stat().st_size
            file.seek(max(0, size - TAIL_BYTES))
            data = file.read()
            self._position = file.tell()
            self._inode = self.path.stat().st_ino
        return data.decode(errors="replace").splitlines()[-count:] if count else []

    def new(self) -> list[str]:
        """Return the lines that came since the last call; a line begun is kept back."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return []
        if found.st_ino != self._inode or found.st_size < self._position:
            self._inode, self._position, self._rest = found.st_ino, 0, b""
        if found.st_size == self._position:
            return []
        with self.path.open("rb") as file:
            file.seek(self._position)
            data = self._rest + file.read(TAIL_BYTES)
            self._position = file.tell()
        *lines, self._rest = data.split(b"\n")
        return [line.decode(errors="replace") for line in lines]


def follow(logs: Sequence[Follower]) -> Iterator[tuple[str, str]]:
    """Yield (program, line) for every new line, until the reader stops asking."""
    waiting: list[tuple[str, str]] = []

    def something_came() -> bool:
        waiting.extend((log.name, line) for log in logs for line in log.new())
        return bool(waiting)

    while True:
        wait_until(something_came, FOLLOW_LOOK_S)
        yield from waiting
        waiting.clear()
