"""Questions to the cluster about offsets: where topics begin and end, what a time means, what a group committed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from consumer.errors import TransientError
from schemas.connection import LibrdkafkaConfig

_REQUEST_TIMEOUT_S: Final = 10.0


class Cluster:
    """Offsets of topics and of one group. Every method raises TransientError where the cluster does not answer."""

    def __init__(self, connection: LibrdkafkaConfig, group_id: str) -> None:
        self._admin = AdminClient({**connection, "log_level": 0})
        self._group_id = group_id

    def partitions(self, topic: str) -> list[int]:
        """The partitions of a topic that exists."""
        with _answering():
            return sorted(self._admin.list_topics(topic, timeout=_REQUEST_TIMEOUT_S).topics[topic].partitions)

    def beginnings(self, topic: str) -> dict[int, int]:
        """The first offset still held, for each partition."""
        return self._offsets(topic, OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    def ends(self, topic: str) -> dict[int, int]:
        """The offset after the last record that was written, whether its transaction is committed yet or not."""
        return self._offsets(topic, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    def at_time(self, topic: str, at: datetime) -> dict[int, int]:
        """The first offset whose record has this time or a later one; the end where there is none."""
        found = self._offsets(topic, OffsetSpec.for_timestamp(round(at.timestamp() * 1000)))
        ends = self.ends(topic)
        return {partition: offset if offset >= 0 else ends[partition] for partition, offset in found.items()}

    def committed(self, topic: str, partitions: Sequence[int]) -> dict[int, int | None]:
        """The group's committed next offsets; what an open transaction is about to commit is not waited for."""
        wanted = [TopicPartition(topic, partition) for partition in partitions]
        with _answering():
            asked = self._admin.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(self._group_id, wanted)], request_timeout=_REQUEST_TIMEOUT_S
            )
            positions = asked[self._group_id].result().topic_partitions
        offsets: Mapping[int, int] = {position.partition: position.offset for position in positions}
        return {partition: offset if offset >= 0 else None for partition, offset in sorted(offsets.items())}

    def _offsets(self, topic: str, spec: OffsetSpec) -> dict[int, int]:
        wanted = {TopicPartition(topic, partition): spec for partition in self.partitions(topic)}
        with _answering():
            asked = self._admin.list_offsets(
                wanted, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=_REQUEST_TIMEOUT_S
            )
            return {position.partition: future.result().offset for position, future in asked.items()}


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except KafkaException as failure:
        raise TransientError(f"Kafka: {failure.args[0].name()}") from None
