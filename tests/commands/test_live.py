"""What `trader config reload` tells running services."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import httpx
import pytest

from trader.commands.live import LIVE_PATH, READ_ONLY, told_anew, with_other_log_level
from trader.commands.service_api import ServiceApi
from trader.runtime.errors import TimedOut
from trader.runtime.instance import SERVICES, Instance
from trader.runtime.ports import Ports


def test_a_reload_takes_a_setting_that_is_gone_back_to_its_default() -> None:
    told = told_anew({"NOTIFY_EVENTS": "fill=push", "TRADING_ACCOUNT": "paper"})

    assert told == {"LOG_LEVEL": "", "NOTIFY_EVENTS": "fill=push", "NOTIFY_QUIET_HOURS": ""}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, None),
        ({READ_ONLY: ""}, None),
        ({READ_ONLY: "false"}, "false"),
        ({READ_ONLY: "true"}, "true"),
    ],
)
def test_a_reload_says_of_maintenance_what_stands_in_the_settings_and_nothing_else(
    settings: dict[str, str], said: str | None
) -> None:
    assert told_anew(settings).get(READ_ONLY) == said


def test_only_services_that_log_at_another_level_are_named(tmp_path: Path) -> None:
    instance = Instance.create(tmp_path)
    levels = {"risk_manager": "DEBUG", "scheduler": "INFO"}

    def answer(request: httpx.Request) -> httpx.Response:
        name = next(name for name in SERVICES if instance.port_of(name) == request.url.port)
        if name not in levels:
            raise httpx.ConnectError("it is just being stopped")
        return httpx.Response(200, json={"settings": {"LOG_LEVEL": levels[name]}})

    api = ServiceApi(instance, httpx.MockTransport(answer))

    assert with_other_log_level(api, SERVICES, "INFO") == ["risk_manager"]
    assert with_other_log_level(api, SERVICES, "DEBUG") == ["scheduler"]


def test_services_are_asked_all_at_once_for_their_log_level(tmp_path: Path) -> None:
    instance = Instance.create(tmp_path)
    # Nobody is answered before all have asked: one after another, the first would wait in vain.
    together = Barrier(len(SERVICES), timeout=20)

    def answer(request: httpx.Request) -> httpx.Response:
        together.wait()
        return httpx.Response(200, json={"settings": {"LOG_LEVEL": "DEBUG"}})

    api = ServiceApi(instance, httpx.MockTransport(answer))

    assert with_other_log_level(api, SERVICES, "INFO") == list(SERVICES)


def test_one_who_never_answers_costs_no_more_than_the_time_given_and_is_passed_over(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hung:
        instance = Instance.create(tmp_path, replace(Ports.free(), scheduler=hung.getsockname()[1]))
        api = ServiceApi(instance, answer_within_s=0.1)

        assert with_other_log_level(api, ["scheduler"], "INFO") == []
        with pytest.raises(TimedOut, match=r"within 0\.1 s"):
            api.get("scheduler", LIVE_PATH)
