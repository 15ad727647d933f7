"""`trader orders|positions|signals|halt|resume|flatten`, against HTTP servers that play the services."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.adapters.halt_file import HaltFile
from trader.cli import main
from trader.commands.service_api import ServiceApi, Token
from trader.exits import exit_code_of
from trader.runtime.errors import TimedOut
from trader.runtime.instance import Instance

Answer = tuple[int, Any]
TOKENS = {
    "API_TOKEN_READ": "read-token-0",
    "API_TOKEN_OPERATE": "operate-token-0",
    "API_TOKEN_KILL": "kill-token-0",
}
PORTS = ("STRATEGY_ENGINE_PORT", "RISK_MANAGER_PORT", "TRADE_EXECUTOR_PORT")
ORDER = {
    "client_order_id": "fat-abc-e0",
    "broker_order_id": "b1",
    "symbol": "GOOG",
    "side": "buy",
    "purpose": "entry",
    "type": "market",
    "quantity": "10",
    "filled_quantity": "10",
    "state": "FILLED",
    "reason": None,
    "created_at": "2026-03-02T15:00:00Z",
}
ACTIVE = {"mode": "ACTIVE", "version": 4, "reason": "first start", "actor": "risk_manager"}


@dataclass
class Service:
    """A server that answers by method and path, and remembers what it was asked."""

    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)

    def bodies(self, call: str) -> list[Any]:
        return [body for method, path, body in self.asked if f"{method} {path}" == call]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    played = Service()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("content-length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            played.asked.append((self.command, self.path, body))
            played.tokens.append(self.headers.get("authorization"))
            missing = (404, {"detail": f"nothing at {self.path}"})
            status, said = played.answers.get(
                f"{self.command} {self.path.partition('?')[0]}", missing
            )
            raw = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = _answer  # noqa: N815  # the names that http.server calls

        def log_message(self, *_: object) -> None:
            """Say nothing: a test's output is its own."""

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in PORTS]
    threads = [
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        for server in servers
    ]
    for thread in threads:
        thread.start()
    for name, value in TOKENS.items():
        monkeypatch.setenv(name, value)
    for name, server in zip(PORTS, servers, strict=True):
        monkeypatch.setenv(name, str(server.server_port))
    try:
        yield played
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every service's port is closed."""
    sockets = [socket.socket() for _ in PORTS]
    for name, each in zip(PORTS, sockets, strict=True):
        each.bind(("127.0.0.1", 0))
        monkeypatch.setenv(name, str(each.getsockname()[1]))
    for each in sockets:
        each.close()


Output = pytest.CaptureFixture[str]


def page(*rows: Any) -> Answer:
    return (200, {"items": list(rows), "next": None})


def test_orders_are_shown_as_a_table_and_as_json(service: Service, capsys: Output) -> None:
    service.answers["GET /orders"] = page(ORDER)

    assert main(["orders"]) == 0
    assert "GOOG" in capsys.readouterr().out
    assert main(["orders", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == [ORDER]
    assert service.tokens == ["Bearer read-token-0"] * 2


def test_filters_reach_the_service(service: Service) -> None:
    service.answers["GET /orders"] = page()

    main(["orders", "--symbol", "goog", "--status", "filled", "--limit", "5"])

    [(_, path, _)] = service.asked
    assert path == "/orders?limit=5&symbol=GOOG&status=filled"


def test_one_order_is_shown_with_its_fills(service: Service, capsys: Output) -> None:
    legs = [
        {"broker_order_id": "b1", "side": "buy", "quantity": "10", "type": "market"},
        {"broker_order_id": "b2", "side": "sell", "quantity": "10", "type": "stop"}
        | {"stop_price": "178", "status": "held", "filled_quantity": "0"},
    ]
    fills = [{"execution_id": "x1", "side": "buy", "quantity": "10", "price": "187.3", "fee": "0"}]
    service.answers["GET /orders/fat-abc-e0"] = (200, {**ORDER, "orders": legs, "fills": fills})

    assert main(["orders", "fat-abc-e0"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["-", "sell", "10", "stop", "178.00", "held", "b2"] in lines
    assert ["-", "buy", "10", "187.30", "0.00", "x1"] in lines


def test_an_unknown_order_ends_with_the_services_sentence_and_code_2(
    service: Service, capsys: Output
) -> None:
    assert main(["orders", "fat-zzz"]) == 2
    assert "nothing at /orders/fat-zzz" in capsys.readouterr().err


@pytest.mark.parametrize("order_id", ["../risk/mode", "a b", "a%2Fb", "ü"])
def test_what_is_no_order_id_never_leaves_the_machine(
    service: Service, capsys: Output, order_id: str
) -> None:
    assert main(["orders", order_id]) == 4
    assert "is no order id" in capsys.readouterr().err
    assert service.asked == []


@pytest.mark.parametrize(
    "words",
    [
        ["orders", "--symbol", "../x"],
        ["orders", "--limit", "0"],
        ["orders", "--limit", "501"],
        ["orders", "fat-1", "--symbol", "GOOG"],
        ["signals", "--nonsense"],
        ["resume"],
    ],
)
def test_wrong_usage_is_code_4_and_asks_nobody(service: Service, words: list[str]) -> None:
    assert main(words) == 4
    assert service.asked == []


def test_positions_and_signals_are_listed(service: Service, capsys: Output) -> None:
    service.answers["GET /positions"] = page({"symbol": "GOOG", "quantity": "10"})
    service.answers["GET /signals"] = page({"symbol": "MSFT", "conviction": 0.123456})

    assert main(["positions"]) == 0
    assert "GOOG" in capsys.readouterr().out
    assert main(["signals"]) == 0
    said = capsys.readouterr().out
    assert "MSFT" in said
    assert "0.1235" in said


def test_an_orders_list_fits_a_narrow_terminal_with_whole_ids(
    service: Service, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    order_id = f"fat-{'a' * 26}-e0"
    service.answers["GET /orders"] = page(
        ORDER | {"client_order_id": order_id, "quantity": "51", "filled_quantity": "51"}
    )

    main(["orders"])

    _, row = capsys.readouterr().out.splitlines()
    # Ten in the morning in New York; the service says 15:00 UTC.
    assert row == f"03-02 10:00  GOOG    buy 51 market  FILLED  {order_id}".ljust(len(row))
    assert len(row) <= 80


def test_an_order_says_its_price_and_how_far_it_is_filled(service: Service, capsys: Output) -> None:
    service.answers["GET /orders"] = page(
        ORDER
        | {"type": "limit", "limit_price": "187.3", "filled_quantity": "4", "state": "PARTIAL"}
    )

    main(["orders"])

    said = capsys.readouterr().out
    assert "buy 10 limit 187.30" in said
    assert "PARTIAL 4/10" in said


def test_money_stands_to_the_cent_and_ends_in_one_column(service: Service, capsys: Output) -> None:
    held = {"symbol": "GOOG", "quantity": "51", "average_price": "187.301961"}
    service.answers["GET /positions"] = page(
        held | {"market_value": "9552.3", "unrealised_pnl": "-0.001", "realised_pnl": "1234567.8"},
        held | {"average_price": "0.12345", "market_value": "12", "realised_pnl": "-3"},
    )

    main(["positions"])

    _, first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["GOOG", "51", "187.30", "-", "9,552.30", "0.00", "1,234,567.80"]
    assert second.split() == ["GOOG", "51", "0.1234", "-", "12.00", "-", "-3.00"]
    assert first.index("9,552.30") + len("9,552.30") == second.index("12.00") + len("12.00")


def test_a_signals_reason_stands_whole_in_a_narrow_terminal(
    service: Service, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    reason = "SMA 20 crossed above SMA 50"
    service.answers["GET /signals"] = page(
        {"bar_end_at": "2026-01-05T19:47:00Z", "symbol": "GOOG", "direction": "LONG"}
        | {"conviction": 0.62, "reference_price": "187.3", "reason": reason}
    )

    main(["signals"])

    _, row = capsys.readouterr().out.splitlines()
    assert row.startswith("01-05 14:47  GOOG    LONG")
    assert row.rstrip().endswith(f"0.6200  187.30  {reason}")


@pytest.mark.parametrize("figure", ["much", "NaN", "1e999999", "-Infinity", [1], True])
def test_a_figure_that_is_none_is_shown_as_it_came(
    service: Service, capsys: Output, figure: Any
) -> None:
    service.answers["GET /positions"] = page(
        {"symbol": "GOOG", "average_price": figure, "market_value": figure}
    )

    assert main(["positions"]) == 0
    [shown] = {*capsys.readouterr().out.splitlines()[1].split()} - {"GOOG", "-"}
    assert shown == ("yes" if figure is True else str(figure))


@pytest.mark.parametrize("instant", ["soon", "2026-01-05T14:47:00", "0001-01-01T00:00:00Z", 5])
def test_an_instant_that_is_none_is_shown_as_it_came(
    service: Service, capsys: Output, instant: Any
) -> None:
    service.answers["GET /orders"] = page({"created_at": instant, "symbol": "GOOG"})

    assert main(["orders"]) == 0
    assert str(instant) in capsys.readouterr().out


def test_an_empty_list_is_said_in_words_and_stays_json_with_json(
    service: Service, capsys: Output
) -> None:
    service.answers["GET /positions"] = page()

    main(["positions"])
    assert capsys.readouterr().out == "no positions\n"
    main(["positions", "--json"])
    assert json.loads(capsys.readouterr().out)["items"] == []


def test_more_rows_than_shown_are_mentioned(service: Service, capsys: Output) -> None:
    service.answers["GET /signals"] = (200, {"items": [{"symbol": "GOOG"}], "next": 7})

    main(["signals"])

    assert "raise --limit" in capsys.readouterr().err


def test_hostile_text_from_a_service_is_shown_and_not_obeyed(
    service: Service, capsys: Output
) -> None:
    evil = "[red]bold[/red] \x1b[2Jgone\x07 \u202eesrever\nnew line [/]"
    service.answers["GET /signals"] = page({"symbol": "GOOG", "reason": evil})
    service.answers["GET /orders/x"] = (404, {"detail": evil})
    service.answers["GET /orders/y"] = (200, {evil: evil, "fills": [{evil: evil}]})
    service.answers["GET /risk/mode"] = (200, {"mode": evil, "version": 1})

    for words in (["signals"], ["orders", "x"], ["orders", "y"], ["halt", "--dry-run"]):
        main(words)
        out, err = capsys.readouterr()
        said = out + err
        assert not {"\x1b", "\x07", "\u202e"} & set(said)
        assert "[red]" in said.replace("\n", "")
    main(["signals", "--json"])
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert json.loads(said)["items"][0]["reason"] == evil


def test_halt_uses_the_token_that_may_only_halt(service: Service, capsys: Output) -> None:
    service.answers["POST /risk/halt"] = (200, {"mode": "HALTED", "version": 5})

    assert main(["halt", "--reason", "odd prices", "--json"]) == 0
    assert service.bodies("POST /risk/halt") == [{"reason": "odd prices"}]
    assert service.tokens == ["Bearer kill-token-0"]
    assert json.loads(capsys.readouterr().out) == {"dry_run": False, "mode": "HALTED", "version": 5}


def test_a_reason_that_is_not_utf_8_halts_as_well(service: Service) -> None:
    service.answers["POST /risk/halt"] = (200, {"mode": "HALTED", "version": 5})

    # What a terminal in another encoding types comes as lone surrogates.
    assert main(["halt", "--reason", "caf\udce9\nshut"]) == 0

    assert service.bodies("POST /risk/halt") == [{"reason": "caf??shut"}]


def test_resume_takes_a_recorded_kill_back_and_waits_for_one_that_is_not(
    service: Service, capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = HaltFile(tmp_path / "halt", "the executor of account demo")
    monkeypatch.setattr(Instance, "halt_file", switch.path)
    switch.throw("the broker refuses the keys")
    service.answers["GET /risk/mode"] = (200, ACTIVE)
    service.answers["POST /risk/resume"] = (200, {**ACTIVE, "version": 8})

    assert main(["resume", "--reason", "checked"]) == 1
    assert "has not recorded it yet" in capsys.readouterr().err
    assert switch.note() is not None

    service.answers["GET /risk/mode"] = (200, {**ACTIVE, "mode": "HALTED", "version": 7})
    assert main(["resume", "--reason", "checked"]) == 0
    assert switch.note() is None
    # Whoever lifts it is told whose it was: another account of this home may have left it.
    said = capsys.readouterr().out
    assert "lifted: the executor of account demo: the broker refuses the keys (20" in said


def test_resume_names_the_version_that_was_just_read(service: Service, capsys: Output) -> None:
    service.answers["GET /risk/mode"] = (200, {**ACTIVE, "mode": "HALTED", "version": 7})
    service.answers["POST /risk/resume"] = (200, {**ACTIVE, "version": 8})

    assert main(["resume", "--reason", "checked"]) == 0
    assert main(["resume", "--reason", "only out", "--exits-only"]) == 0
    assert service.bodies("POST /risk/resume") == [
        {"reason": "checked", "version": 7, "mode": "ACTIVE"},
        {"reason": "only out", "version": 7, "mode": "REDUCING"},
    ]
    assert service.tokens[-1] == "Bearer operate-token-0"
    assert "mode: ACTIVE" in capsys.readouterr().out


def test_a_halt_that_came_in_between_is_not_undone(service: Service, capsys: Output) -> None:
    service.answers["GET /risk/mode"] = (200, ACTIVE)
    service.answers["POST /risk/resume"] = (409, {"detail": "the mode has changed since version 4"})

    assert main(["resume", "--reason", "checked"]) == 1
    assert "the mode has changed since version 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["halt"], ["resume", "--reason", "checked"], ["flatten"], ["flatten", "--yes"]]
)
def test_a_dry_run_changes_nothing(service: Service, capsys: Output, words: list[str]) -> None:
    service.answers["GET /risk/mode"] = (200, ACTIVE)
    service.answers["GET /positions"] = page({"symbol": "GOOG"})

    assert main([*words, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dry_run"] is True
    assert {method for method, _, _ in service.asked} == {"GET"}


def test_flatten_asks_first_and_where_nobody_can_answer_it_does_nothing(
    service: Service, capsys: Output
) -> None:
    service.answers["GET /positions"] = page({"symbol": "GOOG"})

    assert main(["flatten"]) == 4
    assert "CONFIRM=yes" in capsys.readouterr().err
    assert {method for method, _, _ in service.asked} == {"GET"}


def test_flatten_with_yes_closes_what_is_held_and_shows_each_decision(
    service: Service, capsys: Output
) -> None:
    decided = {"flatten_id": "f1", "items": [{"symbol": "GOOG", "outcome": "approved"}]}
    service.answers["GET /positions"] = page({"symbol": "GOOG"})
    service.answers["POST /risk/flatten"] = (202, decided)

    assert main(["flatten", "--yes", "--reason", "over"]) == 0
    assert "approved" in capsys.readouterr().out
    assert service.bodies("POST /risk/flatten") == [{"reason": "over"}]
    assert service.tokens == ["Bearer read-token-0", "Bearer operate-token-0"]
    assert main(["flatten", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"dry_run": False, **decided}


@pytest.mark.parametrize(
    "words",
    [
        ["orders"],
        ["positions"],
        ["signals"],
        ["halt"],
        ["resume", "--reason", "x"],
        ["flatten", "--yes"],
    ],
)
@pytest.mark.usefixtures("nobody")
def test_a_service_that_does_not_run_is_code_3_with_the_mend(
    capsys: Output, words: list[str]
) -> None:
    assert main(words) == 3
    said = capsys.readouterr()
    assert "does not run; start it with `trader up`" in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    ("answer", "code", "sentence"),
    [
        ((503, {"detail": "PostgreSQL gave no answer"}), 1, "503: PostgreSQL gave no answer"),
        ((422, {"detail": "status: not one of ours"}), 4, "status: not one of ours"),
        ((401, {"detail": "x"}), 1, "does not know our token"),
        ((200, b"<html>"), 1, "no JSON object"),
        ((200, [1]), 1, "no JSON object"),
        ((200, {"items": 3}), 1, "a list that cannot be read"),
        ((200, {"items": [3]}), 1, "a list that cannot be read"),
        ((500, b"\xff\xfe"), 1, "answered 500"),
    ],
)
def test_each_kind_of_bad_answer_is_one_sentence_and_its_code(
    service: Service, capsys: Output, answer: Answer, code: int, sentence: str
) -> None:
    service.answers["GET /orders"] = answer

    assert main(["orders"]) == code
    said = capsys.readouterr()
    assert sentence in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


@pytest.mark.parametrize("command", ["orders", "positions", "signals", "halt", "resume", "flatten"])
def test_every_command_has_help_with_an_example(command: str, capsys: Output) -> None:
    assert main([command, "--help"]) == 0
    assert f"Example: trader {command}" in capsys.readouterr().out


def test_a_service_that_does_not_answer_in_time_is_code_5_and_a_change_may_have_happened(
    tmp_path: Path,
) -> None:
    def silent(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("silent", request=request)

    api = ServiceApi(Instance.create(tmp_path), httpx.MockTransport(silent))

    with pytest.raises(TimedOut, match=r"did not answer within 10 s$") as reading:
        api.get("trade_executor", "/orders")
    with pytest.raises(TimedOut, match="look whether it took effect"):
        api.post("risk_manager", "/risk/halt", {}, Token.KILL)
    assert exit_code_of(reading.value) == 5


RISK_REPORT = {
    "on": "2026-03-02",
    "written_at": "2026-03-02T21:05:00Z",
    "report": {"pnl": "12.5", "refused": {"MODE": 3}, "modes": ["REDUCING by x"]},
}


def test_the_newest_risk_report_is_shown_line_by_line(service: Service, capsys: Output) -> None:
    service.answers["GET /risk/reports"] = page(RISK_REPORT)

    assert main(["risk", "report"]) == 0

    shown = capsys.readouterr().out
    assert "12.5" in shown
    assert "refused MODE" in shown
    assert "REDUCING by x" in shown


def test_a_days_risk_report_is_one_json_document(service: Service, capsys: Output) -> None:
    service.answers["GET /risk/reports/2026-03-02"] = (200, RISK_REPORT)

    assert main(["risk", "report", "2026-03-02", "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == RISK_REPORT


@pytest.mark.parametrize(("day", "code"), [("2026-03-03", 2), ("../x", 4)])
def test_a_day_without_a_risk_report_and_a_word_that_is_no_day_are_told_apart(
    service: Service, day: str, code: int
) -> None:
    assert main(["risk", "report", day]) == code


def test_before_the_first_close_there_is_no_risk_report(service: Service, capsys: Output) -> None:
    service.answers["GET /risk/reports"] = page()

    assert main(["risk", "report"]) == 2
    assert "after each close" in capsys.readouterr().err


def test_strategies_are_listed_with_state_and_last_run_as_the_engine_tells(
    service: Service, capsys: Output
) -> None:
    ran = {"instant_at": "2026-03-02T15:00:00Z", "ran_at": "2026-03-02T15:00:01Z", "signals": 3}
    off = {"state": "off", "failures": 3, "last_error": "KeyError: 'no\x1b[2J such'"}
    service.answers["GET /strategies"] = page(
        {"name": "moving_average", "state": "on", "failures": 0, "last_run": ran},
        {"name": "macd", "last_run": None, **off},
    )

    assert main(["strategy", "list", "--json"]) == 0
    listed = {row["name"]: row for row in json.loads(capsys.readouterr().out)["items"]}
    assert listed["moving_average"]["state"] == "on"
    assert listed["moving_average"]["last_run"] == ran
    assert listed["macd"]["failures"] == 3
    assert listed["hybrid"]["state"] is None
    assert main(["strategy", "list"]) == 0
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if line.startswith("moving_average")]
    assert line.split()[:5] == ["moving_average", "on", "03-02", "10:00", "3"]
    assert "failed: macd: KeyError: 'no" in printed
    assert "\x1b" not in printed


def test_strategies_are_listed_without_their_state_while_nothing_runs(
    nobody: None, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in TOKENS.items():
        monkeypatch.setenv(name, value)

    assert main(["strategy", "list"]) == 0

    printed = capsys.readouterr().out
    assert "moving_average" in printed
    assert "state and last run are not known: the strategy engine does not run" in printed
