"""`trader jobs` and `trader pipeline`, against an HTTP server that plays the scheduler."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from trader.cli import main
from trader.exits import ExitCode
from trader.runtime.instance import Instance

JOBS = {
    "items": [
        {
            "job_id": "vacuum",
            "schedule": "crontab",
            "last_run": {"state": "DONE", "detail": ""},
            "next_due_at": "2026-03-03T02:30:00Z",
            "missed": 0,
            "paused": None,
        },
        {
            "job_id": "screens",
            "schedule": "every 300 s",
            "last_run": None,
            "next_due_at": None,
            "missed": 0,
            "paused": {"reason": "noisy"},
        },
    ]
}
RUN = {
    "batch_id": 7,
    "end_at": "2026-03-02T14:31:00Z",
    "symbols": 3,
    "screening": {"outcome": "off"},
    "stages": [{"stage": "collection", "took_s": 1.25}, {"stage": "strategies", "took_s": 0.5}],
    "signals": 2,
    "approved": 1,
    "refused": 1,
    "orders": 1,
    "fills": 0,
}
ANSWERS: dict[str, Any] = {
    "GET /jobs": JOBS,
    "GET /jobs/vacuum/runs": {"items": [{"due_at": "2026-03-03T02:30:00Z", "state": "DONE"}]},
    "GET /pipeline/runs": {"items": [RUN]},
    "POST /jobs/vacuum/trigger": {"run_id": "ask-1"},
    "POST /jobs/vacuum/pause": {"job_id": "vacuum"},
    "POST /jobs/vacuum/resume": {"job_id": "vacuum"},
}
Asked = list[tuple[str, Any, str | None]]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """What the commands ask of the scheduler of an instance of the test's own."""
    heard: Asked = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("content-length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            call = f"{self.command} {self.path.partition('?')[0]}"
            heard.append((call, body, self.headers.get("authorization")))
            said = ANSWERS.get(call, {"detail": f"nothing at {self.path}"})
            raw = json.dumps(said).encode()
            self.send_response(200 if call in ANSWERS else 404)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = _answer  # noqa: N815  # the names that http.server calls

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("TRADING_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SCHEDULER_PORT", str(server.server_address[1]))
    try:
        yield heard
    finally:
        server.shutdown()
        server.server_close()


def test_jobs_are_listed_with_their_outcome_and_who_rests(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["jobs", "list"]) == ExitCode.OK

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["vacuum", "DONE"], ["screens", "paused"]]
    assert "03-02 21:30" in lines[1]
    assert "noisy" in lines[2]


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (["trigger", "vacuum"], {}),
        (["pause", "vacuum", "--reason", "tonight"], {"reason": "tonight"}),
        (["resume", "vacuum"], {}),
    ],
)
def test_what_changes_a_job_is_said_with_the_token_that_may_operate(
    words: list[str], body: dict[str, str], asked: Asked
) -> None:
    assert main(["jobs", *words]) == ExitCode.OK

    [(call, sent, token)] = asked
    operate = Instance.of_project().settings["API_TOKEN_OPERATE"]
    assert (call, sent, token) == (f"POST /jobs/vacuum/{words[0]}", body, f"Bearer {operate}")


def test_a_job_that_is_none_ends_with_code_2_and_names_no_other_path(asked: Asked) -> None:
    assert main(["jobs", "runs", "../services"]) == ExitCode.NOT_FOUND

    assert [call for call, _, _ in asked] == ["GET /jobs/..%2Fservices/runs"]


def test_a_batch_is_shown_with_the_seconds_of_each_stage(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pipeline"]) == ExitCode.OK

    shown = capsys.readouterr().out.splitlines()[-1].split()
    assert shown == ["03-02", "09:31", "3", "off", "1.250", "0.500", "-", "-", "-", "2>1>1>0"]
    assert main(["pipeline", "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["items"][0]["batch_id"] == 7
