"""What `trader config reload` tells running services."""

from __future__ import annotations

import pytest

from trader.commands.live import READ_ONLY, told_anew


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
