"""What the commands need of a runtime, whichever it is; `runtimes` says which one is in force."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from trader.runtime.clients import Client
from trader.runtime.instance import DATABASE, Instance
from trader.runtime.supervisor import ProgramState


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
        """Have the database's server up meanwhile, and as before afterwards; its tables are not touched."""
        ...

    def database_route(self) -> AbstractContextManager[tuple[str, int]]:
        """Host (or folder of a socket) and port under which this machine reaches the database meanwhile.

        Raises NotRunning when there is none to reach.
        """
        ...

    def told(self, program: str) -> Mapping[str, str]:
        """What `program` was told as it runs now; empty when it does not."""
        ...

    def make_roles(self) -> None:
        """Make the roles, and the database where there has never been one; the server must be up."""
        ...

    def migrate(self, database: str = DATABASE) -> None:
        """Bring roles and the tables of a database up to date; the server must be up.

        Raises:
            Misconfigured: no step leads from it to this version, and it is as it was.
        """
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
