"""The container files keep their promises, on machines without any Docker as well."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.config import load_settings, process_environment
from shared.domain.errors import Misconfigured
from trader.runtime.compose import (
    note_stopped,
    prepare,
    told_to_containers,
    told_to_executors,
    told_to_lost_executors,
    was_told_of_the_simulator,
    why_postgres_refuses,
)
from trader.runtime.instance import DASHBOARD, PROGRAMS, SERVICES, SIMULATOR, Instance
from trader.runtime.places import project_folder
from trader.runtime.stack import SERVERS

ROOT = project_folder()
OURS = (*SERVICES, DASHBOARD, SIMULATOR)


def compose(name: str = "docker-compose.yml") -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return loaded


SERVICES_OF_FILE: dict[str, dict[str, Any]] = compose()["services"]
RUNNING = [name for name in SERVICES_OF_FILE if name not in ("base", "project")]


def test_every_program_is_a_service_under_its_own_name() -> None:
    assert set(PROGRAMS) <= set(SERVICES_OF_FILE)


@pytest.mark.parametrize("name", RUNNING)
def test_a_container_has_no_rights_that_it_does_not_need(name: str) -> None:
    service = SERVICES_OF_FILE[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not str(service.get("user", "")).startswith(("0", "root"))
    assert not any("docker.sock" in str(volume) for volume in service.get("volumes", []))


@pytest.mark.parametrize("name", RUNNING)
def test_what_is_published_is_published_on_loopback_and_databases_are_not(name: str) -> None:
    ports = SERVICES_OF_FILE[name].get("ports", [])

    assert all(port.startswith("127.0.0.1:") for port in ports)
    if name in SERVERS:
        assert ports == []
        assert SERVICES_OF_FILE[name]["networks"] == ["data"]


def test_the_databases_network_has_no_way_out() -> None:
    assert compose()["networks"]["data"]["internal"] is True


@pytest.mark.parametrize("name", [*SERVERS, *OURS])
def test_every_program_says_whether_it_is_well(name: str) -> None:
    assert SERVICES_OF_FILE[name]["healthcheck"]["test"]


@pytest.mark.parametrize("name", [*SERVICES, DASHBOARD])
def test_a_service_waits_for_the_migrated_database(name: str) -> None:
    waits = SERVICES_OF_FILE[name]["depends_on"]

    assert waits["migrate"]["condition"] == "service_completed_successfully"
    assert waits["redis"]["condition"] == "service_healthy"


def test_what_may_not_be_had_everywhere_stands_in_a_profile_of_its_own() -> None:
    assert SERVICES_OF_FILE["simulator"]["profiles"] == ["demo"]
    assert SERVICES_OF_FILE["prometheus"]["profiles"] == ["monitoring"]
    assert SERVICES_OF_FILE["grafana"]["profiles"] == ["grafana"]


@pytest.mark.parametrize("name", OURS)
def test_a_services_dockerfile_differs_in_the_line_that_names_it(name: str) -> None:
    own = (ROOT / "services" / name / "Dockerfile").read_text().splitlines()
    first = (ROOT / "services" / SERVICES[0] / "Dockerfile").read_text().splitlines()

    assert f"ARG SERVICE={name}" in own
    assert [line for line in own if line not in first] in ([], [f"ARG SERVICE={name}"])
    assert len(own) == len(first)


def test_dockerfiles_fetch_no_frontend_pin_no_digest_and_end_without_root() -> None:
    files = [ROOT / "Dockerfile.base", *(ROOT / "services").glob("*/Dockerfile")]

    for file in files:
        text = file.read_text()
        assert "# syntax=" not in text
        assert "@sha256" not in text
        assert file.name == "Dockerfile.base" or re.search(r"(?m)^USER trader$", text)


@pytest.mark.parametrize("file", ["docker-compose.dev.yml", "docker-compose.prod.yml"])
def test_overlays_name_services_that_exist(file: str) -> None:
    assert set(compose(file)["services"]) <= set(SERVICES_OF_FILE)


@pytest.mark.parametrize("name", [*SERVERS, *SERVICES, DASHBOARD])
def test_in_production_every_program_has_bounds_and_comes_back(name: str) -> None:
    service = compose("docker-compose.prod.yml")["services"][name]

    assert service["restart"] == "always"
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    keys = {"ALPACA_API_KEY": "the-trading-key", "ALPACA_SECRET_KEY": "the-trading-secret"}
    data = {"ALPACA_DATA_API_KEY": "the-data-key", "ALPACA_DATA_SECRET_KEY": "the-data-secret"}
    settings = {**keys, **data, "RISK_MAX_POSITION_SIZE": "0.04"}
    return Instance.create(tmp_path / "home", settings=settings, project=tmp_path)


def test_a_container_is_told_its_own_secrets_and_nobody_elses(instance: Instance) -> None:
    texts = told_to_containers(instance)

    for name, text in texts.items():
        assert ("the-trading-key" in text) == (name == "trade_executor"), name
        assert ("the-data-key" in text) == (name == "data_collector"), name
        assert (instance.settings["DB_PASSWORD"] in text) == (name == "migrate"), name
    assert all("RISK_MAX_POSITION_SIZE=0.04\n" in texts[name] for name in SERVICES)


@pytest.mark.parametrize("name", [*SERVICES, DASHBOARD])
def test_what_a_container_is_told_are_valid_settings(
    instance: Instance, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / name
    file.write_text(told_to_containers(instance)[name])
    monkeypatch.setenv("SETTINGS_FILE", str(file))

    settings = load_settings(
        {key: value for key, value in process_environment().items() if key.isupper()}
    )

    assert (settings.db_host, settings.redis_port) == ("postgres", 6379)
    assert settings.url_of("risk_manager") == "http://risk_manager:8003"


def test_a_settings_file_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SETTINGS_FILE", "/nowhere")

    with pytest.raises(Misconfigured, match="SETTINGS_FILE /nowhere cannot be read"):
        process_environment()


def test_the_folder_of_the_containers_secrets_is_closed_to_others(instance: Instance) -> None:
    (instance.project / ".env").write_text("A=1\n")
    prepare(instance)

    folder = instance.home / "settings"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.name for file in folder.iterdir()} == {*compose()["secrets"]}
    assert "CONTAINER_USER=" in (instance.project / ".env").read_text()


def test_what_an_executor_was_told_before_its_keys_changed_is_kept_for_the_kill_command(
    instance: Instance,
) -> None:
    prepare(instance)
    other = replace(instance, settings={**instance.settings, "ALPACA_API_KEY": "the-next-key"})
    prepare(other)
    prepare(other)

    told = [each["ALPACA_API_KEY"] for each in told_to_executors(other)]
    assert told == ["the-next-key", "the-trading-key"]


def test_keys_that_are_changed_after_an_orderly_stop_are_no_running_executors(
    instance: Instance,
) -> None:
    prepare(instance)
    note_stopped(instance)
    assert told_to_executors(instance)
    assert told_to_lost_executors(instance) == []

    other = replace(instance, settings={**instance.settings, "ALPACA_API_KEY": "the-next-key"})
    prepare(other)

    assert [each["ALPACA_API_KEY"] for each in told_to_executors(other)] == ["the-next-key"]


def test_composes_own_commands_go_on_with_what_was_started_last(instance: Instance) -> None:
    folder = instance.home / "settings"

    prepare(instance, demo=True)
    assert was_told_of_the_simulator(instance)
    assert not any("the-trading-key" in file.read_text() for file in folder.iterdir())

    prepare(instance)
    assert not was_told_of_the_simulator(instance)
    assert "the-trading-key" in (folder / "trade_executor").read_text()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            (
                "2026-01-05 12:00:00 UTC [1] FATAL:  database files are incompatible with server\n"
                "2026-01-05 12:00:00 UTC [1] DETAIL:  The data directory was initialized by PostgreSQL version 17, "
                "which is not compatible with this version 18.4.\n"
            ),
            (
                "The data directory was initialized by PostgreSQL version 17, which is not compatible with this "
                'version 18.4; its volume is untouched.* "PostgreSQL of another version"'
            ),
        ),
        (
            (
                '2026-01-05 12:00:00 UTC [1] FATAL:  could not write to file "pg_wal/xlogtemp.9": No space left on '
                "device\n2026-01-05 12:00:01 UTC [2] FATAL:  the database system is starting up\n"
            ),
            "No space left on device; nothing that was booked is lost: make room",
        ),
        (
            (
                "2026-01-05 12:00:00 UTC [1] DETAIL:  The data directory was initialized by PostgreSQL version 17\n"
                '2026-01-05 12:01:00 UTC [1] FATAL:  could not open file "PG_VERSION": Permission denied\n'
            ),
            'could not open file "PG_VERSION": Permission denied; its volume is untouched',
        ),
        (
            (
                "Error: in 18+, these Docker images are configured to store database data in a\n"
                '       format which is compatible with "pg_ctlcluster".\n'
                "       Counter to that, there appears to be PostgreSQL data in:\n"
                "         /var/lib/postgresql/data (unused mount/volume)\n"
            ),
            "^the volume holds data of an older major version, .* its volume is untouched: keep it",
        ),
    ],
)
def test_why_postgresql_does_not_start_is_told_by_its_own_last_words(said: str, told: str) -> None:
    assert re.search(told, why_postgres_refuses(f"2026-01-05 LOG:  starting\n{said}") or "")


def test_a_postgresql_that_runs_has_no_reason_not_to() -> None:
    assert why_postgres_refuses("LOG:  database system is ready to accept connections") is None


def test_a_folder_that_containers_do_not_see_is_refused_with_the_mend(tmp_path: Path) -> None:
    own = Instance.create(tmp_path, settings={"DATA_DIR": str(tmp_path / "parquet")})
    told_to_containers(own)
    elsewhere = Instance.create(tmp_path, settings={"DATA_DIR": "/srv/bars"})

    with pytest.raises(Misconfigured, match=r"DATA_DIR is /srv/bars, .*; mount it at"):
        told_to_containers(elsewhere)
