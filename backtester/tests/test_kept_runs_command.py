"""What do list, show, compare and verify say, and how does a run end that cannot be trusted?"""

import json
from pathlib import Path

import pytest

from trader.cli import main
from trader.exits import ExitCode

PROJECT = Path(__file__).resolve().parents[2]
RUN = [
    "backtest",
    "run",
    "--strategy",
    "moving_average",
    "--param",
    "long_window=10",
    "--param",
    "short_window=3",
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRADING_HOME", str(tmp_path / "home"))
    # The exchange's sessions come from the project's cache.
    monkeypatch.setenv("DATA_DIR", str(PROJECT / "data" / "parquet"))
    return tmp_path / "home"


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = ExitCode.OK) -> str:
    assert main([*words]) == code
    out: str = capsys.readouterr().out
    return out


def a_run(capsys: pytest.CaptureFixture[str], bars: Path, *more: str) -> dict[str, object]:
    document: dict[str, object] = json.loads(
        said(capsys, *RUN, "--data", str(bars), "--json", "-", *more)
    )
    return document


def id_of(document: dict[str, object]) -> str:
    manifest = document["manifest"]
    assert isinstance(manifest, dict)
    return str(manifest["id"])


def test_a_run_is_kept_listed_shown_and_verified(
    home: Path, daily_bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = id_of(a_run(capsys, daily_bars))

    assert [path.name.partition("-")[0] for path in (home / "backtests").iterdir()] == [run]
    assert run in said(capsys, "backtest", "list")
    assert "moving_average (short_window=3, long_window=10, allow_short=False)" in said(
        capsys, "backtest", "show", run[:4]
    )
    assert "the same, fill by fill" in said(capsys, "backtest", "verify", "latest")
    listed = json.loads(said(capsys, "backtest", "list", "--json"))
    assert [row["manifest"]["id"] for row in listed] == [run]
    assert said(capsys, "backtest", "list", "--strategy", "other", "--json").strip() == "[]"


def test_a_shown_run_says_what_it_said_when_it_ran(
    home: Path, daily_bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    then = said(capsys, *RUN, "--data", str(daily_bars), "--envelope")

    now = said(capsys, "backtest", "show", "latest")

    assert now.startswith(then)
    for title in ("Optimistic", "Pessimistic", "Spread"):
        assert title in then


def test_a_kept_run_gets_its_report_later(
    home: Path, daily_bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = id_of(a_run(capsys, daily_bars, "--envelope"))
    report = tmp_path / "report.html"

    said(capsys, "backtest", "show", run, "--report", str(report))

    assert run in report.read_text()
    assert "The same decisions under other fills" in report.read_text()


def test_changed_bars_are_found_by_verify(
    home: Path, daily_bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "AAPL.csv"
    lines = daily_bars.read_text().splitlines()
    mine.write_text("\n".join(lines) + "\n")
    run = id_of(a_run(capsys, mine))

    mine.write_text("\n".join(lines[:-30]) + "\n")
    told = json.loads(said(capsys, "backtest", "verify", run, "--json", code=ExitCode.ERROR))

    assert told == {"id": run, "is_same": False, "changed": ["data_hash", "result_hash"]}
    assert "NOT the same; the bars changed" in said(
        capsys, "backtest", "verify", run, code=ExitCode.ERROR
    )
    report = tmp_path / "report.html"
    assert main(["backtest", "show", run, "--report", str(report)]) == ExitCode.ERROR
    assert not report.exists()
    mine.unlink()
    assert main(["backtest", "verify", run]) == ExitCode.NOT_FOUND
    assert "cannot be done again" in capsys.readouterr().err


def test_two_runs_are_compared_by_what_was_asked_and_what_came_out(
    home: Path, daily_bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = id_of(a_run(capsys, daily_bars))
    other = id_of(a_run(capsys, daily_bars, "--slippage-bps", "20"))

    shown = said(capsys, "backtest", "compare", one, other)
    told = json.loads(said(capsys, "backtest", "compare", one, other, "--json"))

    assert "plan.slippage_bps" in shown
    assert told["differing"] == {"plan.slippage_bps": [0.0, 20.0]}
    assert told["figures"]["final_equity"][0] > told["figures"]["final_equity"][1]
    assert main(["backtest", "compare", one]) == ExitCode.USAGE
    assert "two to eight runs" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["show", "verify"])
def test_a_run_that_is_not_kept_is_not_found(
    home: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backtest", command, "nothing"]) == ExitCode.NOT_FOUND
    assert main(["backtest", command, "latest"]) == ExitCode.NOT_FOUND
    assert "no backtest is kept yet" in capsys.readouterr().err


def test_an_empty_list_says_how_to_fill_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "trader backtest run" in said(capsys, "backtest", "list")


def test_a_benchmark_comes_from_the_same_bars_or_is_named_as_missing(
    home: Path, daily_bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = a_run(capsys, daily_bars, "--benchmark", "aapl")

    benchmark = held["benchmark"]
    assert isinstance(benchmark, dict)
    assert benchmark["name"] == "AAPL"
    words = [*RUN, "--data", str(daily_bars), "--benchmark", "SPY"]
    assert main(words) == ExitCode.NOT_FOUND
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "bars of the benchmark SPY" in printed.err
    assert "trader data import" in printed.err
    # Nothing of a run that failed is kept.
    assert len(json.loads(said(capsys, "backtest", "list", "--json"))) == 1


def test_splits_of_a_file_are_part_of_the_run_and_of_its_verification(
    home: Path, daily_bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    actions = tmp_path / "actions.csv"
    actions.write_text("symbol,date,split\nAAPL,2023-06-01,2:1\n")
    plain = a_run(capsys, daily_bars)
    split = a_run(capsys, daily_bars, "--actions", str(actions))

    assert plain["equity"] != split["equity"]
    assert "the same" in said(capsys, "backtest", "verify", id_of(split))
    actions.write_text("symbol,date,split\nAAPL,2023-06-01,3:1\n")
    told = json.loads(
        said(capsys, "backtest", "verify", id_of(split), "--json", code=ExitCode.ERROR)
    )
    assert "data_hash" in told["changed"]
    assert main([*RUN, "--symbol", "AAPL", "--actions", str(actions)]) == ExitCode.USAGE
    assert "--actions belongs to --data" in capsys.readouterr().err


def test_terms_of_shorts_and_stops_reach_the_plan(
    home: Path, daily_bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--trail", "0.03", "--borrow-rate", "0.02", "--unlent", "gme,AMC")
    manifest = a_run(capsys, daily_bars, *more)["manifest"]

    assert isinstance(manifest, dict)
    plan = manifest["plan"]
    assert (plan["trail"], plan["borrow_rate"], plan["unlent"]) == (0.03, 0.02, ["AMC", "GME"])


def test_the_figures_are_shown_although_they_cannot_be_kept(
    home: Path, daily_bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.write_text("a file where the folder should be")

    assert main([*RUN, "--data", str(daily_bars)]) == ExitCode.OK

    printed = capsys.readouterr()
    assert "Final balance" in printed.out
    assert "kept as" not in printed.out
    assert "cannot be kept in" in printed.err


@pytest.mark.parametrize("target", ["missing/result.json", "."])
def test_a_json_target_that_cannot_be_written_is_refused_before_the_run(
    home: Path, target: str, daily_bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*RUN, "--data", str(daily_bars), "--json", str(tmp_path / target)]

    assert main(words) == ExitCode.USAGE

    assert capsys.readouterr().out == ""
    assert not home.exists()
