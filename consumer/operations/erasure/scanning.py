"""Reads the three topics once for all customers, and notes which records are theirs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from confluent_kafka import Message
from sqlalchemy import Connection

from consumer.operations.dead_letters.letter import DeadLetter, headers_of
from consumer.operations.erasure import work
from consumer.operations.erasure.holdings import Holdings
from consumer.operations.erasure.matching import Found, Match, Matcher
from consumer.operations.reconciliation.cluster import Cluster
from consumer.operations.reconciliation.loading import Display
from consumer.operations.reconciliation.reading import Span, SpanReader
from consumer.operations.reconciliation.staging import stage
from consumer.outcomes import Coordinates
from consumer.records import SourceRecord
from consumer.settings import ConsumerSettings

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scan:
    """One look at everything that the topics hold when it begins; what is published later is not part of it."""

    connection: Connection
    settings: ConsumerSettings
    topic_id: UUID
    display: Display
    staged_matches: frozenset[Match]

    def run(self, customers: Sequence[Sequence[str]]) -> list[Holdings]:
        """Stage the records of customers, by their names, in `work.records`, and say what each topic holds of each.

        Raises:
            TransientError: the cluster does not answer.
        """
        matcher = Matcher(customers, self.topic_id)
        holdings = [Holdings() for _ in customers]
        settings = self.settings
        client = {**settings.as_librdkafka(), **settings.librdkafka}
        topics = (settings.events_topic, settings.dead_letter_topic, settings.results_topic)
        cluster = Cluster(client, settings.group_id)
        # All ends at once: what the consumer moves from one topic to another meanwhile is met in the first.
        spans = {topic: _spans(cluster, topic) for topic in topics}
        with SpanReader(client, settings.group_id) as reader:
            for topic in topics:
                total = sum(span.next_offset - span.first for span in spans[topic].values())
                advance = self.display.begin(f"searching {topic}", total)
                for messages in reader.read(topic, spans[topic], advance):
                    self._note(topic, messages, matcher, holdings)
        return holdings

    def _note(self, topic: str, messages: Sequence[Message], matcher: Matcher, holdings: Sequence[Holdings]) -> None:
        staged: list[Row] = []
        for message in messages:
            found, row = self._look_at(topic, message, matcher)
            if found is None:
                continue
            at = Coordinates(message.partition() or 0, message.offset() or 0)
            if row is not None and found.match is Match.MENTION:
                # As `dlq show` takes them.
                at = Coordinates(row["source_partition"], row["source_offset"])
            for customer in found.customers:
                holdings[customer].add(topic, found.match, at, message.timestamp()[1])
                if row is not None and found.match in self.staged_matches:
                    staged.append({"customer": customer, "event_id": found.event_id, **row})
        with self.connection.begin():
            stage(self.connection, work.records, staged)

    def _look_at(self, topic: str, message: Message, matcher: Matcher) -> tuple[Found | None, Row | None]:
        """Whom a record concerns, and the verdict that goes with it, by its coordinates in the events topic."""
        if topic == self.settings.results_topic:
            return matcher.result(message.value(), message.key()), None
        if topic == self.settings.events_topic:
            record = _record(message)
            return matcher.event(record), self._row(record.partition, record.offset, None)
        letter = DeadLetter.from_message(message, self.settings.events_topic)
        if letter is None:
            # Of another topic: nothing of this one's ledger belongs to it.
            return matcher.event(_record(message)), None
        original = SourceRecord(
            letter.source.partition,
            letter.source.offset,
            message.timestamp()[1],
            letter.key,
            letter.value,
            letter.headers,
            epoch=0,
        )
        return matcher.event(original), self._row(original.partition, original.offset, letter.first_failed_at)

    def _row(self, partition: int, offset: int, recorded_at: datetime | None) -> Row:
        return {
            "source_topic_id": self.topic_id,
            "source_partition": partition,
            "source_offset": offset,
            "recorded_at": recorded_at,
        }


def _spans(cluster: Cluster, topic: str) -> Mapping[int, Span]:
    beginnings, ends = cluster.beginnings(topic), cluster.ends(topic)
    return {partition: Span(beginnings[partition], end) for partition, end in ends.items()}


def _record(message: Message) -> SourceRecord:
    return SourceRecord(
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        message.key(),
        message.value(),
        headers_of(message),
        epoch=0,
    )
