"""Reads spans of a topic to their very end, as a read_committed reader, outside any consumer group."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Final, NamedTuple, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumer.errors import FatalError, TransientError
from consumer.outcomes import Coordinates
from schemas.connection import LibrdkafkaConfig
from schemas.missing_rights import denied

_BATCH_RECORDS: Final = 5_000
_POLL_TIMEOUT_S: Final = 0.5
_REQUEST_TIMEOUT_S: Final = 10.0
# An open transaction hides what follows it: 60 s is the longest that settings allow, and brokers look every 10 s.
_STALL_TIMEOUT_S: Final = 90.0


class Span(NamedTuple):
    """Offsets of one partition from `first` up to, without, `next_offset`."""

    first: int
    next_offset: int


class SpanReader:
    """A reader that is told exactly which offsets to read. It joins no group and commits nothing."""

    def __init__(self, connection: LibrdkafkaConfig, group_id: str, stall_timeout_s: float = _STALL_TIMEOUT_S) -> None:
        self._stall_timeout_s = stall_timeout_s
        self._consumer = Consumer(
            {
                **connection,
                "log_level": 0,
                # Never joined: librdkafka wants one, and operators may read with this one.
                "group.id": group_id,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                # Retention may delete the first records of a span between our question and our fetch.
                "auto.offset.reset": "earliest",
                "queued.max.messages.kbytes": 32_768,
                # How long the broker holds a fetch that finds nothing: at the end of a topic that is all there is.
                "fetch.wait.max.ms": 50,
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._consumer.close()

    def read(
        self, topic: str, spans: Mapping[int, Span], on_progress: Callable[[int], None] = lambda _: None
    ) -> Iterator[list[Message]]:
        """The visible records of the spans, in batches, each partition in order.

        A span ends where its last offset was passed, not where the last stable offset is now: records of a
        transaction that is still open are waited for, so that nothing written before the span was chosen is missed.

        Args:
            topic: to read.
            spans: by partition.
            on_progress: told how many more offsets were passed, markers and holes included.

        Raises:
            TransientError: the cluster does not answer, or a transaction stays open.
        """
        passed = {partition: span.first for partition, span in spans.items() if span.first < span.next_offset}
        self._assign(topic, passed)
        moved_at_s = time.monotonic()
        while passed:
            messages = self._poll()
            records, moved_offsets = [], 0
            for message in messages:
                partition, reached = _position(message)
                if partition not in passed:
                    continue
                span = spans[partition]
                if message.error() is None and reached <= span.next_offset:
                    records.append(message)
                moved_offsets += min(reached, span.next_offset) - passed[partition]
                passed[partition] = reached
                if reached >= span.next_offset:
                    del passed[partition]
                    # Not paused: librdkafka would remember that, and read nothing of it the next time.
                    self._consumer.incremental_unassign([TopicPartition(topic, partition)])
            if moved_offsets:
                moved_at_s = time.monotonic()
                on_progress(moved_offsets)
            elif passed and time.monotonic() - moved_at_s > self._stall_timeout_s:
                where = ", ".join(
                    f"partition {partition} at offset {passed[partition]}" for partition in sorted(passed)
                )
                raise TransientError(
                    f"{topic} shows nothing more for {self._stall_timeout_s:.0f} s ({where}): a broker is away, or a "
                    "transaction stays open there; try again when it is over"
                )
            if records:
                yield records
        self._consumer.unassign()

    def read_exactly(self, topic: str, wanted: Sequence[Coordinates]) -> Iterator[Message]:
        """These visible records and no others. They should lie close together: what is between them is read too.

        Raises:
            TransientError: as `read`.
        """
        offsets: dict[int, set[int]] = {}
        for at in wanted:
            offsets.setdefault(at.partition, set()).add(at.offset)
        spans = {partition: Span(min(chosen), max(chosen) + 1) for partition, chosen in offsets.items()}
        for messages in self.read(topic, spans):
            for message in messages:
                partition, next_offset = _position(message)
                if next_offset - 1 in offsets[partition]:
                    yield message

    def _assign(self, topic: str, offsets: Mapping[int, int]) -> None:
        try:
            self._consumer.assign([TopicPartition(topic, partition, offset) for partition, offset in offsets.items()])
            # librdkafka looks for the brokers of a topic that is new to it once a second: asking makes it look now.
            self._consumer.list_topics(topic, timeout=_REQUEST_TIMEOUT_S)
        except KafkaException as failure:
            raise TransientError(f"Kafka: {failure.args[0].name()}") from None

    def _poll(self) -> list[Message]:
        try:
            # consume() alone would wait out its timeout to fill the batch: wait for one, then take what is there.
            first = self._consumer.poll(_POLL_TIMEOUT_S)
            return [] if first is None else [first, *self._consumer.consume(_BATCH_RECORDS - 1, 0)]
        except KafkaException as failure:
            raise TransientError(f"Kafka: {failure.args[0].name()}") from None


def _position(message: Message) -> tuple[int, int]:
    """Partition and the offset up to which it was read."""
    error, partition, offset = message.error(), message.partition(), message.offset()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 (librdkafka's own code)
        missing = denied(error, topic=("Read", message.topic() or ""))
        if missing is not None:
            raise FatalError(f"Kafka refuses: {missing}")
        raise TransientError(f"Kafka: {error.name()}")
    if partition is None or offset is None:
        raise TransientError("Kafka: a record without its position")
    return partition, offset if error is not None else offset + 1
