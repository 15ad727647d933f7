"""How is each program of a stack started and stopped?

What the supervisor must know of a program: its command, as whom it runs, what it is told, in which
order it comes up and by which signal it goes. Services are all alike; the servers are not.
"""

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trader.runtime import postgres, redis
from trader.runtime.account import server_account
from trader.runtime.instance import POSTGRES, REDIS, SIMULATOR, Instance

# A fast shutdown: open transactions are rolled back and the rest is written out.
POSTGRES_STOPS_BY = signal.SIGINT
RELOADING = ("shared.adapters.reloading",)
STOP_SIGNALS: Mapping[str, signal.Signals] = {POSTGRES: POSTGRES_STOPS_BY}


@dataclass(frozen=True, slots=True)
class Program:
    """One program, ready to be started."""

    name: str
    command: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str] = field(repr=False)
    stop_signal: signal.Signals = signal.SIGTERM
    stop_within_s: int = 15
    account: int | None = None
    stdin: str = field(default="", repr=False)


def program(
    instance: Instance, name: str, simulator_args: Sequence[str] = (), *, reload: bool = False
) -> Program:
    """Describe the program called `name`; with `reload` a service that starts anew when its code changes.

    Raises:
        UnknownProgram: there is none of that name.
    """
    environment = instance.environment(name)
    if name == POSTGRES:
        return Program(
            name=name,
            command=postgres.server_command(instance),
            directory=postgres.data_folder(instance),
            environment=environment,
            stop_signal=POSTGRES_STOPS_BY,
            stop_within_s=60,
            account=server_account(),
        )
    if name == REDIS:
        server = redis.find_server(instance)
        return Program(
            name=name,
            command=(str(server), "-"),
            directory=Path("/"),
            environment=environment,
            account=redis.account_for(server),
            stdin=redis.configuration(instance),
        )
    arguments: tuple[str, ...] = ()
    if name == SIMULATOR:
        reload = False  # it is the world outside, whose book and clock must not start anew
        arguments = ("--port", str(instance.ports.simulator), *simulator_args)
    return Program(
        name=name,
        command=(sys.executable, "-m", *(RELOADING if reload else ()), name, *arguments),
        directory=instance.project,
        environment=environment,
    )


def sheet_of(instance: Instance, name: str) -> Path:
    """Return the file that tells `launch` how to become the program."""
    return instance.run / "sheets" / f"{name}.json"


def write_sheet(instance: Instance, wanted: Program) -> None:
    """Write that file; it holds the program's secrets, so its owner alone may read it."""
    sheet = sheet_of(instance, wanted.name)
    text = json.dumps(
        {
            "command": wanted.command,
            "directory": str(wanted.directory),
            "environment": dict(wanted.environment),
            "account": wanted.account,
            "stdin": wanted.stdin,
            "record": str(instance.run / "records" / f"{wanted.name}.json"),
        }
    )
    draft = sheet.with_suffix(".draft")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(text)
    draft.replace(sheet)
