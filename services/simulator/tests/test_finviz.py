"""Tests of the export's protocol; there is no official client, so the recorded rules are the witness."""

import csv
import io
from collections.abc import Callable, Iterator

import httpx
import pytest

from simulator.tape import Tape
from simulator.testing import RunningSimulator, running_simulator

MINUTES = [(10.0, 11.0, 9.0, 10.5, 2_000_000), (10.5, 12.0, 10.0, 11.0, 2_000_000)]
SYMBOLS = [f"{letter}{letter}" for letter in "ABCDEFGHIJKLMNOP"]


@pytest.fixture
def simulator(make_tape: Callable[..., Tape]) -> Iterator[RunningSimulator]:
    with running_simulator(make_tape(MINUTES, SYMBOLS)) as running:
        running.advance(6)
        yield running


def export(simulator: RunningSimulator, path: str = "/export", **query: str) -> httpx.Response:
    return simulator.admin.get(path, params={"auth": "token", **query})


def rows(response: httpx.Response) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(response.text)))


def test_the_old_path_redirects_with_an_empty_body(simulator: RunningSimulator) -> None:
    moved = export(simulator, "/export.ashx", c="1,65")

    assert (moved.status_code, moved.content) == (301, b"")
    assert moved.headers["location"].startswith("/export/screener?")
    assert len(rows(simulator.admin.get(moved.headers["location"]))) == len(SYMBOLS)


def test_columns_come_as_asked_and_without_asking_as_the_account_has_them(
    simulator: RunningSimulator,
) -> None:
    assert list(rows(export(simulator, c="65,1,6"))[0]) == ["Price", "Ticker", "Market Cap"]
    assert list(rows(export(simulator))[0]) == ["Ticker", "Company", "Price", "Change", "Volume"]


def test_filters_narrow_and_one_that_does_not_exist_is_ignored(simulator: RunningSimulator) -> None:
    small = rows(export(simulator, c="1,6", f="cap_smallunder,sh_price_5to35,sh_avgvol_o1000"))
    ignored = rows(export(simulator, c="1", f="sh_volume_o500"))

    assert 0 < len(small) < len(SYMBOLS)
    assert all(float(row["Market Cap"]) <= 2_000 for row in small)
    assert len(ignored) == len(SYMBOLS)
    assert rows(export(simulator, c="1", f="sh_price_o100")) == []


def test_what_companies_earn_and_owe_is_made_up_by_symbol_with_gaps(
    simulator: RunningSimulator,
) -> None:
    asked = "1,7,8,9,10,11,13,14,17,18,22,23,32,33,35,38,39,40,41"
    shown = rows(export(simulator, c=asked))

    assert shown == rows(export(simulator, c=asked))
    assert list(shown[0])[1:3] + list(shown[0])[-1:] == ["P/E", "Forward P/E", "Profit Margin"]
    assert len({row["P/E"] for row in shown}) > 8
    assert all(row["Return on Equity"].endswith("%") for row in shown)
    # Who loses money has no P/E.
    losing = [row for row in shown if row["Profit Margin"].startswith("-")]
    assert [row["P/E"] for row in losing] == [""] * len(losing) != []


def test_without_a_token_comes_a_login_page_with_status_200(simulator: RunningSimulator) -> None:
    page = simulator.admin.get("/export", params={"c": "1"})

    assert page.status_code == 200
    assert page.text.startswith("<!DOCTYPE html>")


def test_every_misbehaviour_can_be_switched_on(simulator: RunningSimulator) -> None:
    match = {"path": "/export"}
    whole = export(simulator, c="1,65").text
    simulator.fault(kind="rate_limit", match=match)
    assert export(simulator).status_code == 429
    simulator.fault(kind="truncate", match=match)
    assert export(simulator, c="1,65").text == whole[: len(whole) // 2]
    simulator.fault(kind="status", status=200, body="<html>", match=match)
    assert export(simulator).text == "<html>"
    simulator.fault(kind="lose_reply", match=match)
    with pytest.raises(httpx.RemoteProtocolError):
        export(simulator)
    assert export(simulator, c="1,65").text == whole
