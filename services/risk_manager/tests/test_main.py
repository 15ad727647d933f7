"""How the process begins: a setting that cannot be meant ends it in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({}, "missing setting DB_PASSWORD"),
        ({"RISK_MAX_POSITION_SIZE": "5"}, "RISK_MAX_POSITION_SIZE"),
        ({"RISK_DRAWDOWN_LIMIT": "0"}, "RISK_DRAWDOWN_LIMIT"),
        ({"RISK_MAX_POSITION_SISE": "0.05"}, "did you mean RISK_MAX_POSITION_SIZE?"),
    ],
)
def test_a_wrong_setting_ends_in_one_sentence_and_exit_code_4(
    wrong: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "DATA_DIR": str(tmp_path / "parquet"),
        "LOG_DIR": str(tmp_path / "logs"),
        **wrong,
    }

    ended = subprocess.run(
        [sys.executable, "-m", "risk_manager"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 4
    assert sentence in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
