"""Traces: one for each instant, with every step that came of it, from keys that are stored anyway."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from scheduler.adapters.span_export import Tracer, otlp_exporter
from scheduler.traces import Seen, Span, spans_of, trace_id_of
from shared.testing.time import InstantTimer

AT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
SOURCE = f"evaluation:1Min:{AT.isoformat()}"


def later(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def a_way() -> Seen:
    """One bar that became a fill."""
    return Seen(
        [{"id": 7, "source": SOURCE, "end_at": AT, "announced_at": later(0.1), "symbols": 2, "decidable": True}],
        [{"id": 3, "source": SOURCE, "created_at": later(0.2), "announced_at": later(0.1)}],
        [
            {
                "id": 5, "source": SOURCE, "decision_id": "d1", "signal_id": "s1", "symbol": "AAPL", "strategy": "x",
                "outcome": "approved", "reason_code": None, "decided_at": later(0.3), "evaluated_at": later(0.2),
            }
        ],
        [
            {
                "client_order_id": "c1", "broker_order_id": "b1", "decision_id": "d1", "symbol": "AAPL", "side": "buy",
                "purpose": "entry", "quantity": 10, "state": "FILLED", "created_at": later(0.31), "act_from": AT,
                "sent_at": later(0.4), "sequence": 1, "source": SOURCE,
            }
        ],
        [
            {
                "id": 9, "execution_id": "x1", "client_order_id": "c1", "symbol": "AAPL", "quantity": 10, "price": 100,
                "executed_at": later(1), "sent_at": later(0.4), "source": SOURCE,
            }
        ],
    )  # fmt: skip


def test_all_steps_of_an_instant_are_one_trace_each_below_the_one_before() -> None:
    spans = spans_of("paper", a_way())

    assert {span.trace_id for span in spans} == {trace_id_of("paper", SOURCE)}
    assert [span.parent_id for span in spans] == [None, *[span.span_id for span in spans[:-1]]]
    assert [span.service for span in spans] == [
        "data_collector",
        "strategy_engine",
        "risk_manager",
        "trade_executor",
        "trade_executor",
    ]
    assert [(span.start_at, span.end_at) for span in spans[:2]] == [
        (AT, later(0.1)),
        (later(0.1), later(0.2)),
    ]
    assert spans[3].attributes["client_order_id"] == "c1"


def test_looking_twice_makes_the_same_spans_and_another_account_others() -> None:
    assert spans_of("paper", a_way()) == spans_of("paper", a_way())

    mine, other = spans_of("paper", a_way()), spans_of("live", a_way())
    assert not {s.span_id for s in mine} & {s.span_id for s in other}
    assert mine[0].trace_id != other[0].trace_id


def test_an_order_given_by_hand_is_a_trace_of_its_own_from_its_decision_on() -> None:
    way = a_way()
    by_hand = {**way.decisions[0], "source": "manual:s1", "evaluated_at": None}

    [span] = spans_of("paper", Seen(decisions=[by_hand]))

    assert span.parent_id is None
    assert span.trace_id == trace_id_of("paper", "manual:s1")


def test_a_venue_whose_clock_is_behind_makes_no_span_that_ends_before_it_begins() -> None:
    fill = {**a_way().fills[0], "executed_at": later(-3)}

    [span] = spans_of("paper", Seen(fills=[fill]))

    assert span.start_at == span.end_at == later(-3)


class Steps:
    """New rows at each look, then none."""

    def __init__(self, *looks: Seen) -> None:
        self.looks = list(looks)

    async def new(self) -> Seen:
        return self.looks.pop(0) if self.looks else Seen()


def a_tracer(exporter: Any, *looks: Seen) -> Tracer:
    return Tracer("paper", Steps(*looks), exporter, InstantTimer())


def test_spans_arrive_at_the_exporter_with_ids_parents_services_and_times() -> None:
    exporter = InMemorySpanExporter()

    assert asyncio.run(a_tracer(exporter, a_way()).look())

    told = exporter.get_finished_spans()
    ours: list[Span] = spans_of("paper", a_way())
    assert [s.context.span_id for s in told] == [span.span_id for span in ours]
    assert [s.parent and s.parent.span_id for s in told] == [span.parent_id for span in ours]
    assert [s.resource.attributes["service.name"] for s in told] == [s.service for s in ours]
    assert told[0].start_time == int(AT.timestamp()) * 10**9
    assert told[0].end_time == told[0].start_time + 10**8


def test_a_receiver_that_is_away_is_said_and_nothing_more() -> None:
    class Away(InMemorySpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.FAILURE

    async def looks() -> tuple[bool, bool]:
        tracer = a_tracer(Away(), a_way())
        return await tracer.look(), await tracer.look()

    assert asyncio.run(looks()) == (False, True)


def test_the_exporter_asks_the_path_that_the_protocol_names() -> None:
    exporter: Any = otlp_exporter("http://127.0.0.1:4318/")

    assert exporter._endpoint == "http://127.0.0.1:4318/v1/traces"
    exporter.shutdown()


def test_a_service_without_the_setting_imports_nothing_of_it() -> None:
    code = (
        "import sys, scheduler.__main__, trade_executor.__main__; "
        "print([n for n in sys.modules if n.startswith(('opentelemetry.sdk.trace', 'opentelemetry.exporter'))])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        text=True,
    )

    assert said.stdout.strip() == "[]"
