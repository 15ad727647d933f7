"""How do we speak to supervisord, and what does its configuration say?

The configuration names programs, logs and signals and holds no secret: those stand in the sheets that
`launch` reads. Orders go over a Unix socket that only this account can open.
"""

import http.client
import re
import shlex
import socket
import sys
import xmlrpc.client
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.domain.errors import Misconfigured
from trader.runtime import launch
from trader.runtime.errors import NotRunning, UnknownProgram
from trader.runtime.instance import Instance
from trader.runtime.programs import Program, sheet_of

CRASH_LOOP = "crash_loop"
ANSWER_WITHIN_S = 30
RUNNING = "RUNNING"
# Fault numbers of supervisord's interface.
BAD_NAME = 10
ALREADY_STARTED = 60
NOT_RUNNING = 70

SUPERVISOR = """\
[supervisord]
{user}logfile={logs}/supervisor.log
logfile_maxbytes=5MB
logfile_backups=2
pidfile={run}/supervisor.pid
childlogdir={run}
directory={home}
nodaemon=false
nocleanup=true
umask=077
minfds=256
minprocs=50

[unix_http_server]
file={socket}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[eventlistener:{listener}]
command={listener_command}
events=PROCESS_STATE_STARTING,PROCESS_STATE_BACKOFF,PROCESS_STATE_EXITED,PROCESS_STATE_FATAL,TICK_5
buffer_size=200
priority=1
startretries=10
stopwaitsecs=5
stderr_logfile={logs}/{listener}.out.log
stderr_logfile_maxbytes=1MB
stderr_logfile_backups=1
"""

PROGRAM = """
[program:{name}]
command={command}
autostart=false
autorestart=true
startsecs=1
startretries=5
stopsignal={signal}
stopwaitsecs={stop_within_s}
killasgroup=true
priority={priority}
redirect_stderr=true
stdout_logfile={logs}/{name}.out.log
stdout_logfile_maxbytes=5MB
stdout_logfile_backups=2
"""


@dataclass(frozen=True, slots=True)
class ProgramState:
    """What the supervisor says of one program; `pid` is 0 while there is no process."""

    name: str
    state: str
    pid: int
    up_s: int
    port: int


def configuration(instance: Instance, programs: Iterable[Program], as_root: bool) -> str:
    """Return the text of the supervisor's configuration; `programs` in their order of starting."""
    text = SUPERVISOR.format(
        user="user=root\n" if as_root else "",
        home=_path(instance.home),
        logs=_path(instance.logs),
        run=_path(instance.run),
        socket=_path(instance.socket),
        listener=CRASH_LOOP,
        listener_command=_command(sheet_of(instance, CRASH_LOOP)),
    )
    for place, each in enumerate(programs):
        text += PROGRAM.format(
            name=each.name,
            command=_command(sheet_of(instance, each.name)),
            signal=each.stop_signal.name.removeprefix("SIG"),
            stop_within_s=each.stop_within_s,
            priority=100 + place,
            logs=_path(instance.logs),
        )
    return text


def _command(sheet: Path) -> str:
    words = (sys.executable, "-I", "-S", launch.__file__, str(sheet))
    return " ".join(_path(Path(word)) if word == str(sheet) else _escaped(word) for word in words)


def _escaped(word: str) -> str:
    return shlex.quote(word).replace("%", "%%")


def _path(path: Path) -> str:
    # The configuration's grammar has no way to write these.
    if re.search(r"\s|[;'\"\\]", str(path)):
        raise Misconfigured(
            f"the folder {path} has a space, quote or semicolon in its name; choose another place"
        )
    return str(path).replace("%", "%%")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_WITHIN_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ANSWER_WITHIN_S)
        self.sock.connect(str(self._path))


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        # Kept where the base class looks for the connection that it is to close.
        made = _UnixConnection(self._path)
        self._connection = (host, made)
        return made


class Supervisor:
    """Orders to a running supervisord."""

    def __init__(self, path: Path) -> None:
        """Take the path of its socket; nothing is opened before the first order."""
        self._path = path

    def answers(self) -> bool:
        """Say whether a supervisor listens."""
        try:
            self._ask("supervisor.getState")
        except NotRunning:
            return False
        return True

    def processes(self) -> list[dict[str, Any]]:
        """Return what it knows of each program."""
        found: list[dict[str, Any]] = self._ask("supervisor.getAllProcessInfo")
        return found

    def start(self, program: str) -> None:
        """Have `program` started, unless it runs; returns at once."""
        self._order("supervisor.startProcess", program, tolerate=ALREADY_STARTED)

    def stop(self, program: str) -> None:
        """Have `program` stopped, unless it is; returns at once."""
        self._order("supervisor.stopProcess", program, tolerate=NOT_RUNNING)

    def shut_down(self) -> None:
        """Have the supervisor stop whatever still runs, and end."""
        self._ask("supervisor.shutdown")

    def _order(self, method: str, program: str, tolerate: int) -> None:
        try:
            self._ask(method, program, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == BAD_NAME:
                raise UnknownProgram(f"the running stack has no program {program!r}") from fault
            if fault.faultCode != tolerate:
                raise

    def _ask(self, method: str, *arguments: object) -> Any:
        proxy = xmlrpc.client.ServerProxy("http://localhost", transport=_UnixTransport(self._path))
        try:
            return getattr(proxy, method)(*arguments)
        except (OSError, http.client.HTTPException) as error:
            raise NotRunning("no stack runs here; start one with trader up") from error
        finally:
            proxy("close")()
