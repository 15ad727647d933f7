"""How is the whole system doing, in numbers? What no service knows alone is read from the views of all.

Read four times a minute beside everything else and shown on the scheduler's `/metrics`. Labels are stages, states and
reason codes, of which there are a few dozen; what one account did today is counted in the venue's day.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, time
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.postgres import Database
from shared.domain.calendar import NEW_YORK
from shared.domain.errors import Retryable
from shared.ports import Clock, Timer

_log = structlog.get_logger(__name__)
# As often as Prometheus comes by.
_LOOK_EVERY_S = 15.0
_MODES = {"ACTIVE": 0.0, "REDUCING": 1.0, "HALTED": 2.0}
# The newest so many of each hop; a mean over them moves with what happens now.
_HOP_ROWS = 100
_HOPS = {
    "bar_to_batch": """
        SELECT extract(epoch FROM announced_at - end_at) AS s FROM data_collector.v_bar_batches
        WHERE account = :account ORDER BY id DESC LIMIT :rows""",
    "batch_to_signal": """
        SELECT extract(epoch FROM created_at - bar_end_at) AS s FROM strategy_engine.v_signals
        WHERE account = :account ORDER BY id DESC LIMIT :rows""",
    "signal_to_decision": """
        SELECT extract(epoch FROM decided_at - instant_at) AS s FROM risk_manager.v_decisions
        WHERE account = :account ORDER BY id DESC LIMIT :rows""",
    "decision_to_order": """
        SELECT extract(epoch FROM sent_at - greatest(created_at, act_from)) AS s
        FROM trade_executor.v_intents
        WHERE account = :account AND sent_at IS NOT NULL ORDER BY sequence DESC LIMIT :rows""",
    "fill_to_ledger": """
        SELECT extract(epoch FROM booked_at - executed_at) AS s FROM trade_executor.v_fills
        WHERE account = :account ORDER BY id DESC LIMIT :rows""",
}
# Messages beyond a reader's cursor, and when the oldest of them was written.
QUEUES = {
    "strategy_engine": """
        SELECT count(*) AS many, min(announced_at) AS oldest_at FROM data_collector.v_bar_batches
        WHERE account = :account AND id > coalesce((SELECT position FROM strategy_engine.v_cursors
              WHERE account = :account AND source = 'data_collector'), 0)""",
    "risk_manager": """
        SELECT count(*) AS many, min(created_at) AS oldest_at FROM strategy_engine.v_outbox
        WHERE account = :account AND topic = 'evaluations' AND id > coalesce((
              SELECT position FROM risk_manager.v_cursors
              WHERE account = :account AND source = 'strategy_engine'), 0)""",
    "trade_executor": """
        SELECT count(*) AS many, min(created_at) AS oldest_at FROM risk_manager.v_outbox
        WHERE account = :account AND topic = 'reviews' AND id > coalesce((
              SELECT position FROM trade_executor.v_cursors
              WHERE account = :account AND source = 'risk_manager'), 0)""",
}
_ORDERS = """
    SELECT state, count(*) AS many FROM trade_executor.v_intents
    WHERE account = :account AND (created_at >= :midnight
          OR state IN ('PENDING', 'SENDING', 'UNKNOWN', 'ACKED', 'PARTIAL'))
    GROUP BY state"""
_REFUSED = """
    SELECT reason_code, count(*) AS many FROM risk_manager.v_decisions
    WHERE account = :account AND outcome = 'refused' AND decided_at >= :midnight GROUP BY reason_code"""
_SERVICES = """
    SELECT service, ready, answered_in_s FROM scheduler.v_service_health WHERE account = :account"""
_ACCOUNT = """
    SELECT equity, drawdown, gross_exposure,
        (SELECT CAST(after ->> 'drawdown_limit' AS float8) FROM risk_manager.v_limit_changes
         WHERE account = :account ORDER BY version DESC LIMIT 1) AS changed_limit
    FROM risk_manager.v_equity
    WHERE account = :account ORDER BY id DESC LIMIT 1"""
_MODE = "SELECT mode FROM risk_manager.v_mode WHERE account = :account"
_WAITING = """
    SELECT
        (SELECT count(*) FROM trade_executor.v_differences
         WHERE account = :account AND closed_at IS NULL) AS differences,
        (SELECT count(*) FROM scheduler.v_notices WHERE account = :account
         AND (state = 'GIVEN_UP' OR (state = 'WAITING' AND tries > 0))) AS undelivered,
        (SELECT count(*) FROM scheduler.v_job_runs WHERE account = :account
         AND due_at >= :midnight AND state IN ('FAILED', 'MISSED')) AS failed_jobs,
        (SELECT count(*) FROM data_collector.v_quarantine
         WHERE account = :account AND released_at IS NULL) AS quarantined"""
Rows = list[dict[str, Any]]


class SystemFigures:
    """The newest reading."""

    def __init__(
        self, database: Database, account: str, clock: Clock, timer: Timer, drawdown_limit: float
    ) -> None:
        """`drawdown_limit`: what the settings say; one that a person has set stands above it."""
        self._drawdown_limit = drawdown_limit
        self._database = database
        self._account = account
        self._clock = clock
        self._timer = timer
        self._families: list[Metric] = []

    def register(self, registry: CollectorRegistry) -> None:
        """Show them."""
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """What the last look saw; nothing before the first."""
        yield from self._families

    async def keep_looking(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self.look()
            except Retryable as error:
                # What is stale must not look alive.
                self._families = []
                _log.debug("no figures of the system", reason=str(error))
            await self._timer.sleep(_LOOK_EVERY_S)

    async def look(self) -> None:
        """Read everything once."""
        now = self._clock.now()
        midnight = datetime.combine(now.astimezone(NEW_YORK).date(), time(), NEW_YORK)

        async def work(connection: AsyncConnection) -> list[Metric]:
            async def rows(query: str, **more: Any) -> Rows:
                values = {"account": self._account, **more}
                if ":midnight" in query:
                    values["midnight"] = midnight
                found = await connection.execute(text(query), values)
                return [dict(row._mapping) for row in found]

            return [
                *[await _hops(rows)],
                *await _queues(rows, now),
                _labelled(
                    "orders",
                    "Orders of today and open ones, by state.",
                    "state",
                    await rows(_ORDERS),
                ),
                _labelled(
                    "refusals_today",
                    "Refused by risk today, by reason.",
                    "reason_code",
                    await rows(_REFUSED),
                ),
                *_services(await rows(_SERVICES)),
                *_account(await rows(_ACCOUNT), await rows(_MODE), self._drawdown_limit),
                *_waiting((await rows(_WAITING))[0]),
            ]

        self._families = await self._database.run(work)


async def _hops(rows: Any) -> Metric:
    family = GaugeMetricFamily(
        "pipeline_hop_seconds",
        f"Mean of the newest {_HOP_ROWS}, in the venue's time.",
        labels=["hop"],
    )
    for hop, query in _HOPS.items():
        found = [
            float(row["s"]) for row in await rows(query, rows=_HOP_ROWS) if row["s"] is not None
        ]
        if found:
            family.add_metric([hop], max(0.0, sum(found) / len(found)))
    return family


async def _queues(rows: Any, now: datetime) -> list[Metric]:
    depth = GaugeMetricFamily(
        "pipeline_messages_waiting", "Not read yet, by reader.", labels=["reader"]
    )
    oldest = GaugeMetricFamily(
        "pipeline_oldest_waiting_seconds",
        "Age of the oldest of them, in the venue's time.",
        labels=["reader"],
    )
    for reader, query in QUEUES.items():
        row = (await rows(query))[0]
        depth.add_metric([reader], float(row["many"]))
        since = row["oldest_at"]
        oldest.add_metric(
            [reader], 0.0 if since is None else max(0.0, (now - since).total_seconds())
        )
    return [depth, oldest]


def _labelled(name: str, text_: str, label: str, rows: Rows) -> Metric:
    family = GaugeMetricFamily(name, text_, labels=[label])
    for row in rows:
        family.add_metric([str(row[label])], float(row["many"]))
    return family


def _services(rows: Rows) -> list[Metric]:
    ready = GaugeMetricFamily("service_ready", "1 while it can do its work.", labels=["service"])
    answered = GaugeMetricFamily(
        "service_answered_seconds", "How long its health took.", labels=["service"]
    )
    for row in rows:
        ready.add_metric([row["service"]], float(row["ready"]))
        if row["answered_in_s"] is not None:
            answered.add_metric([row["service"]], float(row["answered_in_s"]))
    return [ready, answered]


def _account(marks: Rows, modes: Rows, drawdown_limit: float) -> list[Metric]:
    found: list[Metric] = []
    for row in marks:
        equity = float(row["equity"])
        found += [
            GaugeMetricFamily("account_equity_usd", "At the newest mark.", value=equity),
            GaugeMetricFamily(
                "account_drawdown_ratio", "Below the peak.", value=float(row["drawdown"])
            ),
            GaugeMetricFamily(
                "account_drawdown_limit_ratio",
                "Where trading goes to REDUCING by itself.",
                value=drawdown_limit if row["changed_limit"] is None else row["changed_limit"],
            ),
        ]
        if equity > 0:
            share = float(row["gross_exposure"]) / equity
            found.append(
                GaugeMetricFamily("account_gross_exposure_ratio", "Of equity.", value=share)
            )
    found += [
        GaugeMetricFamily(
            "trading_mode", "0 active, 1 reducing, 2 halted.", value=_MODES[row["mode"]]
        )
        for row in modes
    ]
    return found


def _waiting(row: dict[str, Any]) -> list[Metric]:
    texts = {
        "differences": ("differences_open", "Differences with the broker that nobody has closed."),
        "undelivered": ("notices_undelivered", "Messages that have not arrived."),
        "failed_jobs": ("jobs_failed_today", "Runs that failed or were missed today."),
        "quarantined": ("bars_quarantined", "Refused bars that wait for a person."),
    }
    return [
        GaugeMetricFamily(name, text_, value=float(row[key]))
        for key, (name, text_) in texts.items()
    ]
