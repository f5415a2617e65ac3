"""Reads the three topics into the staging tables, in the order that makes a running consumer no disagreement."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from confluent_kafka import Message
from sqlalchemy import Connection, Table

from consumer.operations.reconciliation import staging
from consumer.operations.reconciliation.cluster import Cluster
from consumer.operations.reconciliation.comparison import NEVER
from consumer.operations.reconciliation.evidence import (
    DeadLetterEvidence,
    ResultEvidence,
    dead_letter_evidence,
    outbound,
    result_evidence,
)
from consumer.operations.reconciliation.findings import Kind
from consumer.operations.reconciliation.positions import CLOCK_SKEW
from consumer.operations.reconciliation.reading import Span, SpanReader

Evidence = ResultEvidence | DeadLetterEvidence


class Display(Protocol):
    """Where progress is shown."""

    def begin(self, what: str, total: int) -> Callable[[int], None]:
        """Show a new step; what is returned takes how much of it was done since the last call."""
        ...


@dataclass(slots=True)
class Loaded:
    """What one output topic showed: how much of it, how much of that was not ours, and how far back it goes."""

    visible: int = 0
    other_topic: int = 0
    horizon: datetime | None = None
    _first_at: dict[int, datetime] = field(default_factory=dict)

    def saw(self, message: Message) -> None:
        """Take note of a record, and of the time at which its partition begins."""
        self.visible += 1
        partition = message.partition() or 0
        if partition not in self._first_at:
            self._first_at[partition] = datetime.fromtimestamp(max(0, message.timestamp()[1]) / 1000, UTC)

    def find_horizon(self, spans: Mapping[int, Span], beginnings: Mapping[int, int]) -> None:
        """Where the first records of a partition were deleted, what is older than those left may have been there."""
        for partition, span in spans.items():
            if beginnings[partition] > 0 and span.first <= beginnings[partition]:
                first_at = self._first_at.get(partition)
                until = NEVER if first_at is None else first_at + CLOCK_SKEW
                self.horizon = until if self.horizon is None else max(self.horizon, until)


@dataclass(frozen=True, slots=True)
class Loader:
    """Fills the staging tables for records of `spans` of one events topic."""

    connection: Connection
    cluster: Cluster
    reader: SpanReader
    display: Display
    topic: str
    topic_id: UUID
    spans: Mapping[int, Span]

    def load_ranges(self) -> None:
        """Stage which records are judged."""
        self._stage(
            staging.ranges,
            [
                {"source_partition": partition, "from_offset": span.first, "to_offset": span.next_offset}
                for partition, span in self.spans.items()
            ],
        )

    def load_events(self) -> int:
        """Stage which records the events topic holds.

        Returns:
            How many offsets of the range it does not hold any more.
        """
        beginnings = self.cluster.beginnings(self.topic)
        held = {
            partition: Span(min(max(span.first, beginnings[partition]), span.next_offset), span.next_offset)
            for partition, span in self.spans.items()
        }
        for messages in self._read(self.topic, held, "events"):
            self._stage(
                staging.events,
                [{"source_partition": message.partition(), "source_offset": message.offset()} for message in messages],
            )
        return sum(held[partition].first - span.first for partition, span in self.spans.items())

    def load_results(self, topic: str, not_before: datetime | None) -> Loaded:
        """Stage the visible results of the judged records."""
        return self._load_outputs(
            topic,
            not_before,
            what="results",
            table=staging.results,
            foreign=Kind.FOREIGN_RESULT,
            evidence_of=lambda message: result_evidence(outbound(message)),
        )

    def load_dead_letters(self, topic: str, not_before: datetime | None) -> Loaded:
        """Stage the visible dead letters of the judged records."""
        return self._load_outputs(
            topic,
            not_before,
            what="dead letters",
            table=staging.dead_letters,
            foreign=Kind.FOREIGN_DEAD_LETTER,
            evidence_of=lambda message: dead_letter_evidence(outbound(message).headers),
        )

    def _load_outputs(
        self,
        topic: str,
        not_before: datetime | None,
        *,
        what: str,
        table: Table,
        foreign: Kind,
        evidence_of: Callable[[Message], Evidence | None],
    ) -> Loaded:
        # The end as it is now, not the last stable offset: a commit shows in the group before it shows in the topics.
        ends = self.cluster.ends(topic)
        starts = self.cluster.beginnings(topic) if not_before is None else self.cluster.at_time(topic, not_before)
        spans = {partition: Span(starts[partition], end) for partition, end in ends.items()}
        loaded = Loaded()
        for messages in self._read(topic, spans, what):
            rows: list[dict[str, object]] = []
            strangers: list[dict[str, object]] = []
            for message in messages:
                loaded.saw(message)
                evidence = evidence_of(message)
                if evidence is None:
                    strangers.append(
                        {"kind": foreign.value, "at_partition": message.partition(), "at_offset": message.offset()}
                    )
                elif not self._is_of_this_topic(evidence):
                    loaded.other_topic += 1
                elif self._is_judged(evidence.at.partition, evidence.at.offset):
                    rows.append(
                        {
                            "output_partition": message.partition(),
                            "output_offset": message.offset(),
                            "source_partition": evidence.at.partition,
                            "source_offset": evidence.at.offset,
                            **evidence.columns(),
                        }
                    )
            self._stage(table, rows)
            self._stage(staging.findings, strangers)
        loaded.find_horizon(spans, self.cluster.beginnings(topic))
        return loaded

    def _is_of_this_topic(self, evidence: Evidence) -> bool:
        if isinstance(evidence, ResultEvidence):
            return evidence.topic_id == self.topic_id
        return evidence.source_topic == self.topic

    def _is_judged(self, partition: int, offset: int) -> bool:
        span = self.spans.get(partition)
        return span is not None and span.first <= offset < span.next_offset

    def _read(self, topic: str, spans: Mapping[int, Span], what: str) -> Iterator[list[Message]]:
        total = sum(max(0, span.next_offset - span.first) for span in spans.values())
        return self.reader.read(topic, spans, self.display.begin(f"reading {what}", total))

    def _stage(self, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
        with self.connection.begin():
            staging.stage(self.connection, table, rows)
