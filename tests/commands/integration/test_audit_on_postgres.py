"""`trader audit verify` computes real chains anew and names the first row that does not fit.

The rows are cash entries, written under the executor's role; what a service may not do, the owner of the tables does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path

import asyncpg
import pytest

from trader.audit import Audit, Head, verify
from trader.cli import main
from trader.commands.stored import Stored, ask_ledger
from trader.runtime.credentials import OWNER
from trader.runtime.instance import Instance
from trader.testing.connections import connected
from trader.testing.projects import act_on
from trader.testing.servers import Servers

Output = pytest.CaptureFixture[str]
_INSERT = """
    INSERT INTO trade_executor.cash_entries (account, key, amount, reason, evidence, entered_at)
    VALUES ($1, $2, 10.50, 'test', '{"by": null}', '2026-03-02T15:00:00Z')
    ON CONFLICT (account, key) DO NOTHING
"""


@pytest.fixture(autouse=True)
def project(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    act_on(monkeypatch, servers.instance)


@pytest.fixture
def ledger(servers: Servers, account: str) -> Ledger:
    ledger = Ledger(servers.instance, account)
    ledger.write("a", "b", "c")
    return ledger


class Ledger:
    """Three cash entries, and ways to tamper with them."""

    def __init__(self, instance: Instance, account: str) -> None:
        self._instance = instance
        self.account = account

    def write(self, *keys: str) -> None:
        self._as("trade_executor", [(_INSERT, (self.account, key)) for key in keys])

    def tamper(self, statement: str) -> None:
        self._as(OWNER, [(statement, (self.account,))])

    def _as(self, role: str, statements: Iterable[tuple[str, tuple[str, ...]]]) -> None:
        async def run() -> None:
            async with connected(self._instance, role) as connection:
                for statement, values in statements:
                    await connection.execute(statement, *values)

        asyncio.run(run())


def verified(ledger: Ledger, *more: str) -> int:
    return main(["audit", "verify", "--account", ledger.account, "--json", *more])


def exported(ledger: Ledger, folder: Path) -> Path:
    path = folder / "kept.jsonl"
    assert main(["export", "audit", "--account", ledger.account, "--output", str(path)]) == 0
    return path


def test_what_was_written_fits(ledger: Ledger, capsys: Output) -> None:
    assert verified(ledger) == 0

    said = json.loads(capsys.readouterr().out)
    assert [(chain["chain"], chain["rows"]) for chain in said["chains"]] == [
        ("trade_executor.cash_entries", 3)
    ]


def test_what_is_written_while_the_chains_are_read_is_no_fault(ledger: Ledger) -> None:
    class WrittenMeanwhile(Audit):
        async def heads(self) -> list[Head]:
            found = await super().heads()
            await asyncio.to_thread(ledger.write, f"after {found[0].length}")
            return found

    async def check(stored: Stored) -> list[Head]:
        return await verify(WrittenMeanwhile(stored.database, stored.account), {})

    assert [head.length for head in ask_ledger(ledger.account, check)] == [3]


def test_writing_a_known_key_again_adds_no_link(ledger: Ledger) -> None:
    ledger.write("b", "d")

    assert verified(ledger) == 0


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("UPDATE trade_executor.cash_entries SET amount = 11 WHERE account = $1 AND key = 'b'",
         "(link 2) is not what was written"),
        ("DELETE FROM trade_executor.cash_entries WHERE account = $1 AND key = 'b'",
         "(link 2) was removed"),
        ("DELETE FROM audit.links WHERE account = $1 AND position = 2", "link 2 is missing"),
        ("DELETE FROM audit.links WHERE account = $1 AND position = 3",
         "2 rows are there, the chain was 3 long"),
        ("UPDATE audit.heads SET hash = '' WHERE account = $1",
         "its last hash is not the one that was kept"),
        ("UPDATE audit.heads h SET length = 2, hash = l.hash FROM audit.links l "  # noqa: ISC004
         "WHERE h.account = $1 AND l.account = $1 AND l.position = 2",
         "3 rows are there, the chain was 2 long"),
    ],
)  # fmt: skip
def test_the_first_bad_row_is_named(
    ledger: Ledger, capsys: Output, statement: str, complaint: str
) -> None:
    ledger.tamper(statement)

    assert verified(ledger) == 1
    assert complaint in capsys.readouterr().err


def test_a_row_put_in_behind_the_triggers_back_is_named(ledger: Ledger, capsys: Output) -> None:
    ledger.tamper("DELETE FROM audit.links WHERE account = $1")
    ledger.tamper("DELETE FROM audit.heads WHERE account = $1")

    assert verified(ledger) == 1
    assert "was put in unchained" in capsys.readouterr().err


def test_a_chain_made_up_anew_does_not_fit_an_export_kept_elsewhere(
    ledger: Ledger, tmp_path: Path, capsys: Output
) -> None:
    kept = exported(ledger, tmp_path)
    assert verified(ledger, "--export", str(kept)) == 0
    ledger.tamper("DELETE FROM audit.links WHERE account = $1")
    ledger.tamper("DELETE FROM audit.heads WHERE account = $1")
    ledger.tamper("DELETE FROM trade_executor.cash_entries WHERE account = $1")
    ledger.write("x", "y", "z", "more")
    assert verified(ledger) == 0

    assert verified(ledger, "--export", str(kept)) == 1
    assert "is not the exported one" in capsys.readouterr().err


def test_a_changed_export_is_no_witness(ledger: Ledger, tmp_path: Path, capsys: Output) -> None:
    kept = exported(ledger, tmp_path)
    kept.write_text(kept.read_text().replace("10.50", "99.99", 1))

    assert verified(ledger, "--export", str(kept)) == 1
    assert "(link 1) is not what was written" in capsys.readouterr().err


@pytest.mark.parametrize("statement", [
    "UPDATE trade_executor.cash_entries SET amount = 0 WHERE account = $1",
    "DELETE FROM trade_executor.cash_entries WHERE account = $1",
    "DELETE FROM audit.links WHERE account = $1",
    "INSERT INTO audit.links VALUES ('trade_executor.cash_entries', $1, 99, 1, '')",
    "SELECT audit.link('trade_executor.cash_entries', $1, 1, 'made up')",
])  # fmt: skip
def test_a_service_can_only_append(ledger: Ledger, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        ledger._as("trade_executor", [(statement, (ledger.account,))])


def test_an_account_of_which_nothing_is_stored_is_no_sound_chain(
    ledger: Ledger, capsys: Output
) -> None:
    assert main(["audit", "verify", "--account", "nobody"]) == 2

    assert "nothing is stored under account 'nobody'; there is " in capsys.readouterr().err
