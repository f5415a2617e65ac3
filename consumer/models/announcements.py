"""The topic of announcements, read by each process for itself: every replica must hear all of it."""

import time
from dataclasses import dataclass
from typing import Any, Final

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumer.errors import TransientError
from consumer.metrics import Metrics
from consumer.transport.kafka_logs import client_logger
from schemas.announcement import Announcement, NoAnnouncementError, Role, read_announcement
from schemas.connection import LibrdkafkaConfig

log = structlog.get_logger(__name__)

_REQUEST_TIMEOUT_S: Final = 3.0
# A topic may be made, or disappear, while the consumer runs.
_LOOK_INTERVAL_S: Final = 10.0
_POLL_S: Final = 0.2
_PARTITION_EOF: Final = KafkaError._PARTITION_EOF  # noqa: SLF001 (librdkafka's own codes begin with an underscore)


@dataclass(frozen=True, slots=True)
class Announced:
    """One record of the topic. Without an `announcement` the role's bundle is withdrawn."""

    role: Role
    offset: int
    announcement: Announcement | None


class AnnouncementReader:
    """Reads the topic from its beginning, and then whatever comes.

    The consumer works without the topic: one that is missing, closed to it, or away is told once, shown by a metric,
    and tried again.
    """

    def __init__(self, connection: LibrdkafkaConfig, topic: str, group_id: str, metrics: Metrics) -> None:
        config: dict[str, Any] = {
            **connection,
            # Librdkafka asks for its coordinator even though nothing is committed: the name of the group that the
            # process has rights on anyway.
            "group.id": group_id,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            # A topic that was deleted and made again is read from its beginning.
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "logger": client_logger(),
        }
        self._consumer = Consumer(config)
        self._topic = topic
        self._metrics = metrics
        self._trouble: str | None = None
        self._is_assigned = False
        self._look_at_s = 0.0
        metrics.models_topic_readable.set(0)

    def read_to_end(self, budget_s: float) -> list[Announced]:
        """Everything that stands on the topic now, in order; nothing if there is no such topic.

        Raises:
            TransientError: the cluster did not answer within the budget.
        """
        deadline_s = time.monotonic() + budget_s
        self._is_assigned = False  # after an attempt that failed half way, too, from the beginning
        partitions = self._find_partitions()
        found: list[Announced] = []
        ended: set[int | None] = set()
        while len(ended) < len(partitions):
            if time.monotonic() > deadline_s:
                raise TransientError(f"Kafka: {self._topic} could not be read to its end")
            message = self._consumer.poll(_POLL_S)
            error = None if message is None else message.error()
            if message is not None and error is not None and error.code() == _PARTITION_EOF:
                ended.add(message.partition())
            elif message is not None:
                found += self._accept(message)
        return found

    def poll(self, timeout_s: float) -> list[Announced]:
        """What was announced since; waits until something is there."""
        if time.monotonic() >= self._look_at_s:
            self._look()
        if not self._is_assigned:
            time.sleep(timeout_s)
            return []
        found: list[Announced] = []
        message = self._consumer.poll(timeout_s)
        while message is not None:
            found += self._accept(message)
            message = self._consumer.poll(0)
        return found

    def close(self) -> None:
        """Stop reading."""
        self._consumer.close()

    def _look(self) -> None:
        """Whether the topic is there: librdkafka takes minutes to notice that it went or came back."""
        try:
            if not self._find_partitions():
                self._consumer.unassign()
                self._is_assigned = False
        except TransientError as away:
            self._tell(str(away))

    def _find_partitions(self) -> list[int]:
        """The topic's partitions, none if it cannot be read. They are assigned if they were not."""
        self._look_at_s = time.monotonic() + _LOOK_INTERVAL_S
        try:
            topic = self._consumer.list_topics(self._topic, timeout=_REQUEST_TIMEOUT_S).topics[self._topic]
        except KafkaException as failure:
            raise TransientError(f"Kafka: {failure.args[0].name()}") from None
        if topic.error is not None:
            self._tell(topic.error.name())
            return []
        partitions = sorted(topic.partitions)
        if not self._is_assigned:
            self._consumer.assign([TopicPartition(self._topic, number, OFFSET_BEGINNING) for number in partitions])
            self._is_assigned = True
        self._tell(None)
        return partitions

    def _accept(self, message: Message) -> list[Announced]:
        error = message.error()
        if error is not None:
            self._tell(None if error.code() == _PARTITION_EOF else error.name())
            return []
        self._tell(None)
        try:
            role, announcement = read_announcement(message.key(), message.value())
        except NoAnnouncementError as nothing:
            self._metrics.announcements_ignored.labels(nothing.reason).inc()
            log.warning("announcement_ignored", topic=self._topic, offset=message.offset(), reason=nothing.reason)
            return []
        return [Announced(role, message.offset() or 0, announcement)]

    def _tell(self, trouble: str | None) -> None:
        self._metrics.models_topic_readable.set(trouble is None)
        if trouble is not None and trouble != self._trouble:
            log.warning(
                "models_topic_unreadable",
                topic=self._topic,
                error=trouble,
                advice="what serves goes on; if the topic is missing run `python -m schemas topics apply`, "
                "if the right to Read it `python -m schemas access apply`",
            )
        self._trouble = trouble
