"""How are spans handed to whoever collects traces? Through OpenTelemetry's own exporter, which is an optional extra.

Nothing of it is imported unless OTEL_EXPORTER_OTLP_ENDPOINT is set. A receiver that is away loses spans and nothing else:
they are told once, in a thread of their own, by a task that nobody waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

import structlog

from scheduler.traces import Seen, Span, spans_of
from shared.domain.bar_blocks import to_epoch_us
from shared.domain.errors import Misconfigured, Retryable
from shared.ports import Timer

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

_log = structlog.get_logger(__name__)
LOOK_EVERY_S = 5.0
_NANOSECONDS = 1_000


def otlp_exporter(endpoint: str) -> SpanExporter:
    """The exporter to the collector at `endpoint`, e.g. `http://127.0.0.1:4318`.

    Raises:
        Misconfigured: the extra is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise Misconfigured(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set and OpenTelemetry is not installed: "
            "run `.venv/bin/pip install '.[tracing]'`, or empty that setting"
        ) from None
    exporter: SpanExporter = OTLPSpanExporter(
        endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=10
    )
    return exporter


class Steps(Protocol):
    """Where the rows come from."""

    async def new(self) -> Seen:
        """What is new since the last call; raises Retryable when that cannot be said now."""
        ...


class Tracer:
    """Reads what has happened and hands it on."""

    def __init__(self, account: str, steps: Steps, exporter: SpanExporter, timer: Timer) -> None:
        self._account = account
        self._steps = steps
        self._exporter = exporter
        self._timer = timer

    async def keep_telling(self) -> None:
        """Look and tell again and again, until cancelled."""
        failing = False
        while True:
            try:
                arrived = await self.look()
            except Retryable as error:
                arrived = False
                _log.debug("no traces", reason=str(error))
            if not arrived and not failing:
                _log.warning("traces are not delivered; trading does not wait for them")
            failing = not arrived
            await self._timer.sleep(LOOK_EVERY_S)

    async def look(self) -> bool:
        """Tell of everything new; False when it did not arrive, and is then lost."""
        spans = spans_of(self._account, await self._steps.new())
        if not spans:
            return True
        from opentelemetry.sdk.trace.export import SpanExportResult

        told = await asyncio.to_thread(self._exporter.export, _readable(spans))
        return told is SpanExportResult.SUCCESS


def _readable(spans: Sequence[Span]) -> list[ReadableSpan]:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    resources = {
        name: Resource({"service.name": name, "service.namespace": "full-ai-trader"})
        for name in {span.service for span in spans}
    }
    sampled = TraceFlags(TraceFlags.SAMPLED)

    def context(span: Span, span_id: int) -> SpanContext:
        return SpanContext(span.trace_id, span_id, is_remote=True, trace_flags=sampled)

    return [
        ReadableSpan(
            span.name,
            context(span, span.span_id),
            None if span.parent_id is None else context(span, span.parent_id),
            resources[span.service],
            span.attributes,
            kind=SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR if span.is_error else StatusCode.UNSET),
            start_time=_nanoseconds(span.start_at),
            end_time=_nanoseconds(span.end_at),
        )
        for span in spans
    ]


def _nanoseconds(at: datetime) -> int:
    return to_epoch_us(at) * _NANOSECONDS
