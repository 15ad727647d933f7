"""Starting the process: what it needs, and one sentence when that is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trade_executor.adapters.trade_updates import stream_url


def start(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "trade_executor"],
        env={**kept, "LOG_DIR": str(tmp_path), **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_broker_keys_it_ends_with_code_4_and_names_the_setting(tmp_path: Path) -> None:
    done = start(tmp_path, DB_PASSWORD="x")
    assert done.returncode == 4
    assert "ALPACA_API_KEY" in done.stdout + done.stderr


def test_live_keys_with_paper_settings_do_not_start(tmp_path: Path) -> None:
    done = start(tmp_path, ALPACA_BASE_URL="https://api.alpaca.markets")
    assert done.returncode == 4
    assert "ALPACA_PAPER_TRADING" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("base", "stream"),
    [
        ("https://paper-api.alpaca.markets", "wss://paper-api.alpaca.markets/stream"),
        ("http://127.0.0.1:8006/", "ws://127.0.0.1:8006/stream"),
    ],
)
def test_the_stream_is_where_the_trading_api_is(base: str, stream: str) -> None:
    assert stream_url(base) == stream
