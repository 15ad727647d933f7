"""Tests of the data commands on a home of their own."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.exchange_calendar import load_calendar
from shared.testing.object_storage import new_bucket, object_storage
from trader.cli import main

OPEN_AT = datetime(2026, 1, 13, 14, 30, tzinfo=UTC)


@pytest.fixture(scope="session")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exchange's sessions, built once, since that takes seconds."""
    folder = tmp_path_factory.mktemp("sessions")
    load_calendar(folder)
    return next(folder.glob("sessions-*.json"))


@pytest.fixture
def home(tmp_path: Path, sessions: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    parquet = tmp_path / "home" / "parquet"
    parquet.mkdir(parents=True)
    (parquet / sessions.name).write_bytes(sessions.read_bytes())
    monkeypatch.setenv("TRADING_HOME", str(tmp_path / "home"))
    return tmp_path


def a_session(folder: Path, name: str = "AAPL.csv", bad_first: bool = False) -> Path:
    """A file of one quiet session at 92 dollars, its first bar as it was seen after a 7:1 split."""
    rows = ["timestamp,open,high,low,close,volume"]
    for minute in range(390):
        at = OPEN_AT + timedelta(minutes=minute)
        close = 92.4 + minute % 7 / 50
        opened = 645.57 if bad_first and minute == 0 else close
        figures = (opened, max(opened, close) + 0.01, close - 0.02, close, 1_000 + minute)
        rows.append(f"{at.isoformat()},{','.join(map(str, figures))}")
    path = folder / name
    path.write_text("\n".join(rows) + "\n")
    return path


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, Any]:
    code = main(["data", *map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_file_with_a_bad_print_is_found_out_and_ends_with_one(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(capsys, "check", a_session(home, bad_first=True))

    assert code == 1
    (finding,) = said["findings"]
    assert (finding["kind"], finding["severity"]) == ("spike", "error")
    assert finding["first_at"] == OPEN_AT.isoformat()
    assert "7:1 split" in finding["detail"]


def test_a_sound_file_ends_with_zero_and_nothing_is_found(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(capsys, "check", a_session(home))

    assert (code, said["findings"]) == (0, [])
    assert said["checked"] == [
        {"symbol": "AAPL", "timeframe": "1Min", "bars": 390, "error": 0, "warning": 0, "note": 0}
    ]


def test_imported_bars_are_listed_checked_and_compacted_and_the_bad_one_stays_out(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = a_session(home, "MSFT.csv"), a_session(home, "AAPL.csv", bad_first=True)

    assert run(capsys, "import", good, bad)[1] == {
        "rows": 780,
        "stored": 779,
        "left_out": {"a bad print: the bar spans more than any market lets it": 1},
        "rounded": 0,
        "steps": [],
    }
    assert run(capsys, "import", good, bad)[1]["stored"] == 0
    listed = run(capsys, "list")[1]["items"]
    assert [(row["symbol"], row["bars"], row["providers"]) for row in listed] == [
        ("AAPL", 389, ["file"]),
        ("MSFT", 390, ["file"]),
    ]
    assert run(capsys, "compact")[1] == {"1Min": {"before": 2, "after": 1}}
    code, said = run(capsys, "check")
    assert code == 0
    assert {finding["kind"] for finding in said["findings"]} == {"stale"}


def test_a_fraction_of_a_share_in_a_volume_is_rounded_down_and_told(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = home / "AAPL.csv"
    file.write_text(
        "date,open,high,low,close,volume\n2026-01-12,1,1,1,1,5.5\n2026-01-13,1,1,1,1,7\n"
        "2026-01-14,1,1,1,1,-0.5\n"
    )

    assert main(["data", "import", str(file)]) == 0

    said = capsys.readouterr().out
    assert "rounded down to whole shares: 1 volumes" in said
    assert "left out: 1 (an impossible volume)" in said
    (listed,) = run(capsys, "list")[1]["items"]
    assert listed["bars"] == 2


def test_a_table_for_people_names_what_was_found(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(a_session(home, bad_first=True))]) == 1

    out = capsys.readouterr().out
    assert "error spike AAPL 1Min 2026-01-13 14:30" in out


def test_what_is_no_file_of_bars_is_one_sentence(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = home / "odd.csv"
    odd.write_text("a,b\n1,2\n")

    assert main(["data", "check", str(odd)]) == 4
    assert "no column for time" in capsys.readouterr().err
    assert main(["data", "import", str(home / "nowhere.csv")]) == 4
    assert "is not there" in capsys.readouterr().err


def test_an_empty_store_names_the_next_step(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    assert "trader data import" in capsys.readouterr().out


def test_made_up_bars_never_take_the_place_of_a_file(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = home / "real.csv"
    real.write_text("what somebody has recorded")

    assert main(["data", "generate", str(real)]) == 4
    assert "is there already" in capsys.readouterr().err
    assert real.read_text() == "what somebody has recorded"


def test_made_up_bars_are_the_same_for_the_same_seed_and_have_nothing_wrong(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, other = (home / f"{name}.parquet" for name in ("one", "two", "other"))
    words = ("--sessions", "2", "--symbols", "AAPL,SPY", "--seed")

    assert run(capsys, "generate", one, *words, "7")[1]["bars"] == 2 * 2 * 390
    run(capsys, "generate", two, *words, "7")
    run(capsys, "generate", other, *words, "8")

    assert one.read_bytes() == two.read_bytes() != other.read_bytes()
    code, said = run(capsys, "check", one)
    assert (code, said["findings"]) == (0, [])
    assert main(["data", "generate", str(home / "bars.txt")]) == 4
    assert "must end in .csv or .parquet" in capsys.readouterr().err


def test_an_imported_split_is_listed_and_explains_the_step_in_the_prices(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["date,open,high,low,close,volume"]
    for day in (5, 6, 7, 8, 9, 12, 13, 14, 15, 16):
        price = 700 if day < 12 else 100
        rows.append(f"2026-01-{day:02},{price},{price + 1},{price - 1},{price},{1000 + day}")
    bars = home / "AAPL.csv"
    bars.write_text("\n".join(rows) + "\n")
    splits = home / "splits.csv"
    splits.write_text("symbol,date,split\nAAPL,2026-01-12,7:1\n")

    assert run(capsys, "check", bars)[0] == 1
    assert main(["actions", "import", str(splits), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"read": 1, "stored": 1}
    code, said = run(capsys, "check", bars)

    assert code == 0
    assert [(f["kind"], f["severity"]) for f in said["findings"]] == [("unadjusted_split", "note")]
    assert main(["actions", "list", "aapl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == [
        {"symbol": "AAPL", "ex_on": "2026-01-12", "kind": "split", "value": "7:1"}
    ]


def test_an_account_that_is_no_label_is_refused_in_one_sentence(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "import", str(a_session(home)), "--account", "../../x"]) == 4

    said = capsys.readouterr().err
    assert said.startswith("trader: TRADING_ACCOUNT")
    assert said.count("\n") == 1


def test_what_a_file_holds_cannot_steer_the_terminal(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = home / "AAPL.csv"
    file.write_text("\x1b[2Jdate,\x07b\n1,2\n")

    assert main(["data", "check", str(file)]) == 4

    assert not {"\x1b", "\x07"} & set(capsys.readouterr().err)


def test_history_in_a_bucket_is_imported_listed_checked_compacted_and_traded_on_as_from_a_disk(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with object_storage() as access:
        bucket = new_bucket(access, home / "locks")
        monkeypatch.setenv("DATA_DIR", str(bucket))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", access.key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", access.secret_key)
        monkeypatch.setenv("AWS_ENDPOINT_URL", access.endpoint)
        good, bad = a_session(home, "MSFT.csv"), a_session(home, "AAPL.csv", bad_first=True)

        assert run(capsys, "import", good, bad)[1]["stored"] == 779
        assert [row["bars"] for row in run(capsys, "list")[1]["items"]] == [389, 390]
        assert {f["kind"] for f in run(capsys, "check")[1]["findings"]} == {"stale"}
        assert run(capsys, "compact")[1] == {"1Min": {"before": 2, "after": 1}}
        words = ["backtest", "run", "--strategy", "moving_average", "--symbol", "MSFT"]
        assert main([*words, "--timeframe", "1Min", "--json", "-"]) == 0
        assert json.loads(capsys.readouterr().out)["summary"]["bars"] == 390

        assert sorted(
            each.name for each in (home / "home" / "parquet").iterdir() if each.is_dir()
        ) == ["locks"]


def test_a_bucket_without_keys_is_told_with_the_settings_to_mend(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATA_DIR", "s3://my-bucket/market")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)

    assert main(["data", "list"]) == 4
    assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in capsys.readouterr().err


def test_an_import_of_which_nothing_comes_in_does_not_end_with_zero(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = home / "AAPL.csv"
    bad.write_text("timestamp,open,high,low,close,volume\n2026-01-13T14:30:00Z,-1,2,1,1,5\n")

    code, said = run(capsys, "import", bad, "--timeframe", "1Min")

    assert (code, said["rows"], said["stored"]) == (1, 1, 0)


@pytest.mark.parametrize("command", ["import", "check"])
def test_a_folder_may_hold_other_tables_which_are_told_and_one_of_nothing_else_is_refused(
    home: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    folder, empty = home / "bars", home / "other"
    for each in (folder, empty):
        each.mkdir()
        (each / "a.parquet").write_bytes(b"")
        (each / "b.csv").write_text("name\nx\n")
    a_session(folder, "MSFT.csv")

    assert main(["data", command, str(folder), "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err.count("left out: ") == 2
    assert main(["data", command, str(empty), "--json"]) == 4
    assert "none of the files holds bars" in capsys.readouterr().err
