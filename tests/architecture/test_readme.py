"""The README's commands can be typed as they stand: targets, services, options."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from trader.cli import main
from trader.runtime.instance import PROGRAMS
from trader.runtime.places import project_folder

ROOT = project_folder()
# What the specification's operator looks for.
SECTIONS = (
    "Quick Start",
    "Prerequisites",
    "Architecture",
    "Project Structure",
    "Configuration",
    "Environment Variables",
    "Risk Parameters",
    "Usage",
    "Running Backtests",
    "API Endpoints",
    "Testing",
    "Test Structure",
    "Security",
    "Strategies",
    "Moving Average Crossover",
    "Adding Custom Strategies",
    "Development",
    "Adding New Services",
    "Database Migrations",
    "Monitoring and Alerts",
    "Gotify Notifications",
    "Log Monitoring",
    "Health Monitoring",
    "Makefile Commands",
    "Important Notes",
    "Troubleshooting",
    "Getting Help",
    "License",
    "Performance Optimization",
    "Updates and Maintenance",
)


def lines_of_blocks(document: Path) -> list[str]:
    text = document.read_text(encoding="utf-8")
    blocks = re.findall(r"(?ms)^```bash\n(.*?)^```", text)
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return sorted({line for line in lines if line and not line.startswith("#")})


LINES = lines_of_blocks(ROOT / "README.md")
OTHERS = ("nano .env",)
KNOWN = re.compile(
    r"make |\.venv/bin/(trader|python) |docker compose |python scripts/backtest\.py |[A-Z_]+="
)


def test_every_line_of_a_command_block_is_of_a_kind_that_is_checked() -> None:
    assert [line for line in LINES if not KNOWN.match(line) and line not in OTHERS] == []


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("make ")])
def test_make_knows_what_the_readme_asks_of_it(line: str) -> None:
    # With -n nothing is run, and what a recipe lacks is said all the same.
    words = ["make", "-n", *shlex.split(line)[1:]]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith(".venv/bin/trader ")])
def test_trader_knows_the_options_that_the_readme_names(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(line)[1:]
    options = [word for word in words if word.startswith("-")]
    # Its command and the command below it, if there is one: `orders`, `data import`.
    below = [
        word for word in words[:2] if re.fullmatch(r"[a-z][a-z-]*", word) and word not in PROGRAMS
    ]

    code = main([*below, "--help"])

    assert code == 0
    said = capsys.readouterr().out
    assert [option for option in options if option not in said] == []


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("docker compose ")])
def test_compose_is_asked_for_services_and_profiles_that_exist(line: str) -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    words = shlex.split(line)

    assert f"\n  {words[-1]}:\n" in text
    if "--profile" in words:
        assert f"profiles: [{words[words.index('--profile') + 1]}]" in text


def test_the_readme_has_every_section_of_the_specification() -> None:
    titles = re.findall(r"(?m)^#+ (.+)$", (ROOT / "README.md").read_text(encoding="utf-8"))

    assert [section for section in SECTIONS if section not in titles] == []
    assert "**Disclaimer**" in (ROOT / "README.md").read_text(encoding="utf-8")
