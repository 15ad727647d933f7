"""How are backtests run, listed and compared from here?

By the project's own command line in a process of its own, since the backtester is no service: one run at a time, with a
deadline, an answer of bounded size, and of our secrets those alone with which history is read. What it refuses comes back as
its own sentence.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import SecretStr

from shared.config import Settings, process_environment
from shared.domain.errors import Rejected, Unavailable
from shared.ports import Timer

LIST_WITHIN_S = 30.0
RUN_WITHIN_S = 900.0
# A report does the run again, to show what is not kept.
REPORT_WITHIN_S = 180.0
MOST_REPORTS = 4
MOST_BYTES = 64 * 1024 * 1024
MOST_LISTED = 200
_LONGEST_QUOTE = 400
# What the database's rows and a bucket's files are read with; the database's is that of the role that may only look.
_READING = frozenset(["DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])


@dataclass(slots=True)
class Running:
    """The run that is under way, and how it ended."""

    what: str
    began_s: float
    run_id: str | None = None
    failed: str | None = None
    took_s: float | None = None


class Backtests:
    """Asks the command line."""

    def __init__(self, settings: Settings, timer: Timer) -> None:
        self._environment = {
            name: value
            for name, value in process_environment().items()
            if name in _READING or not isinstance(getattr(settings, name.lower(), None), SecretStr)
        }
        self._timer = timer
        self._task: asyncio.Task[None] | None = None
        self._reports: OrderedDict[str, str] = OrderedDict()
        self._reporting = asyncio.Lock()
        self.latest: Running | None = None

    async def runs(self) -> list[dict[str, Any]]:
        """The kept runs, newest first."""
        found = await self._ask("list", f"--limit={MOST_LISTED}", "--json")
        return found if isinstance(found, list) else []

    async def run(self, run_id: str) -> dict[str, Any]:
        """One kept run, whole."""
        return _document(await self._ask("show", "--json", "--", run_id))

    async def comparison(self, run_ids: Sequence[str]) -> dict[str, Any]:
        """Kept runs side by side."""
        return _document(await self._ask("compare", "--json", "--", *run_ids))

    async def report(self, run_id: str) -> str:
        """The page about one kept run, made when first asked for; a run never changes, so the newest few are kept.

        Raises:
            Rejected: there is no such run, or it cannot be done again. Unavailable: not in time.
        """
        async with self._reporting:
            if run_id not in self._reports:
                with tempfile.TemporaryDirectory(prefix="report-") as folder:
                    file = Path(folder) / "report.html"
                    words = ("show", f"--report={file}", "--json", "--", run_id)
                    await self._ask(*words, within_s=REPORT_WITHIN_S)
                    self._reports[run_id] = await asyncio.to_thread(file.read_text, "utf-8")
                while len(self._reports) > MOST_REPORTS:
                    self._reports.popitem(last=False)
            self._reports.move_to_end(run_id)
            return self._reports[run_id]

    def start(self, asked: Mapping[str, str]) -> None:
        """Run one in the background; `asked` are options of `trader backtest run` by name.

        Raises:
            Rejected: one is under way.
        """
        if self._task is not None and not self._task.done():
            raise Rejected("a backtest is under way; wait for it to end")
        words = [f"--{name}={value}" for name, value in asked.items() if value]
        running = Running(" ".join(words), self._timer.monotonic_s())
        self.latest = running
        self._task = asyncio.create_task(self._carry_out(running, words), name="backtest")

    def running_s(self) -> float | None:
        """For how long one has been under way; None when none is."""
        if self._task is None or self._task.done() or self.latest is None:
            return None
        return self._timer.monotonic_s() - self.latest.began_s

    async def close(self) -> None:
        """End what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _carry_out(self, running: Running, words: Sequence[str]) -> None:
        try:
            said = _document(await self._ask("run", *words, "--json", "-", within_s=RUN_WITHIN_S))
            running.run_id = str((said.get("manifest") or {}).get("id", ""))[:64]
        except (Rejected, Unavailable) as error:
            running.failed = str(error)
        finally:
            running.took_s = self._timer.monotonic_s() - running.began_s

    async def _ask(self, *words: str, within_s: float = LIST_WITHIN_S) -> Any:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "trader",
            "backtest",
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
            limit=MOST_BYTES,
        )
        try:
            async with asyncio.timeout(within_s):
                out, errors = await process.communicate()
        except TimeoutError:
            raise Unavailable(f"the backtester did not answer within {within_s:.0f} s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode != 0:
            lines = errors.decode("utf-8", "replace").strip().splitlines()
            quote = lines[-1].removeprefix("trader: ") if lines else "it said nothing"
            raise Rejected(quote[:_LONGEST_QUOTE])
        if len(out) > MOST_BYTES:
            raise Rejected("this run is too large to be shown here; use `trader backtest show`")
        try:
            return orjson.loads(out)
        except orjson.JSONDecodeError:
            raise Unavailable("the backtester gave an answer that cannot be read") from None


def _document(said: Any) -> dict[str, Any]:
    return said if isinstance(said, dict) else {}
