"""Start, watch and stop a whole stack.

Programs come up in the order in which they lean on each other, each when the ones below answer. A
start that fails says which program failed and quotes its last words, and leaves nothing running.
What a killed supervisor left behind is ended before anything new is started.
"""

import fcntl
import http
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from trader.runtime import postgres, redis
from trader.runtime.crash_loop import listener_program, memory_file, recall
from trader.runtime.errors import (
    AlreadyRunning,
    NotRunning,
    ProgramFailed,
    TimedOut,
)
from trader.runtime.instance import (
    DASHBOARD,
    POSTGRES,
    PROGRAMS,
    REDIS,
    SERVICES,
    SIMULATOR,
    Instance,
)
from trader.runtime.launch import record_identity
from trader.runtime.orphans import Identity, identity_in, left_behind, sweep
from trader.runtime.ports import LOOPBACK, require_free, require_own
from trader.runtime.programs import STOP_SIGNALS, Program, program, write_sheet
from trader.runtime.supervisor import (
    CRASH_LOOP,
    ProgramState,
    Supervisor,
    configuration,
)
from trader.runtime.waiting import wait_until

READY_WITHIN_S = 60.0
SUPERVISOR_WITHIN_S = 20.0
STOP_WITHIN_S = 90.0
PROBE_WITHIN_S = 2.0
LONGEST_ANSWER = 64 * 1024
# Too many wrong ones are answered with a pause.
TOKEN_REFUSED = (
    http.HTTPStatus.UNAUTHORIZED,
    http.HTTPStatus.FORBIDDEN,
    http.HTTPStatus.TOO_MANY_REQUESTS,
)
LONGEST_QUOTE = 400
# Room for PostgreSQL's next file of its log; a program that fails with less has probably failed of that.
LEAST_FREE_BYTES = 16 * 2**20
SERVERS = (POSTGRES, REDIS)
GIVEN_UP = "GIVEN_UP"
# It runs on, though the supervisor that started it was killed.
ORPHANED = "ORPHANED"


class LocalStack:
    """The programs of one instance, under one supervisor.

    As a context manager it starts on entry and stops on exit.
    """

    def __init__(
        self,
        instance: Instance,
        programs: Sequence[str] = (*SERVERS, *SERVICES, DASHBOARD),
        *,
        simulator_args: Sequence[str] = (),
        owned: bool = False,
        reload: bool = False,
        migrates: bool = True,
        ready_within_s: float = READY_WITHIN_S,
    ) -> None:
        """Describe a stack; nothing is started or looked at yet.

        Args:
            instance: where it lives.
            programs: which programs `start` brings up; the servers always come along.
            simulator_args: what the simulator is told beside its port.
            owned: whether the stack ends by itself soon after this process has ended.
            reload: whether a service starts anew when its code changes; for developers.
            migrates: whether the database is brought up to date once it is up; not for who puts back or takes away one
                that cannot be.
            ready_within_s: bound on waiting for each group of programs.
        """
        for name in programs:
            instance.port_of(name)
        self.instance = instance
        self._programs = tuple(name for name in PROGRAMS if name in {*SERVERS, *programs})
        self._simulator_args = tuple(simulator_args)
        self._owned = owned
        self._reload = reload
        self._migrates = migrates
        self._ready_within_s = ready_within_s
        self._supervisor = Supervisor(instance.socket)
        self._own: Identity | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def runs(self) -> bool:
        """Whether a supervisor holds the home of this stack."""
        identity = identity_in(self._supervisor_record)
        return identity is not None and identity.lives

    def start(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Bring the programs up and return when all answer.

        Args:
            say: told in a few words what is being done.
        Raises:
            AlreadyRunning: another supervisor holds this home.
            Misconfigured: a port is in use, a setting or the machine is not as needed.
            ProgramFailed, TimedOut: a program did not come up; everything is stopped again.
        """
        self.instance.prepare_folders()
        with self._alone():
            if self.runs:
                raise AlreadyRunning(
                    f"a stack already runs in {self.instance.home}; "
                    "see trader status, or stop it with trader down"
                )
            left = sweep(self.instance.run / "records", STOP_SIGNALS)
            if left:
                say(f"ended what a killed supervisor had left: {', '.join(left)}")
            ports = self.instance.ports.as_mapping()
            require_free({name: ports[name] for name in self._programs})
            say("preparing PostgreSQL")
            postgres.prepare_cluster(self.instance)
            self._write_programs()
            self._start_supervisor()
            self._own = identity_in(self._supervisor_record)
            try:
                self._bring_up(self._programs, say)
            except BaseException:
                self.stop()
                raise

    @property
    def is_lent(self) -> bool:
        """Whether what runs ends with a process that is not this one, be it a demo or whoever needs the database alone."""
        owner = identity_in(self._owner_record)
        return self.runs and owner is not None and owner.lives and owner.pid != os.getpid()

    def stop_own(self) -> bool:
        """Stop what `start` has started, unless somebody has stopped that and started another stack here meanwhile."""
        return self._own == identity_in(self._supervisor_record) and self.stop()

    def stop(self) -> bool:
        """Stop everything, services before servers; return whether anything ran."""
        if not self.runs:
            return bool(sweep(self.instance.run / "records", STOP_SIGNALS))
        identity = identity_in(self._supervisor_record)
        try:
            # The listener goes first, or it would count what we stop.
            for group in ((CRASH_LOOP,), (DASHBOARD, SIMULATOR, *SERVICES), SERVERS):
                self._stop_group(group)
            self._supervisor.shut_down()
        except NotRunning:
            # It is going down already, or was killed just now; both end in the sweep.
            pass
        if not wait_until(lambda: identity is None or not identity.lives, STOP_WITHIN_S):
            raise TimedOut(
                f"the supervisor of {self.instance.home} did not end within {STOP_WITHIN_S:.0f} s; "
                f"see {self.instance.logs / 'supervisor.log'}"
            )
        sweep(self.instance.run / "records", STOP_SIGNALS)
        # The sheets hold secrets that nobody needs while nothing runs.
        shutil.rmtree(self.instance.run / "sheets", ignore_errors=True)
        self._supervisor_record.unlink(missing_ok=True)
        self._remove_socket_folder()
        return True

    def remove(self) -> None:
        """Stop everything and delete the home with all that is stored in it. For tests."""
        self.stop()
        postgres.remove_cluster(self.instance)
        self._remove_socket_folder()
        shutil.rmtree(self.instance.home, ignore_errors=True)

    def status(self) -> list[ProgramState]:
        """Return the state of every program, in pipeline order; also where their supervisor was killed and some run on.

        Raises:
            NotRunning: no stack runs in this home.
        """
        try:
            found = {each["name"]: each for each in self._supervisor.processes()}
        except NotRunning:
            if left := self._orphans():
                return left
            raise
        given_up = recall(memory_file(self.instance)).given_up
        return [
            ProgramState(
                name=name,
                # A program that was stopped because it keeps dying is not one that a person stopped.
                state=GIVEN_UP
                if name in given_up and not found[name]["pid"]
                else str(found[name]["statename"]),
                pid=int(found[name]["pid"]),
                up_s=int(found[name]["now"] - found[name]["start"]) if found[name]["pid"] else 0,
                port=self.instance.port_of(name),
            )
            for name in PROGRAMS
        ]

    def _orphans(self) -> list[ProgramState]:
        """What runs on without a supervisor, and beside it what does not; empty where nothing does."""
        if self.runs:
            return []
        found = left_behind(self.instance.run / "records")
        left = {name: one for name, one in found.items() if name in PROGRAMS}
        return [
            ProgramState(
                name=name,
                state=ORPHANED if name in left else "STOPPED",
                pid=left[name].pid if name in left else 0,
                up_s=0,
                port=self.instance.port_of(name),
            )
            for name in (PROGRAMS if left else ())
        ]

    def state_of(self, name: str) -> ProgramState:
        """Return the state of one program."""
        self.instance.port_of(name)
        return next(each for each in self.status() if each.name == name)

    def start_programs(self, names: Sequence[str]) -> None:
        """Start programs of a running stack and return when they answer; settings are read anew.

        Raises:
            Misconfigured: somebody else listens on the port of one of them.
        """
        require_free({name: self.instance.port_of(name) for name in names})
        for name in names:
            write_sheet(self.instance, self._program(name))
        self._bring_up([name for name in PROGRAMS if name in names], lambda _: None)

    def stop_programs(self, names: Sequence[str]) -> None:
        """Stop programs of a running stack and return when they are gone."""
        for name in names:
            self.instance.port_of(name)
        if self._orphans():
            raise NotRunning(
                "the supervisor was killed and what it had started runs on: make stop ends all of it, make start begins anew"
            )
        self._stop_group(names)

    def restart(self, name: str) -> None:
        """Stop and start one program, and return when it answers."""
        self.stop_programs([name])
        self.start_programs([name])

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to the process of `name`; return the pid that got it.

        Raises:
            NotRunning: the program has no process now.
        """
        pid = self.state_of(name).pid
        if pid == 0:
            raise NotRunning(f"{name} does not run")
        os.kill(pid, number)
        return pid

    def supervisor_pid(self) -> int:
        """Return the pid of the supervisor.

        Raises:
            NotRunning: no stack runs in this home.
        """
        identity = identity_in(self._supervisor_record)
        if identity is None or not identity.lives:
            raise NotRunning(f"no stack runs in {self.instance.home}; start one with trader up")
        return identity.pid

    def environment(self, name: str) -> dict[str, str]:
        """Return what the program `name` is told."""
        return self.instance.environment(name)

    def answers(self, name: str) -> bool:
        """Say whether `name` answers now: a login, a PING or `GET /health`."""
        if name == POSTGRES:
            return postgres.answers(self.instance)
        if name == REDIS:
            return redis.answers(self.instance)
        return probe(self.instance.port_of(name), "/health") == http.HTTPStatus.OK

    def wait_until_answering(self, names: Sequence[str], within_s: float = READY_WITHIN_S) -> None:
        """Return when every program of `names` answers, also after crashes in between.

        Raises:
            TimedOut: names who does not answer and quotes its last words.
        """
        for name in names:
            if not wait_until(lambda name=name: self.answers(name), within_s):  # type: ignore[misc]
                raise TimedOut(self._failure(name, f"did not answer within {within_s:.0f} s"))

    @property
    def _owner_record(self) -> Path:
        return self.instance.run / "owner.json"

    @property
    def _supervisor_record(self) -> Path:
        return self.instance.run / "supervisor.json"

    def _remove_socket_folder(self) -> None:
        if self.instance.socket.parent != self.instance.run:
            shutil.rmtree(self.instance.socket.parent, ignore_errors=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        handle = os.open(self.instance.run / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise AlreadyRunning(
                f"a stack is just being started in {self.instance.home}; wait for it"
            ) from None
        finally:
            os.close(handle)

    def _program(self, name: str) -> Program:
        return program(self.instance, name, self._simulator_args, reload=self._reload)

    def _write_programs(self) -> None:
        wanted = [self._program(name) for name in PROGRAMS]
        listener = listener_program(self.instance)
        for each in (*wanted, listener):
            write_sheet(self.instance, each)
        text = configuration(self.instance, wanted, as_root=os.getuid() == 0)
        (self.instance.run / "supervisord.conf").touch(mode=0o600)
        (self.instance.run / "supervisord.conf").write_text(text)
        memory_file(self.instance).unlink(missing_ok=True)
        self._owner_record.unlink(missing_ok=True)
        if self._owned:
            record_identity(self._owner_record, os.getpid(), os.path.realpath(sys.executable))

    def _start_supervisor(self) -> None:
        self.instance.prepare_socket_folder()
        run = self.instance.run
        (run / "supervisor.pid").unlink(missing_ok=True)
        environment = self.instance.environment(POSTGRES)
        done = subprocess.run(  # noqa: S603  our own interpreter
            [sys.executable, "-I", "-m", "supervisor.supervisord", "-c", run / "supervisord.conf"],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            cwd=self.instance.home,
            timeout=SUPERVISOR_WITHIN_S,
        )
        if done.returncode != 0:
            words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise ProgramFailed(f"supervisord did not start: {' '.join(words)}")
        pid_file = run / "supervisor.pid"
        listening = wait_until(
            lambda: pid_file.exists() and pid_file.read_text().strip() != "", SUPERVISOR_WITHIN_S
        )
        if not listening or not wait_until(self._supervisor.answers, SUPERVISOR_WITHIN_S):
            raise TimedOut(
                f"supervisord did not answer within {SUPERVISOR_WITHIN_S:.0f} s; "
                f"see {self.instance.logs / 'supervisor.log'}"
            )
        pid = int(pid_file.read_text())
        record_identity(self._supervisor_record, pid, os.path.realpath(sys.executable))

    def _bring_up(self, names: Sequence[str], say: Callable[[str], None]) -> None:
        groups = (SERVERS, (SIMULATOR,), SERVICES, (DASHBOARD,))
        for group in groups:
            chosen = [name for name in group if name in names]
            if not chosen:
                continue
            say(f"starting {', '.join(chosen)}")
            for name in chosen:
                self._supervisor.start(name)
            for name in chosen:
                self._wait_for(name)
            if POSTGRES in chosen and self._migrates:
                say("bringing the database up to date")
                postgres.bootstrap(self.instance)

    def _wait_for(self, name: str) -> None:
        first: set[int] = set()

        def up_or_failed() -> bool:
            state = self.state_of(name)
            if state.pid:
                first.add(state.pid)
            # PostgreSQL may need a second try while the last one's shared memory is released.
            died = state.state in {"BACKOFF", "EXITED"} or len(first) > 1
            if state.state == "FATAL" or (died and name != POSTGRES):
                raise ProgramFailed(self._failure(name, "ended instead of starting"))
            if state.pid == 0 or not self.answers(name):
                return False
            require_own(name, self.instance.port_of(name), state.pid)
            return True

        if not wait_until(up_or_failed, self._ready_within_s):
            raise TimedOut(
                self._failure(name, f"did not answer within {self._ready_within_s:.0f} s")
            )

    def _stop_group(self, names: Sequence[str]) -> None:
        for name in names:
            self._supervisor.stop(name)
        # Asking also wakes the supervisor, which else looks after its children once a second.
        stopped = wait_until(
            lambda: all(
                not each["pid"] for each in self._supervisor.processes() if each["name"] in names
            ),
            STOP_WITHIN_S,
        )
        if not stopped:
            raise TimedOut(f"{', '.join(names)} did not stop within {STOP_WITHIN_S:.0f} s")

    def _failure(self, name: str, what: str) -> str:
        return failure(self.instance, name, what)


def failure(instance: Instance, name: str, what: str) -> str:
    """One sentence about a program that did not come up: `what` happened, and its last words."""
    log = instance.logs / f"{name}.out.log"
    words = f"its last words in {log}: {last_line(log)}"
    free = shutil.disk_usage(instance.home).free
    if free < LEAST_FREE_BYTES:
        # The words that would have told it may have had no room either.
        return f"{name} {what}, and the disk of {instance.home} is full ({free // 2**20} MiB free); make room there ({words})"
    return f"{name} {what}; {words}"


def probe(port: int, path: str, token: str | None = None) -> int:
    """Return the HTTP status that a service answers on the loopback address, 0 for no answer."""
    return _asked(port, path, token)[0]


def why_not_ready(port: int, token: str) -> str:
    """What keeps the service on `port` from being ready, in a few words; empty when it is."""
    status, said = _asked(port, "/ready", token)
    if status == http.HTTPStatus.OK:
        return ""
    if status in TOKEN_REFUSED:
        return "it does not know the token of .env: it was started with other settings, restart it"
    try:
        failed = [name for name, is_well in json.loads(said)["checks"].items() if not is_well]
    except (ValueError, LookupError, TypeError, AttributeError):
        failed = []
    if failed:
        return f"waits for {', '.join(failed)}"
    return f"answers {status}" if status else f"no answer within {PROBE_WITHIN_S:.0f} s"


def _asked(port: int, path: str, token: str | None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PROBE_WITHIN_S)
    try:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(LONGEST_ANSWER)
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def last_line(log: Path) -> str:
    """Return the last line of a log that says something, shortened."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 64 * 1024))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return "(it has said nothing)"
    return last_of(lines)


def last_of(lines: Sequence[str]) -> str:
    """Return the last of `lines` that says something, shortened."""
    spoken = [line.strip() for line in lines if line.strip()]
    return spoken[-1][:LONGEST_QUOTE] if spoken else "(it has said nothing)"
