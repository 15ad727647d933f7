"""What have the services written into their logs? Lines read backwards, from the newest or from where one stopped."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

# So much is looked through at one time; where few lines are of the wanted level, the next look goes on from there.
MOST_BYTES = 2 * 1024 * 1024
_BLOCK = 256 * 1024
_MOST_FILES = 100
_LEVELS = ("debug", "info", "warning", "error", "critical")


@dataclass(frozen=True, slots=True)
class Place:
    """Before which byte of which file; a file keeps its inode when rotation gives it another name."""

    inode: int
    byte: int


@dataclass(frozen=True, slots=True)
class LogPage:
    """Lines newest first, and where older ones begin; None when there are none."""

    lines: list[dict[str, Any]]
    older: Place | None


async def lines_before(folder: Path, place: Place | None, *, least: str, most: int) -> LogPage:
    """Lines of all services at level `least` or worse, newest first, before `place`; none where there is no log."""
    return await asyncio.to_thread(_read, folder, place, least, most)


def _read(folder: Path, place: Place | None, least: str, most: int) -> LogPage:
    wanted = set(_LEVELS[_LEVELS.index(least) :])
    found: list[dict[str, Any]] = []
    seen = 0
    for ends, line in _backwards(folder, place):
        if len(found) == most or seen > MOST_BYTES:
            return LogPage(found, ends)
        seen += len(line)
        try:
            said = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue  # half of one that is being written
        if isinstance(said, dict) and said.get("level") in wanted:
            found.append(said)
    return LogPage(found, None)


def _backwards(folder: Path, place: Place | None) -> Iterator[tuple[Place, bytes]]:
    """Every line before `place`, the newest first, with where it ends. A file that is gone ends the way back."""
    for number in range(_MOST_FILES):
        try:
            log = (folder / f"trading_system.log{f'.{number}' if number else ''}").open("rb")
        except OSError:
            return
        with log:
            inode = os.fstat(log.fileno()).st_ino
            if place is not None and place.inode != inode:
                continue
            end = log.seek(0, os.SEEK_END) if place is None else place.byte
            place = None
            for ends, line in _lines_of(log, end):
                yield Place(inode, ends), line


def _lines_of(log: BinaryIO, end: int) -> Iterator[tuple[int, bytes]]:
    """The file's lines that end by `end`, the last one first, each with where it ends."""
    begun, rest = end, b""
    while begun > 0:
        size = min(_BLOCK, begun)
        begun -= size
        log.seek(begun)
        # What the block begins with may be the end of a line whose beginning lies before it.
        rest, *lines = (log.read(size) + rest).split(b"\n")
        ends = begun + len(rest) + sum(len(line) + 1 for line in lines)
        for line in reversed(lines):
            if line:
                yield ends, line
            ends -= len(line) + 1
    if rest:
        yield len(rest), rest
