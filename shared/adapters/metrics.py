"""Which figures do all services show on `/metrics`?

Names end in their unit; labels have a handful of values each, never a symbol or an id. A longest wait is what it was
since the last look, so that a spike between two looks is seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from shared.adapters.figures import FIGURES, ProcessFigures


class ServiceMetrics:
    """A process's own figures, and whether what it needs answers."""

    def __init__(self, service: str, version: str, figures: ProcessFigures = FIGURES) -> None:
        self._service = service
        self._version = version
        self._figures = figures
        self._up: dict[str, bool] = {}

    def register(self, registry: CollectorRegistry) -> None:
        """Show them."""
        registry.register(self)

    def note(self, checks: Mapping[str, bool]) -> None:
        """Take in what the probes said just now."""
        self._up = dict(checks)

    def collect(self) -> Iterator[Metric]:
        """The figures as they are now."""
        own = self._figures
        info = GaugeMetricFamily(
            "service_info", "1, with the build.", labels=["service", "version"]
        )
        info.add_metric([self._service, self._version], 1.0)
        yield info
        up = GaugeMetricFamily(
            "dependency_up", "1 while what the service needs answers.", labels=["dependency"]
        )
        for name, is_up in self._up.items():
            up.add_metric([name], float(is_up))
        yield up
        yield CounterMetricFamily(
            "database_transactions", "Transactions begun.", value=own.transactions
        )
        yield CounterMetricFamily(
            "database_wait_seconds",
            "Waited for a connection of the pool.",
            value=own.database_wait_s,
        )
        yield CounterMetricFamily(
            "database_retries", "Transactions done again.", value=own.database_retries
        )
        yield GaugeMetricFamily(
            "database_connections_in_use", "Connections taken now.", value=own.database_in_use
        )
        yield GaugeMetricFamily(
            "database_longest_wait_seconds",
            "Longest wait for a connection since the last look.",
            value=own.database_longest_wait_s,
        )
        lookups = CounterMetricFamily(
            "cache_lookups", "What was asked of the cache.", labels=["cache", "outcome"]
        )
        for (cache, outcome), many in sorted(own.cache.items()):
            lookups.add_metric([cache, outcome], many)
        yield lookups
        requests = CounterMetricFamily(
            "broker_requests", "Requests paid out of the broker's budget.", labels=["lane"]
        )
        for lane, many in sorted(own.broker_requests.items()):
            requests.add_metric([lane], many)
        yield requests
        yield CounterMetricFamily(
            "broker_budget_wait_seconds",
            "Requests waited for the broker's budget.",
            value=own.broker_wait_s,
        )
        yield GaugeMetricFamily(
            "event_loop_lag_seconds", "How late the event loop is.", value=own.loop_lag_s
        )
        yield GaugeMetricFamily(
            "event_loop_longest_lag_seconds",
            "The latest it was since the last look.",
            value=own.loop_longest_lag_s,
        )
        own.database_longest_wait_s = own.loop_longest_lag_s = 0.0
