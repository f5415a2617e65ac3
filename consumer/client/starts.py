"""Where reading begins in each partition. All offsets are next offsets; all questions may raise `KafkaException`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

from confluent_kafka import Consumer, KafkaException, TopicPartition

from consumer.client.errors import PositionLostError

Start = Literal["beginning", "end"] | datetime | Mapping[int, int]
"""The oldest record, what comes from now on, the first record since a time, or a stored position."""

_REQUEST_TIMEOUT_S: Final = 10.0


def start_offsets(consumer: Consumer, topic: str, start: Start, partitions: Sequence[int]) -> dict[int, int]:
    """The offset that `start` means in each of the partitions.

    Raises:
        PositionLostError: a stored position names a partition that is not among them.
    """
    if isinstance(start, datetime):
        since_ms = round(start.timestamp() * 1000)
        asked = [TopicPartition(topic, number, since_ms) for number in partitions]
        found = consumer.offsets_for_times(asked, timeout=_REQUEST_TIMEOUT_S) if asked else []
        later = {position.partition: position.offset for position in found if position.offset >= 0}
        return {
            number: later[number] if number in later else watermarks(consumer, topic, number)[1]
            for number in partitions
        }
    if isinstance(start, Mapping):
        unknown = sorted(set(start) - set(partitions))
        if unknown:
            raise PositionLostError(
                f"the stored position names partition {unknown[0]}, which {topic} does not have: another topic?"
            )
        return {
            number: start[number] if number in start else watermarks(consumer, topic, number)[0]
            for number in partitions
        }
    return {number: watermarks(consumer, topic, number)[start == "end"] for number in partitions}


def watermarks(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """The first offset of a partition and, for a read_committed reader, the one after the last record it may see."""
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_REQUEST_TIMEOUT_S)
    return low, high


def committed_offsets(consumer: Consumer, topic: str, partitions: Sequence[int]) -> dict[int, int]:
    """What the group has committed, for those of the partitions where it has."""
    if not partitions:
        return {}
    found = consumer.committed([TopicPartition(topic, number) for number in partitions], timeout=_REQUEST_TIMEOUT_S)
    for position in found:
        if position.error is not None:
            raise KafkaException(position.error)
    return {position.partition: position.offset for position in found if position.offset >= 0}
