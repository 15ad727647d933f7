"""Log lines: where they go, that none is lost, and what may never be in them."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from shared.adapters import logs
from shared.adapters.logs import SharedRotatingFile, set_up_console, set_up_logging

CANARY = "canary-0f3a9c-secret"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def set_up(folder: Path, service: str = "risk_manager", level: str = "INFO") -> Any:
    set_up_logging(service, folder, level, secrets=[SecretStr(CANARY), None, SecretStr("")])
    return structlog.get_logger("test")


def lines(path: Path) -> list[dict[str, Any]]:
    """What stands in a file, which is made with its first line."""
    # Not splitlines: that would also cut at what JSON leaves inside a line.
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def test_a_full_disk_is_said_once_and_the_service_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The system's own file that is always full.
    handler = SharedRotatingFile(Path("/dev/full"))
    record = logging.LogRecord("t", logging.INFO, __file__, 1, "a line", None, None)

    for _ in range(3):
        handler.emit(record)
    handler.close()

    said = capsys.readouterr().err
    assert said == (
        "log lines are lost: /dev/full cannot be written (No space left on device); make room there\n"
    )


def test_a_line_is_one_json_object_in_the_services_file_and_in_the_shared_one(
    tmp_path: Path,
) -> None:
    set_up(tmp_path).info("order sent", symbol="GOOG", quantity=10)

    for name in ("risk_manager.log", "trading_system.log"):
        [line] = lines(tmp_path / name)
        assert line["event"] == "order sent"
        assert (line["service"], line["level"], line["symbol"]) == ("risk_manager", "info", "GOOG")
        assert line["timestamp"].endswith("Z")
    assert lines(tmp_path / "error.log") == []


def test_a_console_that_was_set_up_before_drops_no_line_of_a_service(tmp_path: Path) -> None:
    set_up_console(logging.CRITICAL)

    set_up(tmp_path).info("order sent")

    assert [line["event"] for line in lines(tmp_path / "risk_manager.log")] == ["order sent"]


def test_a_logger_that_was_kept_writes_to_the_standard_error_of_the_moment(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = structlog.get_logger()
    with redirect_stderr(StringIO()) as first:
        set_up_console()
        log.warning("once")
    first.close()

    log.warning("again")

    assert "again" in capsys.readouterr().err


def test_errors_and_their_tracebacks_are_in_the_error_file_as_well(tmp_path: Path) -> None:
    log = set_up(tmp_path)
    log.info("fine")
    try:
        fail_with("by nothing")
    except ValueError:
        log.exception("broken")

    [line] = lines(tmp_path / "error.log")
    assert line["event"] == "broken"
    assert "ValueError: by nothing" in line["exception"]


def test_records_of_other_libraries_arrive_in_the_same_shape(tmp_path: Path) -> None:
    set_up(tmp_path)
    logging.getLogger("alembic").warning("table %s", "orders")

    [line] = lines(tmp_path / "risk_manager.log")
    assert (line["event"], line["level"], line["logger"]) == ("table orders", "warning", "alembic")


def test_lines_below_the_level_and_request_lines_of_clients_are_left_out(tmp_path: Path) -> None:
    log = set_up(tmp_path, level="WARNING")
    log.info("quiet")
    set_up(tmp_path, level="DEBUG")
    logging.getLogger("httpx").info("HTTP Request: GET https://x/?token=1")

    assert lines(tmp_path / "trading_system.log") == []


def test_a_line_with_line_ends_in_it_stays_one_line(tmp_path: Path) -> None:
    set_up(tmp_path).info("two\nlines", text="a\r\nb\u2028c")

    [line] = lines(tmp_path / "risk_manager.log")
    assert line["text"] == "a\r\nb\u2028c"


def fail_with(text: str) -> None:
    raise ValueError(text)


class Holder:
    def __repr__(self) -> str:
        return f"Holder({CANARY})"


@pytest.mark.parametrize(
    "fields",
    [
        {"key": CANARY},
        {"url": f"https://x/?token={CANARY}&y=1"},
        {"nested": {"list": [1, [f"a{CANARY}b"]]}},
        {"as_tuple": (CANARY, 1)},
        {"as_set": {CANARY}},
        {"as_bytes": CANARY.encode()},
        {"as_key": {CANARY: 1}},
        {"secret": SecretStr(CANARY)},
        {"error": ValueError(f"bad {CANARY}")},
        {"thing": Holder()},
        {CANARY: 1},
    ],
    ids=lambda fields: next(iter(fields))[:12],
)
def test_a_secret_is_masked_wherever_it_stands(tmp_path: Path, fields: dict[str, Any]) -> None:
    set_up(tmp_path).info("event", **fields)

    assert CANARY not in (tmp_path / "risk_manager.log").read_text()


def test_a_secret_in_an_event_a_traceback_or_anothers_record_is_masked_everywhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = set_up(tmp_path)
    log.error("event %s", CANARY)
    try:
        fail_with(CANARY)
    except ValueError:
        log.exception("broken")
    logging.getLogger("other").error("args %s", CANARY)
    try:
        fail_with(CANARY)
    except ValueError:
        logging.getLogger("other").exception("broken too")

    said = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert CANARY not in said
    assert CANARY not in capfd.readouterr().err
    assert said.count("*****") >= 4


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("test", logging.INFO, __file__, 1, text, None, None)


def test_a_full_file_is_renamed_and_a_bounded_number_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_MAX_BYTES", 100)
    handler = SharedRotatingFile(tmp_path / "x.log")
    for n in range(40):
        handler.emit(record(f"{n:03} " + "x" * 60))
    handler.close()

    kept = sorted(path.name for path in tmp_path.glob("x.log*") if not path.name.endswith("lock"))
    assert len(kept) <= 1 + logs._KEEP
    newest = (tmp_path / "x.log.1").read_text()
    assert newest.splitlines()[-1].startswith("039")


def test_a_file_that_another_process_renamed_is_opened_anew(tmp_path: Path) -> None:
    handler = SharedRotatingFile(tmp_path / "x.log")
    handler.emit(record("first"))
    (tmp_path / "x.log").rename(tmp_path / "x.log.1")
    handler.emit(record("second"))
    handler.close()

    assert (tmp_path / "x.log").read_text() == "second\n"


WRITER = """
import logging, sys
from pathlib import Path
from shared.adapters import logs
logs._MAX_BYTES, logs._KEEP = 20_000, 100
handler = logs.SharedRotatingFile(Path(sys.argv[1]))
for n in range(1500):
    handler.emit(logging.LogRecord("w", 20, "f", 1, f"{sys.argv[2]} {n} " + "x" * 40, None, None))
"""


def test_a_file_that_cannot_be_opened_anew_is_tried_again_and_nothing_else_is_written_to(
    tmp_path: Path,
) -> None:
    handler = SharedRotatingFile(tmp_path / "here" / "a.log")
    (tmp_path / "here").mkdir()
    record = logging.LogRecord("x", logging.INFO, "", 0, "a line", None, None)
    handler.emit(record)
    (tmp_path / "here").rename(tmp_path / "away")
    with redirect_stderr(StringIO()):
        handler.emit(record)
    # Whatever is opened next gets the number that the log had.
    with (tmp_path / "of somebody else").open("w"):
        with redirect_stderr(StringIO()):
            handler.emit(record)
        (tmp_path / "here").mkdir()
        handler.emit(record)
    handler.close()

    assert (tmp_path / "of somebody else").read_text() == ""
    assert (tmp_path / "here" / "a.log").read_text() == "a line\n"


def test_processes_that_share_a_file_lose_no_line_while_it_is_rotated(tmp_path: Path) -> None:
    path = tmp_path / "shared.log"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name])
        for name in ("a", "b", "c")
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]

    found = [
        tuple(line.split()[:2])
        for each in tmp_path.glob("shared.log*")
        if each.suffix != ".lock"
        for line in each.read_text().splitlines()
    ]
    assert len(found) == 4500
    assert set(found) == {(name, str(n)) for name in "abc" for n in range(1500)}
    assert len(list(tmp_path.glob("shared.log*"))) > 5
