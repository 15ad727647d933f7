"""`trader why` and `why-not`: what is asked wrongly is said before any database is."""

from __future__ import annotations

import pytest

from trader.cli import main

Output = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["why-not", "AAPL", "yesterday"], "is no time"),
        (["why-not", "AAPL", "2026-03-02T15:00:00"], "names no offset"),
        (["why-not", "../x"], "symbol"),
        (["why"], "trader --help"),
    ],
)
def test_wrong_usage_is_code_4(words: list[str], said: str, capsys: Output) -> None:
    assert main(words) == 4

    assert said in capsys.readouterr().err
