"""Is a run known by what it was, kept whole, and found again?"""

import gzip
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backtester.history import History
from backtester.plan import DEFAULT_LIMITS, Plan
from backtester.results.archive import MOST_RUNS, Archive, UnknownRun
from backtester.results.assumptions import assumptions_of
from backtester.results.comparison import Verification, compare_runs
from backtester.results.manifest import manifest_of, request_of
from backtester.results.testing import COSTLY, FREELY, QUICK, a_request, a_sheet
from backtester.run import Engine, backtest
from risk_manager.management import ManagementPlan
from shared.domain.errors import InvalidInput
from strategy_engine.strategies.moving_average import MovingAverage

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


# ---------------------------------------------------------------------- the manifest


@pytest.mark.parametrize("plan", [COSTLY, FREELY, Plan()])
def test_a_request_is_read_back_from_its_manifest(plan: Plan, market: History) -> None:
    result = backtest(MovingAverage(**QUICK), market, plan)
    request = a_request(result, engine=Engine.REFERENCE, start_on=market.day(3), seed=7)

    stored = json.loads(json.dumps(manifest_of(request, result)))

    assert request_of(stored) == request


def test_a_manifest_of_another_version_is_refused_with_the_mend(market: History) -> None:
    result = backtest(MovingAverage(**QUICK), market, Plan())
    stored = manifest_of(a_request(result), result)

    with pytest.raises(InvalidInput, match="run it anew"):
        request_of({**stored, "format": 99})
    with pytest.raises(InvalidInput, match="run it anew"):
        request_of({**stored, "plan": {**stored["plan"], "sizing": {"name": "lots"}, "odd": 1}})


def test_the_same_run_has_the_same_id_and_every_difference_shows_in_its_hash(
    market: History,
) -> None:
    def run(history: History, plan: Plan, **parameters: int) -> dict[str, str]:
        result = backtest(MovingAverage(**{**QUICK, **parameters}), history, plan)
        return manifest_of(a_request(result), result)

    base, same = run(market, Plan()), run(market, Plan())
    other_plan, other_bars = run(market, Plan(cash=90_000.0)), run(market.cut(0, 300), Plan())

    assert base == same
    assert base["id"] != other_plan["id"] != other_bars["id"]
    assert Verification.of(base, same).is_same
    assert "config_hash" in Verification.of(base, other_plan).changed
    assert "data_hash" in Verification.of(base, other_bars).changed
    assert not Verification.of(base, other_bars).is_same
    assert "the bars" in Verification.of(base, other_bars).sentence


def test_what_is_assumed_is_said_in_the_terms_of_the_run() -> None:
    text = " ".join(assumptions_of(replace(FREELY, regulatory_fees=False), Engine.REFERENCE))

    assert "5 bps worse" in text
    assert "0.05 of its volume" in text
    assert "FINRA are left out" in text
    assert "risk rules are off" in text
    assert "fraction (0.4 of equity)" in text


def test_what_is_done_with_positions_is_among_the_assumptions() -> None:
    managed = ManagementPlan(
        atr_stop=2.5, scale_out=((0.05, 0.5),), day_strategies=frozenset({"mine"})
    )
    plan = Plan(limits=replace(DEFAULT_LIMITS, management=managed), trail=0.04)

    (said,) = (s for s in assumptions_of(plan, Engine.FAST) if s.startswith("What is held"))

    assert said == (
        "What is held is managed at each close, as live: stops follow 0.04 of the price away; stops follow 2.5 average "
        "true ranges away; of each entry, by its price, is sold 0.5 at 0.05 above it; mine hold nothing overnight, from "
        "600 s before the close."
    )
    assert not any(s.startswith("What is held") for s in assumptions_of(Plan(), Engine.FAST))


# ---------------------------------------------------------------------- kept runs


def a_document(market: History, **parameters: int) -> dict[str, Any]:
    return a_sheet(MovingAverage(**{**QUICK, **parameters}), market, Plan()).document(
        every_bar=False
    )


def test_a_kept_run_is_read_back_whole_and_by_the_beginning_of_its_id(
    market: History, tmp_path: Path
) -> None:
    archive, document = Archive(tmp_path / "runs"), a_document(market)
    archive.keep(document, NOW)
    run = document["manifest"]["id"]

    for given in (run, run[:4], run.upper(), "latest"):
        read = archive.document(given)
        assert {name: read[name] for name in document} == json.loads(json.dumps(document))
    assert [kept.id for kept in archive.runs()] == [run]
    assert [path.name for path in (tmp_path / "runs").iterdir() if path.name.startswith(".")] == []


def test_the_same_run_again_takes_the_place_of_the_first(market: History, tmp_path: Path) -> None:
    archive, document = Archive(tmp_path), a_document(market)
    archive.keep(document, NOW)
    archive.keep(document, NOW + timedelta(hours=1))

    (kept,) = archive.runs()
    assert kept.ran_at == (NOW + timedelta(hours=1)).isoformat()
    assert archive.trials(kept.manifest["data_hash"], kept.id) == []


def test_other_runs_on_the_same_bars_are_trials(market: History, tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    documents = [a_document(market, long_window=n) for n in (9, 12)]
    documents.append(a_document(market.cut(0, 300)))
    for document in documents:
        archive.keep(document, NOW)
    mine = documents[0]["manifest"]

    trials = archive.trials_with(mine["data_hash"], mine["id"], 0.5)

    assert trials.count == 2
    assert trials.sharpes == [documents[1]["summary"]["sharpe"], 0.5]


def test_an_unclear_id_names_what_it_could_be(market: History, tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    with pytest.raises(UnknownRun, match="no backtest is kept yet"):
        archive.find("latest")
    document = a_document(market)
    for run in ("abcd", "abce"):
        archive.keep(
            {**document, "manifest": {**document["manifest"], "id": run}},
            NOW,
        )

    with pytest.raises(UnknownRun, match=r"could be abc[de], abc[de]"):
        archive.find("abc")
    with pytest.raises(UnknownRun, match="no kept backtest is called 'zz'"):
        archive.find("zz")
    with pytest.raises(UnknownRun, match="no kept backtest"):
        archive.find("")


def test_a_damaged_file_hides_no_other_and_is_named(market: History, tmp_path: Path) -> None:
    archive, document = Archive(tmp_path), a_document(market)
    archive.keep(document, NOW)
    (tmp_path / "broken-0000.json.gz").write_bytes(b"\x1f\x8bnothing")

    run = document["manifest"]["id"]
    (whole,) = tmp_path.glob(f"{run}*")
    (tmp_path / "cut00-0000.json.gz").write_bytes(whole.read_bytes()[:60])
    (tmp_path / "other-0000.json.gz").write_bytes(gzip.compress(b"[]\n{}"))

    kept, damaged = archive.listed()
    assert [run.id for run in kept] == [run]
    assert [path.name for path in damaged] == [
        "broken-0000.json.gz",
        "cut00-0000.json.gz",
        "other-0000.json.gz",
    ]
    for name in ("broken", "cut", "other"):
        with pytest.raises(UnknownRun, match="is damaged"):
            archive.document(name)


def test_only_so_many_runs_are_kept_and_the_newest_stay(market: History, tmp_path: Path) -> None:
    import os

    archive, document = Archive(tmp_path), a_document(market)
    for number in range(MOST_RUNS):
        path = tmp_path / f"old{number:04d}-0000.json.gz"
        path.write_bytes(b"")
        os.utime(path, (number, number))
    (tmp_path / ".left.draft").write_bytes(b"")
    os.utime(tmp_path / ".left.draft", (1, 1))

    archive.keep(document, NOW)

    left = sorted(path.name for path in tmp_path.iterdir())
    assert len(left) == MOST_RUNS
    assert "old0000-0000.json.gz" not in left
    assert "old0001-0000.json.gz" in left
    assert ".left.draft" not in left


def test_a_folder_that_cannot_be_written_is_one_sentence(market: History, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(InvalidInput, match="cannot be kept in"):
        Archive(tmp_path / "file").keep(a_document(market), NOW)


def test_runs_are_compared_by_what_differs(market: History) -> None:
    documents = [a_document(market, long_window=n) for n in (9, 12)]
    documents.append(a_document(market.cut(0, 300)))

    same_bars = compare_runs(documents[:2])
    other_bars = compare_runs(documents)

    assert dict(same_bars.differing) == {"parameters.long_window": [9, 12]}
    assert same_bars.notes == []
    assert "last_on" in dict(other_bars.differing)
    assert "different bars" in other_bars.notes[0]
    figures = same_bars.document()["figures"]
    assert figures["sharpe"] == [d["summary"]["sharpe"] for d in documents[:2]]
    assert "All of them traded exactly the same." in compare_runs([documents[0]] * 2).notes
