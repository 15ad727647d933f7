"""How does a command of `trader` end, and what does it print where?"""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from shared.domain.errors import InvalidInput, Misconfigured
from trader.cli import COMMANDS, main
from trader.exits import ExitCode, exit_code_of
from trader.runtime.errors import AlreadyRunning, NotRunning, TimedOut, UnknownProgram
from trader.runtime.instance import Instance
from trader.runtime.places import project_folder
from trader.runtime.stack import LocalStack
from trader.testing.projects import act_on


@pytest.fixture
def own_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Instance:
    """A project of the test's own behind the commands, so that the person's is not touched."""
    instance = Instance.create(tmp_path / "home")
    act_on(monkeypatch, instance)
    return instance


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Misconfigured("x"), 4),
        (InvalidInput("x"), 4),
        (UnknownProgram("x"), 2),
        (NotRunning("x"), 3),
        (TimedOut("x"), 5),
        (AlreadyRunning("x"), 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: Exception, code: int) -> None:
    assert exit_code_of(error) == code


@pytest.mark.parametrize("words", [["up", "--bogus"], ["bogus"], ["logs", "-n", "many"]])
def test_wrong_usage_ends_with_code_4_and_one_sentence(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 4

    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("trader: ")
    assert printed.err.count("\n") == 1


def test_a_word_that_is_not_utf_8_is_refused_in_one_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["data", "check", "caf\udce9.csv"]) == ExitCode.USAGE
    assert capsys.readouterr().err == (
        "trader: 'caf\\udce9.csv' is not UTF-8; write it so, or rename it\n"
    )


def test_ctrl_c_at_any_moment_ends_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    # The first thing a command does is to load its module, which takes the longest.
    monkeypatch.setattr(importlib, "import_module", interrupted)

    assert main(["status"]) == ExitCode.INTERRUPTED
    assert capsys.readouterr().err == "trader: stopped; nothing more was done\n"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == ExitCode.OK

    printed = capsys.readouterr().out
    assert [name for name in COMMANDS if name not in printed] == []


def test_help_imports_no_command() -> None:
    program = (
        "import sys; from trader.cli import main; main(['--help'])\n"
        "heavy = {'sqlalchemy', 'asyncpg', 'redis', 'polars', 'trader.runtime.stack'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or None)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=project_folder(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_exists_and_its_help_shows_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    importlib.import_module(COMMANDS[command][0])

    assert main([command, "--help"]) == ExitCode.OK
    assert f"Example: trader {command}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["status"], ["health"], ["down"], ["logs"]])
def test_asking_a_stack_that_does_not_run_ends_with_code_3(
    words: list[str], own_project: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == ExitCode.NOT_RUNNING
    assert "trader up" in capsys.readouterr().err


def test_an_unknown_service_ends_with_code_2(own_project: Instance) -> None:
    assert main(["up", "dashbored"]) == ExitCode.NOT_FOUND
    assert main(["logs", "../../etc/passwd"]) == ExitCode.NOT_FOUND


def test_missing_broker_keys_are_named_before_anything_starts(
    own_project: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up"]) == ExitCode.USAGE

    assert "ALPACA_API_KEY, ALPACA_SECRET_KEY" in capsys.readouterr().err
    assert not LocalStack(own_project).runs


def test_a_placeholder_of_the_example_is_not_taken_for_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"ALPACA_API_KEY": "your_alpaca_api_key", "ALPACA_SECRET_KEY": "real"}
    instance = Instance.create(tmp_path, settings=settings)
    act_on(monkeypatch, instance)

    assert main(["config", "validate"]) == ExitCode.USAGE
    assert "ALPACA_API_KEY still holds the example's placeholder" in capsys.readouterr().err


def test_a_wrong_parameter_of_the_strategy_is_named_by_validate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {"ALPACA_API_KEY": "a", "ALPACA_SECRET_KEY": "b", "STRATEGY_PARAMS": "short_windw=5"}
    instance = Instance.create(tmp_path / "home", settings=keys)
    act_on(monkeypatch, instance)

    assert main(["config", "validate"]) == ExitCode.USAGE
    assert "STRATEGY_PARAMS: moving_average has no parameter 'short_windw'; did you mean" in (
        capsys.readouterr().err
    )


def test_a_wrong_setting_is_named_by_validate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    instance = Instance.create(tmp_path, settings={"RISK_MAX_POSITON_SIZE": "0.1"})
    act_on(monkeypatch, instance)

    assert main(["config", "validate"]) == ExitCode.USAGE
    assert "did you mean RISK_MAX_POSITION_SIZE?" in capsys.readouterr().err


def test_validate_names_all_that_is_wrong_or_missing_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {
        "ALPACA_API_KEY": "your_alpaca_api_key",
        "API_TOKEN_KILL": "short",
        "RISK_MAX_POSITON_SIZE": "0.1",
        "RISK_DRAWDOWN_LIMIT": "7",
    }
    instance = Instance.create(tmp_path, settings=settings)
    act_on(monkeypatch, instance)

    assert main(["config", "validate"]) == ExitCode.USAGE

    said = capsys.readouterr().err
    assert said.count("\n") == 1
    for part in (
        "unknown setting RISK_MAX_POSITON_SIZE",
        "RISK_DRAWDOWN_LIMIT: ",
        "ALPACA_API_KEY still holds",
        "API_TOKEN_KILL can be guessed",
        "missing setting ALPACA_SECRET_KEY, TRADING_SYMBOLS",
    ):
        assert part in said


def test_settings_are_shown_with_their_origin_and_without_secrets(
    own_project: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "show", "--origin", "--json"]) == ExitCode.OK

    printed = capsys.readouterr().out
    rows = {row["setting"]: row for row in json.loads(printed)["settings"]}
    assert rows["RISK_DRAWDOWN_LIMIT"]["origin"] == "default"
    assert rows["API_TOKEN_READ"]["value"] == "set"
    assert own_project.settings["API_TOKEN_READ"] not in printed
    assert own_project.settings["DB_PASSWORD"] not in printed


def test_a_dry_run_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {"ALPACA_API_KEY": "k", "ALPACA_SECRET_KEY": "s"}
    instance = Instance.create(tmp_path, settings=keys)
    act_on(monkeypatch, instance)

    assert main(["up", "--dry-run", "--json"]) == ExitCode.OK

    assert "trade_executor" in json.loads(capsys.readouterr().out)["started"]
    assert not LocalStack(instance).runs


def test_a_token_that_can_be_guessed_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weak = {"ALPACA_API_KEY": "k", "ALPACA_SECRET_KEY": "s", "API_TOKEN_OPERATE": "changeme"}
    instance = Instance.create(tmp_path, settings=weak)
    act_on(monkeypatch, instance)

    for words in (["up"], ["config", "validate"]):
        assert main(words) == ExitCode.USAGE
        assert "API_TOKEN_OPERATE can be guessed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--symbols", "AAPL,no way"], ["--seed", str(2**63)], ["--cash", str(10**13)]]
)
def test_a_demo_that_cannot_be_is_refused_at_once(
    words: list[str], own_project: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", *words]) == ExitCode.USAGE
    assert capsys.readouterr().err.count("\n") == 1
    assert not LocalStack(own_project).runs
