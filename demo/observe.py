"""Reads what stands: the topics as a read_committed consumer sees them, and the tables."""

import threading
import time
import uuid
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Self, cast
from uuid import UUID

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from sqlalchemy import Engine, select

from demo.audit import Observation
from demo.records import VisibleRecord
from schemas.connection import LibrdkafkaConfig
from schemas.tables import feedback, record_outcomes

_REQUEST_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.1
_BATCH_RECORDS: Final = 500


def observe(
    kafka: LibrdkafkaConfig, engine: Engine, *, events_topic: str, results_topic: str, dead_letter_topic: str
) -> Observation:
    """Read both output topics from beginning to end and both tables whole.

    Nothing may write meanwhile: stop the consumer, or wait until it has answered everything.

    Raises:
        KafkaException: the brokers did not answer.
        sqlalchemy.exc.SQLAlchemyError: the database did not answer.
    """
    results = read_to_end(kafka, results_topic)
    dead_letters = read_to_end(kafka, dead_letter_topic)
    with engine.connect() as connection:
        rows = [row._asdict() for row in connection.execute(select(feedback))]
        outcomes = [row._asdict() for row in connection.execute(select(record_outcomes))]
    return Observation(
        topic_id=topic_id(kafka, events_topic), results=results, dead_letters=dead_letters, rows=rows, outcomes=outcomes
    )


def topic_id(kafka: LibrdkafkaConfig, topic: str) -> UUID:
    """Kafka's own id of a topic, which changes when the topic is made anew."""
    # Held by a name: a client that is collected takes its pending answers with it.
    admin = AdminClient(kafka)
    described = admin.describe_topics(TopicCollection([topic]), request_timeout=_REQUEST_TIMEOUT_S)
    found = described[topic].result().topic_id
    high, low = found.get_most_significant_bits(), found.get_least_significant_bits()
    mask = (1 << 64) - 1
    return UUID(int=(high & mask) << 64 | (low & mask))


def read_to_end(kafka: LibrdkafkaConfig, topic: str) -> list[VisibleRecord]:
    """All records of a topic that a read_committed reader sees now, each partition in its order."""
    reader, partitions = _reader(kafka, [topic], tell_ends=True)
    records: list[VisibleRecord] = []
    unfinished = {(partition.topic, partition.partition) for partition in partitions}
    deadline_s = time.monotonic() + _REQUEST_TIMEOUT_S
    try:
        while unfinished:
            for message in reader.consume(_BATCH_RECORDS, _POLL_S):
                error = message.error()
                if error is None:
                    records.append(_visible(message))
                    deadline_s = time.monotonic() + _REQUEST_TIMEOUT_S
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 (librdkafka's own name for it)
                    unfinished.discard((message.topic(), message.partition()))
                elif not error.retriable():
                    raise KafkaException(error)
            if time.monotonic() > deadline_s:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{topic} cannot be read to its end"))  # noqa: SLF001
    finally:
        reader.close()
    return records


class ResultWatch:
    """Sees results and dead letters as soon as a read_committed reader can, in a thread of its own."""

    def __init__(self, kafka: LibrdkafkaConfig, results_topic: str, dead_letter_topic: str) -> None:
        self._reader, _ = _reader(kafka, [results_topic, dead_letter_topic])
        self._seen: list[VisibleRecord] = []
        self._failure: KafkaException | None = None
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="result-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._reader.close()

    @property
    def seen(self) -> list[VisibleRecord]:
        """Results and dead letters seen so far, in the order in which they were seen."""
        with self._changed:
            return list(self._seen)

    def wait_for(self, count: int, *, stall_s: float, each_time: Callable[[int], None]) -> None:
        """Wait until `count` outputs have been seen since the start, or until none came for `stall_s`.

        `each_time` is called with the count so far, several times a second; what it raises ends the waiting.

        Raises:
            KafkaException: the reader failed.
        """
        last_count, last_change_s = -1, time.monotonic()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: len(self._seen) >= count or self._failure is not None, 0.2)
                now_count, failure = len(self._seen), self._failure
            if failure is not None:
                raise failure
            each_time(now_count)
            if now_count >= count:
                return
            if now_count != last_count:
                last_count, last_change_s = now_count, time.monotonic()
            elif time.monotonic() - last_change_s > stall_s:
                return

    def _watch(self) -> None:
        while not self._stopping.is_set():
            try:
                records = [_visible(message) for message in self._poll()]
            except KafkaException as error:
                with self._changed:
                    self._failure = error
                    self._changed.notify_all()
                return
            if records:
                with self._changed:
                    self._seen.extend(records)
                    self._changed.notify_all()

    def _poll(self) -> list[Message]:
        # consume() waits for a full batch or the whole timeout; only poll() returns with the first message.
        first = self._reader.poll(_POLL_S)
        messages = [] if first is None else [first, *self._reader.consume(_BATCH_RECORDS, 0)]
        for message in messages:
            error = message.error()
            if error is not None and not error.retriable():
                raise KafkaException(error)
        return [message for message in messages if message.error() is None]


def _reader(
    kafka: LibrdkafkaConfig, topics: list[str], *, tell_ends: bool = False
) -> tuple[Consumer, list[TopicPartition]]:
    reader = Consumer(
        {
            **kafka,
            "group.id": f"feedback-audit-{uuid.uuid4()}",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.partition.eof": tell_ends,
        }
    )
    partitions = []
    for topic in topics:
        found = reader.list_topics(topic, timeout=_REQUEST_TIMEOUT_S).topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        partitions += [TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in found.partitions]
    reader.assign(partitions)
    return reader, partitions


def _visible(message: Message) -> VisibleRecord:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if topic is None or partition is None or offset is None:
        raise TypeError("a consumed message without coordinates")
    return VisibleRecord(
        topic=topic,
        partition=partition,
        offset=offset,
        key=message.key(),
        value=message.value(),
        headers=tuple(cast("Iterable[tuple[str, bytes | None]]", message.headers() or ())),
        observed_s=time.monotonic(),
    )
