"""The real servers, for the tests of this folder."""

import pytest

from trader.testing.servers import account, servers, settings_for

__all__ = ["account", "servers", "settings_for"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
