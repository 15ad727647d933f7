"""The tests of the limits notice when a limit is broken."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shared.testing.figures import Figure
from tests.mutation.mutants import mutants_of

PROJECT = Path(__file__).resolve().parents[2]
RULES = "services/risk_manager/src/risk_manager/limits"
TESTS = [
    f"services/risk_manager/tests/{name}.py"
    for name in ("test_limits", "test_limit_edges", "test_entry_limits", "test_review")
]


def tried(every: int) -> tuple[int, list[str]]:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.mutation.mutants", RULES, str(every), *TESTS],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    said = json.loads(ended.stdout.splitlines()[-1])
    return said["tried"], said["survived"]


def test_a_mutant_differs_in_one_place_and_texts_for_people_are_left_alone() -> None:
    source = (
        "def rule(a, b):\n    if a <= b and not b:\n        return f'{a + b}'\n    return a + 1\n"
    )

    whats = [what.split(": ")[1] for what, _ in mutants_of(source)]

    assert whats == [
        "a <= b and (not b) -> a <= b or not b",
        "a <= b -> a < b",
        "not b -> not not b",
        "a + 1 -> a - 1",
        "1 -> 2",
    ]


def test_a_sample_of_broken_rules_is_noticed() -> None:
    count, survived = tried(every=35)

    assert count >= 5
    # One of them may be a change that nobody could tell.
    assert len(survived) <= 1, survived


@pytest.mark.prove
@pytest.mark.timeout(3_600)
def test_nine_of_ten_broken_rules_are_noticed(figure: Figure) -> None:
    count, survived = tried(every=1)

    figure(f"mutants of the limits: {count - len(survived)} of {count} were caught")
    print("\n".join(survived))
    assert len(survived) <= count / 10
