"""The halt of last resort: thrown once, seen by all, and thrown too where it cannot be seen."""

from __future__ import annotations

from pathlib import Path

from shared.adapters.halt_file import HaltFile


def test_it_is_thrown_until_somebody_takes_it_back(tmp_path: Path) -> None:
    switch, other = HaltFile(tmp_path / "made" / "halt"), HaltFile(tmp_path / "made" / "halt")
    assert other.note() is None

    switch.throw("odd prices")
    switch.throw("a later reason")

    assert other.note() == "odd prices"
    other.take_back()
    other.take_back()
    assert switch.note() is None


def test_the_file_begins_with_who_wrote_it(tmp_path: Path) -> None:
    HaltFile(tmp_path / "halt", "the executor of account demo").throw("the keys are refused")

    assert (
        HaltFile(tmp_path / "halt").note() == "the executor of account demo: the keys are refused"
    )


def test_an_empty_file_and_one_that_cannot_be_read_are_thrown(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()

    assert HaltFile(tmp_path / "empty").note() == "no reason was written"
    assert "cannot be read" in (HaltFile(tmp_path / "folder").note() or "")
