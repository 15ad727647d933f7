"""When is a program that dies again and again given up?

A program that was restarted five times within ten minutes and dies once more is stopped, and trading
goes to REDUCING: no new entries, exits go on. Supervisord's own limit counts only starts that fail,
so this event listener counts every death. `decide` thinks; `main` speaks supervisord's protocol.

The supervisor starts it; it also ends a stack whose owner (a test, a demo) has gone.
"""

import contextlib
import http.client
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trader.runtime.errors import NotRunning
from trader.runtime.instance import Instance
from trader.runtime.orphans import identity_in
from trader.runtime.ports import LOOPBACK
from trader.runtime.programs import Program
from trader.runtime.supervisor import CRASH_LOOP, Supervisor
from trader.runtime.waiting import machine_seconds

MOST_RESTARTS = 5
WINDOW_S = 600.0
ASK_WITHIN_S = 3.0
DEATHS = frozenset({"PROCESS_STATE_EXITED", "PROCESS_STATE_BACKOFF"})


@dataclass(slots=True)
class Memory:
    """What is remembered between two events, and across restarts of this listener."""

    deaths: dict[str, list[float]] = field(default_factory=dict)
    given_up: list[str] = field(default_factory=list)
    # Programs for which trading has not been reduced yet.
    owed: list[str] = field(default_factory=list)


def decide(memory: Memory, event: str, payload: Mapping[str, str], now_s: float) -> str | None:
    """Take one event into `memory`; return the program to stop now, if any."""
    name = payload.get("processname", "")
    if name in ("", CRASH_LOOP):
        return None
    if event == "PROCESS_STATE_STARTING" and payload.get("from_state") in ("STOPPED", "FATAL"):
        # A person started it anew: what was before does not count any more.
        memory.deaths.pop(name, None)
        memory.given_up = [other for other in memory.given_up if other != name]
        return None
    if name in memory.given_up:
        return None
    if event in DEATHS:
        recent = [at_s for at_s in memory.deaths.get(name, []) if now_s - WINDOW_S < at_s <= now_s]
        memory.deaths[name] = [*recent, now_s]
    elif event != "PROCESS_STATE_FATAL":
        return None
    if event == "PROCESS_STATE_FATAL" or len(memory.deaths[name]) > MOST_RESTARTS:
        memory.given_up.append(name)
        memory.owed.append(name)
        return name
    return None


def memory_file(instance: Instance) -> Path:
    """Return where the listener keeps what it knows."""
    return instance.run / "crash_loop.json"


def listener_program(instance: Instance) -> Program:
    """Describe this listener as a program: it is told where to look and one API token."""
    environment = {
        **instance.environment("redis"),
        "CRASH_LOOP_MEMORY": str(memory_file(instance)),
        "CRASH_LOOP_OWNER": str(instance.run / "owner.json"),
        "CRASH_LOOP_SOCKET": str(instance.socket),
        "CRASH_LOOP_RISK_PORT": str(instance.ports.risk_manager),
        "CRASH_LOOP_TOKEN": instance.settings["API_TOKEN_KILL"],
    }
    return Program(
        name=CRASH_LOOP,
        command=(sys.executable, "-m", "trader.runtime.crash_loop"),
        directory=instance.project,
        environment=environment,
    )


def reduce_trading(port: int, token: str, reason: str) -> bool:
    """Ask the risk manager for REDUCING; say whether it agreed."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=ASK_WITHIN_S)
    try:
        connection.request(
            "POST",
            "/risk/reduce",
            body=json.dumps({"reason": reason}),
            headers={
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/json",
                "Idempotency-Key": reason,
            },
        )
        return connection.getresponse().status in (
            http.HTTPStatus.OK,
            http.HTTPStatus.NO_CONTENT,
            # It already reduces, or has halted: both are at least as careful.
            http.HTTPStatus.CONFLICT,
        )
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def recall(file: Path) -> Memory:
    """Read what an earlier listener of this stack remembered."""
    try:
        return Memory(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return Memory()


def remember(file: Path, memory: Memory) -> None:
    """Keep what is known for a listener to come."""
    draft = file.with_suffix(".draft")
    draft.write_text(
        json.dumps({"deaths": memory.deaths, "given_up": memory.given_up, "owed": memory.owed})
    )
    draft.replace(file)


def say(words: str) -> None:
    """Write to this listener's log; standard output belongs to the protocol."""
    print(words, file=sys.stderr, flush=True)


def main() -> None:
    """Answer supervisord's events until it closes the pipe."""
    kept = Path(os.environ["CRASH_LOOP_MEMORY"])
    owner_record = Path(os.environ["CRASH_LOOP_OWNER"])
    supervisor = Supervisor(Path(os.environ["CRASH_LOOP_SOCKET"]))
    port = int(os.environ["CRASH_LOOP_RISK_PORT"])
    token = os.environ["CRASH_LOOP_TOKEN"]
    memory = recall(kept)
    while True:
        print("READY", flush=True)
        header = sys.stdin.readline()
        if not header:
            return
        facts = dict(pair.split(":", 1) for pair in header.split())
        body = sys.stdin.read(int(facts["len"]))
        payload = dict(pair.split(":", 1) for pair in body.split() if ":" in pair)
        doomed = decide(memory, facts["eventname"], payload, machine_seconds())
        if doomed is not None:
            say(f"{doomed} died more than {MOST_RESTARTS} times in {WINDOW_S:.0f} s: given up")
            with contextlib.suppress(NotRunning):
                supervisor.stop(doomed)
        for name in list(memory.owed):
            if reduce_trading(port, token, f"{name} keeps dying and was stopped"):
                say(f"trading is REDUCING because of {name}")
                memory.owed.remove(name)
        remember(kept, memory)
        owner = identity_in(owner_record)
        if owner is not None and not owner.lives:
            say("the owner of this stack has gone; shutting down")
            with contextlib.suppress(NotRunning):
                supervisor.shut_down()
        print("RESULT 2\nOK", end="", flush=True)


if __name__ == "__main__":
    main()
