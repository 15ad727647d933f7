"""Rules of the project that no tool of others checks."""

import re
from pathlib import Path

import pytest

from trader.runtime.instance import DASHBOARD, SERVICES
from trader.runtime.places import project_folder

ROOT = project_folder()
CODE = [
    path
    for folder in ("shared", "services", "backtester", "trader", "migrations")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "tests" not in path.parts
]
# Time comes from the Clock port: a replay's rows would else carry the machine's time.
SERVER_TIME = re.compile(
    r"(?i)\b(now\s*\(\s*\)|current_timestamp|current_date|clock_timestamp|statement_timestamp"
    r"|transaction_timestamp|localtimestamp|func\.now)\b"
)
PINS = [ROOT / "requirements", *(ROOT / "services").glob("*/")]


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_statement_takes_the_time_from_the_server(path: Path) -> None:
    statements = re.findall(r'(?s)"""(.*?)"""|"([^"\n]*)"', path.read_text())
    texts = [first or second for first, second in statements]

    # Only statements count: words about time in a docstring are no SQL.
    assert [
        text
        for text in texts
        if SERVER_TIME.search(text)
        and re.search(r"(?i)\b(select|insert|update|default|where|set)\b", text)
    ] == []


def test_requirements_are_pinned_with_hashes_and_name_no_address() -> None:
    files = [file for folder in PINS for file in folder.glob("*.txt")]

    assert len(files) >= 2
    for file in files:
        text = file.read_text()
        assert "://" not in text
        assert not re.search(r"(?m)^\s*(-i|--index-url|--extra-index-url|--find-links)", text)
        for block in re.split(r"(?m)^(?=[a-z0-9])", text):
            assert not block.strip() or ("==" in block and "--hash=sha256:" in block), block


@pytest.mark.parametrize("service", [*SERVICES, DASHBOARD])
def test_every_service_has_the_rooms_that_a_reader_expects(service: str) -> None:
    source, tests = (ROOT / "services" / service / room for room in (f"src/{service}", "tests"))

    missing = [
        room
        for room in (
            *(source / f"{name}.py" for name in ("__main__", "service", "api", "store")),
            *(tests / f"test_{name}.py" for name in ("main", "models", "api")),
        )
        if not (room.is_file() or (room.with_suffix("") / "__init__.py").is_file())
    ]
    assert missing == []


def test_what_the_gate_runs_is_what_a_person_runs() -> None:
    assert "exec make test" in (ROOT / ".ci" / "run").read_text()
