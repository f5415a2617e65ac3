"""What the demonstration does: a burst with every hostile record in it, then a steady flow, then the audit."""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from demo.audit import AuditReport, audit, count_duplicate_inputs
from demo.environment import Environment
from demo.hostile import HostileRecord, hostile_records
from demo.messages import endless_events
from demo.observe import ResultWatch, observe, topic_id
from demo.processes import ConsumerProcess
from demo.progress import Progress
from demo.publish import RawPublisher, published_event
from demo.records import PublishedRecord, VisibleRecord
from producer.client import FeedbackPublisher
from producer.delivery import Receipt
from schemas import headers
from schemas.event import FeedbackEvent

BURST_EVENTS: Final = 1_200
STEADY_S: Final = 18.0
_STALL_S: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was measured.

    `events_per_s` counts results of the burst from its first publish to its last visible result. Latencies of the
    steady flow run from the moment an event was due to be published until a read_committed reader saw its result.
    """

    burst_s: float
    events_per_s: float
    steady_rate_per_s: float
    latency_p50_ms: float
    latency_p99_ms: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Everything that the summary is made of. `results` are those read from the topic."""

    report: AuditReport
    figures: Figures
    hostile_kinds: int
    results: Sequence[VisibleRecord]


def run_scenario(place: Environment, consumer: ConsumerProcess, progress: Progress) -> Outcome:
    """Publish, wait on counts, stop the consumer, audit.

    Raises:
        SetupError: the consumer ended by itself.
        KafkaException, SQLAlchemyError: the brokers or the database went away.
    """
    hostile = hostile_records(place.partitions, place.max_message_bytes)
    early, late = ([record for record in hostile if record.late is is_late] for is_late in (False, True))
    events = endless_events()
    with (
        ResultWatch(place.kafka, place.results_topic, place.dead_letter_topic) as watch,
        FeedbackPublisher(place.connection, topic=place.events_topic) as publisher,
    ):
        flow = _Flow(place, consumer, progress, watch, publisher)
        burst_s, burst_results = flow.burst(list(islice(events, BURST_EVENTS)), early)
        rate_per_s = max(1.0, burst_results / burst_s / 2)
        latencies_s = flow.steady(events, rate_per_s, late)
    with progress.step("Stopping the consumer by SIGTERM"):
        consumer.stop()
    with progress.step("Auditing topics and tables"):
        observation = observe(
            place.kafka,
            place.database,
            events_topic=place.events_topic,
            results_topic=place.results_topic,
            dead_letter_topic=place.dead_letter_topic,
        )
        report = audit(flow.published, observation)
    return Outcome(
        report=report,
        figures=Figures(
            burst_s=burst_s,
            events_per_s=burst_results / burst_s,
            steady_rate_per_s=rate_per_s,
            latency_p50_ms=percentile(latencies_s, 0.50) * 1_000,
            latency_p99_ms=percentile(latencies_s, 0.99) * 1_000,
        ),
        hostile_kinds=len({record.kind for record in hostile}),
        results=observation.results,
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value that at least `share` of all do not exceed; NaN of nothing."""
    return sorted(values)[math.ceil(share * len(values)) - 1] if values else math.nan


class _Flow:
    def __init__(
        self,
        place: Environment,
        consumer: ConsumerProcess,
        progress: Progress,
        watch: ResultWatch,
        publisher: FeedbackPublisher,
    ) -> None:
        self._results_topic = place.results_topic
        self._topic_id = topic_id(place.kafka, place.events_topic)
        self._consumer = consumer
        self._progress = progress
        self._watch = watch
        self._publisher = publisher
        self._raw = RawPublisher(place.kafka, place.events_topic, place.max_message_bytes)
        self._sent: list[tuple[FeedbackEvent, Receipt]] = []

    @property
    def published(self) -> list[PublishedRecord]:
        """Every record so far, once Kafka has acknowledged them all."""
        return [*(published_event(event, receipt.result(0)) for event, receipt in self._sent), *self._raw.published]

    def burst(self, events: Sequence[FeedbackEvent], early: Sequence[HostileRecord]) -> tuple[float, int]:
        """Publish as fast as possible, hostile records spread evenly among the events.

        Returns:
            Seconds from the first publish to the last visible result, and how many results.
        """
        spacing = len(events) // len(early)
        started_s = time.monotonic()
        for index, event in enumerate(events):
            if index % spacing == 0 and index // spacing < len(early):
                self._raw.send(early[index // spacing])
            self._publish(event)
        results = self._wait("A burst of real messages with every hostile record among them")
        return max((record.observed_s for record in results), default=time.monotonic()) - started_s, len(results)

    def steady(self, events: Iterator[FeedbackEvent], rate_per_s: float, late: Iterable[HostileRecord]) -> list[float]:
        """Publish at a fixed rate for `STEADY_S`, whatever the answers do: a slow one must not thin out the load.

        Returns:
            For each event, in seconds: from when it was due to be published to when its result was visible.
        """
        for record in late:
            self._raw.send(record)
        due_s: dict[str, float] = {}
        count = int(rate_per_s * STEADY_S)
        started_s = time.monotonic()
        with self._progress.count(f"A steady flow of {rate_per_s:.0f} messages/s", count) as advance:
            for index, event in enumerate(islice(events, count)):
                due = started_s + index / rate_per_s
                time.sleep(max(0.0, due - time.monotonic()))
                due_s[str(event.event_id)] = due
                self._publish(event)
                self._consumer.check()
                advance(index + 1)
        results = ((record.header(headers.EVENT_ID), record.observed_s) for record in self._wait("All results"))
        return [seen_s - due_s[event_id] for event_id, seen_s in results if event_id in due_s]

    def _publish(self, event: FeedbackEvent) -> None:
        self._sent.append((event, self._publisher.publish(event)))

    def _wait(self, title: str) -> list[VisibleRecord]:
        self._publisher.flush()
        self._raw.flush()
        published = self.published
        outputs = len(published) - count_duplicate_inputs(published, self._topic_id)
        with self._progress.count(title, outputs) as advance:

            def each_time(count: int) -> None:
                self._consumer.check()
                advance(count)

            self._watch.wait_for(outputs, stall_s=_STALL_S, each_time=each_time)
        return [record for record in self._watch.seen if record.topic == self._results_topic]
