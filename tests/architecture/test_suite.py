"""What keeps the suite itself quick."""

from __future__ import annotations

import re
from pathlib import Path

from trader.runtime.places import project_folder

IMPORT = re.compile(
    r"from trader\.testing\.servers import [^\n]*\b(account|servers|settings_for)\b"
)


def imports_a_fixture(file: Path) -> bool:
    return IMPORT.search(file.read_text()) is not None


def test_nobody_imports_the_servers_fixtures_or_each_folder_would_start_a_pair_of_its_own() -> None:
    project = project_folder()
    files = [
        file
        for pattern in ("services/*/tests/**/*.py", "shared/tests/**/*.py", "tests/**/*.py")
        for file in project.glob(pattern)
    ]
    assert files

    assert {file for file in files if imports_a_fixture(file)} == set()
