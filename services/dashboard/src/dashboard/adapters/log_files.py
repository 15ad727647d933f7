"""What have the services written into their logs? The newest lines, read from the end of the file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson

MOST_BYTES = 512 * 1024
_LEVELS = ("debug", "info", "warning", "error", "critical")


async def newest_lines(folder: Path, *, least: str, most: int) -> list[dict[str, Any]]:
    """The newest lines of all services at level `least` or worse, newest first; none where there is no log."""
    return await asyncio.to_thread(_read, folder / "trading_system.log", least, most)


def _read(file: Path, least: str, most: int) -> list[dict[str, Any]]:
    try:
        with file.open("rb") as log:
            size = log.seek(0, 2)
            log.seek(max(0, size - MOST_BYTES))
            text = log.read(MOST_BYTES)
    except OSError:
        return []
    wanted = set(_LEVELS[_LEVELS.index(least) :])
    found: list[dict[str, Any]] = []
    for line in reversed(text.splitlines()):
        try:
            said = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue  # the first line of what was read is rarely a whole one
        if isinstance(said, dict) and said.get("level") in wanted:
            found.append(said)
            if len(found) >= most:
                break
    return found
