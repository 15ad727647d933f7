"""In which runtime does the system of this project run: as processes here, or in Docker Compose?

RUNTIME says so, in the environment or in `.env`. Where it says nothing, the runtime counts for which `make
build` was run last, and without that the local one: a Docker engine that merely answers has none of our
images, and each runtime has a database of its own, so the choice must not change by itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from shared.domain.errors import Misconfigured
from trader.runtime.clients import Client
from trader.runtime.instance import Instance
from trader.runtime.supervisor import ProgramState

SETTING = "RUNTIME"
ENGINE_WITHIN_S = 10


class RuntimeName(StrEnum):
    """The two ways to run the same services."""

    LOCAL = "local"
    COMPOSE = "compose"


@dataclass(frozen=True, slots=True)
class Usage:
    """What a program uses now; a share of 1.0 is one whole processor."""

    cpu_share: float
    memory_bytes: int


class Runtime(Protocol):
    """What the commands need of either runtime."""

    name: RuntimeName
    instance: Instance

    @property
    def runs(self) -> bool:
        """Whether anything of it runs."""
        ...

    @property
    def demo(self) -> bool:
        """Whether what runs trades at the simulator, whatever the settings say."""
        ...

    def status(self) -> list[ProgramState]:
        """Every program, in pipeline order. Raises NotRunning when nothing runs."""
        ...

    def usage(self) -> dict[str, Usage]:
        """What each running program uses."""
        ...

    def start(self, names: Sequence[str], say: Callable[[str], None]) -> None:
        """Start `names` and what they lean on; return when they answer. Running ones are left alone."""
        ...

    def stop(self, names: Sequence[str]) -> None:
        """Stop programs and return when they are gone."""
        ...

    def stop_all(self) -> None:
        """Stop everything, services before servers."""
        ...

    def answers(self, name: str) -> bool:
        """Whether `name` answers now."""
        ...

    def build(self, say: Callable[[str], None]) -> None:
        """Make ready what is run: the server binaries, or the images."""
        ...

    def update(self, say: Callable[[str], None]) -> None:
        """Fetch what is run anew."""
        ...

    def database(self, say: Callable[[str], None]) -> AbstractContextManager[None]:
        """Have the database up meanwhile, and as before afterwards."""
        ...

    def migrate(self) -> None:
        """Bring roles and tables up to date; the database must be up."""
        ...

    def postgres_client(self, tool: str, role: str, database: str, *, terminal: bool) -> Client:
        """One of PostgreSQL's clients, logged in."""
        ...

    def redis_client(self, *, terminal: bool) -> Client:
        """Redis' client, logged in."""
        ...

    def shell(self, service: str, command: str | None) -> Client:
        """A Python with what `service` is told; for a person, or to run `command` and end."""
        ...


def runtime_of(instance: Instance) -> Runtime:
    """The runtime in force for the stack of this project.

    Raises:
        Misconfigured: RUNTIME names none, or there is no Docker to run it.
    """
    return runtime_named(name_in_force(instance), instance)


def runtime_named(name: RuntimeName, instance: Instance) -> Runtime:
    """The runtime called `name`."""
    from trader.runtime.compose import ComposeRuntime
    from trader.runtime.local import LocalRuntime

    return ComposeRuntime(instance) if name is RuntimeName.COMPOSE else LocalRuntime(instance)


def name_in_force(instance: Instance) -> RuntimeName:
    """See `runtime_of`."""
    said = os.environ.get(SETTING) or instance.settings.get(SETTING, "")
    if not said:
        try:
            said = (instance.home / "runtime").read_text().strip()
        except FileNotFoundError:
            return RuntimeName.LOCAL
    try:
        return RuntimeName(said)
    except ValueError:
        raise Misconfigured(f"{SETTING} must be local or compose, was {said!r}") from None


def name_to_build(instance: Instance) -> RuntimeName:
    """What `build` is for where nothing is said: Compose where an engine answers, else local."""
    if os.environ.get(SETTING) or instance.settings.get(SETTING, ""):
        return name_in_force(instance)
    return RuntimeName.COMPOSE if engine_answers() else RuntimeName.LOCAL


def remember(instance: Instance, name: RuntimeName) -> None:
    """Let `name` be in force from now on where RUNTIME says nothing."""
    (instance.home / "runtime").write_text(f"{name.value}\n")


def engine_answers() -> bool:
    """Say whether a Docker engine with Compose answers."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    try:
        for words in (("info", "--format", "{{.ServerVersion}}"), ("compose", "version")):
            done = subprocess.run(  # noqa: S603  Docker from the PATH, fixed words
                [docker, *words],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                check=False,
                timeout=ENGINE_WITHIN_S,
            )
            if done.returncode != 0:
                return False
    except (OSError, subprocess.TimeoutExpired):
        return False
    return True
