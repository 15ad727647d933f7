"""The collector's own figures for Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from data_collector.paying import StoredBudget
from data_collector.service import Collector


class CollectorFigures:
    """The collector's figures in Prometheus' terms, read when asked for."""

    def __init__(self, collector: Collector, budgets: Sequence[StoredBudget] = ()) -> None:
        self._collector = collector
        self._budgets = budgets

    def register(self, registry: CollectorRegistry) -> None:
        """Show the figures on `/metrics`."""
        registry.register(self)

    def collect(self) -> list[Any]:
        """The figures as they are now."""
        figures = self._collector.figures
        live = GaugeMetricFamily("collector_live", "1 while the feed is connected and caught up.")
        live.add_metric([], float(figures.state == "live"))
        counters = {
            "collector_bars_stored": ("Bars stored or revised.", figures.bars_stored),
            "collector_batches_announced": ("Batches announced.", figures.batches_announced),
            "collector_late_bars": ("Bars stored after their batch.", figures.late_bars),
            "collector_bars_refused": ("Bars put into quarantine.", figures.bars_refused),
            "collector_reconnects": ("Rounds begun anew.", figures.reconnects),
            "collector_cache_hits": ("Newest bars found in the cache.", figures.cache_hits),
            "collector_cache_misses": ("Newest bars looked up in the store.", figures.cache_misses),
        }
        spent = CounterMetricFamily(
            "collector_requests_paid", "Paid out of a provider's budget.", labels=["provider"]
        )
        waiting = GaugeMetricFamily(
            "collector_requests_waiting", "Requests that wait for a budget.", labels=["provider"]
        )
        allowed = GaugeMetricFamily(
            "collector_budget_per_minute", "What a provider allows a minute.", labels=["provider"]
        )
        for budget in self._budgets:
            spent.add_metric([budget.provider], budget.paid)
            waiting.add_metric([budget.provider], budget.waiting)
            limits = budget.limits
            allowed.add_metric([budget.provider], limits.per_window * 60 / limits.window_s)
        return [
            live,
            spent,
            waiting,
            allowed,
            *(CounterMetricFamily(name, text, value=n) for name, (text, n) in counters.items()),
        ]
