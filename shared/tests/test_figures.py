"""What a process counts about itself, and how it is shown."""

from __future__ import annotations

import asyncio

import prometheus_client

from shared.adapters.figures import ProcessFigures, watch_loop
from shared.adapters.metrics import ServiceMetrics


def page_of(figures: ProcessFigures, checks: dict[str, bool] | None = None) -> str:
    registry = prometheus_client.CollectorRegistry()
    made = ServiceMetrics("risk_manager", "1.0", figures)
    made.register(registry)
    made.note(checks or {})
    return prometheus_client.generate_latest(registry).decode()


def test_hits_and_misses_of_the_cache_are_counted_apart() -> None:
    figures = ProcessFigures()
    figures.looked_up("latest_bars", hits=3, asked=5)
    figures.looked_up("latest_bars", hits=0, asked=2)

    page = page_of(figures)

    assert 'cache_lookups_total{cache="latest_bars",outcome="hit"} 3.0' in page
    assert 'cache_lookups_total{cache="latest_bars",outcome="miss"} 4.0' in page


def test_the_longest_wait_is_shown_once_and_then_begins_anew() -> None:
    figures = ProcessFigures()
    registry = prometheus_client.CollectorRegistry()
    ServiceMetrics("x", "1", figures).register(registry)
    figures.connected(0.5)
    figures.connected(0.1)

    first, second = (prometheus_client.generate_latest(registry).decode() for _ in range(2))

    assert "database_longest_wait_seconds 0.5" in first
    assert "database_longest_wait_seconds 0.0" in second
    assert "database_transactions_total 2.0" in second


def test_what_does_not_answer_is_named() -> None:
    page = page_of(ProcessFigures(), {"postgres": True, "redis": False})

    assert 'dependency_up{dependency="postgres"} 1.0' in page
    assert 'dependency_up{dependency="redis"} 0.0' in page


def test_a_loop_that_was_held_up_is_seen_to_be_late() -> None:
    figures = ProcessFigures()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        real, skipped = loop.time, 0.0
        watch_loop(figures)
        # The loop's own clock is moved, so that nothing has to be held up in earnest.
        loop.time = lambda: real() + skipped  # type: ignore[method-assign]
        skipped = 3.0
        for _ in range(50):
            if figures.loop_longest_lag_s:
                return
            await asyncio.sleep(0)  # noqa: TID251  # lets the loop's own callbacks run

    asyncio.run(main())

    assert figures.loop_longest_lag_s >= 1.5
