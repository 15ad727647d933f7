"""When is a program that keeps dying given up, and what follows from it?"""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from trader.runtime.crash_loop import Memory, decide, recall, reduce_trading, remember
from trader.runtime.ports import LOOPBACK

DEATH = "PROCESS_STATE_EXITED"
SCHEDULER = {"processname": "scheduler", "from_state": "RUNNING"}


def die(memory: Memory, times: int, every_s: float) -> list[str | None]:
    return [decide(memory, DEATH, SCHEDULER, count * every_s) for count in range(times)]


def test_five_restarts_in_ten_minutes_are_borne_and_the_next_death_is_not() -> None:
    assert die(Memory(), 6, every_s=100) == [None] * 5 + ["scheduler"]


def test_deaths_further_apart_are_borne_for_ever() -> None:
    assert die(Memory(), 50, every_s=121) == [None] * 50


def test_deaths_of_different_programs_are_counted_apart() -> None:
    memory = Memory()
    die(memory, 5, every_s=1)

    assert decide(memory, DEATH, {"processname": "redis"}, 6.0) is None


def test_a_start_that_fails_counts_like_a_death() -> None:
    memory = Memory()
    die(memory, 5, every_s=1)

    assert decide(memory, "PROCESS_STATE_BACKOFF", SCHEDULER, 6.0) == "scheduler"


def test_what_the_supervisor_has_given_up_is_given_up() -> None:
    memory = Memory()

    assert decide(memory, "PROCESS_STATE_FATAL", SCHEDULER, 1.0) == "scheduler"
    assert memory.owed == ["scheduler"]


def test_a_program_is_given_up_once() -> None:
    memory = Memory()
    die(memory, 6, every_s=1)

    assert decide(memory, "PROCESS_STATE_FATAL", SCHEDULER, 7.0) is None
    assert memory.owed == ["scheduler"]


def test_a_start_by_a_person_forgets_what_was() -> None:
    memory = Memory()
    die(memory, 6, every_s=1)
    by_hand = {"processname": "scheduler", "from_state": "STOPPED"}

    decide(memory, "PROCESS_STATE_STARTING", by_hand, 10.0)

    assert memory.given_up == []
    assert decide(memory, DEATH, SCHEDULER, 11.0) is None


def test_a_restart_by_the_supervisor_forgets_nothing() -> None:
    memory = Memory()
    die(memory, 5, every_s=1)

    decide(
        memory,
        "PROCESS_STATE_STARTING",
        {"processname": "scheduler", "from_state": "EXITED"},
        6.0,
    )

    assert decide(memory, DEATH, SCHEDULER, 7.0) == "scheduler"


def test_the_listener_does_not_count_itself_nor_a_tick() -> None:
    memory = Memory()

    for count in range(20):
        assert decide(memory, DEATH, {"processname": "crash_loop"}, float(count)) is None
        assert decide(memory, "TICK_5", {"when": "1"}, float(count)) is None
    assert memory == Memory()


def test_a_restarted_listener_remembers(tmp_path: Path) -> None:
    memory = Memory()
    die(memory, 6, every_s=1)

    remember(tmp_path / "kept.json", memory)

    assert recall(tmp_path / "kept.json") == memory


def test_a_torn_memory_counts_from_nothing(tmp_path: Path) -> None:
    (tmp_path / "kept.json").write_text('{"deaths": ')

    assert recall(tmp_path / "kept.json") == Memory()


class Risk(http.server.BaseHTTPRequestHandler):
    """A risk manager's door, as far as the listener knocks at it."""

    asked: ClassVar[list[tuple[str, str | None, dict[str, str]]]]
    answer: int

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, self.headers["Authorization"], body))
        self.send_response(self.answer)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as the base class
        """Say nothing."""


@pytest.fixture
def risk() -> Iterator[tuple[type[Risk], int]]:
    class Fresh(Risk):
        asked: ClassVar[list[tuple[str, str | None, dict[str, str]]]] = []
        answer = 200

    with http.server.HTTPServer((LOOPBACK, 0), Fresh) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Fresh, server.server_port
        server.shutdown()
        thread.join()


def test_trading_is_reduced_with_a_token_and_a_reason(risk: tuple[type[Risk], int]) -> None:
    door, port = risk

    assert reduce_trading(port, "token", "scheduler keeps dying and was stopped")
    assert door.asked == [
        ("/risk/reduce", "Bearer token", {"reason": "scheduler keeps dying and was stopped"})
    ]


@pytest.mark.parametrize(
    ("answer", "settled"), [(204, True), (409, True), (503, False), (401, False)]
)
def test_only_an_agreement_settles_it(
    risk: tuple[type[Risk], int], answer: int, settled: bool
) -> None:
    door, port = risk
    door.answer = answer

    assert reduce_trading(port, "token", "why") is settled


def test_no_answer_settles_nothing(risk: tuple[type[Risk], int]) -> None:
    assert not reduce_trading(1, "token", "why")
