"""How does the local runtime do what the commands ask? See `Runtime`; the stack does the work."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import psutil

from shared.domain.errors import Misconfigured
from trader.runtime import clients, postgres
from trader.runtime.binaries import postgres_binaries
from trader.runtime.clients import Client, python_words
from trader.runtime.errors import AlreadyRunning
from trader.runtime.instance import DATABASE, POSTGRES, REDIS, SERVICES, SIMULATOR, Instance
from trader.runtime.interface import RuntimeName, Usage
from trader.runtime.ports import LOOPBACK
from trader.runtime.redis import find_server
from trader.runtime.running import told_to
from trader.runtime.stack import LocalStack
from trader.runtime.supervisor import ProgramState

LOOK_FOR_S = 0.3


class LocalRuntime:
    """Processes of this machine under a supervisor."""

    name = RuntimeName.LOCAL

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self._stack = LocalStack(instance)

    @property
    def runs(self) -> bool:
        """See `Runtime`."""
        return self._stack.runs

    @property
    def demo(self) -> bool:
        """See `Runtime`."""
        return self._stack.runs and self._stack.state_of(SIMULATOR).pid != 0

    def status(self) -> list[ProgramState]:
        """See `Runtime`."""
        return self._stack.status()

    def usage(self) -> dict[str, Usage]:
        """See `Runtime`; looks twice, since a processor's share is of a span of time."""
        families = {each.name: _family(each.pid) for each in self.status() if each.pid}
        for family in families.values():
            for process in family:
                _cpu_share(process)
        psutil.cpu_percent(interval=LOOK_FOR_S)
        return {
            name: Usage(sum(map(_cpu_share, family)), sum(map(_memory, family)))
            for name, family in families.items()
        }

    def start(self, names: Sequence[str], say: Callable[[str], None]) -> None:
        """See `Runtime`."""
        if self._stack.is_lent:
            raise AlreadyRunning(
                "another command has the database to itself (a backup, a restore, a migration) and ends it with itself; "
                "wait for it, then start anew"
            )
        if self._stack.runs:
            running = {each.name for each in self.status() if each.pid}
            missing = [name for name in names if name not in running]
            if (
                POSTGRES in running
                and not running.intersection(SERVICES)
                and {*missing} & {*SERVICES}
            ):
                # The first service must not meet a database of another version; under one that runs nothing is changed.
                self._stack.wait_until_answering([POSTGRES])
                self.migrate()
            self._stack.start_programs(missing)
        else:
            LocalStack(self.instance, names).start(say)

    def stop(self, names: Sequence[str]) -> None:
        """See `Runtime`."""
        self._stack.stop_programs(names)

    def stop_all(self) -> None:
        """See `Runtime`."""
        self._stack.stop()

    def answers(self, name: str) -> bool:
        """See `Runtime`."""
        return self._stack.answers(name)

    def build(self, say: Callable[[str], None]) -> None:
        """See `Runtime`: the packages are there already, since this runs from them."""
        say("making the server binaries ready")
        postgres_binaries(self.instance.project)
        find_server(self.instance)

    def update(self, say: Callable[[str], None]) -> None:
        """See `Runtime`: installs what the pinned lists say, whatever is there."""
        say("installing the pinned packages")
        # The stamp is what says that they are installed already.
        (self.instance.project / ".venv" / "installed-runtime").unlink(missing_ok=True)
        script = self.instance.project / "scripts" / "setup.sh"
        done = subprocess.run([str(script), "runtime"], check=False)  # noqa: S603  our own script
        if done.returncode != 0:
            raise Misconfigured("the packages could not be updated; see the words above")
        self.build(say)

    @contextmanager
    def database(self, say: Callable[[str], None]) -> Iterator[None]:
        """See `Runtime`."""
        if self._stack.runs:
            if not self.answers(POSTGRES):
                raise Misconfigured("PostgreSQL does not answer; see `trader logs postgres`")
            yield
            return
        alone = LocalStack(self.instance, (POSTGRES, REDIS), owned=True, migrates=False)
        alone.start(say)
        try:
            yield
        finally:
            alone.stop_own()

    @contextmanager
    def database_route(self) -> Iterator[tuple[str, int]]:
        """See `Runtime`."""
        yield LOOPBACK, self.instance.ports.postgres

    def told(self, program: str) -> Mapping[str, str]:
        """See `Runtime`."""
        return told_to(self.instance, program)

    def make_roles(self) -> None:
        """See `Runtime`."""
        postgres.make_roles(self.instance)

    def migrate(self, database: str = DATABASE) -> None:
        """See `Runtime`."""
        postgres.bootstrap(self.instance, database)

    def postgres_client(self, tool: str, role: str, database: str, *, terminal: bool) -> Client:
        """See `Runtime`."""
        del terminal
        return clients.postgres_client(self.instance, tool, role, database)

    def redis_client(self, *, terminal: bool) -> Client:
        """See `Runtime`."""
        del terminal
        return clients.redis_shell(self.instance)

    def shell(self, service: str, command: str | None) -> Client:
        """See `Runtime`."""
        terminal = {key: os.environ[key] for key in ("TERM", "COLUMNS") if key in os.environ}
        told = {**self.instance.environment(service), **terminal}
        return Client((sys.executable, *python_words(command)), told)


def _family(pid: int) -> list[psutil.Process]:
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.Error:
        return []


def _cpu_share(process: psutil.Process) -> float:
    try:
        return float(process.cpu_percent()) / 100
    except psutil.Error:
        return 0.0


def _memory(process: psutil.Process) -> int:
    try:
        found = process.memory_info()
        # Pages shared with others are counted once where the system tells them apart.
        return int(found.rss - getattr(found, "shared", 0))
    except psutil.Error:
        return 0
