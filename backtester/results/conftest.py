"""Bars that all tests of results share."""

import pytest

from backtester.history import History
from backtester.testing import a_market


@pytest.fixture(scope="session")
def market() -> History:
    return a_market(8, 400, 3, minutes=False, wild=0.02, holes=0.05)
