"""Questions to the cluster about offsets: where topics begin and end, what a time means, what a group committed."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from consumer.errors import FatalError, TransientError
from schemas.connection import LibrdkafkaConfig
from schemas.missing_rights import denied

_REQUEST_TIMEOUT_S: Final = 10.0
_ATTEMPT_S: Final = 3.0
_PAUSE_S: Final = 0.2
# A fresh cluster makes its topic of offsets when it is first asked for one; a restarted one loads it.
_NO_COORDINATOR_YET: Final = frozenset(
    {
        KafkaError._TIMED_OUT,  # noqa: SLF001 (librdkafka's own code)
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)


class Cluster:
    """Offsets of topics and of one group. Every method raises TransientError where the cluster does not answer."""

    def __init__(self, connection: LibrdkafkaConfig, group_id: str) -> None:
        self._connection: LibrdkafkaConfig = {**connection, "log_level": 0}
        self._admin = AdminClient(self._connection)
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
        deadline_s = time.monotonic() + _REQUEST_TIMEOUT_S
        while True:
            try:
                positions = self._ask_group(wanted)
            except KafkaException as failure:
                missing = denied(failure.args[0], group=("Describe", self._group_id))
                if missing is not None:
                    raise FatalError(f"Kafka refuses: {missing}") from None
                if failure.args[0].code() not in _NO_COORDINATOR_YET or time.monotonic() >= deadline_s:
                    raise TransientError(f"Kafka: {failure.args[0].name()}") from None
                time.sleep(_PAUSE_S)
                continue
            return {position.partition: position.offset if position.offset >= 0 else None for position in positions}

    def _ask_group(self, wanted: list[TopicPartition]) -> list[TopicPartition]:
        # A consumer that joins nothing: the admin client's question for a group's offsets ends the process where the
        # coordinator is still loading (librdkafka 2.16 dereferences the group that an admin client does not have).
        # A new one for each attempt, because it does not look for another coordinator while it is not a member.
        member = Consumer({**self._connection, "group.id": self._group_id, "isolation.level": "read_uncommitted"})
        try:
            positions = member.committed(wanted, timeout=_ATTEMPT_S)
        except KafkaException:
            # A group that it may not see only times out; why, it tells here.
            told = member.poll(0)
            if told is None or (error := told.error()) is None:
                raise
            raise KafkaException(error) from None
        finally:
            member.close()
        for position in positions:
            # It would read as a group without an offset.
            if position.error is not None:
                raise KafkaException(position.error)
        return positions

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
