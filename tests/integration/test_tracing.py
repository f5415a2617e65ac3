"""Windows as spans: through the real engine, broker and database, and by OTLP out of the real process."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from signal import SIGTERM

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from consumer.app import Consumer
from consumer.settings import ConsumerSettings
from consumer.tracing.base import Tracing
from consumer.tracing.otel import OpenTelemetryTracing
from tests.integration.harness import Bench, make_event, turn_until, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

CANARY = "canary-b30f"
STEPS = ["decode", "look_up", "mark", "classify", "route", "persist", "read_back", "commit"]


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Where the spans of consumers in this process go."""
    found = InMemorySpanExporter()

    def open_in_memory(settings: ConsumerSettings) -> Tracing:
        return OpenTelemetryTracing(
            topic=settings.events_topic,
            group_id=settings.group_id,
            replica_id=settings.replica_id,
            app_version="1",
            exporter=found,
        )

    monkeypatch.setattr("consumer.app.open_tracing", open_in_memory)
    return found


def spans_of(consumer: Consumer, exporter: InMemorySpanExporter) -> list[tuple[ReadableSpan, list[ReadableSpan]]]:
    """Each window's span with its steps, in the order in which they began."""
    consumer.tracing.close(10)
    spans = sorted(exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
    windows = [span for span in spans if span.parent is None]
    families = [
        (window, [span for span in spans if span.parent is not None and span.parent.span_id == window.context.span_id])
        for window in windows
    ]
    assert len(spans) == len(windows) + sum(len(steps) for _, steps in families), "a step without its window"
    for window, steps in families:
        for step in steps:
            assert step.context.trace_id == window.context.trace_id
            assert (window.start_time or 0) <= (step.start_time or 0)
    return families


def traceparent(number: int) -> bytes:
    return f"00-{number:032x}-{number:016x}-01".encode()


def test_a_window_is_a_span_that_links_to_its_publishers(bench: Bench, exporter: InMemorySpanExporter) -> None:
    for number in (1, 2, 3):
        event = make_event(CANARY, customer_id=CANARY, metadata={"number": number})
        bench.publish([event], partition=0, key=CANARY.encode(), headers=(("traceparent", traceparent(number)),))
    bench.publish([CANARY.encode()], partition=0, key=b"k", headers=(("traceparent", traceparent(4)),))
    consumer = bench.consumer(max_wait_ms=500)
    turn_until(lambda: bench.has_settled(4), consumer)

    [(window, steps)] = spans_of(consumer, exporter)
    assert (window.name, window.kind) == (f"process {bench.topics.events}", SpanKind.CONSUMER)
    assert [link.context.trace_id for link in window.links] == [1, 2, 3, 4]
    assert [link.context.span_id for link in window.links] == [1, 2, 3, 4]
    assert [step.name for step in steps] == STEPS
    assert window.attributes is not None
    expected = {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.batch.message_count": 4,
        "messaging.destination.name": bench.topics.events,
        "feedback.offsets": ("0:0-3",),
        "feedback.records.classified": 3,
        "feedback.records.dead_letter": 1,
    }
    assert expected.items() <= dict(window.attributes).items()
    [letter] = window.events
    assert letter.name == "dead_letter"
    assert dict(letter.attributes or {}) == {
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": 3,
        "feedback.stage": "decode",
        "error.type": "not_json",
    }
    assert window.status.status_code is StatusCode.UNSET
    told = "".join(span.to_json() for span in (window, *steps))
    assert CANARY not in told
    # The results carry their publishers' contexts, not ours: a replay must give the same bytes.
    by_number = {result.document["event"]["metadata"]["number"]: result for result in bench.results()}
    assert {n: result.headers["traceparent"] for n, result in by_number.items()} == {
        n: traceparent(n) for n in (1, 2, 3)
    }


def test_overlapping_windows_keep_their_steps_apart_and_an_abort_shows(
    bench: Bench, exporter: InMemorySpanExporter
) -> None:
    events = [make_event(f"message {n}") for n in range(200)]
    bench.publish(events)
    consumer = bench.consumer(max_window_records=20)
    transport = consumer.engine._transport
    commit = transport.commit
    commits = 0

    def abort_the_third() -> None:
        nonlocal commits
        commits += 1
        if commits == 3:
            transport._producer._abort("INVALID_TXN_STATE")  # type: ignore[attr-defined]
        commit()

    transport.commit = abort_the_third  # type: ignore[method-assign]
    turn_until(lambda: bench.has_settled(200), consumer)
    bench.assert_exactly_once(events)

    families = spans_of(consumer, exporter)
    done = [(window, steps) for window, steps in families if window.status.status_code is StatusCode.UNSET]
    assert sum((window.attributes or {})["feedback.records.classified"] for window, _ in done) == 200  # type: ignore[misc]
    assert all([step.name for step in steps] == STEPS for _, steps in done)
    assert any((later.start_time or 0) < (earlier.end_time or 0) for (earlier, _), (later, _) in pairwise(families))
    aborted, steps = next((window, steps) for window, steps in families if not window.status.is_ok)
    assert steps[-1].name == "commit"
    for span in (aborted, steps[-1]):
        told = (span.status.description, (span.attributes or {})["error.type"])
        assert told == ("INVALID_TXN_STATE", "TransactionAbortedError")


class Collector:
    """An OTLP/HTTP receiver that keeps the spans it is sent."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.spans: list[Span] = []
        self.services: set[str] = set()

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        for resource_spans in request.resource_spans:
            names = {item.key: item.value.string_value for item in resource_spans.resource.attributes}
            self.services.add(names["service.name"])
            for scope_spans in resource_spans.scope_spans:
                self.spans.extend(scope_spans.spans)


@contextmanager
def collecting() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.take(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield collector
        server.shutdown()
        serving.join()


def test_the_process_sends_its_spans_before_it_ends(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        # Longer than the test: what arrives, arrives because the process was told to stop.
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
        running = bench.process(tracing=True)
        bench.publish([make_event()], headers=(("traceparent", traceparent(5)),))
        bench.wait_for_outcomes(1, running)
        assert running.end(SIGTERM) == 0
    assert collector.services == {"feedback-consumer"}
    [window] = [span for span in collector.spans if not span.parent_span_id]
    assert [link.trace_id for link in window.links] == [(5).to_bytes(16)]
    assert sorted(span.name for span in collector.spans if span.parent_span_id) == sorted(STEPS)


def test_without_a_collector_the_stream_goes_on_and_the_process_ends_in_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    running = bench.process(tracing=True, shutdown_budget_s=2)
    events = [make_event(f"message {n}") for n in range(100)]
    bench.publish(events)
    bench.wait_for_outcomes(100, running)
    bench.assert_exactly_once(events)
    wait_until(lambda: "tracing_client" in running.log_path.read_text(), "a word about the collector")
    assert running.end(SIGTERM) == 0
    assert [line["event"] for line in running.log()][-1] == "stopped", "every line is JSON, the last one as ever"
