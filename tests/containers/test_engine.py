"""Whatever is wrong with Docker itself is said in one sentence, by the words that Docker uses for it."""

import os
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from shared.domain.errors import Misconfigured, TradingError
from trader.commands.checking import examine
from trader.runtime.compose import ComposeRuntime
from trader.runtime.engine import ask, require_versions
from trader.runtime.errors import AlreadyRunning, NotRunning, ProgramFailed
from trader.runtime.first_run import read_settings
from trader.runtime.instance import Instance
from trader.runtime.places import project_folder
from trader.runtime.ports import Ports

OTHERS_CONTAINER = """
case "$*" in
*" ps "*) echo '{"ID": "0123456789ab", "Service": "redis", "State": "running", "Name": "a"}' ;;
inspect*) echo '0123456789ab 77 2026-01-05T12:00:00.1Z {"com.docker.compose.project": "trader", \
"com.docker.compose.project.working_dir": "/"}' | tr -d '\\\n' ;;
esac
"""


def a_docker(folder: Path, script: str) -> str:
    """A program that answers as Docker does in the case at hand."""
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("words", "mend"),
    [
        (
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
            "engine does not answer: start it",
        ),
        (
            "failed to connect to the docker API at unix:///var/run/docker.sock; check if the path is correct",
            "engine does not answer: start it",
        ),
        (
            "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock",
            "add it to the group docker",
        ),
        ("docker: 'compose' is not a docker command.", "Docker Compose is missing"),
    ],
)
def test_a_docker_that_cannot_be_used_is_told_with_its_mend(
    tmp_path: Path, words: str, mend: str
) -> None:
    docker = a_docker(tmp_path, f'echo "{words}" >&2; exit 1')

    with pytest.raises(Misconfigured, match=mend) as told:
        ask((docker, "info"), {}, tmp_path)

    assert "RUNTIME=local" in str(told.value)


def test_any_other_complaint_is_quoted(tmp_path: Path) -> None:
    docker = a_docker(tmp_path, "echo 'no such image' >&2; exit 1")

    with pytest.raises(ProgramFailed, match="docker failed: no such image"):
        ask((docker, "run"), {}, tmp_path)


def test_a_registry_that_cannot_be_reached_is_named_once(tmp_path: Path) -> None:
    said = (
        'Error Get "https://registry.example/v2/": dial tcp: lookup registry.example: no such host'
    )
    docker = a_docker(tmp_path, f"echo '{said}' >&2; echo '{said}' >&2; exit 1")

    with pytest.raises(ProgramFailed) as told:
        ask((docker, "pull"), {}, tmp_path)

    assert str(told.value) == (
        "the registry registry.example cannot be reached (no such host); is the network up?"
    )


def test_what_is_killed_without_a_word_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match="docker failed: what it ran was killed"):
        ask((a_docker(tmp_path, "exit 137"), "compose", "run"), {}, tmp_path)


@pytest.mark.parametrize(
    ("engine", "compose", "said"),
    [
        ("20.10.24+dfsg1", "2.40.3", r"Docker's engine 20\.10\.24\+dfsg1 is too old: 23\.0"),
        ("28.5.2", "v2.26.1", r"Docker Compose v2\.26\.1 is too old: 2\.33"),
    ],
)
def test_a_docker_that_is_too_old_is_named_with_the_version_that_is_needed(
    tmp_path: Path, engine: str, compose: str, said: str
) -> None:
    script = f'case "$1" in compose) echo {compose} ;; *) echo {engine} ;; esac'

    with pytest.raises(Misconfigured, match=said):
        require_versions(a_docker(tmp_path, script), os.environ, tmp_path)


def test_the_versions_of_the_readme_will_do(tmp_path: Path) -> None:
    script = 'case "$1" in compose) echo 2.33.0 ;; *) echo 23.0.0 ;; esac'

    require_versions(a_docker(tmp_path, script), os.environ, tmp_path)


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    (tmp_path / "data").mkdir()
    (tmp_path / ".env").write_text("A=1\n")
    return Instance.create(tmp_path / "data", Ports(), project=tmp_path)


def runtime(instance: Instance, script: str, monkeypatch: pytest.MonkeyPatch) -> ComposeRuntime:
    a_docker(instance.project, script)
    monkeypatch.setenv("PATH", f"{instance.project}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("COMPOSE_PROJECT_NAME", raising=False)
    return ComposeRuntime(instance)


def test_containers_of_another_copy_under_the_same_name_are_left_alone(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AlreadyRunning, match="called trader are those of /; choose another name"):
        runtime(instance, OTHERS_CONTAINER, monkeypatch).status()


def test_a_demo_does_not_start_beside_services_that_trade_with_the_account(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = """
case "$*" in
*" ps "*) echo '{"ID": "0123456789ab", "Service": "trade_executor", "State": "running", "Name": "a"}' ;;
inspect*) echo '0123456789ab 77 2026-01-05T12:00:00.1Z {}' ;;
esac
"""
    told = instance.home / "settings" / "trade_executor"
    told.parent.mkdir()
    told.write_text("ALPACA_BASE_URL=https://paper-api.alpaca.markets\n")
    runtime(instance, script, monkeypatch)
    docker = ComposeRuntime(instance, demo=True)

    with pytest.raises(AlreadyRunning, match="trades with your account; end it with make stop"):
        docker.start(["simulator"], lambda _: None)

    assert told.read_text() == "ALPACA_BASE_URL=https://paper-api.alpaca.markets\n"


def test_doctor_does_not_ask_for_ports_that_containers_do_not_publish(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime(instance, "", monkeypatch)
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.create_server(("127.0.0.1", 0)) as another,
    ):
        busy = Ports(postgres=other.getsockname()[1], risk_manager=another.getsockname()[1])
        settings = {**instance.settings, "RUNTIME": "compose"}
        crowded = Instance(instance.project, instance.home, busy, settings)
        said = {each.about: each.said for each in examine(crowded, offline=True)}["ports"]

    assert "risk_manager" in said
    assert "postgres" not in said


ITS_DATABASE = """
case "$*" in
*" ps "*) echo '{"ID": "0123456789ab", "Service": "postgres", "State": "STATE", "Name": "a"}' ;;
exec*) echo "$*" ;;
esac
"""


def test_the_database_is_reached_through_its_container_and_no_address_of_it(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = runtime(instance, ITS_DATABASE.replace("STATE", "running"), monkeypatch)

    with docker.database_route() as (folder, port), socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{folder}/.s.PGSQL.{port}")
        with client.makefile() as said:
            words = said.read().split()

    assert words[:4] == ["exec", "--interactive", "0123456789ab", "bash"]
    assert words[-2:] == ["relay", "5432"]


def test_a_database_whose_container_has_ended_is_said_not_to_run(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = runtime(instance, ITS_DATABASE.replace("STATE", "exited"), monkeypatch)

    with pytest.raises(NotRunning, match="postgres does not run"), docker.database_route():
        pass


ANSWERS = """
case "$*" in
version*) echo 28.5.2 ;;
"compose version"*) echo 2.40.3 ;;
*" config "*) echo '{"name": "trader"}' ;;
"volume ls"*) echo VOLUME ;;
esac
"""


def test_a_database_of_another_copy_under_the_same_name_is_not_taken(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = runtime(instance, ANSWERS.replace("VOLUME", "trader_postgres"), monkeypatch)

    with pytest.raises(Misconfigured, match="another copy of this system in the volume"):
        docker.build(lambda _: None)

    assert not (instance.home / "settings").exists()


def test_the_name_of_the_first_build_stays_when_the_folder_gets_another(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime(instance, ANSWERS.replace("VOLUME", ""), monkeypatch).build(lambda _: None)

    assert read_settings(instance.project / ".env")["COMPOSE_PROJECT_NAME"] == "trader"


def test_the_simulator_is_built_with_the_others_so_that_no_demo_runs_an_older_one(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = instance.project / "asked"
    script = ANSWERS.replace("VOLUME", "").replace("esac", f'*build*) echo "$*" >>{asked} ;;\nesac')
    docker = runtime(instance, script, monkeypatch)

    docker.build(lambda _: None)
    docker.update(lambda _: None)

    assert asked.read_text().splitlines() == [
        "compose --profile demo build",
        "compose pull --ignore-buildable",
        "compose --profile demo build --pull",
    ]


def test_containers_are_not_made_for_a_home_that_they_would_not_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Instance.create(tmp_path / "elsewhere", Ports(), project=tmp_path)

    with pytest.raises(TradingError, match="TRADING_HOME is for the local runtime"):
        runtime(elsewhere, ANSWERS, monkeypatch).migrate()


def test_an_update_without_a_registry_builds_on_what_is_here_and_says_so(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = "*pull*) echo 'no answer' >&2; exit 1 ;;"
    built = instance.project / "built"
    script = ANSWERS.replace("VOLUME", "").replace(
        "esac", f'{refused}\n*" build"*) : >{built} ;;\nesac'
    )
    docker = runtime(instance, script, monkeypatch)

    with pytest.raises(
        ProgramFailed, match="on base images as they were: docker failed: no answer"
    ):
        docker.update(lambda _: None)

    assert built.exists()


def test_why_the_database_cannot_be_brought_up_to_date_is_said_by_its_own_sentence(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "echo 'migrate: the database was made by a newer version' >&2; exit 4"
    script = ANSWERS.replace("VOLUME", "").replace("esac", f'*" migrate"*) {words} ;;\nesac')
    docker = runtime(instance, script, monkeypatch)

    for work in (docker.migrate, docker.make_roles):
        with pytest.raises(Misconfigured, match=r"^the database was made by a newer version$"):
            work()


@pytest.mark.parametrize(("listed", "ended"), [("", []), ("0123456789ab", ["down"])])
def test_clean_ends_the_containers_of_this_folder_and_none_of_another_copy(
    tmp_path: Path, listed: str, ended: list[str]
) -> None:
    asked = tmp_path / "asked"
    label = f"com.docker.compose.project.working_dir={tmp_path}"
    a_docker(
        tmp_path,
        f'case "$*" in *" --filter label={label}") echo {listed} ;; *down*) echo down >>{asked} ;; esac',
    )
    for name in ("shared", "services", "backtester", "trader", "migrations", "tests", "benchmarks"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "settings").mkdir(parents=True)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    words = ["make", "-C", str(tmp_path), "-f", str(project_folder() / "Makefile"), "clean"]

    subprocess.run(words, env={**os.environ, "PATH": path}, check=True, capture_output=True)

    assert (asked.read_text().split() if asked.exists() else []) == ended


def test_a_service_that_ends_again_and_again_is_quoted_also_while_it_is_being_started_anew(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = '{"ID": "0123456789ab", "Service": "dashboard", "Name": "a", "State": "running", "Health": "starting"}'
    script = f"""
case "$*" in
*" ps "*) echo '{listed}' ;;
*" logs "*) echo 'cannot start reason=a setting is wrong' ;;
*" up "*) echo 'container trader-dashboard-1 is unhealthy' >&2; exit 1 ;;
"""
    docker = runtime(
        replace(instance, ports=Ports.free()),
        script + ANSWERS.replace("VOLUME", "").replace('case "$*" in', ""),
        monkeypatch,
    )

    with pytest.raises(
        ProgramFailed, match="dashboard did not come up; its last words: cannot start"
    ):
        docker.start(["dashboard"], lambda _: None)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "container trader-postgres-1 is unhealthy",
            "postgres did not come up; its last words: could not access the configuration",
        ),
        ("no space left on device", "docker failed: no space left on device"),
    ],
)
def test_a_database_that_does_not_come_up_is_told_in_its_own_words_where_it_has_any(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, said: str, told: str
) -> None:
    script = f"""
case "$*" in
*" logs "*) echo 'could not access the configuration' ;;
*" up "*) echo '{said}' >&2; exit 1 ;;
"""
    answers = ANSWERS.replace("VOLUME", "").replace('case "$*" in', "")
    docker = runtime(instance, script + answers, monkeypatch)

    with pytest.raises(ProgramFailed, match=told):
        docker.start(["postgres"], lambda _: None)
