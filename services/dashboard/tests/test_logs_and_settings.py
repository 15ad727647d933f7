"""What is read beside the database: the log's end, and the settings without their secrets."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from dashboard.adapters.log_files import MOST_BYTES, newest_lines
from dashboard.pages.settings import known_settings
from shared.config import load_settings


def test_the_newest_lines_come_first_and_only_from_the_wanted_level_on(tmp_path: Path) -> None:
    lines = [
        {"level": level, "event": str(n)}
        for n, level in enumerate(("info", "error", "debug", "warning"))
    ]
    (tmp_path / "trading_system.log").write_text("\n".join(map(json.dumps, lines)))

    found = asyncio.run(newest_lines(tmp_path, least="warning", most=10))

    assert [line["event"] for line in found] == ["3", "1"]


def test_a_huge_log_is_read_from_its_end_alone(tmp_path: Path) -> None:
    line = json.dumps({"level": "info", "event": "x" * 1000})
    (tmp_path / "trading_system.log").write_text(
        f"{line}\n" * 2_000 + json.dumps({"level": "info", "event": "last"})
    )

    found = asyncio.run(newest_lines(tmp_path, least="info", most=5_000))

    assert found[0]["event"] == "last"
    assert len(found) <= MOST_BYTES // 1000


def test_no_log_is_no_lines(tmp_path: Path) -> None:
    assert asyncio.run(newest_lines(tmp_path, least="info", most=10)) == []


def test_no_secret_of_the_settings_reaches_the_page() -> None:
    secrets = {"API_TOKEN_READ": "canary-read-token", "DB_PASSWORD": "canary-password"}

    shown = known_settings(load_settings(secrets))

    assert "canary" not in str(shown)
    assert ("api_token_read", True, True, False) in shown
    assert ("gotify_token", False, True, True) in shown
