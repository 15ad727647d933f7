"""What `trader config reload` tells running services."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from trader.commands.live import READ_ONLY, told_anew, with_other_log_level
from trader.commands.service_api import ServiceApi
from trader.runtime.instance import SERVICES, Instance


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
