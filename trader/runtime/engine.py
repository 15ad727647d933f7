"""Which Docker is here, may this account use it, and what do its complaints mean?

Docker's own words name sockets, requests and digests. Here they become one sentence that names the mend; what is
not known is quoted.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from shared.domain.errors import Misconfigured
from trader.runtime.errors import ProgramFailed, TimedOut

COMMAND_WITHIN_S = 600
# `additional_contexts` takes a service since that Compose, and needs the builder of that engine.
OLDEST_ENGINE = (23, 0)
OLDEST_COMPOSE = (2, 33)
LONGEST_QUOTE = 600
LOCAL = "or set RUNTIME=local, which needs no Docker"
# What the engine and the builder say of a registry without an answer.
NOT_REACHED = (
    r"(?:Get|Head) \"https://(?P<host>[^/\"]+)/[^\n]*?"
    r"(?P<why>no such host|connection refused|network is unreachable|i/o timeout|TLS handshake timeout|"
    r"Client\.Timeout exceeded|context deadline exceeded)"
)
# By SIGKILL and SIGTERM, as a shell tells it.
KILLED = (137, 143)
# What Docker says, and what a person can do about it.
MENDS = (
    (
        r"permission denied while trying to connect",
        "this account may not use Docker's engine: add it to the group docker and log in anew "
        "(usermod -aG docker NAME), " + LOCAL,
    ),
    (
        r"(?i)cannot connect to the docker daemon|failed to connect to the docker api|error during connect",
        "Docker's engine does not answer: start it (for example: systemctl start docker), " + LOCAL,
    ),
    (
        r"is not a docker command|unknown shorthand flag: '\w' in -",
        "Docker Compose is missing: install its plugin (docker-compose-plugin), " + LOCAL,
    ),
)


def docker_command() -> str:
    """Where the `docker` command is.

    Raises:
        Misconfigured: there is none.
    """
    docker = shutil.which("docker")
    if docker is None:
        raise Misconfigured(
            "RUNTIME is compose and there is no docker command; install Docker, or set RUNTIME=local"
        )
    return docker


def ask(
    words: tuple[str, ...],
    told: Mapping[str, str],
    folder: Path,
    *,
    given: str | None = None,
    within_s: float = COMMAND_WITHIN_S,
) -> str:
    """Run one command of Docker's in `folder` and return what it prints.

    Raises:
        Misconfigured: the engine or Compose is not there, or not for this account.
        ProgramFailed: it failed for another reason, which is quoted.
        TimedOut: it did not end in time.
    """
    try:
        done = subprocess.run(  # noqa: S603  Docker from the PATH
            words,
            input=given or "",
            env=dict(told),
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=within_s,
        )
    except subprocess.TimeoutExpired as error:
        raise TimedOut(f"docker did not finish within {within_s:.0f} s") from error
    if done.returncode != 0:
        for said, mend in MENDS:
            if re.search(said, done.stderr):
                raise Misconfigured(mend)
        raise ProgramFailed(_why(done.stderr, done.returncode))
    return done.stdout


def _why(said: str, code: int) -> str:
    unreachable = re.search(NOT_REACHED, said)
    if unreachable:
        return f"the registry {unreachable['host']} cannot be reached ({unreachable['why']}); is the network up?"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if not lines:
        ended = "was killed" if code in KILLED else f"ended with {code} and said nothing"
        return f"docker failed: what it ran {ended}"
    return f"docker failed: {' '.join(lines[-3:])[-LONGEST_QUOTE:]}"


def require_versions(docker: str, told: Mapping[str, str], folder: Path) -> None:
    """Refuse to go on with a Docker that cannot build or run what stands here.

    Raises:
        Misconfigured: the engine does not answer, or it or Compose is too old.
    """
    engine = ask((docker, "version", "--format", "{{.Server.Version}}"), told, folder)
    compose = ask((docker, "compose", "version", "--short"), told, folder)
    for name, found, oldest in (
        ("Docker's engine", engine, OLDEST_ENGINE),
        ("Docker Compose", compose, OLDEST_COMPOSE),
    ):
        numbers = re.match(r"v?(\d+)\.(\d+)", found.strip())
        # A version that cannot be read is left to prove itself.
        if numbers and (int(numbers[1]), int(numbers[2])) < oldest:
            raise Misconfigured(
                f"{name} {found.strip()} is too old: {'.'.join(map(str, oldest))} or newer is needed; "
                f"update it, {LOCAL}"
            )
