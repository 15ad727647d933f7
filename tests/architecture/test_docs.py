"""What the documents name exists: commands, endpoints, settings, files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from shared.config import OUR_PREFIXES, Settings, load_settings
from trader.cli import COMMANDS, main
from trader.runtime.credentials import GENERATED
from trader.runtime.first_run import read_settings
from trader.runtime.instance import Instance
from trader.runtime.places import project_folder
from trader.settings_reference import MEANINGS, reference

PROJECT = project_folder()
DOCUMENTS = sorted([PROJECT / "README.md", *PROJECT.glob("docs/**/*.md")])
SETTINGS = {name.upper() for name in Settings.model_fields}
# The starter of a service decides these, not a person: addresses come on top (see below).
GIVEN_BY_THE_RUNTIME = {
    "DB_BACKUP_PASSWORD",
    "API_HOST",
    "API_PEERS_BY_NAME",
    "CLOCK_FILE",
    "DB_USER",
}
# Read by the local runtime and by no service.
COMPOSES_OWN = {"COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "CONTAINER_USER"}
RUNTIMES_OWN = {"LOCAL_REDIS", "RUNTIME", "TRADING_HOME"} | COMPOSES_OWN


def named_after(document: Path) -> str:
    return str(document.relative_to(PROJECT))


def text_of(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def names(pattern: str, text: str) -> set[str]:
    return set(re.findall(pattern, text, flags=re.MULTILINE))


def example_names() -> set[str]:
    return names(r"^(?:# )?([A-Z][A-Z0-9_]+)=", text_of(PROJECT / ".env.example"))


def test_the_example_names_every_setting_that_a_person_may_set_and_no_other(tmp_path: Path) -> None:
    addresses = set(Instance.create(tmp_path).addresses())
    elsewhere = {name for name in addresses if not name.endswith("_PORT")} | GIVEN_BY_THE_RUNTIME
    # The runtime's own folder, unless a person names a bucket.
    elsewhere -= {"DATA_DIR"}

    assert example_names() - SETTINGS <= RUNTIMES_OWN
    assert SETTINGS - example_names() == elsewhere & SETTINGS


def test_the_page_about_settings_is_what_would_be_made_now() -> None:
    assert text_of(PROJECT / "docs" / "settings.md") == reference(), (
        "run: .venv/bin/trader config reference"
    )
    assert {name.upper() for name in Settings.model_fields} == set(MEANINGS)


def test_the_example_is_valid_as_it_stands_and_sets_nothing_but_the_defaults() -> None:
    assert load_settings(read_settings(PROJECT / ".env.example")) == load_settings({})


def test_a_value_shown_in_a_comment_of_the_example_is_the_default_or_valid() -> None:
    shown = dict(
        re.findall(r"^# ([A-Z][A-Z0-9_]+)=(.+)$", text_of(PROJECT / ".env.example"), re.MULTILINE)
    )
    known = {name: value for name, value in shown.items() if name in SETTINGS}

    load_settings(known)
    assert known


def test_the_example_holds_no_secret() -> None:
    stored = read_settings(PROJECT / ".env.example")

    assert not set(GENERATED) & set(stored)
    assert not [name for name in stored if name.endswith(("_KEY", "_TOKEN", "_PASSWORD"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=named_after)
def test_every_make_target_that_a_document_names_exists(document: Path) -> None:
    targets = names(r"^([a-z][a-z-]*):", text_of(PROJECT / "Makefile"))
    named = names(r"(?:^|`|\$ )make ([a-z][a-z-]*)", text_of(document))

    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=named_after)
def test_every_trader_command_that_a_document_names_exists(document: Path) -> None:
    named = names(r"(?:^|`|\$ |\.venv/bin/)trader ([a-z][a-z-]*)", text_of(document))

    assert named <= set(COMMANDS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=named_after)
def test_every_setting_that_a_document_names_exists(document: Path) -> None:
    named = names(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9])[=`]", text_of(document))
    named |= names(r"^([A-Z][A-Z0-9_]+)=", text_of(document))
    ours = {name for name in named if name.startswith(OUR_PREFIXES)}

    assert ours <= SETTINGS | RUNTIMES_OWN


@pytest.mark.parametrize("document", DOCUMENTS, ids=named_after)
def test_every_endpoint_that_a_document_names_exists(document: Path, apis: dict[str, Any]) -> None:
    served = {endpoint for api in apis.values() for endpoint in api.endpoints}
    # The simulator's are the venue's, and are documented beside it.
    named = names(r"`((?:GET|POST|PUT|DELETE) /(?!admin/|v2/)[^`? ]*)", text_of(document))

    assert {re.sub(r"\{[^}]*\}", "{}", name) for name in named} <= served


@pytest.mark.parametrize("document", DOCUMENTS, ids=named_after)
def test_every_file_that_a_document_links_to_exists(document: Path) -> None:
    links = names(r"\]\((?!https?://|#)([^)#]+)", text_of(document))

    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help_with_an_example_of_itself(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    assert re.search(rf"Example:\s+trader {command}\b", capsys.readouterr().out)


def test_every_alert_has_a_section_that_says_what_to_do() -> None:
    alerts = names(r"- alert: (\w+)", text_of(PROJECT / "monitoring" / "prometheus" / "alerts.yml"))
    sections = names(r"^## (\w+)$", text_of(PROJECT / "docs" / "alerts.md"))

    assert sections == alerts


def test_what_code_cites_of_the_fault_model_is_in_it_and_the_tests_it_names_exist() -> None:
    told = text_of(PROJECT / "docs" / "fault-model.md")
    files = [*PROJECT.glob("shared/**/*.py"), *PROJECT.glob("services/**/*.py")]
    cited = {
        number
        for path in files
        for number in names(r"\b(?:rule|invariant) ([RI][0-9]{1,2})\b", text_of(path))
    }

    assert cited
    assert cited <= names(r"\b([RI][0-9]{1,2})\b", told)
    rooms = ("shared", "services", "tests")
    tests = {path.name for room in rooms for path in PROJECT.glob(f"{room}/**/test_*.py")}
    assert names(r"`(test_\w+\.py)`", told) <= tests


def test_documents_name_no_folder_of_a_machine_and_no_index_of_packages() -> None:
    for document in [*DOCUMENTS, PROJECT / ".env.example", PROJECT / "Makefile"]:
        assert not re.search(r"(?<![\w.])/(?:root|home|work)/", text_of(document)), document
