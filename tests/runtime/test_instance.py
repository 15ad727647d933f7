"""What is each program told, and what is kept from it?"""

from dataclasses import replace
from pathlib import Path

import pytest

from shared.config import load_settings
from shared.domain.errors import Misconfigured
from trader.backtests import Desk
from trader.runtime.credentials import BACKUP, LOGIN_ROLES, is_secret, password_of
from trader.runtime.errors import UnknownProgram
from trader.runtime.instance import PROGRAMS, SERVICES, Instance
from trader.runtime.places import project_folder
from trader.runtime.ports import Ports

KEYS = {
    "ALPACA_API_KEY": "main",
    "ALPACA_SECRET_KEY": "main-secret",
    "ALPACA_DATA_API_KEY": "data",
    "ALPACA_DATA_SECRET_KEY": "data-secret",
    "TWELVE_DATA_API_KEY": "twelve",
    "GOTIFY_TOKEN": "gotify",
    "SOME_NEW_SECRET": "nobody's yet",
}


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    return Instance.create(tmp_path, settings=KEYS)


def who_is_told(instance: Instance, secret: str) -> set[str]:
    return {name for name in PROGRAMS if secret in instance.environment(name).values()}


def test_only_the_executor_is_handed_the_trading_keys(instance: Instance) -> None:
    assert who_is_told(instance, "main") == {"trade_executor"}
    assert who_is_told(instance, "main-secret") == {"trade_executor"}


def test_only_the_collector_is_handed_the_keys_of_market_data(instance: Instance) -> None:
    for secret in ("data", "data-secret", "twelve"):
        assert who_is_told(instance, secret) == {"data_collector"}


def test_without_a_data_pair_the_collector_reads_with_the_main_one(tmp_path: Path) -> None:
    pair = {"ALPACA_API_KEY": "main", "ALPACA_SECRET_KEY": "main-secret"}

    instance = Instance.create(tmp_path, settings=pair)

    assert who_is_told(instance, "main") == {"data_collector", "trade_executor"}


def test_a_secret_that_nobody_was_named_for_is_handed_to_nobody(instance: Instance) -> None:
    assert who_is_told(instance, "nobody's yet") == set()


def test_each_service_is_handed_its_own_database_password_and_no_other(instance: Instance) -> None:
    for service in SERVICES:
        told = instance.environment(service)

        assert told["DB_USER"] == service
        assert told["DB_PASSWORD"] == password_of(service, instance.settings["DB_PASSWORD"])
        assert instance.settings["DB_PASSWORD"] not in told.values()
        # The scheduler has backups written, by a role that changes nothing.
        own = {service, BACKUP} if service == "scheduler" else {service}
        others = {instance.database_password(role) for role in LOGIN_ROLES if role not in own}
        assert not others & set(told.values())


def test_servers_and_simulator_are_handed_no_secret_of_ours(instance: Instance) -> None:
    ours = {value for key, value in instance.settings.items() if is_secret(key)}

    for name in ("postgres", "redis", "simulator"):
        assert not ours & set(instance.environment(name).values())


def test_the_command_line_reads_as_operator_and_holds_no_broker_key(instance: Instance) -> None:
    told = instance.operator_environment()

    assert told["DB_USER"] == "operator"
    assert told["DB_PASSWORD"] == instance.database_password("operator")
    assert not {"main", "main-secret"} & set(told.values())


def test_passwords_of_two_roles_differ() -> None:
    assert len({password_of(role, "same") for role in LOGIN_ROLES}) == len(LOGIN_ROLES)


def test_every_service_accepts_what_it_is_told(instance: Instance) -> None:
    for service in SERVICES:
        settings = load_settings(instance.environment(service))

        assert settings.db_port == instance.ports.postgres
        assert settings.log_dir == instance.logs


def test_the_users_own_environment_stays_out_of_an_instance_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALPACA_API_KEY", "the person's real key")

    instance = Instance.create(tmp_path)

    assert who_is_told(instance, "the person's real key") == set()


def test_an_unknown_program_is_named_with_those_that_exist(instance: Instance) -> None:
    with pytest.raises(UnknownProgram, match=r"no program 'dashbored'; choose .*scheduler"):
        instance.environment("dashbored")


def test_an_unknown_role_gets_no_address(instance: Instance) -> None:
    with pytest.raises(UnknownProgram, match=r"no role 'root'; choose trading, .*operator"):
        instance.database_url("root")


def test_a_long_home_still_has_a_socket_that_the_kernel_accepts(instance: Instance) -> None:
    long = replace(instance, home=instance.home / ("x" * 200))

    assert len(str(long.socket)) < 100
    assert replace(long, home=long.home / "y").socket != long.socket


def test_free_ports_differ_from_each_other() -> None:
    chosen = Ports.free().as_mapping()

    assert len(set(chosen.values())) == len(chosen)


@pytest.mark.parametrize("value", ["0", "65536", "eighty", "-1", "٣"])
def test_a_port_that_is_none_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PORT", value)

    with pytest.raises(Misconfigured, match="DB_PORT must be a port from 1 to 65535"):
        Instance.of_project()


def test_two_programs_on_one_port_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PORT", "8001")

    with pytest.raises(Misconfigured, match="data_collector and redis are both set to port 8001"):
        Instance.of_project()


@pytest.mark.parametrize("stated", ["", "data/bars", "/srv/bars"])
def test_services_and_backtests_find_history_where_the_settings_say(
    stated: str, tmp_path: Path
) -> None:
    said = {"DATA_DIR": stated}
    instance = Instance.create(tmp_path / "home", settings=said)
    expected = project_folder() / stated if stated else tmp_path / "home" / "parquet"

    assert instance.environment("data_collector")["DATA_DIR"] == str(expected)
    assert instance.operator_environment()["DATA_DIR"] == str(expected)
    desk = Desk({**said, "TRADING_HOME": str(tmp_path / "home")})
    assert (desk.store, instance.history) == (expected, expected)


def test_the_projects_stack_and_a_backtest_read_one_settings_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADING_HOME", str(tmp_path))
    monkeypatch.delenv("DATA_DIR", raising=False)
    (tmp_path / ".env").write_text(f"DATA_DIR={tmp_path / 'bars'}\n")

    assert Instance.of_project().history == Desk.of_project().store == tmp_path / "bars"
