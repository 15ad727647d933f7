"""What every test of the project shares: marks by folder, property-test profiles, real servers."""

import os

import pytest
from hypothesis import settings

pytest_plugins = ["shared.testing.figures", "trader.testing.servers"]

# `make test` tries the same examples each time, so that a red run is red again; `make prove` looks on.
settings.register_profile("submission", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("prove", deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "submission"))

MARKS_BY_FOLDER = ("integration", "acceptance")
# Whole stacks, then what compiles, then whatever needs servers: by what they cost a processor.
LONGEST_FIRST = (
    "tests/acceptance/test_crashes_change_nothing.py",
    "tests/browser/test_dashboard.py",
    "services/data_collector/tests/integration/test_against_the_simulator.py",
    "backtester/tests/test_compiled.py",
    "tests/acceptance",
    "tests/runtime/integration",
    "services/trade_executor/tests/integration",
)


def _turn(item: pytest.Item) -> int:
    path = item.path.relative_to(item.config.rootpath).as_posix()
    named = (turn for turn, place in enumerate(LONGEST_FIRST) if path.startswith(place))
    return next(named, len(LONGEST_FIRST) + ("/integration/" not in path))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # What takes longest begins first, so that no worker waits for the last of it alone.
    items.sort(key=_turn)
    for item in items:
        for folder in MARKS_BY_FOLDER:
            if folder in item.path.parts:
                item.add_marker(folder)
