"""Reads stretches of a topic without joining a group: what operators look for is somewhere between two times."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumer.errors import FatalError, TransientError
from consumer.transport.kafka_errors import Availability
from schemas.missing_rights import denied

_REQUEST_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.5
_PATIENCE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages of several partitions, and for each partition of the topic the offset after what was read."""

    messages: list[Message]
    next_offsets: dict[int, int]


class TopicReader:
    """A reader of one topic. `config` is a consumer's; what it shows is read_committed as that says.

    Every method raises TransientError where the cluster is away, and FatalError where it refuses.
    """

    def __init__(self, config: Mapping[str, Any], topic: str, availability: Availability) -> None:
        self._topic = topic
        self._availability = availability
        self._consumer = Consumer({**config, "enable.partition.eof": True, "error_cb": availability.on_client_error})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()

    def ends(self) -> dict[int, int]:
        """The offset after the last record of each partition; a transaction that is open now ends it there."""
        try:
            partitions = self._consumer.list_topics(self._topic, timeout=_REQUEST_TIMEOUT_S).topics[self._topic]
            return {number: self._watermarks(number)[1] for number in sorted(partitions.partitions)}
        except KafkaException as failure:
            raise self._availability.judge(failure.args[0]) from None

    def positions_at(self, when: datetime, ends: Mapping[int, int]) -> dict[int, int]:
        """The offset of the first record of each partition with this timestamp or a later one, else its end."""
        timestamp_ms = int(when.timestamp() * 1000)
        wanted = [TopicPartition(self._topic, number, timestamp_ms) for number in ends]
        try:
            found = self._consumer.offsets_for_times(wanted, timeout=_REQUEST_TIMEOUT_S)
        except KafkaException as failure:
            raise self._availability.judge(failure.args[0]) from None
        return {at.partition: at.offset if at.offset >= 0 else ends[at.partition] for at in found}

    def committed(self, numbers: Mapping[int, int]) -> dict[int, int]:
        """What the group of this reader has committed in these partitions, where it has."""
        try:
            found = self._consumer.committed(
                [TopicPartition(self._topic, number) for number in numbers], timeout=_REQUEST_TIMEOUT_S
            )
        except KafkaException as failure:
            # A group that it may not see only times out; why, it tells here.
            told = self._consumer.poll(0)
            reason = None if told is None else told.error()
            raise self._availability.judge(reason or failure.args[0]) from None
        for at in found:
            if at.error is not None:
                raise self._availability.judge(at.error)
        return {at.partition: at.offset for at in found if at.offset >= 0}

    def group_metadata(self) -> object:
        """What sends offsets of this reader's group with a transaction."""
        return self._consumer.consumer_group_metadata()

    def batches(
        self, starts: Mapping[int, int], ends: Mapping[int, int], *, max_records: int, max_bytes: int
    ) -> Iterator[Batch]:
        """Everything between two positions, in offset order for each partition.

        A batch is let go when it holds `max_records`, or `max_bytes` of keys and values, or nothing is left.
        """
        left = {number for number in ends if starts[number] < ends[number]}
        self._consumer.assign([TopicPartition(self._topic, number, starts[number]) for number in sorted(left)])
        next_offsets = dict(starts)
        messages: list[Message] = []
        size_bytes = 0
        while left:
            message = self._next()
            number, offset = message.partition() or 0, message.offset() or 0
            if number not in left:
                continue
            is_end = message.error() is not None or offset >= ends[number]
            if not is_end:
                messages.append(message)
                size_bytes += len(message.value() or b"") + len(message.key() or b"")
                next_offsets[number] = offset + 1
            if is_end or offset + 1 >= ends[number]:
                left.remove(number)
                next_offsets[number] = ends[number]
                self._consumer.incremental_unassign([TopicPartition(self._topic, number)])
            if messages and (len(messages) >= max_records or size_bytes >= max_bytes or not left):
                yield Batch(messages, dict(next_offsets))
                messages, size_bytes = [], 0

    def record_at(self, partition: int, offset: int) -> Message | None:
        """The record at these coordinates; None where the topic does not hold it any more."""
        try:
            low, high = self._watermarks(partition)
        except KafkaException as failure:
            if failure.args[0].code() == KafkaError._UNKNOWN_PARTITION:  # noqa: SLF001 (librdkafka's own code)
                return None
            raise self._availability.judge(failure.args[0]) from None
        if not low <= offset < high:
            return None
        self._consumer.assign([TopicPartition(self._topic, partition, offset)])
        message = self._next()
        return message if message.error() is None and message.offset() == offset else None

    def _watermarks(self, partition: int) -> tuple[int, int]:
        return self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), timeout=_REQUEST_TIMEOUT_S)

    def _next(self) -> Message:
        """The next message, or the event that a partition's end was reached, which has an error set."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline_s:
            try:
                message = self._consumer.poll(_POLL_S)
            except KafkaException as failure:
                raise self._availability.judge(failure.args[0]) from None
            if message is None:
                continue
            error = message.error()
            if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                self._availability.answered()
                return message
            missing = denied(error, topic=("Read", self._topic))
            if missing is not None:
                raise FatalError(f"Kafka refuses: {missing}")
            self._availability.judge(error)
        raise TransientError(f"Kafka: no answer for {_PATIENCE_S:.0f} s")
