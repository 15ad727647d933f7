"""How does a service run anew when its code was changed? `python -m shared.adapters.reloading SERVICE`.

For developers: it runs the service as a child, looks at the times of its source files, and lets the child end in
peace before the next one begins. A child that fails stays down until the code changes again, so that a typing
error is one message and no crash loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

LOOK_EVERY_S = 1.0
STOP_WITHIN_S = 10.0
EXIT_USAGE = 4

Times = Mapping[Path, int]


def folders_of(service: str) -> list[Path]:
    """The packages whose code `service` runs: its own and the shared language."""
    found = []
    for name in ("shared", service):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            found.append(Path(spec.origin).parent)
    return found


def times_of(folders: list[Path]) -> Times:
    """When each source file below `folders` was changed last."""
    return {file: file.stat().st_mtime_ns for file in _sources(folders)}


def _sources(folders: list[Path]) -> Iterator[Path]:
    for folder in folders:
        for file in folder.rglob("*.py"):
            # Tests change nothing that runs.
            if "tests" not in file.parts and file.exists():
                yield file


async def run(service: str, arguments: list[str]) -> int:
    """Run `service` again and again until told to stop; returns the exit code of the last one."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    folders = folders_of(service)
    while True:
        before = times_of(folders)
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", service, *arguments, env=dict(os.environ)
        )
        changed = await _until_changed_or_told(folders, before, told)
        await _end(child)
        if told.is_set():
            return child.returncode or 0
        print(f"{service}: {changed} was changed; starting anew", file=sys.stderr, flush=True)


async def _until_changed_or_told(folders: list[Path], before: Times, told: asyncio.Event) -> str:
    while not told.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY_S):
                await told.wait()
        now = times_of(folders)
        if now != before:
            differing = {path for path, _ in set(now.items()) ^ set(before.items())}
            return min(differing).name
    return ""


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        child.terminate()
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                await child.wait()
        except TimeoutError:
            child.kill()
    await child.wait()


def main() -> int:
    """Run what the command line names."""
    if len(sys.argv) < 2 or len(folders_of(sys.argv[1])) < 2:
        print("usage: python -m shared.adapters.reloading SERVICE [ARGUMENT...]", file=sys.stderr)
        return EXIT_USAGE
    return asyncio.run(run(sys.argv[1], sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
