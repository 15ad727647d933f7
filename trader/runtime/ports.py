"""Which TCP port does each program listen on, and is it free?

The specification names 8001 to 8005; the dashboard and the simulator are their neighbours. PostgreSQL and Redis take neighbours of their usual ports, so
that servers which the machine already runs are left alone.
"""

import secrets
import socket
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass

import psutil

from shared.domain.errors import Misconfigured

LOOPBACK = "127.0.0.1"
# Below the range from which Linux and macOS draw the ports of outgoing connections, so that nobody
# takes a port between our look and our use.
FREE_RANGE = range(20_000, 32_000)
FREE_ATTEMPTS = 1_000


@dataclass(frozen=True, slots=True)
class Ports:
    """One port per program; the names are those of the programs."""

    postgres: int = 5433
    redis: int = 6380
    dashboard: int = 8000
    data_collector: int = 8001
    strategy_engine: int = 8002
    risk_manager: int = 8003
    trade_executor: int = 8004
    scheduler: int = 8005
    simulator: int = 8006

    @classmethod
    def free(cls) -> "Ports":
        """Choose ports that nobody uses now, so that stacks can stand side by side."""
        chosen: set[int] = set()
        wanted = len(asdict(cls()))
        for _ in range(FREE_ATTEMPTS):
            port = FREE_RANGE.start + secrets.randbelow(len(FREE_RANGE))
            if is_free(port):
                chosen.add(port)
            if len(chosen) == wanted:
                return cls(*sorted(chosen))
        raise Misconfigured(
            f"fewer than {wanted} TCP ports from {FREE_RANGE.start} to {FREE_RANGE.stop} are free; "
            "stop programs that listen there"
        )

    def as_mapping(self) -> Mapping[str, int]:
        """Return the ports by program."""
        return asdict(self)


def is_free(port: int) -> bool:
    """Say whether a server could listen on `port` of the loopback address."""
    with socket.socket() as probe:
        # As every server does: a connection that is just closing does not keep a port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def require_free(ports: Mapping[str, int]) -> None:
    """Refuse to go on while somebody else listens where a program of ours will.

    Raises:
        Misconfigured: names the first port in use, its program, and who holds it where that shows.
    """
    for program, port in ports.items():
        if not is_free(port):
            raise _in_use(program, port)


def require_own(program: str, port: int, pid: int) -> None:
    """Refuse to take the answer of somebody else's `program` for that of our process `pid` or its children.

    Two stacks that begin at the same time both find a port free, and only one of them gets it. Where who listens does not
    show, nothing is refused.

    Raises:
        Misconfigured: names the port and who holds it.
    """
    try:
        families = [
            {listener, *(each.pid for each in psutil.Process(listener).parents())}
            for listener in _listeners(port, (LOOPBACK,))
        ]
    except psutil.Error:
        # One of them is just leaving; who is left shows when it is asked again.
        return
    if families and not any(pid in family for family in families):
        raise _in_use(program, port)


def _in_use(program: str, port: int) -> Misconfigured:
    return Misconfigured(
        f"port {port}, which {program} needs, is in use{_holder(port)}; "
        f"stop that process or set {port_setting(program)} to a free port"
    )


def port_setting(program: str) -> str:
    """Return the name of the setting that moves `program` to another port."""
    return "DB_PORT" if program == "postgres" else f"{program.upper()}_PORT"


def _holder(port: int) -> str:
    with suppress(psutil.Error):
        for listener in _listeners(port):
            return f" by {psutil.Process(listener).name()} (pid {listener})"
    return " by a process that this account may not see"


def _listeners(port: int, addresses: Collection[str] | None = None) -> list[int]:
    """Who listens on `port`; empty for another account's process, or on a platform that shows connections to root alone."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.Error:
        return []
    return [
        found.pid
        for found in connections
        if found.status == psutil.CONN_LISTEN
        and found.laddr.port == port
        and found.pid
        and (addresses is None or found.laddr.ip in addresses)
    ]
