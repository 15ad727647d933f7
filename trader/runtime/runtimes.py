"""In which runtime does the system of this project run: as processes here, or in Docker Compose?

RUNTIME says so, in the environment or in `.env`. Where it says nothing, the runtime counts for which `make
build` was run last, and without that the local one: a Docker engine that merely answers has none of our
images, and each runtime has a database of its own, so the choice must not change by itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess

from shared.domain.errors import Misconfigured
from trader.runtime.compose import ComposeRuntime
from trader.runtime.instance import Instance
from trader.runtime.interface import Runtime, RuntimeName
from trader.runtime.local import LocalRuntime

SETTING = "RUNTIME"
ENGINE_WITHIN_S = 10


def runtime_of(instance: Instance) -> Runtime:
    """The runtime in force for the stack of this project.

    Raises:
        Misconfigured: RUNTIME names none, or there is no Docker to run it.
    """
    return runtime_named(name_in_force(instance), instance)


def runtime_named(name: RuntimeName, instance: Instance) -> Runtime:
    """The runtime called `name`."""
    return ComposeRuntime(instance) if name is RuntimeName.COMPOSE else LocalRuntime(instance)


def name_in_force(instance: Instance) -> RuntimeName:
    """See `runtime_of`."""
    said = os.environ.get(SETTING) or instance.settings.get(SETTING, "")
    if not said:
        try:
            said = (instance.home / "runtime").read_text().strip()
        except FileNotFoundError:
            return RuntimeName.LOCAL
    try:
        return RuntimeName(said)
    except ValueError:
        raise Misconfigured(f"{SETTING} must be local or compose, was {said!r}") from None


def name_to_build(instance: Instance) -> RuntimeName:
    """What `build` is for where nothing is said: Compose where an engine answers, else local."""
    if os.environ.get(SETTING) or instance.settings.get(SETTING, ""):
        return name_in_force(instance)
    return RuntimeName.COMPOSE if engine_answers() else RuntimeName.LOCAL


def remember(instance: Instance, name: RuntimeName) -> None:
    """Let `name` be in force from now on where RUNTIME says nothing."""
    (instance.home / "runtime").write_text(f"{name.value}\n")


def engine_answers() -> bool:
    """Say whether a Docker engine with Compose answers."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    try:
        for words in (("info", "--format", "{{.ServerVersion}}"), ("compose", "version")):
            done = subprocess.run(  # noqa: S603  Docker from the PATH, fixed words
                [docker, *words],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                check=False,
                timeout=ENGINE_WITHIN_S,
            )
            if done.returncode != 0:
                return False
    except (OSError, subprocess.TimeoutExpired):
        return False
    return True
