"""What becomes of input that cannot be right, or of markets in which nothing can be traded?

Every refusal is one sentence with a code, and leaves nothing behind: no report, no document, no kept run. A market that is
merely useless gives a whole result that says so.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from trader.cli import main
from trader.exits import ExitCode

PROJECT = Path(__file__).resolve().parents[2]
STRANGERS = """
from typing import ClassVar
import numpy as np
from strategy_engine.strategy import Direction, Strategy, VectorStrategy, Wish, Wishes

class Raises(VectorStrategy):
    bars_needed: ClassVar[int] = 1
    def wishes(self, panel):
        raise ZeroDivisionError("nothing to divide by\\nsecond line")

class RaisesLate(Strategy):
    bars_needed: ClassVar[int] = 1
    def generate_signal(self, view):
        if view.close[-1] > 0 and len(view) and view.volume[-1] >= 0 and not hasattr(self, "calls"):
            self.calls = 0
        self.calls += 1
        if self.calls == 100:
            raise KeyError("late")
        return Direction.LONG

class NotNumber(VectorStrategy):
    bars_needed: ClassVar[int] = 1
    def wishes(self, panel):
        entries = np.zeros(panel.close.shape, np.bool_)
        entries[40] = True
        odd = np.full(panel.close.shape, np.nan)
        return Wishes(entries, np.zeros_like(entries), "in", "out", figures={"my_indicator": odd})

class WrongShape(VectorStrategy):
    bars_needed: ClassVar[int] = 1
    def wishes(self, panel):
        entries = np.zeros(3, np.bool_)
        return Wishes(entries, entries, "in", "out")

class NoWish(Strategy):
    bars_needed: ClassVar[int] = 1
    def generate_signal(self, view):
        return "BUY"

class Peeks(VectorStrategy):
    bars_needed: ClassVar[int] = 3
    def wishes(self, panel):
        ahead = np.roll(panel.close, -1, axis=0)
        entries = ahead > panel.close
        return Wishes(entries, ~entries, "will rise", "will fall")

class Forgets(VectorStrategy):
    bars_needed: ClassVar[int] = 3
    def wishes(self, panel):
        highest = np.maximum.accumulate(panel.close, axis=0)
        entries = panel.close >= highest
        return Wishes(entries, ~entries, "record", "no record")

class Leaves(VectorStrategy):
    bars_needed: ClassVar[int] = 1
    def wishes(self, panel):
        raise SystemExit(0)

class Nothing(VectorStrategy):
    bars_needed: ClassVar[int] = 1
    def wishes(self, panel):
        return None

class TooSure(Strategy):
    bars_needed: ClassVar[int] = 1
    def generate_signal(self, view):
        return Wish(Direction.LONG, 2.0)

class Endless(Strategy):
    bars_needed: ClassVar[int] = 1
    def generate_signal(self, view):
        print("asked", flush=True)
        while True:
            pass

class Novel(VectorStrategy):
    bars_needed: ClassVar[int] = 1
    def wishes(self, panel):
        entries = np.zeros(panel.close.shape, np.bool_)
        return Wishes(entries, entries.copy(), "in" * 200, "out")

class Writes(VectorStrategy):
    bars_needed: ClassVar[int] = 1
    def wishes(self, panel):
        panel.close.flags.writeable = True
        panel.close[:] = 1.0
        entries = np.zeros(panel.close.shape, np.bool_)
        return Wishes(entries, entries.copy(), "in", "out")

class Talks(VectorStrategy):
    bars_needed: ClassVar[int] = 1
    def wishes(self, panel):
        print("words of its own")
        entries = np.zeros(panel.close.shape, np.bool_)
        return Wishes(entries, entries.copy(), "in", "out")
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRADING_HOME", str(tmp_path / "home"))
    # The exchange's sessions come from the project's cache.
    monkeypatch.setenv("DATA_DIR", str(PROJECT / "data" / "parquet"))
    return tmp_path / "home"


@pytest.fixture
def strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with strategies that go wrong, found by its entry points."""
    folder = tmp_path / "installed"
    info = folder / "strangers-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "strangers_of_a_test.py").write_text(STRANGERS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers\nVersion: 1.0\n")
    names = (
        "Raises",
        "RaisesLate",
        "NotNumber",
        "WrongShape",
        "NoWish",
        "Leaves",
        "Peeks",
        "Forgets",
        "Nothing",
        "TooSure",
        "Endless",
        "Novel",
        "Writes",
        "Talks",
    )
    points = "".join(f"{name} = strangers_of_a_test:{name}\n" for name in names)
    (info / "entry_points.txt").write_text(f"[full_ai_trader.strategies]\n{points}")
    monkeypatch.syspath_prepend(str(folder))


def changed(bars: Path, target: Path, change: Callable[[int, list[str]], list[str] | None]) -> Path:
    """A copy of the bars in which `change` has had every row's cells: date, open, high, low, close, volume."""
    head, *rows = bars.read_text().splitlines()
    cells = [change(number, row.split(",")) for number, row in enumerate(rows)]
    target.write_text(
        "\n".join([head, *(",".join(row) for row in cells if row is not None)]) + "\n"
    )
    return target


def refused(words: list[str], code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run into a refusal, see that nothing is left, and give its sentence."""
    targets = ["--report", str(tmp_path / "report.html"), "--json", str(tmp_path / "result.json")]

    assert main(["backtest", "run", *words, *targets]) == code

    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert list(tmp_path.glob("*re*.html")) == list(tmp_path.glob("*result*")) == []
    assert not (tmp_path / "home" / "backtests").exists()
    sentence: str = printed.err
    return sentence


@pytest.mark.parametrize(
    ("strategy", "code", "sentence"),
    [
        (
            "raises",
            1,
            "strategy raises failed (strangers_of_a_test.py line 9): ZeroDivisionError: nothing to divide by second line",
        ),
        (
            "raises_late",
            1,
            "strategy raises_late failed on AAPL at 2023-05-25 (strangers_of_a_test.py line 18): KeyError: 'late'",
        ),
        (
            "not_number",
            4,
            "strategy not_number (strangers_of_a_test.py line 23): my_indicator of AAPL is nan at 2023-03-02",
        ),
        (
            "wrong_shape",
            4,
            "strategy wrong_shape (strangers_of_a_test.py line 31): entries must be an array of shape (250, 1)",
        ),
        (
            "nothing",
            4,
            "strategy nothing (strangers_of_a_test.py line 61): wishes must give Wishes, gave None",
        ),
        (
            "no_wish",
            4,
            "(strangers_of_a_test.py line 37): generate_signal must give a Wish, a Direction or None, gave 'BUY'",
        ),
        (
            "too_sure",
            4,
            "strategy too_sure on AAPL at 2023-01-03 (strangers_of_a_test.py line 67): conviction must be 0 to 1",
        ),
        (
            "novel",
            4,
            "strategy novel (strangers_of_a_test.py line 78): a reason or a figure's name must be one printable line",
        ),
        (
            "writes",
            1,
            "strategy writes failed (strangers_of_a_test.py line 85): ValueError: cannot set WRITEABLE flag to True",
        ),
        ("leaves", 1, "strategy leaves failed (strangers_of_a_test.py line 57): SystemExit"),
    ],
)
def test_a_strategy_that_goes_wrong_is_named_with_its_reason(
    strategy: str,
    code: int,
    sentence: str,
    home: Path,
    strangers: None,
    daily_bars: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--strategy", strategy, "--data", str(daily_bars)]

    assert sentence in refused(words, code, tmp_path, capsys)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", 4),
        ("date,open,high,low,close,volume\n", 4),
        ("date,price\n2023-01-03,5\n", 4),
        (
            "date,open,high,low,close,volume\n2023-01-03,10,9,11,10,100\n2023-01-04,10,11,9,10,100\n",
            4,
        ),
        (
            "date,open,high,low,close,volume\n2023-01-03,nan,11,9,10,100\n2023-01-04,10,11,9,10,100\n",
            4,
        ),
        (
            "date,open,high,low,close,volume\n2023-01-03,10,11,9,10,100\n2023-01-03,10,11,9,10,100\n",
            4,
        ),
        ("not a table at all\x00\x01", 4),
    ],
    ids=["empty", "header only", "no prices", "high below low", "nan", "one bar twice", "no text"],
)
def test_a_file_that_holds_no_bars_is_refused(
    text: str, code: int, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "AAPL.csv").write_text(text)
    words = ["--strategy", "moving_average", "--data", str(tmp_path / "AAPL.csv")]

    assert "AAPL.csv" in refused(words, code, tmp_path, capsys)


def test_one_bar_only_is_refused(
    home: Path, daily_bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = ["--strategy", "moving_average", "--data", str(daily_bars)]

    sentence = refused([*one, "--start", "2023-05-03", "--end", "2023-05-03"], 4, tmp_path, capsys)

    assert "there is only one bar" in sentence


def test_minute_bars_are_not_taken_for_longer_ones(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    minutes = [f"2023-05-03 09:{30 + n}:00,10,11,9,10,100" for n in range(20)]
    rows = ["timestamp,open,high,low,close,volume", *minutes]
    (tmp_path / "AAPL.csv").write_text("\n".join(rows) + "\n")
    words = ["--strategy", "moving_average", "--data", str(tmp_path / "AAPL.csv")]

    sentence = refused([*words, "--timeframe", "5Min"], 4, tmp_path, capsys)

    assert "has rows 60 s apart, which are no bars of 5Min; leave --timeframe out" in sentence


@pytest.mark.parametrize("option", ["--data", "--report", "--json", "--actions"])
@pytest.mark.parametrize(
    ("name", "mend"),
    [("", "needs the name of a file"), ("x" * 5_000, ""), ("endless", ""), ("pipe", "ordinary")],
)
def test_names_that_no_file_can_have_are_refused(
    option: str,
    name: str,
    mend: str,
    home: Path,
    daily_bars: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("endless").symlink_to("endless")
    os.mkfifo("pipe")
    words = ["--data", str(daily_bars), option, name]

    assert main(["backtest", "run", "--strategy", "moving_average", *words]) in (2, 4)

    printed = capsys.readouterr()
    assert printed.out == ""
    assert (printed.err.count("\n"), len(printed.err) < 600) == (1, True)
    if option in ("--report", "--json"):
        assert mend in printed.err
    assert Path("pipe").is_fifo()
    assert not (home / "backtests").exists()


def test_what_is_read_is_not_written_over(
    home: Path, daily_bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = daily_bars.read_text()
    run = ["backtest", "run", "--strategy", "moving_average", "--data", str(daily_bars)]

    assert main([*run, "--json", str(daily_bars)]) == ExitCode.USAGE
    assert "is read by this command; name another file" in capsys.readouterr().err
    assert daily_bars.read_text() == before

    one = str(tmp_path / "one.file")
    assert main([*run, "--json", one, "--report", one]) == ExitCode.USAGE
    assert "--json and --report name the same file" in capsys.readouterr().err
    assert not Path(one).exists()


def test_a_link_that_is_written_to_stays_a_link(
    home: Path, daily_bars: Path, tmp_path: Path
) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "result.json")
    run = ["backtest", "run", "--strategy", "moving_average", "--data", str(daily_bars)]

    assert main([*run, "--json", str(tmp_path / "link.json")]) == ExitCode.OK

    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "result.json").read_text())["manifest"]["symbols"] == []


def test_words_of_a_strategy_are_kept_out_of_the_document(
    home: Path, strangers: None, daily_bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["backtest", "run", "--strategy", "talks", "--data", str(daily_bars), "--json", "-"]

    assert main(run) == ExitCode.OK

    printed = capsys.readouterr()
    assert json.loads(printed.out)["manifest"]["strategy"] == "talks"
    assert "words of its own" in printed.err


def test_too_few_bars_for_a_strategy_are_said_to_be_too_few(
    home: Path, daily_bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(daily_bars), "--end", "2023-01-13", "--json", "-"]

    assert main(["backtest", "run", "--strategy", "moving_average", *words]) == ExitCode.OK

    (silent,) = json.loads(capsys.readouterr().out)["warnings"]
    assert silent.startswith("the strategy gave no signal: it needs 51 bars and was shown ")


def test_one_symbol_in_two_files_is_refused(
    home: Path, daily_bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bars"
    folder.mkdir()
    for name in ("AAPL.csv", "AAPL.US.csv"):
        (folder / name).write_text(daily_bars.read_text())

    sentence = refused(["--strategy", "moving_average", "--data", str(folder)], 4, tmp_path, capsys)

    assert "AAPL is in more than one file" in sentence


@pytest.mark.parametrize(
    ("strategy", "codes", "sentence"),
    [
        ("peeks", {"LOOKAHEAD", "WARMUP"}, "It sees the future: of AAPL on 2023-"),
        ("forgets", {"WARMUP"}, "Live trading would decide otherwise: of AAPL on 2023-"),
    ],
)
def test_a_strategy_that_knows_too_much_is_doubted_first_of_all(
    strategy: str,
    codes: set[str],
    sentence: str,
    home: Path,
    strangers: None,
    daily_bars: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--strategy", strategy, "--data", str(daily_bars), "--json", "-"]

    assert main(["backtest", "run", *words]) == ExitCode.OK

    doubts = json.loads(capsys.readouterr().out)["diagnoses"]
    assert {doubt["code"] for doubt in doubts} & {"LOOKAHEAD", "WARMUP"} == codes
    assert doubts[0]["severity"] == "warning"
    assert doubts[0]["sentence"].startswith(sentence)


def test_a_sound_strategy_is_not_said_to_know_too_much(
    home: Path, daily_bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--strategy", "moving_average", "--data", str(daily_bars), "--json", "-"]

    assert main(["backtest", "run", *words]) == ExitCode.OK

    document = json.loads(capsys.readouterr().out)
    assert not {"LOOKAHEAD", "WARMUP"} & {doubt["code"] for doubt in document["diagnoses"]}
    honesty = next(block for block in document["figures"] if block["title"] == "Honesty")
    (checked,) = [f["value"] for f in honesty["figures"] if f["name"] == "instants_checked"]
    assert checked >= 10


# ---------------------------------------------------------------------- whole results of useless markets


def result_of(bars: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, list[str]]:
    """Warnings and codes of the diagnoses of a run over `bars`."""
    words = [
        "--strategy",
        "moving_average",
        "--param",
        "short_window=3",
        "--param",
        "long_window=10",
    ]
    assert (
        main(["backtest", "run", *words, "--data", str(bars), "--json", "-", *more]) == ExitCode.OK
    )
    document = json.loads(capsys.readouterr().out)
    assert document["summary"]["final_equity"] == document["equity"][-1]["equity"]
    return {
        "warnings": document["warnings"],
        "diagnoses": [diagnosis["code"] for diagnosis in document["diagnoses"]],
    }


def test_a_constant_price_gives_a_whole_result_without_a_trade(
    home: Path, daily_bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flat = changed(
        daily_bars, tmp_path / "A.csv", lambda _, row: [row[0], "50", "50", "50", "50", row[5]]
    )

    said = result_of(flat, capsys, "--report", str(tmp_path / "report.html"))

    assert "the strategy gave no signal" in said["warnings"]
    assert "NO_TRADES" in said["diagnoses"]
    assert "No order was filled." in (tmp_path / "report.html").read_text()


def test_without_volume_nothing_is_filled_and_that_is_said(
    home: Path, daily_bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = changed(daily_bars, tmp_path / "A.csv", lambda _, row: [*row[:5], "0"])

    said = result_of(silent, capsys)

    assert "250 bars have no volume; nothing is filled in them" in said["warnings"]
    assert "NO_TRADES" in said["diagnoses"]


def test_cash_that_buys_no_share_is_said_with_the_rule_that_refused(
    home: Path, daily_bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = result_of(daily_bars, capsys, "--cash", "20")

    assert "NO_TRADES" in said["diagnoses"]
    assert "MOSTLY_REFUSED" in said["diagnoses"]
    assert any("entries were refused" in warning for warning in said["warnings"])


def test_gaps_are_counted_and_doubted(
    home: Path, daily_bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bars"
    folder.mkdir()
    (folder / "MSFT.csv").write_text(daily_bars.read_text())
    changed(daily_bars, folder / "AAPL.csv", lambda number, row: None if number % 10 == 3 else row)

    said = result_of(folder, capsys)

    assert "25 of 500 bars are missing; such a symbol's orders wait" in said["warnings"]
    assert "MISSING_BARS" in said["diagnoses"]


def test_exchange_days_without_any_bar_are_named_and_doubted(
    home: Path, daily_bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    holey = changed(
        daily_bars, tmp_path / "A.csv", lambda number, row: None if 100 <= number < 110 else row
    )

    said = result_of(holey, capsys)
    later = result_of(holey, capsys, "--start", "2023-07-01")

    (told,) = [warning for warning in said["warnings"] if "there is no bar at all" in warning]
    assert told.startswith("on 10 exchange days, 2023-05-")
    assert "MISSING_BARS" in said["diagnoses"]
    assert not any("there is no bar at all" in warning for warning in later["warnings"])


def test_what_is_interrupted_ends_at_once_and_leaves_nothing(
    home: Path, strangers: None, daily_bars: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    words = ["--strategy", "endless", "--data", str(daily_bars), "--report", str(report)]
    process = subprocess.Popen(
        [sys.executable, "-m", "trader", "backtest", "run", *words],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"

    process.send_signal(signal.SIGINT)

    _, said = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED
    assert "Traceback" not in said
    assert not report.exists()
    assert not (home / "backtests").exists()


@pytest.mark.parametrize(
    ("year", "sentence"),
    [(1900, "has bars of 1900-01-02 to 1900-"), (2100, "has bars of 2100-01-04 to 2100-")],
)
def test_bars_of_years_without_known_sessions_are_refused_with_those_that_are_known(
    year: int,
    sentence: str,
    home: Path,
    daily_bars: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    days = [
        date(year, 1, 2) + timedelta(days=n)
        for n in range(360)
        if (date(year, 1, 2) + timedelta(days=n)).weekday() < 5
    ]
    old = changed(
        daily_bars, tmp_path / "OLD.csv", lambda number, row: [f"{days[number]}", *row[1:]]
    )

    said = refused(["--strategy", "moving_average", "--data", str(old)], 4, tmp_path, capsys)

    assert sentence in said
    assert "sessions are known from 1990-01-02" in said
