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
LONGEST_FIRST = {"acceptance": 0, "browser": 1, "integration": 2}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Whole stacks take longest and begin first, so that no worker waits for the last of them alone.
    items.sort(key=lambda item: LONGEST_FIRST.get(item.path.parent.name, len(LONGEST_FIRST)))
    for item in items:
        for folder in MARKS_BY_FOLDER:
            if folder in item.path.parts:
                item.add_marker(folder)
