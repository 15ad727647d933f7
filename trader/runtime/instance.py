"""Where does a stack live, and what is each of its programs told?

An `Instance` is a home folder, a set of ports and the settings with their secrets. The project's own
stack lives in `data/` on the specification's ports; a test's lives in a temporary folder on free
ones. A program's environment holds what that program needs and nothing else: its own database
password, and a provider's key only where that provider is called.
"""

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.config import Settings, history_in
from shared.domain.errors import Misconfigured
from shared.storage import Place, is_bucket
from trader.runtime import first_run
from trader.runtime.credentials import (
    BACKUP,
    LOGIN_ROLES,
    OPERATOR,
    SERVICE_ROLES,
    is_secret,
    password_of,
    refuse_cut,
)
from trader.runtime.errors import UnknownProgram
from trader.runtime.places import (
    halt_file_in,
    history_folder,
    home_in,
    project_folder,
    settings_file_of,
)
from trader.runtime.ports import LOOPBACK, Ports, port_setting

DATABASE = "trading"
# What the last restore has replaced.
BEFORE = f"{DATABASE}_before_restore"
# In the order in which data passes through them; the simulator stands for the world outside.
SERVICES = SERVICE_ROLES
SIMULATOR = "simulator"
POSTGRES = "postgres"
REDIS = "redis"
# Shows all of them and trades nothing: a replay does not wait for it.
DASHBOARD = "dashboard"
PROGRAMS = (POSTGRES, REDIS, SIMULATOR, *SERVICES, DASHBOARD)

# Who is handed a secret. One that is not named here is handed to nobody: a new key stays unused
# until somebody decides who needs it.
HOLDERS: Mapping[str, tuple[str, ...]] = {
    "ALPACA_API_KEY": ("trade_executor",),
    "ALPACA_SECRET_KEY": ("trade_executor",),
    "ALPACA_DATA_API_KEY": ("data_collector",),
    "ALPACA_DATA_SECRET_KEY": ("data_collector",),
    "TWELVE_DATA_API_KEY": ("data_collector",),
    "FINVIZ_API_KEY": ("data_collector",),
    # Where history lies in a bucket: who writes and who reads it.
    "AWS_SECRET_ACCESS_KEY": ("data_collector", "strategy_engine", "risk_manager", DASHBOARD),
    "AWS_SESSION_TOKEN": ("data_collector", "strategy_engine", "risk_manager", DASHBOARD),
    "GOTIFY_TOKEN": ("scheduler",),
    "NOTIFY_URLS": ("scheduler",),
    "SIMULATOR_ADMIN_TOKEN": ("simulator",),
    # The command line's own: see `trader kill`.
    "ALPACA_KILL_API_KEY": (),
    "ALPACA_KILL_SECRET_KEY": (),
    "REDIS_PASSWORD": (*SERVICES, DASHBOARD),
    "API_TOKEN_READ": (*SERVICES, DASHBOARD),
    "API_TOKEN_OPERATE": (*SERVICES, DASHBOARD),
    "API_TOKEN_KILL": (*SERVICES, DASHBOARD),
    "API_TOKEN_ADMIN": (*SERVICES, DASHBOARD),
}
# The machine's own settings that a program may need: where to look for commands and how to trust a
# certificate behind a proxy that signs anew.
INHERITED = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "NUMBA_CACHE_DIR",
)
PRIVATE_FOLDER = 0o700
# The kernel holds the path of a socket in 108 bytes; the supervisor adds a suffix while it binds.
LONGEST_SOCKET_PATH = 90


@dataclass(frozen=True, slots=True)
class Instance:
    """One place to run a stack."""

    project: Path
    home: Path
    ports: Ports
    settings: Mapping[str, str]

    @classmethod
    def create(
        cls,
        home: Path,
        ports: Ports | None = None,
        settings: Mapping[str, str] | None = None,
        project: Path | None = None,
    ) -> "Instance":
        """Prepare a stack of its own: its secrets are made once and stay in its home.

        Args:
            home: folder of everything that it stores; made if missing.
            ports: chosen free where none are given.
            settings: what the caller decides, above what stands in the home's `.env`.
            project: the work tree that holds the migrations; found by itself where left out.
        """
        home = home.resolve()
        _make_folder(home)
        known = {**first_run.ensure_secrets(home / ".env"), **(settings or {})}
        return cls(project or project_folder(), home, ports or Ports.free(), known)

    @classmethod
    def of_project(cls) -> "Instance":
        """Prepare the stack of this project: `.env`, `data/` and the specification's ports.

        A variable of the process environment stands above the same one in `.env`. TRADING_HOME puts the stack
        elsewhere, with a `.env` of its own.
        """
        project, home = project_folder(), home_in(os.environ)
        _make_folder(home)
        settings_file = settings_file_of(project, home)
        stored = first_run.ensure_secrets(settings_file, template=project / ".env.example")
        known = {**stored, **_from_environment(stored)}
        return cls(project, home, _ports_from(known), known)

    @property
    def run(self) -> Path:
        """The folder of what is true only while the stack runs; private."""
        return self.home / "run"

    @property
    def logs(self) -> Path:
        """The folder of all logs."""
        return self.home / "logs"

    @property
    def parquet(self) -> Path:
        """The folder of market history: DATA_DIR, as the project sees it, or one in the home.

        Where history is in a bucket, of what this machine keeps for itself.
        """
        return history_folder(self.settings, self.project, self.home)

    @property
    def history(self) -> Place:
        """Where market history lies; `/ account` is one account's."""
        return history_in(self.settings, self.parquet)

    @property
    def halt_file(self) -> Path:
        """See `halt_file_in`."""
        return halt_file_in(self.home)

    @property
    def mark(self) -> str:
        """A short name for the home, for what must stand elsewhere."""
        return hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]

    @property
    def socket(self) -> Path:
        """Where the supervisor listens for orders."""
        natural = self.run / "supervisor.sock"
        if len(os.fsencode(natural)) <= LONGEST_SOCKET_PATH:
            return natural
        # Made with mode 0700 and its owner checked before use.
        return Path("/tmp") / f"full-ai-trader-{os.getuid()}-{self.mark}" / "s"  # noqa: S108

    def prepare_folders(self) -> None:
        """Make the folders of a running stack."""
        _make_folder(self.logs)
        _make_folder(self.parquet)
        for private in (self.run, self.run / "sheets", self.run / "records"):
            _make_private(private)

    def prepare_socket_folder(self) -> None:
        """Make the folder of the supervisor's socket, which may lie outside the home."""
        _make_private(self.socket.parent)

    def port_of(self, program: str) -> int:
        """Return the port on which `program` listens."""
        found = self.ports.as_mapping().get(program)
        if found is None:
            raise UnknownProgram(f"there is no program {program!r}; choose {', '.join(PROGRAMS)}")
        return found

    def url_of(self, program: str) -> str:
        """Return the base URL of a service or of the simulator."""
        return f"http://{LOOPBACK}:{self.port_of(program)}"

    def database_password(self, role: str) -> str:
        """Return the password of one database role."""
        return password_of(role, self.settings["DB_PASSWORD"])

    def database_url(self, role: str) -> str:
        """Return the SQLAlchemy URL by which `role` reaches the database."""
        if role not in LOGIN_ROLES:
            raise UnknownProgram(f"there is no role {role!r}; choose {', '.join(LOGIN_ROLES)}")
        password = self.database_password(role)
        return f"postgresql+asyncpg://{role}:{password}@{LOOPBACK}:{self.ports.postgres}/{DATABASE}"

    def environment(self, program: str) -> dict[str, str]:
        """Return all that `program` is told, and it alone.

        Raises:
            Misconfigured: it would read a secret otherwise than it is written.
        """
        self.port_of(program)
        inherited = {key: os.environ[key] for key in INHERITED if key in os.environ}
        told = {**inherited, "HOME": str(self.home), "TZ": "UTC", "PYTHONUNBUFFERED": "1"}
        if program in (POSTGRES, REDIS):
            return told
        refuse_cut(self.settings)
        told |= {key: value for key, value in self.settings.items() if not is_secret(key)}
        told |= {
            key: self.settings[key]
            for key, holders in HOLDERS.items()
            if program in holders and key in self.settings
        }
        if program == "data_collector" and "ALPACA_DATA_API_KEY" not in self.settings:
            # Without a pair of its own, market data is read with the main one.
            for key in ("ALPACA_API_KEY", "ALPACA_SECRET_KEY"):
                if key in self.settings:
                    told[key] = self.settings[key]
        told |= self.addresses()
        if program in SERVICES:
            told |= {"DB_USER": program, "DB_PASSWORD": self.database_password(program)}
        if program == "scheduler":
            # It has the database written out at night, by a role that may only read.
            told |= {"DB_BACKUP_PASSWORD": self.database_password(BACKUP)}
        if program == DASHBOARD:
            # It writes nothing, so the role that may only look is its role.
            told |= {"DB_USER": OPERATOR, "DB_PASSWORD": self.database_password(OPERATOR)}
            # Backtests that are run from there are kept where the command line keeps them.
            told |= {"TRADING_HOME": str(self.home)}
        return told

    def operator_environment(self) -> dict[str, str]:
        """Return what the command line itself needs: the read-only role and the API tokens."""
        # The bucket's keys as well: commands read and write history by themselves.
        own = ("API_TOKEN_", "AWS_")
        tokens = {
            key: self.settings[key]
            for key in HOLDERS
            if key.startswith(own) and key in self.settings
        }
        return {
            **{key: value for key, value in self.settings.items() if not is_secret(key)},
            **tokens,
            **self.addresses(),
            "REDIS_PASSWORD": self.settings["REDIS_PASSWORD"],
            "DB_USER": "operator",
            "DB_PASSWORD": self.database_password("operator"),
        }

    def addresses(self) -> dict[str, str]:
        """Return where everything stands, as settings; none of it is secret."""
        stated = self.settings.get("DATA_DIR", "")
        return {
            "DATA_DIR": stated if is_bucket(stated) else str(self.parquet),
            "CACHE_DIR": str(self.parquet),
            "LOG_DIR": str(self.logs),
            "HALT_FILE": str(self.halt_file),
            "BACKUP_DIR": str(self.home / "backups"),
            "DB_HOST": LOOPBACK,
            "DB_NAME": DATABASE,
            "REDIS_HOST": LOOPBACK,
            **{port_setting(name): str(port) for name, port in self.ports.as_mapping().items()},
        }


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(f"the folder {folder} cannot be made: {error.strerror}") from error


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
        raise Misconfigured(f"{folder} belongs to another account; remove it")
    folder.chmod(PRIVATE_FOLDER)


def _from_environment(stored: Mapping[str, str]) -> dict[str, str]:
    ours = {*stored, *HOLDERS, *(name.upper() for name in Settings.model_fields)}
    return {key: os.environ[key] for key in ours if os.environ.get(key)}


def _ports_from(settings: Mapping[str, str]) -> Ports:
    chosen: dict[str, int] = {}
    for program, usual in Ports().as_mapping().items():
        value = settings.get(port_setting(program), str(usual))
        if not (value.isascii() and value.isdigit() and 0 < int(value) < 65_536):
            raise Misconfigured(
                f"{port_setting(program)} must be a port from 1 to 65535, was {value!r}"
            )
        chosen[program] = int(value)
    taken: dict[int, str] = {}
    for program, port in chosen.items():
        if port in taken:
            raise Misconfigured(f"{program} and {taken[port]} are both set to port {port}")
        taken[port] = program
    return Ports(**chosen)
