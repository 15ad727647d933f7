"""`trader why` and `why-not` ask PostgreSQL under the operator's role, which may only read views."""

from __future__ import annotations

import json

import pytest

from tests.commands.integration.test_audit_on_postgres import Ledger
from trader.cli import main
from trader.testing.projects import act_on
from trader.testing.servers import Servers

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def project(servers: Servers, account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    act_on(monkeypatch, servers.instance)
    # Beside the accounts of other tests one of which nothing is stored is refused.
    Ledger(servers.instance, account).write("a", "b")


def test_an_unknown_order_is_not_found(capsys: Output, account: str) -> None:
    assert main(["why", "fat-nobody", "--account", account]) == 2

    assert "no decision belongs to 'fat-nobody'" in capsys.readouterr().err


def test_an_account_without_bars_says_so(capsys: Output, account: str) -> None:
    assert main(["why-not", "AAPL", "--account", account, "--json"]) == 0

    said = json.loads(capsys.readouterr().out)
    assert (said["answer"], said["chains"]) == ("no bar of any symbol had come by then", [])


def test_an_account_of_which_nothing_is_stored_is_refused_where_there_are_others(
    capsys: Output,
) -> None:
    assert main(["why-not", "AAPL", "--account", "nobody"]) == 2

    assert "nothing is stored under account 'nobody'; there is " in capsys.readouterr().err


def test_an_instant_is_asked_for_by_time(capsys: Output, account: str) -> None:
    assert main(["why-not", "AAPL", "2026-03-02T15:00:00Z", "--account", account]) == 0

    assert "AAPL: no bar of any symbol had come by then" in capsys.readouterr().out
