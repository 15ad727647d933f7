"""`trader why-not` names what kept a symbol from being bought, whichever stage it was."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.commands.integration.test_audit_on_postgres import Ledger
from trader.cli import main
from trader.runtime.instance import Instance
from trader.testing.connections import connected
from trader.testing.projects import act_on
from trader.testing.servers import Servers

Output = pytest.CaptureFixture[str]
AT = "2026-03-02T15:00:00Z"


class Stages:
    """What each stage would have stored, written under its own role."""

    def __init__(self, instance: Instance, account: str) -> None:
        self._instance = instance
        self.account = account

    def write(self, role: str, *statements: str) -> None:
        async def run() -> None:
            async with connected(self._instance, role) as connection:
                for statement in statements:
                    await connection.execute(statement.replace(":a", f"'{self.account}'"))

        asyncio.run(run())

    def batch(self, composition: str = "AAPL", *, is_late: bool = False) -> None:
        self.write(
            "data_collector",
            f"""INSERT INTO data_collector.bar_batches (account, timeframe, start_at, end_at, symbols, composition,
                    digest, decidable, announced_at)
                VALUES (:a, '1Min', '2026-03-02T14:59:00Z', '{AT}', 1, ARRAY['{composition}'], repeat('0', 64),
                    {not is_late}, '{AT}')""",
        )

    def evaluation(self) -> None:
        self.write(
            "strategy_engine",
            f"""INSERT INTO strategy_engine.outbox (account, topic, key, payload, created_at)
                VALUES (:a, 'evaluations', '1Min:2026-03-02T15:00:00+00:00', '{{}}', '{AT}')""",
        )

    def refusals(self) -> None:
        """One told whole, and one that repeats it a bar later."""
        told = (
            ("first", "2026-03-02T14:59:00Z", '[{"code": "MODE"}, {"code": "DAILY_TRADES"}]', "{}"),
            ("again", AT, '[{"code": "DAILY_TRADES"}]', '{"repeats": "2"}'),
        )
        self.write(
            "risk_manager",
            "INSERT INTO risk_manager.outbox (account, topic, key, payload, created_at) "
            f"VALUES (:a, 'reviews', 'k', '{{}}', '{AT}')",
            *(
                "INSERT INTO risk_manager.decisions (account, decision_id, signal_id, source, review_id, "
                "instant_at, decided_at, outcome, strategy, symbol, side, purpose, quantity, reason_code, "
                f"reason, checks, figures) SELECT :a, :a || '{name}', 's-' || :a || '{name}', "
                f"'evaluation:1Min', max(id), '{at}', '{at}', 'refused', 'moving_average', 'AAPL', 'buy', "
                f"'entry', 1, 'DAILY_TRADES', '50 entries, at most 50', '{checks}', '{figures}' "
                "FROM risk_manager.outbox WHERE account = :a"
                for name, at, checks, figures in told
            ),
        )


@pytest.fixture
def stages(servers: Servers, account: str, monkeypatch: pytest.MonkeyPatch) -> Stages:
    act_on(monkeypatch, servers.instance)
    # Beside the accounts of other tests one of which nothing is stored is refused.
    Ledger(servers.instance, account).write("a")
    return Stages(servers.instance, account)


def asked(stages: Stages, capsys: Output, at: str | None = None) -> dict[str, Any]:
    words = ["why-not", "AAPL", *([at] if at else []), "--account", stages.account, "--json"]
    assert main(words) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def test_each_stage_is_named_at_which_a_wish_can_end(stages: Stages, capsys: Output) -> None:
    stages.batch("MSFT")
    assert asked(stages, capsys)["answer"] == (
        "no bar of it had come when the others were decided on; none of it is stored at all"
    )
    stages.write(
        "data_collector",
        f"""INSERT INTO data_collector.quarantine (account, timeframe, provider, symbol, reason, raw, raw_digest,
                seen_at) VALUES (:a, '1Min', 'test', 'AAPL', 'a bad print', '', '', '{AT}')""",
    )
    assert asked(stages, capsys)["answer"] == "its bar was refused: a bad print"


def test_a_bar_that_came_is_late_not_looked_at_or_not_wished_for(
    stages: Stages, capsys: Output
) -> None:
    stages.batch()
    assert asked(stages, capsys)["answer"] == "the strategies have not looked at that instant yet"
    stages.evaluation()
    assert asked(stages, capsys)["answer"] == "no strategy wished for anything"


def test_a_late_bar_was_not_decided_on(stages: Stages, capsys: Output) -> None:
    stages.batch(is_late=True)
    assert asked(stages, capsys)["answer"] == "its bar came too late to be decided on"


def test_a_refusal_that_was_muted_leads_to_the_one_that_was_told_whole(
    stages: Stages, capsys: Output
) -> None:
    stages.batch()
    stages.refusals()

    said = asked(stages, capsys)

    assert said["answer"] == (
        "moving_average wished for an entry, refused as DAILY_TRADES: 50 entries, at most 50 "
        "(for the 2. time in a row)"
    )
    [chain] = said["chains"]
    assert [check["code"] for check in chain["first_refusal"]["checks"]] == ["MODE", "DAILY_TRADES"]
    assert "first refusal of its row" not in chain["missing"]


def test_what_stands_in_the_way_of_any_wish_is_told_as_it_was_then(
    stages: Stages, capsys: Output
) -> None:
    stages.batch()
    assert asked(stages, capsys)["standing"] == []
    stages.write(
        "risk_manager",
        f"""INSERT INTO risk_manager.modes (account, version, mode, reason, actor, restarts_peak, changed_at)
            VALUES (:a, 1, 'HALTED', 'lunch', 'token:kill', false, '{AT}')""",
        f"""INSERT INTO risk_manager.throttles (account, strategy, symbol, version, is_stopped, reason, actor,
                changed_at) VALUES (:a, 'rsi', 'AAPL', 1, true, 'eleven entries', 'risk_manager', '{AT}')""",
    )
    stages.write(
        "data_collector",
        f"""INSERT INTO data_collector.symbol_holds (account, symbol, kind, reason, since_at)
            VALUES (:a, 'AAPL', 'frozen', 'its bars repeat themselves', '{AT}')""",
    )
    stages.write(
        "trade_executor",
        f"""INSERT INTO trade_executor.differences (account, kind, subject, symbol, ours, theirs, evidence,
                opened_at) VALUES (:a, 'POSITION', 'AAPL', 'AAPL', '10', '20', '{{}}', '{AT}')""",
    )

    standing = asked(stages, capsys)["standing"]

    since = "2026-03-02T15:00:00+00:00"
    assert standing == [
        f"trading is HALTED since {since}: lunch",
        f"rsi is stopped in it since {since}, until a person enables it: eleven entries",
        f"it is held since {since}: its bars repeat themselves",
        f"it waits for a person since {since}, POSITION: ours 10, the broker's 20",
    ]
    assert asked(stages, capsys, "2026-03-02T14:59:59Z")["standing"] == []


def test_what_has_been_let_go_since_is_told_of_the_instant_at_which_it_stood(
    stages: Stages, capsys: Output
) -> None:
    stages.batch()
    stages.write(
        "risk_manager",
        *(
            "INSERT INTO risk_manager.throttles (account, strategy, symbol, version, is_stopped, reason, actor, "
            f"changed_at) VALUES (:a, '{strategy}', 'AAPL', {version}, {stopped}, '{reason}', 'x', '{at}')"
            for strategy, version, stopped, reason, at in (
                ("macd", 1, True, "twelve entries", "2026-03-02T14:00:00Z"),
                ("rsi", 1, True, "eleven entries", AT),
                ("macd", 2, False, "mended", AT),
                ("rsi", 2, False, "mended", "2026-03-02T15:30:00Z"),
            )
        ),
        *(
            "INSERT INTO risk_manager.modes (account, version, mode, previous, reason, actor, "
            "restarts_peak, changed_at) VALUES "
            f"(:a, {version}, '{mode}', {previous}, 'trading is ACTIVE again', 'x', false, '{at}')"
            for version, mode, previous, at in (
                (1, "REDUCING", "NULL", AT),
                (2, "ACTIVE", "'REDUCING'", "2026-03-02T15:30:00Z"),
            )
        ),
    )

    assert asked(stages, capsys, AT)["standing"] == [
        "trading is REDUCING since 2026-03-02T15:00:00+00:00: trading is ACTIVE again",
        "rsi is stopped in it since 2026-03-02T15:00:00+00:00, until a person enables it: eleven entries",
    ]
    assert asked(stages, capsys)["standing"] == []
