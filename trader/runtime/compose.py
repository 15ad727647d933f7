"""How does Docker Compose do what the commands ask? See `Runtime`.

What a container is told stands in a file of its own below `data/settings`, made from `.env` before each start
and handed over as a secret: a service sees its own passwords and keys and nobody else's. The folder is closed
to other accounts of this machine, so the files in it may be read by whatever account a container runs as.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from shared.adapters.clocks import WallClock
from shared.domain.errors import Misconfigured
from shared.storage import is_bucket
from simulator.generator import DEFAULT_SYMBOLS
from trader.replay.session import REPLAY_DEFAULTS, venue_settings
from trader.runtime.clients import Client, python_words
from trader.runtime.credentials import SUPERUSER, password_of
from trader.runtime.engine import ask, docker_command, require_versions
from trader.runtime.errors import AlreadyRunning, NotRunning, ProgramFailed, StackError
from trader.runtime.first_run import append_setting, read_settings
from trader.runtime.instance import (
    DASHBOARD,
    DATABASE,
    POSTGRES,
    PROGRAMS,
    REDIS,
    SIMULATOR,
    Instance,
)
from trader.runtime.interface import RuntimeName, Usage
from trader.runtime.ports import LOOPBACK, Ports, port_setting, require_free
from trader.runtime.schema import OF_DATABASE, ROLES_ONLY
from trader.runtime.stack import SERVERS, last_of, probe
from trader.runtime.supervisor import ProgramState
from trader.runtime.tunnel import relay_words, tunnel

# The account of the images, where the person is root and a container must not be.
IMAGE_ACCOUNT = 10_001
USER_SETTING = "CONTAINER_USER"
# Compose's own: containers, volumes and images are named after it, and Compose files are listed in it.
NAME_SETTING = "COMPOSE_PROJECT_NAME"
FILES_SETTING = "COMPOSE_FILE"
LABEL = "com.docker.compose.project"
SETTINGS_FOLDER = "settings"
DEMO_WORDS = ("--profile", "demo")
CLOCK_FILE = "/control/clock"
# Not the local demo's: its book is at the simulator, its ledger in another database.
DEMO_ACCOUNT = "demo-containers"
MIGRATE = "migrate"
SCHEMA = ("python", "-m", "trader.runtime.schema")
# Ports inside the containers' network; what is published follows the settings.
INSIDE = Ports(postgres=5432, redis=6379)
SIMULATOR_URL = f"http://{SIMULATOR}:{INSIDE.simulator}"
TRADE_EXECUTOR = "trade_executor"
# A container that runs goes on with what it was told when it was started, whatever is written meanwhile.
EARLIER = f"{TRADE_EXECUTOR}.earlier"
# Beside them once all was stopped in order. They stay, for a service that is taken up by hand.
STOPPED = f"{TRADE_EXECUTOR}.stopped"
KEYS_AT = ("ALPACA_BASE_URL", "ALPACA_API_KEY", "ALPACA_SECRET_KEY")
FOLDERS = ("parquet", "logs", "control", "simulator", "backups", "backtests")
STATES = {"running": "RUNNING", "restarting": "BACKOFF", "exited": "STOPPED", "created": "STOPPED"}
COMMAND_WITHIN_S = 600
BUILD_WITHIN_S = 3_600


class ComposeRuntime:
    """Containers of this project under Docker Compose."""

    name = RuntimeName.COMPOSE

    def __init__(self, instance: Instance, *, demo: bool = False) -> None:
        """With `demo` the services trade at the simulator, under an account of its own.

        Raises:
            Misconfigured: there is no Docker here.
        """
        self._docker = docker_command()
        self.instance = instance
        self._begins_demo = demo
        # With which files that was started which runs: one service alone must not lose its limits, or its source.
        self._files: str | None = None

    @cached_property
    def demo(self) -> bool:
        """See `Runtime`; as it was when it was first asked for."""
        return self._begins_demo or (self.runs and was_told_of_the_simulator(self.instance))

    @property
    def runs(self) -> bool:
        """See `Runtime`."""
        return any(each.pid for each in self._states())

    def status(self) -> list[ProgramState]:
        """See `Runtime`."""
        states = self._states()
        if not states:
            raise NotRunning("no container of this project runs; start it with make start")
        return states

    def usage(self) -> dict[str, Usage]:
        """See `Runtime`."""
        names = {each["Name"]: each["Service"] for each in self._containers()}
        said = self._ask(self._docker, "stats", "--no-stream", "--format", "{{json .}}", *names)
        found = {}
        for row in map(json.loads, said.splitlines()):
            used = str(row["MemUsage"]).split("/")[0].strip()
            share = float(str(row["CPUPerc"]).rstrip("%")) / 100
            found[names[row["Name"]]] = Usage(share, _bytes(used))
        return found

    def start(self, names: Sequence[str], say: Callable[[str], None]) -> None:
        """See `Runtime`."""
        others = self._running() - {*SERVERS}
        if self._begins_demo and others and not was_told_of_the_simulator(self.instance):
            # They would go on with the account, and be told of the simulator when one of them starts anew.
            raise AlreadyRunning(
                "the system runs here and trades with your account; end it with make stop, then start the demo"
            )
        self.require_ports(names)
        self._make_ready()
        if any(name not in SERVERS for name in names):
            # Before any of them runs: when in doubt, there may be orders.
            (self.instance.home / SETTINGS_FOLDER / STOPPED).unlink(missing_ok=True)
        if POSTGRES in names:
            say("starting postgres")
            self._start_postgres()
            self._follow_changed_password()
        names = [name for name in names if name != POSTGRES]
        if not names:
            return
        say(f"starting {', '.join(names)}")
        try:
            self._compose("up", "--detach", "--wait", "--wait-timeout", "180", *names)
        except ProgramFailed as error:
            raise ProgramFailed(self._why_not_up() or str(error)) from error

    def require_ports(self, names: Sequence[str]) -> None:
        """Raise Misconfigured where somebody else listens at what one of `names` will publish."""
        running = self._running()
        published = [name for name in names if name not in {*SERVERS, *running}]
        # Docker's own words name neither who holds the port nor the setting that moves it.
        require_free({name: self.instance.port_of(name) for name in published})

    def stop(self, names: Sequence[str]) -> None:
        """See `Runtime`."""
        self._compose("stop", *names)

    def stop_all(self) -> None:
        """See `Runtime`."""
        others = [each.name for each in self._states() if each.pid and each.name not in SERVERS]
        if others:
            self._compose("stop", *others)
        self._compose("--profile", "*", "down")
        note_stopped(self.instance)

    def answers(self, name: str) -> bool:
        """See `Runtime`."""
        if name in SERVERS:
            health = {each["Service"]: each.get("Health", "") for each in self._containers()}
            return health.get(name) == "healthy"
        return probe(self.instance.port_of(name), "/health") == 200

    def build(self, say: Callable[[str], None]) -> None:
        """See `Runtime`."""
        self._make_ready()
        say("building the images (some minutes the first time)")
        try:
            self._build()
        except StackError as error:
            raise StackError(f"{error}; RUNTIME=local runs without images") from None

    def update(self, say: Callable[[str], None]) -> None:
        """See `Runtime`."""
        self._make_ready()
        say("fetching base images and building on them")
        try:
            self._compose("pull", "--ignore-buildable", within_s=BUILD_WITHIN_S)
            self._build("--pull")
        except ProgramFailed as error:
            # New code of ours does not wait for a registry.
            say("not all could be fetched; building on the base images that are here")
            self._build()
            raise ProgramFailed(
                f"the images are built from the code that is here, on base images as they were: {error}; "
                "make restart uses them, make update fetches newer ones another time"
            ) from None

    @contextmanager
    def database(self, say: Callable[[str], None]) -> Iterator[None]:
        """See `Runtime`."""
        ran = any(each.pid and each.name == POSTGRES for each in self._states())
        if not ran:
            self.start([POSTGRES], say)
        try:
            yield
        finally:
            if not ran:
                self._compose("stop", POSTGRES)

    @contextmanager
    def database_route(self) -> Iterator[tuple[str, int]]:
        """See `Runtime`: through a program in its container, since nothing of it is published."""
        found = [
            each["ID"]
            for each in self._containers()
            if each["Service"] == POSTGRES and each["State"] == "running"
        ]
        if not found:
            raise NotRunning("postgres does not run; start it with make start")
        words = (self._docker, "exec", "--interactive", found[0], *relay_words(INSIDE.postgres))
        with tunnel(words, self._told(), INSIDE.postgres) as folder:
            yield str(folder), INSIDE.postgres

    def told(self, program: str) -> Mapping[str, str]:
        """See `Runtime`."""
        if not any(each.pid and each.name == program for each in self._states()):
            return {}
        return _told_in_file(self.instance, program)

    def make_roles(self) -> None:
        """See `Runtime`."""
        self._in_migrate(*SCHEMA, ROLES_ONLY)

    def migrate(self, database: str = DATABASE) -> None:
        """See `Runtime`."""
        self._in_migrate(*SCHEMA, OF_DATABASE, database)

    def postgres_client(self, tool: str, role: str, database: str, *, terminal: bool) -> Client:
        """See `Runtime`."""
        words = self._words("exec", *(() if terminal else ("-T",)))
        told = {"PGPASSWORD": password_of(role, self.instance.settings["DB_PASSWORD"])}
        # Named without its value, so that the password stands on no command line.
        words += ("-e", "PGPASSWORD", "-e", f"PGDATABASE={database}", "-e", f"PGUSER={role}")
        return Client(
            (*words, "-e", f"PGHOST={LOOPBACK}", POSTGRES, tool),
            {**self._told(), **told},
            self.instance.project,
        )

    def redis_client(self, *, terminal: bool) -> Client:
        """See `Runtime`."""
        words = self._words("exec", *(() if terminal else ("-T",)), "-e", "REDISCLI_AUTH", REDIS)
        told = {"REDISCLI_AUTH": self.instance.settings["REDIS_PASSWORD"]}
        return Client(
            (*words, "redis-cli", "--no-auth-warning"),
            {**self._told(), **told},
            self.instance.project,
        )

    def shell(self, service: str, command: str | None) -> Client:
        """See `Runtime`."""
        flags = () if command is None else ("-T",)
        words = (*self._words("exec", *flags, service), "python", *python_words(command))
        return Client(words, self._told(), self.instance.project)

    def logs(self, names: Sequence[str], lines: int, *, following: bool) -> Client:
        """Docker's own listing of what the containers say."""
        flags = ("--follow",) if following else ()
        words = self._words("logs", "--tail", str(lines), *flags, *names)
        return Client(words, self._told(), self.instance.project)

    def _build(self, *words: str) -> None:
        # With the simulator: left out, the next demo would run the one of an older version.
        demo = () if self.demo else DEMO_WORDS
        self._compose(*demo, "build", *words, within_s=BUILD_WITHIN_S)

    def _in_migrate(self, *words: str) -> None:
        self._make_ready()
        try:
            self._compose("run", "--rm", "--no-deps", MIGRATE, *words)
        except ProgramFailed as error:
            said = _of_migrate(str(error))
            if said is None:
                raise
            raise Misconfigured(said) from None

    def _make_ready(self) -> None:
        if self.instance.home != self.instance.project / "data":
            raise Misconfigured(
                "TRADING_HOME is for the local runtime, containers keep everything in data/ of this "
                "project; remove it, or set RUNTIME=local"
            )
        require_versions(self._docker, self._told(), self.instance.project)
        self._claim_name()
        prepare(self.instance, demo=self.demo)

    def _claim_name(self) -> None:
        """Write down after what containers and volumes are named, so that a ledger is found again and is one's own.

        Compose takes the folder's name, which another copy of this system may have as well.
        """
        env = self.instance.project / ".env"
        if os.environ.get(NAME_SETTING) or NAME_SETTING in read_settings(env) or not env.exists():
            return
        said = self._ask(self._docker, "compose", "config", "--format", "json")
        name = str(json.loads(said)["name"])
        was_here = (self.instance.home / SETTINGS_FOLDER).exists()
        volume = f"{name}_{POSTGRES}"
        listing = ("volume", "ls", "--quiet", "--filter", f"name=^{volume}$")
        if not was_here and self._ask(self._docker, *listing).strip():
            raise Misconfigured(
                f"there is a database of another copy of this system in the volume {volume}; choose another "
                f"name with {NAME_SETTING}=... in .env, or the same one to go on with that database"
            )
        append_setting(env, NAME_SETTING, name)

    def _why_not_up(self) -> str | None:
        """Who did not come up, and its last words; None where all did."""
        there = self._containers()
        failed = [
            each for each in there if each.get("ExitCode") or each.get("Health") == "unhealthy"
        ]
        # One that ends again and again is being started anew when it is asked.
        failed += [each for each in there if each.get("Health") == "starting"]
        if not failed:
            return None
        name = failed[0]["Service"]
        listing = self._words("logs", "--no-log-prefix", "--tail", "20", name)
        last = last_of(self._ask(*listing).splitlines())
        return _of_migrate(last) or f"{name} did not come up; its last words: {last}"

    def _running(self) -> set[str]:
        return {each.name for each in self._states() if each.pid}

    def _start_postgres(self) -> None:
        try:
            self._compose("up", "--detach", "--wait", "--wait-timeout", "120", POSTGRES)
        except ProgramFailed as error:
            listing = self._words("logs", "--no-log-prefix", "--tail", "40", POSTGRES)
            said = self._ask(*listing)
            why = why_postgres_refuses(said)
            if why is None and "is unhealthy" not in str(error):
                raise
            if why is None:
                # It may still be reading its journal, so it is left alone.
                raise ProgramFailed(
                    f"postgres did not come up; its last words: {last_of(said.splitlines())}"
                ) from error
            # It would be started again for ever.
            self._compose("stop", POSTGRES)
            raise ProgramFailed(f"postgres did not start: {why}") from error

    def _follow_changed_password(self) -> None:
        """Give the superuser the password of the settings, by the way that needs none."""
        password = password_of(SUPERUSER, self.instance.settings["DB_PASSWORD"])
        statement = f"ALTER ROLE {SUPERUSER} PASSWORD '{password}'"
        client = self._words("exec", "-T", POSTGRES, "psql", "-X", "-q", "-U", SUPERUSER)
        self._ask(*client, "-v", "ON_ERROR_STOP=1", given=statement)

    def _states(self) -> list[ProgramState]:
        found = {each["Service"]: each for each in self._containers()}
        births = self._births([each["ID"] for each in found.values()])
        now = WallClock().now()
        states = []
        for name in PROGRAMS:
            each = found.get(name)
            if each is None:
                continue
            pid, began_at = births.get(each["ID"][:12], (0, None))
            up_s = 0 if began_at is None or not pid else int((now - began_at).total_seconds())
            state = STATES.get(each["State"], each["State"].upper())
            port = INSIDE.as_mapping()[name] if name in SERVERS else self.instance.port_of(name)
            states.append(ProgramState(name, state, pid, up_s, port))
        return states

    def _containers(self) -> list[dict[str, Any]]:
        listing = ("--profile", "*", "ps", "--all", "--format", "json", "--no-trunc")
        said = self._ask(self._docker, "compose", *listing)
        return [json.loads(line) for line in said.splitlines() if line.startswith("{")]

    def _births(self, ids: Sequence[str]) -> dict[str, tuple[int, datetime | None]]:
        if not ids:
            return {}
        form = "{{.Id}} {{.State.Pid}} {{.State.StartedAt}} {{json .Config.Labels}}"
        said = self._ask(self._docker, "inspect", "--format", form, *ids)
        births: dict[str, tuple[int, datetime | None]] = {}
        for line in said.splitlines():
            name, pid, began_at, labels = line.split(" ", maxsplit=3)
            self._look_whose(json.loads(labels), is_running=pid != "0")
            # Docker writes nanoseconds, of which microseconds can be read.
            whole = began_at.split(".")[0].rstrip("Z")
            births[name[:12]] = int(pid), datetime.fromisoformat(f"{whole}+00:00")
        return births

    def _look_whose(self, labels: Mapping[str, str], *, is_running: bool) -> None:
        folder = Path(labels.get(f"{LABEL}.working_dir", self.instance.project))
        if folder.exists() and folder.resolve() != self.instance.project.resolve():
            raise AlreadyRunning(
                f"the containers called {labels[LABEL]} are those of {folder}; choose another name for "
                f"these with {NAME_SETTING}=... in .env"
            )
        if is_running and self._files is None:
            self._files = labels.get(f"{LABEL}.config_files", "").replace(",", os.pathsep)

    def _words(self, *arguments: str) -> tuple[str, ...]:
        return (self._docker, "compose", *(DEMO_WORDS if self.demo else ()), *arguments)

    def _told(self) -> dict[str, str]:
        # Compose reads .env by itself; only who asks comes on top, and what it would not find there.
        told = {**os.environ, USER_SETTING: container_user()}
        if self._files and not self.instance.settings.get(FILES_SETTING):
            told.setdefault(FILES_SETTING, self._files)
        return told

    def _compose(self, *arguments: str, within_s: float = COMMAND_WITHIN_S) -> None:
        self._ask(*self._words(*arguments), within_s=within_s)

    def _ask(
        self, *words: str, given: str | None = None, within_s: float = COMMAND_WITHIN_S
    ) -> str:
        return ask(words, self._told(), self.instance.project, given=given, within_s=within_s)


def prepare(instance: Instance, *, demo: bool = False) -> None:
    """Write what each container is told, and make the folders that they share with this machine.

    Raises:
        Misconfigured: a file or folder cannot be made, or a setting cannot be written on one line.
    """
    account = _account()
    for name in FOLDERS:
        folder = instance.home / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if os.getuid() == 0:
                _give(folder, account)
        except OSError as error:
            raise Misconfigured(f"{folder} cannot be made ready: {error.strerror}") from error
    told = demo_instance(instance) if demo else instance
    # One folder for both, so that Compose's own commands go on with what was started last: a service that
    # is taken up by hand in a demo must not be told of the person's account.
    folder = instance.home / SETTINGS_FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    was = _told_in_file(instance, TRADE_EXECUTOR)
    for name, text in told_to_containers(told).items():
        _write(folder / name, text)
    now = _told_in_file(instance, TRADE_EXECUTOR)
    has_run = not (folder / STOPPED).exists()
    if was and has_run and [was.get(key) for key in KEYS_AT] != [now.get(key) for key in KEYS_AT]:
        _write(folder / EARLIER, _lines(was))
    env = instance.project / ".env"
    if USER_SETTING not in read_settings(env) and env.exists():
        # For whoever calls Docker Compose by hand.
        append_setting(env, USER_SETTING, container_user())


def why_postgres_refuses(log: str) -> str | None:
    """Why the server, or the image's own look before it, did not start last, and the mend; None: it says nothing."""
    found = [
        # What a client was told meanwhile is no reason.
        line
        for line in log.splitlines()
        if re.search(r"(FATAL|PANIC|DETAIL|Error): ", line) and "is starting up" not in line
    ]
    if not found:
        return None
    reason = re.sub(r"^.*?(?:FATAL|PANIC|DETAIL|Error): +", "", found[-1]).strip().rstrip(".:,")
    if reason.startswith("in 18+"):
        # The image's own look; it says where on lines of their own.
        reason = "the volume holds data of an older major version, which kept it in another place"
        is_older = True
    else:
        is_older = "was initialized by PostgreSQL version" in reason
    if is_older:
        return (
            f"{reason}; its volume is untouched: keep it, restore a backup into a new one "
            '(docs/runbooks.md, "PostgreSQL of another version")'
        )
    if "No space left on device" in reason:
        return (
            f"{reason}; nothing that was booked is lost: make room where Docker keeps its volumes "
            '(docs/runbooks.md, "The disk is full"), then make start'
        )
    return f"{reason}; its volume is untouched, make logs-service SERVICE={POSTGRES} has the rest"


def told_to_executors(instance: Instance) -> list[Mapping[str, str]]:
    """What the executor's container was told, and what it was told before the keys changed; of none: empty.

    The files outlive the container, so who believes them must ask it. They are read without any engine, for whoever
    must act while nothing answers.
    """
    found = (_told_in_file(instance, name) for name in (TRADE_EXECUTOR, EARLIER))
    return [told for told in found if told]


def note_stopped(instance: Instance) -> None:
    """Write down that all containers were stopped in order: what the executor's was told is of none that is just down."""
    folder = instance.home / SETTINGS_FOLDER
    if folder.exists():
        (folder / STOPPED).touch()
        (folder / EARLIER).unlink(missing_ok=True)


def told_to_lost_executors(instance: Instance) -> list[Mapping[str, str]]:
    """As `told_to_executors`, of containers that nobody has stopped in order; asked where none answers."""
    if (instance.home / SETTINGS_FOLDER / STOPPED).exists():
        return []
    return told_to_executors(instance)


def seen_from_here(instance: Instance, told: Mapping[str, str]) -> Mapping[str, str]:
    """What a container was told, with the simulator's address as this machine reaches it."""
    if told.get("ALPACA_BASE_URL") != SIMULATOR_URL:
        return told
    return {**told, "ALPACA_BASE_URL": instance.url_of(SIMULATOR)}


def was_told_of_the_simulator(instance: Instance) -> bool:
    """Whether what was started last was a demo, by what its executor was told."""
    return _told_in_file(instance, TRADE_EXECUTOR).get("ALPACA_BASE_URL") == SIMULATOR_URL


def demo_instance(instance: Instance) -> Instance:
    """`instance` with the simulator in the place of the venue, and none of the person's keys."""
    told = venue_settings(SIMULATOR_URL, DEMO_ACCOUNT, CLOCK_FILE)
    symbols = ",".join(DEFAULT_SYMBOLS)
    own = {**told, "TRADING_SYMBOLS": symbols, "TRADING_TIMEFRAME": "1Min"}
    return replace(instance, settings={**REPLAY_DEFAULTS, **instance.settings, **own})


def told_to_containers(instance: Instance) -> dict[str, str]:
    """The text of each container's file, by name."""
    secret = instance.settings
    for key, value in secret.items():
        if "\n" in value:
            raise Misconfigured(f"{key} must stand on one line")
    stated = secret.get("DATA_DIR", "")
    if instance.parquet.resolve() != instance.home / "parquet":
        raise Misconfigured(
            f"DATA_DIR is {stated}, a folder that containers do not see; mount it at {instance.home / 'parquet'} "
            "and leave DATA_DIR out"
        )
    inside = {
        "DATA_DIR": stated if is_bucket(stated) else "/data/parquet",
        "CACHE_DIR": "/data/parquet",
        "LOG_DIR": "/data/logs",
        "BACKUP_DIR": "/data/backups",
        "HALT_FILE": "/control/halt",
        "DB_HOST": POSTGRES,
        "REDIS_HOST": REDIS,
        "API_HOST": "0.0.0.0",  # noqa: S104  the container's own network; published on loopback
        "API_PEERS_BY_NAME": "true",
        **{port_setting(name): str(port) for name, port in INSIDE.as_mapping().items()},
    }
    # Where the dashboard keeps its backtests; on this machine that is elsewhere.
    home = {"TRADING_HOME": "/data"}
    machines = {*os.environ, "HOME", "TZ", "PYTHONUNBUFFERED"}
    texts = {}
    for name in (name for name in PROGRAMS if name not in SERVERS):
        told = instance.environment(name)
        own = {key: value for key, value in told.items() if key in secret or key not in machines}
        texts[name] = _lines({**own, **inside, **(home if name == DASHBOARD else {})})
    texts[MIGRATE] = _lines({**inside, "DB_PASSWORD": secret["DB_PASSWORD"]})
    texts[POSTGRES] = password_of(SUPERUSER, secret["DB_PASSWORD"])
    texts[REDIS] = _redis(secret["REDIS_PASSWORD"])
    texts["prometheus"] = secret["API_TOKEN_READ"]
    return texts


def container_user() -> str:
    """As whom the containers run: the person, so that their files are theirs; never root."""
    account = _account()
    group = os.getgid() if account == os.getuid() else account
    return f"{account}:{group}"


def _told_in_file(instance: Instance, program: str) -> dict[str, str]:
    try:
        file = instance.home / SETTINGS_FOLDER / program
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines)
    return {name: value for name, _, value in pairs}


def _of_migrate(words: str) -> str | None:
    """The sentence of the one-shot container that brings the database up to date, None where there is none."""
    found = re.search(rf"(?:^|\s){MIGRATE}: (the database .*|missing setting .*)", words)
    return found and found[1]


def _account() -> int:
    return os.getuid() or IMAGE_ACCOUNT


def _give(folder: Path, account: int) -> None:
    for path in (folder, *folder.rglob("*")):
        if path.lstat().st_uid != account:
            os.chown(path, account, account, follow_symlinks=False)


def _lines(told: Mapping[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in sorted(told.items()))


def _redis(password: str) -> str:
    if '"' in password or "\\" in password or not password.isprintable():
        raise Misconfigured("REDIS_PASSWORD must not hold quotes or backslashes; choose another")
    return (
        f'requirepass "{password}"\nprotected-mode yes\nsave ""\nappendonly no\n'
        "maxmemory 256mb\nmaxmemory-policy noeviction\ntcp-keepalive 60\n"
    )


def _write(file: Path, text: str) -> None:
    draft = file.with_suffix(".draft")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o444)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(text)
    draft.chmod(0o444)
    draft.replace(file)


def _bytes(text: str) -> int:
    units = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "kB": 1000, "MB": 10**6, "B": 1}
    for unit, factor in units.items():
        if text.endswith(unit):
            return int(float(text.removesuffix(unit)) * factor)
    return 0
