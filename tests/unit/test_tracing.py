"""Which links a window's span gets, what tracing costs when it is off, and what a collector can do to us."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, format_trace_id

from consumer.app import open_tracing
from consumer.errors import FatalError, TransientError
from consumer.records import SourceRecord
from consumer.settings import ConsumerSettings
from consumer.tracing.base import NO_TRACE
from consumer.tracing.otel import OpenTelemetryTracing

CANARY = "canary-5d1e"


def traceparent(number: int, *, sampled: bool) -> bytes:
    return f"00-{number + 1:032x}-{number + 1:016x}-0{int(sampled)}".encode()


def record(offset: int, *headers: tuple[str, bytes | None], partition: int = 0) -> SourceRecord:
    return SourceRecord(partition, offset, 0, None, None, headers, 1)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter) -> Iterator[OpenTelemetryTracing]:
    tracing = make_tracing(exporter)
    yield tracing
    tracing.close(5)


def make_tracing(exporter: InMemorySpanExporter | None) -> OpenTelemetryTracing:
    return OpenTelemetryTracing(topic="events", group_id="g", replica_id="0", app_version="1", exporter=exporter)


def span_of(tracing: OpenTelemetryTracing, exporter: InMemorySpanExporter, records: list[SourceRecord]) -> ReadableSpan:
    tracing.begin(records).end()
    tracing.close(5)
    [span] = exporter.get_finished_spans()
    return span


def test_a_large_window_links_to_sampled_traces_first(
    tracing: OpenTelemetryTracing, exporter: InMemorySpanExporter
) -> None:
    records = [record(n, ("traceparent", traceparent(n, sampled=n >= 4_990))) for n in range(5_000)]
    span = span_of(tracing, exporter, records)
    linked = [link.context.trace_id - 1 for link in span.links]
    assert linked[:10] == list(range(4_990, 5_000))
    assert linked[10:] == list(range(118)), "then the others, in the order of the source"
    assert span.attributes is not None
    assert span.attributes["messaging.batch.message_count"] == 5_000
    assert span.attributes["feedback.trace_contexts"] == 5_000
    assert span.attributes["feedback.offsets"] == ("0:0-4999",)
    first = span.links[0].attributes
    assert first is not None
    assert (first["messaging.destination.partition.id"], first["messaging.kafka.offset"]) == ("0", 4_990)


def test_events_of_one_request_share_one_link(tracing: OpenTelemetryTracing, exporter: InMemorySpanExporter) -> None:
    records = [record(n, ("traceparent", traceparent(7, sampled=True)), ("tracestate", b"v=1")) for n in range(300)]
    span = span_of(tracing, exporter, records)
    [link] = span.links
    assert link.context.trace_id == 8
    assert link.context.trace_state["v"] == "1"
    assert link.context.is_remote


def test_what_is_no_trace_context_is_passed_over_in_silence(
    tracing: OpenTelemetryTracing, exporter: InMemorySpanExporter, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = [b"", b"\xff\xfe", CANARY.encode(), b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"]
    good = ("traceparent", traceparent(1, sampled=True))
    states = [b"\xff", f"{CANARY} = {CANARY},,=".encode(), CANARY.encode() * 100]
    records = [record(n, ("traceparent", value)) for n, value in enumerate(bad)]
    records += [
        record(n, ("traceparent", traceparent(n, sampled=True)), ("tracestate", s)) for n, s in enumerate(states)
    ]
    span = span_of(tracing, exporter, [*records, record(99, good), record(100, ("traceparent", None))])
    assert sorted(link.context.trace_id - 1 for link in span.links) == [0, 1, 2]
    assert CANARY not in "".join(capfd.readouterr()) + span.to_json()


def test_the_limit_of_links_is_opentelemetrys_own(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SPAN_LINK_COUNT_LIMIT", "3")
    records = [record(n, ("traceparent", traceparent(n, sampled=n == 9))) for n in range(10)]
    span = span_of(make_tracing(exporter), exporter, records)
    assert [link.context.trace_id - 1 for link in span.links] == [9, 0, 1]
    assert span.dropped_links == 0


def test_an_unsampled_window_costs_no_further_spans(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    tracing = make_tracing(exporter)
    assert tracing.begin([record(0)]) is NO_TRACE
    tracing.close(5)


def test_a_failure_names_its_class_and_quotes_nobody(
    tracing: OpenTelemetryTracing, exporter: InMemorySpanExporter
) -> None:
    trace = tracing.begin([record(0)])
    with pytest.raises(KeyError), trace.step("persist"):
        raise KeyError(CANARY)
    trace.end(TransientError("PostgreSQL: 57P01"))
    tracing.close(5)
    step, window = exporter.get_finished_spans()
    assert (step.status.status_code, step.status.description) == (StatusCode.ERROR, None)
    assert step.attributes is not None
    assert step.attributes["error.type"] == "KeyError"
    assert (window.status.status_code, window.status.description) == (StatusCode.ERROR, "PostgreSQL: 57P01")
    assert step.parent is not None
    assert format_trace_id(step.parent.trace_id) == format_trace_id(window.context.trace_id)
    assert CANARY not in step.to_json() + window.to_json()


def test_service_names_from_outside_win(exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "voice-of-the-customer")
    resource = span_of(make_tracing(exporter), exporter, [record(0)]).resource.attributes
    assert (resource["service.name"], resource["service.instance.id"]) == ("voice-of-the-customer", "g-0")


def test_a_collector_that_never_answers_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "5")
        tracing = make_tracing(None)
        started_s = time.monotonic()
        # Twice what the queue holds: the surplus is dropped, nothing waits.
        for number in range(4_096):
            tracing.begin([record(number)]).end()
        tracing.close(0.5)
        assert time.monotonic() - started_s < 4, "it waited for the collector"


def test_off_means_that_opentelemetry_is_not_even_imported() -> None:
    program = (
        "import sys, consumer.__main__\n"
        "from consumer.app import open_tracing\n"
        "from consumer.settings import ConsumerSettings\n"
        "open_tracing(ConsumerSettings())\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'opentelemetry'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_on_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    monkeypatch.delitem(sys.modules, "consumer.tracing.otel")
    with pytest.raises(FatalError, match=r"pip install 'feedback-stream\[consumer,otel\]'"):
        open_tracing(ConsumerSettings(tracing=True))


def test_an_unusable_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SPAN_LINK_COUNT_LIMIT", "many")
    with pytest.raises(FatalError, match=r"OTEL_SPAN_LINK_COUNT_LIMIT"):
        open_tracing(ConsumerSettings(tracing=True))
