"""Windows as OpenTelemetry spans. Only imported where tracing is on: it needs the extra `otel`.

Span names, kinds and attributes follow OpenTelemetry's semantic conventions for messaging and Kafka (still in
development there, therefore written out here); what those do not name begins with `feedback.`.
"""

import logging
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
    use_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from consumer.errors import ConsumerError
from consumer.outcomes import StandingOutcome
from consumer.records import SourceRecord
from consumer.tracing.base import NO_TRACE, WindowTrace
from schemas import headers

log = structlog.get_logger(__name__)

_PARTITION: Final = "messaging.destination.partition.id"
_OFFSET: Final = "messaging.kafka.offset"
_TRACE_CONTEXT: Final = TraceContextTextMapPropagator()
# Some collectors take a key in their URL.
_URL_PATH: Final = re.compile(r"url: \S+")
# W3C: version-traceid-spanid-flags; the lowest bit of the flags says that the publisher's trace is kept.
_FLAGS: Final = slice(53, 55)


class OpenTelemetryTracing:
    """Spans of windows, exported in the background; a collector that is away costs spans and nothing else.

    Sampling, limits, batching and the collector's address are OpenTelemetry's own `OTEL_*` variables.

    Args:
        topic: the events topic.
        group_id: the consumer group.
        replica_id: which member of the group.
        app_version: the version of this program.
        exporter: where spans go; by default OTLP over HTTP.

    Raises:
        ValueError: an `OTEL_*` variable makes no sense.
    """

    def __init__(
        self, *, topic: str, group_id: str, replica_id: str, app_version: str, exporter: SpanExporter | None = None
    ) -> None:
        _route_logs()
        resource = {
            "service.name": "feedback-consumer",
            "service.version": app_version,
            "service.instance.id": f"{group_id}-{replica_id}",
            **OTELResourceDetector().detect().attributes,
        }
        limits = SpanLimits()
        self._provider = TracerProvider(resource=Resource.create(resource), span_limits=limits, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("feedback-stream", app_version)
        self._max_links = limits.max_links
        self._name = f"process {topic}"
        self._attributes = {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": topic,
            "messaging.consumer.group.name": group_id,
            "messaging.client.id": f"feedback-consumer-{replica_id}",
        }

    def begin(self, records: Sequence[SourceRecord]) -> WindowTrace:
        """See `Tracing`. A trace of its own, because its records come from many; links lead to theirs."""
        contexts = _trace_contexts(records)
        span = self._tracer.start_span(
            self._name,
            context=Context(),
            kind=SpanKind.CONSUMER,
            attributes={
                **self._attributes,
                "messaging.batch.message_count": len(records),
                "feedback.trace_contexts": len(contexts),
                "feedback.offsets": _offset_ranges(records),
            },
            links=_links(contexts, self._max_links),
        )
        return _SpanOfWindow(self._tracer, span) if span.is_recording() else NO_TRACE

    def close(self, timeout_s: float) -> None:
        """See `Tracing`."""
        # The SDK's own shutdown waits up to 30 s for a collector that does not answer, and takes no time-out.
        closing = threading.Thread(target=self._provider.shutdown, name="close-tracing", daemon=True)
        closing.start()
        closing.join(timeout_s)
        if closing.is_alive():
            log.warning("spans_left_behind", waited_s=round(timeout_s, 1))


class _SpanOfWindow:
    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self._context = set_span_in_context(span, Context())

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        span = self._tracer.start_span(name, context=self._context)
        try:
            with use_span(span, record_exception=False, set_status_on_exception=False):
                yield
        except BaseException as error:
            _fail(span, error)
            raise
        finally:
            span.end()

    def settled(self, stands: Sequence[tuple[SourceRecord, StandingOutcome]]) -> None:
        for outcome, count in Counter(standing.outcome for _, standing in stands).items():
            self._span.set_attribute(f"feedback.records.{outcome}", count)
        for record, standing in stands:
            if standing.outcome in {"dead_letter", "conflict"}:
                self._span.add_event(
                    "dead_letter",
                    {
                        _PARTITION: str(record.partition),
                        _OFFSET: record.offset,
                        "feedback.stage": standing.stage or "",
                        "error.type": standing.error_class or "",
                    },
                )

    def end(self, error: BaseException | None = None) -> None:
        if error is not None:
            _fail(self._span, error)
        self._span.end()


def _fail(span: Span, error: BaseException) -> None:
    # Only our own errors promise a message without input; others may quote an event.
    description = str(error) if isinstance(error, ConsumerError) else None
    span.set_status(Status(StatusCode.ERROR, description))
    span.set_attribute("error.type", type(error).__name__)


def _trace_contexts(records: Sequence[SourceRecord]) -> dict[bytes, SourceRecord]:
    """Each distinct traceparent with the first record that carries it: one request may publish thousands."""
    found: dict[bytes, SourceRecord] = {}
    for record in records:
        traceparent = record.header(headers.TRACEPARENT)
        if traceparent is not None:
            found.setdefault(traceparent, record)
    return found


def _links(contexts: dict[bytes, SourceRecord], limit: int | None) -> list[Link]:
    """At most `limit` links, those whose trace its publisher keeps first, then in source order."""
    links: list[Link] = []
    for traceparent, record in sorted(contexts.items(), key=lambda item: not _is_sampled(item[0])):
        if limit is not None and len(links) >= limit:
            break
        carrier = {
            name: value.decode("ascii", "replace")
            for name in (headers.TRACEPARENT, headers.TRACESTATE)
            if (value := traceparent if name == headers.TRACEPARENT else record.header(name)) is not None
        }
        context = get_current_span(_TRACE_CONTEXT.extract(carrier, Context())).get_span_context()
        if context.is_valid:
            links.append(Link(context, {_PARTITION: str(record.partition), _OFFSET: record.offset}))
    return links


def _is_sampled(traceparent: bytes) -> bool:
    try:
        return bool(int(traceparent[_FLAGS], 16) & 1)
    except ValueError:
        return False


def _offset_ranges(records: Sequence[SourceRecord]) -> list[str]:
    """`partition:first-last` for each partition of the window."""
    ranges: dict[int, tuple[int, int]] = {}
    for record in records:
        first, last = ranges.get(record.partition, (record.offset, record.offset))
        ranges[record.partition] = min(first, record.offset), max(last, record.offset)
    return [f"{partition}:{first}-{last}" for partition, (first, last) in sorted(ranges.items())]


class _ToStructlog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log.log(record.levelno, "tracing_client", message=_URL_PATH.sub("url: ...", record.getMessage()))


def _route_logs() -> None:
    """The SDK's complaints as structured lines; only of parts that never quote a header of a record."""
    everything = logging.getLogger("opentelemetry")
    if everything.handlers:
        return
    everything.addHandler(logging.NullHandler())
    everything.propagate = False
    for name in ("opentelemetry.sdk", "opentelemetry.exporter"):
        logging.getLogger(name).addHandler(_ToStructlog(level=logging.WARNING))
