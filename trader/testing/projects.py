"""Whose stack do commands act on in a test? They are told as a person tells them, and nothing of ours is replaced."""

from __future__ import annotations

import pytest

from trader.runtime.first_run import append_setting, read_settings
from trader.runtime.instance import Instance
from trader.runtime.places import settings_file_of
from trader.runtime.ports import port_setting


def act_on(machine: pytest.MonkeyPatch, instance: Instance) -> None:
    """Let commands of this process find `instance`: its home and ports in the environment, its settings in its `.env`."""
    machine.setenv("TRADING_HOME", str(instance.home))
    for program, port in instance.ports.as_mapping().items():
        machine.setenv(port_setting(program), str(port))
    file = settings_file_of(instance.project, instance.home)
    stored = read_settings(file)
    for name, text in instance.settings.items():
        if stored.get(name) != text:
            append_setting(file, name, text)
