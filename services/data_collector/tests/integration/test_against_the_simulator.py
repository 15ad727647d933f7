"""The collector's process against the real simulator, PostgreSQL and Redis."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from data_collector.batches import digest_of
from shared.adapters.parquet import ParquetBars
from shared.adapters.redis import RedisBarStream, RedisLatestBars, open_redis
from shared.domain.bar_blocks import BarBlock
from shared.domain.symbols import parse_symbol
from shared.domain.timeframes import Timeframe
from shared.ports import LatestBar


def test_every_instant_becomes_one_batch_with_its_bars_stored_cached_and_streamed(
    rig: Any,
) -> None:
    before = len(rig.batches())
    closed = [rig.simulator.close_instant() for _ in range(1)]
    batch = rig.batch_of(closed[0])
    for _ in range(4):
        closed.append(rig.simulator.close_instant())
        batch = rig.batch_of(closed[-1])

    batches = rig.batches()[before:]
    assert [b["end_at"].isoformat() for b in batches] == [
        c["instant_at"].replace("Z", "+00:00") for c in closed
    ]
    assert all(b["decidable"] for b in batches)
    assert {tuple(b["composition"]) for b in batches} == {("AAA", "BBB"), ("AAA", "BBB", "CCC")}
    assert all(b["symbols"] == len(b["composition"]) for b in batches)
    stored = ParquetBars(rig.settings.history / rig.settings.trading_account).between(
        Timeframe.MINUTE,
        [parse_symbol(name) for name in ("AAA", "BBB", "CCC")],
        batch["start_at"],
        batch["end_at"],
    )
    assert list(stored.symbols) == batch["composition"]
    assert digest_of(stored) == batch["digest"]

    async def look() -> tuple[BarBlock | None, dict[Any, LatestBar]]:
        async with open_redis(rig.settings) as client:
            account = rig.settings.trading_account
            streamed = await RedisBarStream(client, account).fetch(batch["id"])
            newest = RedisLatestBars(client, account)
            return streamed, await newest.get(Timeframe.MINUTE, [parse_symbol("AAA")])

    streamed, newest = asyncio.run(look())
    assert streamed is not None
    assert digest_of(streamed) == batch["digest"]
    assert newest[parse_symbol("AAA")].bar.end_at == batch["end_at"]


def test_killed_before_it_saw_the_bars_it_announces_the_very_same_batch_after_the_restart(
    rig: Any,
) -> None:
    rig.batch_of(rig.simulator.close_instant())
    os.kill(rig.collector.process.pid, signal.SIGSTOP)
    # Published to a process that will never read it.
    closed = rig.simulator.close_instant()
    rig.collector.kill()
    rig.collector.start()
    recovered = rig.batch_of(closed)

    streamed = rig.batch_of(rig.simulator.close_instant())

    assert recovered["decidable"]
    assert recovered["id"] < streamed["id"]
    assert recovered["composition"] == list(rig.published(closed).symbols)
    assert recovered["digest"] == digest_of(rig.published(closed))


def test_killed_again_and_again_it_announces_what_was_published_once_and_in_order(rig: Any) -> None:
    closed = []
    for _ in range(4):
        closed.append(rig.simulator.close_instant())
        # Somewhere between hearing of the bars and having told everybody of them.
        rig.collector.kill()
        rig.collector.start()
        rig.batch_of(closed[-1])

    batches = rig.batches()[-4:]
    assert [b["digest"] for b in batches] == [digest_of(rig.published(c)) for c in closed]
    assert [b["end_at"] for b in batches] == sorted({b["end_at"] for b in batches})
    assert all(b["decidable"] for b in batches)


def test_a_dropped_stream_is_caught_up_with_and_no_instant_is_announced_twice(rig: Any) -> None:
    closed = [rig.simulator.close_instant()]
    rig.batch_of(closed[0])

    rig.simulator.post("/admin/faults", {"kind": "drop_stream", "match": {"path": "/v2/iex"}})
    closed.append(rig.simulator.close_instant())
    rig.batch_of(closed[-1])
    closed.append(rig.simulator.close_instant())
    rig.batch_of(closed[-1])

    ends = [b["end_at"] for b in rig.batches()]
    assert ends == sorted(set(ends))
    assert rig.collector.get("/status").json()["reconnects"] >= 1


@pytest.mark.parametrize("victim", ["redis", "postgres"])
def test_a_killed_server_delays_the_batches_and_loses_none(rig: Any, victim: str) -> None:
    closed = [rig.simulator.close_instant()]
    rig.batch_of(closed[0])

    rig.servers.stack.kill(victim)
    closed.append(rig.simulator.close_instant())
    rig.servers.stack.wait_until_answering([victim])
    rig.batch_of(closed[-1])
    closed.append(rig.simulator.close_instant())
    rig.batch_of(closed[-1])

    ends = {b["end_at"].isoformat() for b in rig.batches()}
    assert {c["instant_at"].replace("Z", "+00:00") for c in closed} <= ends


def test_while_one_provider_misbehaves_the_other_gives_the_bars(rig: Any) -> None:
    body = {"symbols": ["AAA"], "start": "2026-01-13", "timeframe": "1Min"}
    faults: list[dict[str, Any]] = [
        {"kind": "status", "status": 200, "body": "<html>please log in</html>"},
        {"kind": "truncate"},
        {"kind": "lose_reply"},
        # Last, since the provider is then left alone for a while.
        {"kind": "rate_limit"},
    ]
    for number, fault in enumerate(faults, 1):
        rig.simulator.post("/admin/faults", {**fault, "match": {"path": "/time_series"}})
        where = rig.collector.post("/collect/market-data", body).headers["Location"]

        done = rig.wait(
            lambda at=where: (j := rig.collector.get(at).json())["state"] == "DONE" and j,
            f"the bars in spite of {fault}",
        )

        assert (done["providers"], done["bars_read"]) == (["alpaca"], 10), fault
        failovers = rig.collector.get("/providers").json()["failovers"]
        assert failovers == {"twelve_data": number}, fault


def test_a_screen_is_taken_and_what_it_showed_can_be_asked_for_later(rig: Any) -> None:
    def shown() -> Any:
        return rig.collector.get("/data/universe").json()["items"]

    (taken,) = rig.wait(shown, "the first screen")

    # AAA stands at 100 dollars, below the screen.
    assert (taken["screen"], taken["symbols"]) == ("free", ["BBB", "CCC"])
    before = rig.collector.get("/data/universe", at="2026-01-12").json()
    assert before == {"is_on": True, "last_error": None, "missing_columns": [], "items": []}
    kept = rig.rows(
        "SELECT * FROM data_collector.v_fundamentals WHERE account = $1 ORDER BY symbol"
    )
    assert [(row["symbol"], row["taken_at"].isoformat()) for row in kept] == [
        (symbol, taken["taken_at"].replace("Z", "+00:00")) for symbol in ("BBB", "CCC")
    ]
    assert all(row["ps"] > 0 and -1 < row["profit_margin"] < 1 for row in kept)
    runs = "SELECT * FROM data_collector.v_screen_runs WHERE account = $1 ORDER BY due_at"
    (run,) = rig.wait(lambda: rig.rows(runs), "how it went")
    assert (run["outcome"], run["symbols"], run["took_s"] > 0) == ("taken", 2, True)
    rig.simulator.post("/admin/faults", {"kind": "status", "match": {"path": "/export/screener"}})
    while rig.simulator.close_instant()["instant_at"] < "2026-01-13T14:45":
        pass
    (_, failed) = rig.wait(
        lambda: len(found := rig.rows(runs)) > 1 and found, "the screen of 14:45, which fails"
    )
    assert [each["due_at"].isoformat() for each in (run, failed)] == [
        "2026-01-13T14:40:00+00:00",
        "2026-01-13T14:45:00+00:00",
    ]
    assert (failed["outcome"], failed["symbols"]) == ("failed", 0)
    assert "FinViz" in failed["detail"]
    token = rig.collector.settings["FINVIZ_API_KEY"]
    assert token not in rig.collector.log.read_text()


def test_history_is_fetched_on_request_and_the_same_key_gives_the_same_job(rig: Any) -> None:
    body = {"symbols": ["AAA"], "start": "2026-01-13", "timeframe": "1Min"}
    first = rig.collector.post("/collect/market-data", body, **{"Idempotency-Key": "once"})
    again = rig.collector.post("/collect/market-data", body, **{"Idempotency-Key": "once"})

    assert first.status_code == again.status_code == 202
    assert first.json()["job_id"] == again.json()["job_id"]
    where = first.headers["Location"]
    done = rig.wait(lambda: (j := rig.collector.get(where).json())["state"] == "DONE" and j, "it")
    assert done["bars_read"] == 10
    assert done["providers"] == ["twelve_data"]
    assert done["bars_new"] == 0  # the warm-up had the very same ones from the other provider
    bars = rig.collector.get("/data/bars/AAA", start="2026-01-13", limit="4").json()
    assert [bar["start_at"] for bar in bars["items"]][:2] == [
        "2026-01-13T14:30:00Z",
        "2026-01-13T14:31:00Z",
    ]
    more = rig.collector.get("/data/bars/AAA", start=bars["next"], limit="500").json()
    assert len(more["items"]) == 6
    assert more["next"] is None
    latest = rig.collector.get("/data/latest/AAA").json()
    assert latest["provider"] == "alpaca"
    assert latest["age_s"] >= 0


def test_with_history_in_a_bucket_the_bars_are_there_and_survive_a_kill_too(
    rig_on_a_bucket: Any,
) -> None:
    rig = rig_on_a_bucket
    rig.batch_of(rig.simulator.close_instant())
    rig.collector.kill()
    closed = rig.simulator.close_instant()
    rig.collector.start()
    batch = rig.batch_of(closed)

    place = rig.settings.history / rig.settings.trading_account
    stored = ParquetBars(place).between(
        Timeframe.MINUTE,
        [parse_symbol(name) for name in ("AAA", "BBB", "CCC")],
        batch["start_at"],
        batch["end_at"],
    )
    assert str(place).startswith("s3://")
    assert digest_of(stored) == batch["digest"]
    assert rig.settings.aws_secret_access_key.get_secret_value() not in (
        rig.collector.log.read_text(errors="replace")
    )
