"""Real daily bars for tests: the file of GOOG that the package `backtesting` ships.

Found without importing the package, which takes a second and would take it in every process that collects tests.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def goog() -> Path:
    """The file; 2,148 days from 2004 to 2013."""
    found = find_spec("backtesting")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "test" / "GOOG.csv"
