"""What is read beside the database: the log's end, and the settings without their secrets."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from dashboard.adapters.log_files import MOST_BYTES, LogPage, Place, lines_before
from dashboard.pages.settings import known_settings
from shared.config import load_settings

LOG = "trading_system.log"


def write(file: Path, *events: str, level: str = "info") -> None:
    with file.open("a") as log:
        log.writelines(json.dumps({"level": level, "event": each}) + "\n" for each in events)


def read(folder: Path, place: Place | None = None, least: str = "info", most: int = 10) -> LogPage:
    return asyncio.run(lines_before(folder, place, least=least, most=most))


def events(page: LogPage) -> list[str]:
    return [line["event"] for line in page.lines]


def test_the_newest_lines_come_first_and_only_from_the_wanted_level_on(tmp_path: Path) -> None:
    for n, level in enumerate(("info", "error", "debug", "warning")):
        write(tmp_path / LOG, str(n), level=level)

    assert events(read(tmp_path, least="warning")) == ["3", "1"]


def test_older_lines_are_reached_page_by_page_also_over_a_rotation_meanwhile(
    tmp_path: Path,
) -> None:
    write(tmp_path / f"{LOG}.1", *map(str, range(40)))
    write(tmp_path / LOG, *map(str, range(40, 75)))

    first = read(tmp_path, most=20)
    (tmp_path / f"{LOG}.1").rename(tmp_path / f"{LOG}.2")
    (tmp_path / LOG).rename(tmp_path / f"{LOG}.1")
    write(tmp_path / LOG, "written meanwhile")
    seen, place = events(first), first.older
    while place is not None:
        page = read(tmp_path, place, most=20)
        seen += events(page)
        place = page.older

    assert seen == [str(n) for n in reversed(range(75))]


def test_lines_longer_than_a_block_are_read_whole(tmp_path: Path) -> None:
    long = "x" * 700_000
    write(tmp_path / LOG, "first", long, "last")

    assert events(read(tmp_path)) == ["last", long, "first"]


def test_where_few_lines_are_of_a_level_one_look_ends_and_the_next_goes_on(tmp_path: Path) -> None:
    write(tmp_path / LOG, "the only one", level="error")
    write(tmp_path / LOG, *["x" * 1000] * (MOST_BYTES // 1000 + 100))

    first = read(tmp_path, least="error")
    assert first.older is not None
    second = read(tmp_path, first.older, least="error")

    assert (events(first), events(second), second.older) == ([], ["the only one"], None)


def test_a_place_in_a_file_that_is_gone_leads_to_no_line(tmp_path: Path) -> None:
    write(tmp_path / LOG, "here")

    assert read(tmp_path, Place(inode=1, byte=10)) == LogPage([], None)


def test_half_a_line_is_left_out_until_it_is_whole(tmp_path: Path) -> None:
    write(tmp_path / LOG, "whole")
    with (tmp_path / LOG).open("a") as log:
        log.write('{"level": "in')

    assert events(read(tmp_path)) == ["whole"]


def test_no_log_is_no_lines(tmp_path: Path) -> None:
    assert read(tmp_path) == LogPage([], None)


def test_no_secret_of_the_settings_reaches_the_page() -> None:
    secrets = {"API_TOKEN_READ": "canary-read-token", "DB_PASSWORD": "canary-password"}

    shown = known_settings(load_settings(secrets))

    assert "canary" not in str(shown)
    assert ("api_token_read", True, True, False) in shown
    assert ("gotify_token", False, True, True) in shown
