"""`trader kill` with nothing running but the broker, which the simulator plays."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.adapters.exchange_calendar import load_calendar
from shared.config import load_settings
from shared.domain.ids import broker_mark
from shared.domain.symbols import Symbol
from simulator.generator import make_synthetic_tape
from simulator.testing import RunningSimulator, running_simulator
from trader.broker_kill import Killed, cancel_everything
from trader.cli import main
from trader.commands.stored import account_in_use
from trader.runtime.compose import note_stopped
from trader.runtime.instance import Instance
from trader.runtime.launch import record_identity
from trader.runtime.ports import Ports
from trader.testing.projects import act_on

Output = pytest.CaptureFixture[str]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningSimulator]:
    calendar = load_calendar(tmp_path / "sessions")
    tape = make_synthetic_tape(calendar, seed=7, symbols=(Symbol("AAPL"),), sessions=1)
    with running_simulator(tape) as sim:
        sim.advance(3)
        yield sim


@pytest.fixture
def home(tmp_path: Path, broker: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings = {
        "ALPACA_BASE_URL": broker.url,
        "ALPACA_KILL_API_KEY": "PKKILL",
        "ALPACA_KILL_SECRET_KEY": "secret",
    }
    instance = Instance.create(tmp_path / "home", settings=settings)
    act_on(monkeypatch, instance)
    return instance.home


def order(broker: RunningSimulator, **changes: Any) -> None:
    body = {
        "symbol": "AAPL", "side": "buy", "qty": "3", "type": "limit", "limit_price": "1",
        "time_in_force": "gtc", **changes,
    }  # fmt: skip
    headers = {"APCA-API-KEY-ID": "PKTEST", "APCA-API-SECRET-KEY": "PKTEST"}
    httpx.post(f"{broker.url}/v2/orders", json=body, headers=headers).raise_for_status()


def running_executor(instance: Instance, url: str, key: str, **told: str) -> Path:
    """An executor that was started with these keys, played by this process; its record."""
    told = {"ALPACA_BASE_URL": url, "ALPACA_API_KEY": key, "ALPACA_SECRET_KEY": "secret", **told}
    for folder in ("records", "sheets"):
        (instance.run / folder).mkdir(parents=True, exist_ok=True)
    sheet = instance.run / "sheets" / "trade_executor.json"
    sheet.write_text(json.dumps({"environment": told}), encoding="utf-8")
    record = instance.run / "records" / "trade_executor.json"
    record_identity(record, os.getpid(), os.path.realpath(sys.executable))
    return record


class Door(ThreadingHTTPServer):
    """A broker without open orders, which writes down whose keys asked for them, and does not take the `revoked` one's.

    All keys are of one account, but for those that `accounts` names.
    """

    def __init__(self, revoked: str, accounts: Mapping[str, str]) -> None:
        asked = self.asked = set[str]()

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                key = self.headers["APCA-API-KEY-ID"]
                answer = b"[]"
                if self.path == "/v2/account":
                    answer = json.dumps({"id": accounts.get(key, "the-account")}).encode()
                else:
                    asked.add(key)
                self.send_response(401 if key == revoked else 200)
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_DELETE = answer  # noqa: N815  http.server looks for these

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"


@contextmanager
def a_door(revoked: str = "", accounts: Mapping[str, str] | None = None) -> Iterator[Door]:
    with Door(revoked, accounts or {}) as door:
        thread = threading.Thread(target=door.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield door
        finally:
            door.shutdown()
            thread.join()


def settings_at(url: str) -> dict[str, str]:
    return {
        "ALPACA_BASE_URL": url,
        "ALPACA_API_KEY": "PKMAIN",
        "ALPACA_SECRET_KEY": "secret",
        "ALPACA_KILL_API_KEY": "PKKILL",
        "ALPACA_KILL_SECRET_KEY": "secret",
    }


@pytest.mark.parametrize(
    ("key", "asked"), [("PKOTHER", {"PKKILL", "PKOTHER"}), ("PKMAIN", {"PKKILL"})]
)
def test_the_account_of_the_running_executor_is_asked_too_when_its_keys_are_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, asked: set[str]
) -> None:
    with a_door() as door:
        instance = Instance.create(tmp_path / "home", settings=settings_at(door.url))
        act_on(monkeypatch, instance)
        running_executor(instance, door.url, key)

        assert main(["kill"]) == 0

        assert door.asked == asked


@pytest.mark.parametrize("revoked", ["PKKILL", "PKDEMO"])
def test_a_broker_that_refuses_the_keys_keeps_no_order_alive_at_another(
    tmp_path: Path,
    broker: RunningSimulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
    revoked: str,
) -> None:
    with a_door(revoked) as door:
        own, theirs = (door.url, broker.url) if revoked == "PKKILL" else (broker.url, door.url)
        instance = Instance.create(tmp_path / "home", settings=settings_at(own))
        act_on(monkeypatch, instance)
        running_executor(instance, theirs, "PKDEMO")
        order(broker)

        assert main(["kill", "--json"]) == 4

    said = capsys.readouterr()
    document = json.loads(said.out)
    assert (document["confirmed"], document["still_open"]) == (False, [])
    assert document["trouble"].startswith(f"{door.url}: the broker does not take these keys")
    assert {each["broker"]: each["confirmed"] for each in document["accounts"]} == {
        door.url: False,
        broker.url: True,
    }
    assert "the broker does not take these keys" in said.err
    assert [each["status"] for each in broker.book()["orders"]] == ["canceled"]


def test_pairs_of_the_settings_that_are_of_two_accounts_are_both_asked_and_confirm_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    with a_door(accounts={"PKKILL": "another"}) as door:
        act_on(monkeypatch, Instance.create(tmp_path / "home", settings=settings_at(door.url)))

        assert main(["kill", "--json"]) == 5

        assert door.asked == {"PKKILL", "PKMAIN"}
    said = json.loads(capsys.readouterr().out)
    assert [each["confirmed"] for each in said["accounts"]] == [True, True]
    assert said["confirmed"] is False
    assert "ALPACA_KILL_API_KEY is of another account than ALPACA_API_KEY" in said["trouble"]


def test_a_main_pair_that_is_refused_is_said_and_the_kill_pairs_account_is_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    with a_door(revoked="PKMAIN") as door:
        act_on(monkeypatch, Instance.create(tmp_path / "home", settings=settings_at(door.url)))

        assert main(["kill"]) == 0

        assert door.asked == {"PKKILL"}
    assert "note: the broker does not take ALPACA_API_KEY" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        ({"ALPACA_KILL_API_KEY": "PK\u200bKILL"}, 4),
        # Said, as of one that the broker refuses.
        ({"ALPACA_API_KEY": "PK\u200bMAIN"}, 0),
        # A secret of any program's, which who holds the executor's port is asked with.
        ({"API_TOKEN_READ": "read\u200b" * 8}, 0),
    ],
)
def test_a_key_that_no_header_can_hold_keeps_no_order_alive_at_another_account(
    tmp_path: Path,
    broker: RunningSimulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
    broken: dict[str, str],
    code: int,
) -> None:
    with a_door() as door, listening(an_executor(door.url, "PKMAIN")) as port:
        ports = replace(Ports.free(), trade_executor=port)
        settings = {**settings_at(door.url), **broken}
        instance = Instance.create(tmp_path / "home", ports, settings)
        act_on(monkeypatch, instance)
        running_executor(instance, broker.url, "PKDEMO")
        order(broker)

        assert main(["kill", "--json"]) == code

    said = json.loads(capsys.readouterr().out)
    confirmed = {each["broker"]: each["confirmed"] for each in said["accounts"]}
    assert confirmed == {door.url: "ALPACA_KILL_API_KEY" not in broken, broker.url: True}
    assert [each["status"] for each in broker.book()["orders"]] == ["canceled"]


def test_all_orders_are_cancelled_and_the_halt_stands_without_any_database(
    home: Path, broker: RunningSimulator, capsys: Output
) -> None:
    order(broker)
    order(broker, limit_price="2")

    assert main(["kill", "--reason", "the database is gone", "--json"]) == 0

    said = json.loads(capsys.readouterr().out)
    assert (said["confirmed"], said["halted"], said["still_open"]) == (True, True, [])
    # Counted, though none of them was open any more when the broker was asked what is.
    assert [each["orders_found"] for each in said["accounts"]] == [2]
    assert (home / "control" / "halt").read_text() == "trader kill: the database is gone"
    assert [o["status"] for o in broker.book()["orders"]] == ["canceled", "canceled"]


def test_a_dry_run_does_nothing(home: Path, broker: RunningSimulator, capsys: Output) -> None:
    order(broker)

    assert main(["kill", "--dry-run", "--json"]) == 0

    assert json.loads(capsys.readouterr().out)["is_halted"] is False
    assert not (home / "control" / "halt").exists()
    assert [o["status"] for o in broker.book()["orders"]] == ["new"]


def test_a_broker_that_cannot_be_reached_is_said_and_the_halt_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    settings = {
        # Nobody listens on the port of a closed door.
        "ALPACA_BASE_URL": "http://127.0.0.1:9",
        "ALPACA_API_KEY": "PK",
        "ALPACA_SECRET_KEY": "secret",
    }
    instance = Instance.create(tmp_path / "home", settings=settings)
    act_on(monkeypatch, instance)

    assert main(["kill", "--within", "1"]) == 5

    said = capsys.readouterr().out
    assert "cannot confirm" in said
    assert "gave no answer" in said
    assert instance.halt_file.exists()


def test_without_keys_the_broker_is_not_asked_and_the_halt_stands_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    instance = Instance.create(tmp_path / "home")
    act_on(monkeypatch, instance)

    assert main(["kill"]) == 4

    said = capsys.readouterr().err
    assert "trading is halted, but nothing was cancelled" in said
    assert "ALPACA_KILL_API_KEY" in said
    assert instance.halt_file.exists()


def test_a_mistake_in_a_setting_of_something_else_keeps_no_order_alive(
    home: Path, broker: RunningSimulator, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    wrong = {**Instance.of_project().settings, "RISK_MAX_POSITION_SIZE": "lots", "RISK_MAXX": "1"}
    instance = Instance.create(home, settings=wrong)
    act_on(monkeypatch, instance)
    order(broker)

    assert main(["kill", "--json"]) == 0

    assert [o["status"] for o in broker.book()["orders"]] == ["canceled"]


def test_settings_that_cannot_be_read_at_all_still_let_trading_halt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    (tmp_path / ".env").write_text("DB_PORT=99999\n")
    monkeypatch.setenv("TRADING_HOME", str(tmp_path))

    assert main(["kill", "--reason", "storm"]) == 4

    assert (tmp_path / "control" / "halt").exists()
    assert "trading is halted, but nothing was cancelled: DB_PORT" in capsys.readouterr().err


def test_whoever_starts_next_in_this_home_is_told_whose_halt_it_is_and_how_it_ends(
    home: Path, broker: RunningSimulator, capsys: Output
) -> None:
    instance = Instance.of_project()
    running_executor(instance, broker.url, "PKDEMO", TRADING_ACCOUNT="demo")
    assert main(["kill", "--reason", "odd\nprices"]) == 0
    capsys.readouterr()

    assert main(["doctor", "--offline", "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]

    [halt] = [each for each in findings if each["about"] == "halt"]
    # It keeps nobody from starting, without which it could not be ended.
    assert halt["well"]
    assert f"halted by {instance.halt_file}, for every account of this home" in halt["said"]
    assert "trader kill while account demo was traded here: odd prices" in halt["said"]
    assert halt["said"].endswith('until you have looked and say trader resume --reason "..."')


def test_a_reason_that_is_no_text_halts_as_well(home: Path) -> None:
    # Words of the command line that are not UTF-8 come as lone surrogates.
    assert main(["kill", "--reason", "caf\udce9"]) == 0

    assert (home / "control" / "halt").read_text() == "trader kill: caf?"


def test_no_program_is_handed_the_kill_keys(home: Path) -> None:
    instance = Instance.of_project()

    assert "ALPACA_KILL_SECRET_KEY" not in instance.environment("trade_executor")
    assert instance.environment("trade_executor")["HALT_FILE"] == str(home / "control" / "halt")


def test_orders_at_the_venue_of_a_running_demo_are_cancelled_whatever_the_settings_say(
    tmp_path: Path, broker: RunningSimulator, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    instance = Instance.create(tmp_path / "home")
    act_on(monkeypatch, instance)
    # The executor that runs was told of another venue than the settings; its process is played by this one.
    record = running_executor(instance, broker.url, "PKDEMO", TRADING_ACCOUNT="demo")
    order(broker)

    assert main(["kill", "--json"]) == 0

    said = json.loads(capsys.readouterr().out)
    assert (said["confirmed"], said["still_open"]) == (True, [])
    assert [each["status"] for each in broker.book()["orders"]] == ["canceled"]
    assert instance.halt_file.exists()
    assert account_in_use(instance, load_settings({})) == "demo"

    # Once that process is gone there is nobody to ask, and no keys.
    record.unlink()
    assert main(["kill", "--json"]) == 4
    assert "trading is halted, but nothing was cancelled" in capsys.readouterr().err
    assert account_in_use(instance, load_settings({})) == load_settings({}).trading_account


class Executor(ThreadingHTTPServer):
    """Who listens on the executor's port, and says to whom it shows its token for whom it sends."""

    def __init__(self, answers: dict[str, dict[str, str]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = answers.get(self.path)
                if found is None:
                    # Hangs up without a word.
                    return
                shown = self.path == "/health" or self.headers["Authorization"] == "Bearer theirs"
                self.send_response(200 if shown else 401)
                self.end_headers()
                self.wfile.write(json.dumps(found if shown else {}).encode())

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@contextmanager
def listening(answers: dict[str, dict[str, str]]) -> Iterator[int]:
    with Executor(answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def an_executor(url: str, key: str) -> dict[str, dict[str, str]]:
    health, mark = {"service": "trade_executor"}, broker_mark(url, key)
    return {"/health": health, "/version": {**health, "broker_mark": mark}}


def told_a_container(home: Path, url: str, key: str, name: str = "trade_executor") -> None:
    file = home / "settings" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    keys = f"ALPACA_API_KEY={key}\nALPACA_SECRET_KEY=s\n"
    file.write_text(f"ALPACA_BASE_URL={url}\n{keys}API_TOKEN_READ=theirs\n", encoding="utf-8")


STRANGER = {"/health": {"service": "somebody"}}
# One that is overloaded, or still starting, may say no more.
NAMELESS = {"/health": {"error": "busy"}}
SILENT: dict[str, dict[str, str]] = {}
OLDER = {"/health": {"service": "trade_executor"}, "/version": {"service": "trade_executor"}}


@pytest.mark.parametrize(
    ("holder", "asked", "code"),
    [
        ("PKTOLD", {"PKKILL", "PKTOLD"}, 0),
        # It was told so before the keys were changed, and goes on with them.
        ("PKEARLIER", {"PKKILL", "PKEARLIER"}, 0),
        # The settings' own, of which the kill command has another pair.
        ("PKMAIN", {"PKKILL"}, 0),
        # What was written is of a stack that no longer runs.
        ("PKUNKNOWN", {"PKKILL"}, 5),
        # It is down, or may be started again any moment: the port does not say that no order of its is open.
        (STRANGER, {"PKKILL"}, 5),
        # What speaks no HTTP is no executor of ours, but nobody knows.
        (SILENT, {"PKKILL"}, 5),
        # Better one account too many than an order that lives on, and never a word of certainty.
        (NAMELESS, {"PKKILL", "PKTOLD", "PKEARLIER"}, 5),
        (OLDER, {"PKKILL", "PKTOLD", "PKEARLIER"}, 5),
        (None, {"PKKILL"}, 5),
    ],
)
def test_what_an_executors_container_was_told_counts_when_who_holds_its_port_was_told_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
    holder: str | dict[str, dict[str, str]] | None,
    asked: set[str],
    code: int,
) -> None:
    with a_door() as door, ExitStack() as stack:
        answers = an_executor(door.url, holder) if isinstance(holder, str) else holder
        port = (
            Ports.free().trade_executor
            if answers is None
            else stack.enter_context(listening(answers))
        )
        ports = replace(Ports.free(), trade_executor=port)
        instance = Instance.create(tmp_path / "home", ports, settings_at(door.url))
        act_on(monkeypatch, instance)
        told_a_container(instance.home, door.url, "PKTOLD")
        told_a_container(instance.home, door.url, "PKEARLIER", "trade_executor.earlier")

        assert main(["kill", "--json"]) == code

        assert door.asked == asked
    said = json.loads(capsys.readouterr().out)
    assert said["confirmed"] is (code == 0)
    assert (said["trouble"] is None) is (code == 0)


def test_the_account_of_an_executor_that_is_down_is_named_and_not_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    with a_door() as door:
        instance = Instance.create(tmp_path / "home", Ports.free(), settings_at(door.url))
        act_on(monkeypatch, instance)
        # A process that has ended, and is not the one of its record.
        record = running_executor(instance, "https://api.alpaca.markets", "PKOTHER")
        record_identity(record, os.getpid(), "/another/program")

        assert main(["kill"]) == 5

        assert door.asked == {"PKKILL"}
        assert "keys for https://api.alpaca.markets" in capsys.readouterr().out

        # The simulator's orders are nobody's loss.
        running_executor(instance, instance.url_of("simulator"), "PKOTHER")
        record_identity(record, os.getpid(), "/another/program")
        assert main(["kill"]) == 0
        # The settings' own are asked already.
        running_executor(instance, door.url, "PKMAIN")
        record_identity(record, os.getpid(), "/another/program")
        assert main(["kill"]) == 0


@pytest.mark.parametrize(("holder", "code"), [(None, 0), (STRANGER, 0), (NAMELESS, 5), (SILENT, 5)])
def test_containers_that_were_stopped_in_order_leave_no_doubt_but_who_holds_their_port_may(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    holder: dict[str, dict[str, str]] | None,
    code: int,
) -> None:
    with a_door() as door, ExitStack() as stack:
        ports = Ports.free()
        if holder is not None:
            ports = replace(ports, trade_executor=stack.enter_context(listening(holder)))
        instance = Instance.create(tmp_path / "home", ports, settings_at(door.url))
        act_on(monkeypatch, instance)
        told_a_container(instance.home, door.url, "PKTOLD")
        assert main(["kill"]) == 5

        note_stopped(instance)

        assert main(["kill"]) == code


def test_orders_at_the_venue_of_a_demo_in_containers_are_cancelled_as_well(
    tmp_path: Path, broker: RunningSimulator, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    simulator = httpx.URL(broker.url).port
    assert simulator is not None
    # By the name that it has among containers, which this machine cannot look up.
    inside = "http://simulator:8006"
    order(broker)
    with listening(an_executor(inside, "PKDEMO")) as port:
        ports = replace(Ports.free(), trade_executor=port, simulator=simulator)
        instance = Instance.create(tmp_path / "home", ports)
        told_a_container(instance.home, inside, "PKDEMO")
        act_on(monkeypatch, instance)
        assert main(["kill", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["confirmed"] is True
    assert [each["status"] for each in broker.book()["orders"]] == ["canceled"]

    # Once nobody holds the port, what is written there is of no stack, and there are no keys.
    assert main(["kill", "--json"]) == 4
    assert "nothing was cancelled" in capsys.readouterr().err


def test_keys_that_cannot_be_read_are_not_passed_over_where_a_demo_is_confirmed(
    tmp_path: Path, broker: RunningSimulator, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    settings = {**settings_at("https://api.alpaca.markets"), "ALPACA_PAPER_TRADING": "maybe"}
    instance = Instance.create(tmp_path / "home", settings=settings)
    act_on(monkeypatch, instance)
    running_executor(instance, broker.url, "PKDEMO")
    order(broker)

    assert main(["kill", "--json"]) == 4

    said = capsys.readouterr()
    assert json.loads(said.out)["confirmed"] is False
    assert "nothing was cancelled at the account of the settings: ALPACA_PAPER_TRADING" in said.err
    assert [each["status"] for each in broker.book()["orders"]] == ["canceled"]


def test_a_broker_that_does_not_say_what_it_cancels_is_asked_what_is_open_all_the_same() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text="" if request.method == "DELETE" else "[]")

    with httpx.Client(base_url="http://b", transport=httpx.MockTransport(answer)) as http:
        killed = cancel_everything(http, lambda done: done())

    assert killed == Killed(None, (), None)
    assert killed.is_confirmed
