"""docs/adding-a-service.md, followed to the letter."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

from trader.runtime.places import project_folder

ROOT = project_folder()
DOCUMENT = (ROOT / "docs" / "adding-a-service.md").read_text(encoding="utf-8")
FILES = re.findall(r"```python\n# (\S+)\n(.*?)```", DOCUMENT, re.DOTALL)
CHANGES = re.findall(r"```diff\n--- (\S+)\n(.*?)```", DOCUMENT, re.DOTALL)
NAME = "bookkeeper"
WITHIN_S = 600
# Starts the servers and the new service, asks it for what it reads, and stops everything.
STARTS_IT = """
from pathlib import Path
import httpx
from trader.runtime.instance import Instance
from trader.runtime.stack import LocalStack
import bookkeeper, sys
instance = Instance.create(Path(sys.argv[1]))
stack = LocalStack(instance, ["bookkeeper"])
try:
    stack.start()
    headers = {"Authorization": "Bearer " + instance.settings["API_TOKEN_READ"]}
    url = instance.url_of("bookkeeper")
    print(bookkeeper.__file__, [httpx.get(url + "/health").status_code,
        httpx.get(url + "/ready", headers=headers).status_code,
        httpx.get(url + "/newest").status_code,
        httpx.get(url + "/newest", headers=headers).text])
finally:
    stack.remove()
"""


def changed(text: str, change: str) -> str:
    """`text` with the lines that the document takes out replaced by those that it puts in."""
    lines = change.splitlines()
    before = "\n".join(line[1:] for line in lines if line.startswith("-"))
    after = "\n".join(line[1:] for line in lines if line.startswith("+"))
    assert text.count(f"\n{before}\n") == 1, f"the document's line is not there once:\n{before}"
    return text.replace(f"\n{before}\n", f"\n{after}\n")


def follow(clone: Path) -> None:
    """Type in all that the document says."""
    steps = sorted(file.name[:4] for file in (ROOT / "migrations" / "versions").glob("0*.py"))
    number = f"{int(steps[-1]) + 1:04}"
    for name, text in FILES:
        file = clone / name.replace("NNNN", number)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("NNNN", number).replace("MMMM", steps[-1]))
    for name, change in CHANGES:
        file = clone / name
        file.write_text(changed(file.read_text(), change))


def own_python(clone: Path) -> Path:
    """A Python that has our packages, and the code of `clone` in the place of ours."""
    made = clone / ".venv"
    venv.create(made, symlinks=True)
    (packages,) = made.glob("lib/python*/site-packages")
    sources = [clone, *sorted((clone / "services").glob("*/src"))]
    lines = [*sources, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    (packages / "clone.pth").write_text("".join(f"{line}\n" for line in lines))
    return made / "bin" / "python"


def test_every_line_that_the_document_changes_is_where_it_says(tmp_path: Path) -> None:
    for name in {name for name, _ in CHANGES}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)

    follow(tmp_path)

    assert len(CHANGES) >= 8
    assert NAME in (tmp_path / "docker-compose.yml").read_text()


@pytest.mark.prove
def test_the_service_of_the_document_is_started_and_answers(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    for folder in ("shared", "trader", "backtester", "migrations", "services"):
        shutil.copytree(ROOT / folder, clone / folder, ignore=shutil.ignore_patterns("tests"))
    for file in (
        "pyproject.toml",
        ".env.example",
        *(name for name, _ in CHANGES if "/" not in name),
    ):
        shutil.copy(ROOT / file, clone / file)
    follow(clone)
    python = own_python(clone)

    done = subprocess.run(
        [python, "-c", STARTS_IT, str(tmp_path / "home")],
        cwd=clone,
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )

    assert done.returncode == 0, done.stderr[-3_000:]
    assert (
        done.stdout.strip()
        == f"{clone}/services/{NAME}/src/{NAME}/__init__.py [200, 200, 401, '[]']"
    )
