"""Real PostgreSQL and Redis for tests, one pair per test run, thrown away at its end.

Started by the local runtime itself and migrated to the newest step, so tests meet the very servers that
trade. Tests share the pair and never meet: each has an account label of its own, under which every
row and key of it is kept. The root conftest gives the fixtures to every folder; a folder that imports
them would start a pair of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.config import Settings, load_settings
from trader.runtime.instance import POSTGRES, REDIS, Instance
from trader.runtime.stack import LocalStack

# Settings of one service's process, e.g. `settings_for("risk_manager", RISK_DRAWDOWN_LIMIT="0.1")`.
SettingsFor = Callable[..., Settings]


@dataclass(frozen=True, slots=True)
class Servers:
    """The running pair; `stack` can kill, stop and start either."""

    instance: Instance
    stack: LocalStack

    def settings(self, service: str, account: str, **changes: str) -> Settings:
        """What the process `service` (or `operator`) is told, under `account`, with `changes`."""
        told = (
            self.instance.operator_environment()
            if service == "operator"
            else self.instance.environment(service)
        )
        return load_settings({**told, "TRADING_ACCOUNT": account, **changes})


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The pair, started when the first test asks for it."""
    instance = Instance.create(tmp_path_factory.mktemp("servers"))
    stack = LocalStack(instance, programs=(POSTGRES, REDIS), owned=True)
    try:
        stack.start()
        yield Servers(instance, stack)
    finally:
        stack.remove()


@pytest.fixture
def account(request: pytest.FixtureRequest) -> str:
    """A label that no other test uses."""
    return "t-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]


@pytest.fixture
def settings_for(servers: Servers, account: str, tmp_path: Path) -> SettingsFor:
    """Settings of any service on the shared pair, under this test's own account and data folder."""

    def settings(service: str, **changes: str) -> Settings:
        own = {"DATA_DIR": str(tmp_path / "parquet"), "LOG_DIR": str(tmp_path / "logs")}
        return servers.settings(service, account, **{**own, **changes})

    return settings
