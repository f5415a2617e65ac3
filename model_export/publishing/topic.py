"""The topic of announcements, which is the truth about what consumers run, and the topic of what they report."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid5

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from pydantic import ValidationError

from consumer.inference.places import shown
from model_export.publishing.errors import PublishingError
from schemas import headers
from schemas.announcement import Announcement, ModelReport, NoAnnouncementError, Role, read_announcement
from schemas.cluster import Cluster, ClusterUnreachableError, LoginRefusedError
from schemas.connection import KafkaConnection
from schemas.missing_rights import denied, fatal_error, missing_right_of_producer

_REQUEST_TIMEOUT_S: Final = 10.0
# A topic that was just created is unknown to a broker until the controller's news reach it.
_NEW_TOPIC_S: Final = 3.0
_PAUSE_S: Final = 0.1
_READ_TIMEOUT_S: Final = 30.0
_DELIVERY_TIMEOUT_S: Final = 30.0
_READER_GROUP: Final = "feedback-models-reader"
# Names records that another program announced without an id.
_NAMESPACE: Final = UUID("6b1f9a52-20a5-4a53-9d3a-0f5c3b6f3a0e")


@dataclass(frozen=True, slots=True)
class Announced:
    """A record of `feedback.models` that is one; without an announcement it withdraws the role."""

    id: UUID
    offset: int
    role: Role
    announcement: Announcement | None


class ModelTopics:
    """The two topics, by name. Every method raises `PublishingError` where Kafka is away or refuses."""

    def __init__(self, connection: KafkaConnection, models: str, reports: str) -> None:
        self._connection = connection
        self.models: Final = models
        self._reports = reports

    def require(self) -> None:
        """Check that the topic of announcements is there.

        Raises:
            PublishingError: it is not, or Kafka is away or refuses.
        """
        if not self._exists(self.models):
            raise PublishingError(
                f"there is no topic {self.models} at {self._connection.bootstrap_servers}: "
                "run `python -m schemas topics apply`"
            )

    def announcements(self) -> tuple[list[Announced], int]:
        """All announcements that the topic still holds, in order, and how many records are none."""
        self.require()
        found, unreadable = [], 0
        for message in self._read(self.models):
            announced = _announced(message)
            if announced is None:
                unreadable += 1
            else:
                found.append(announced)
        return found, unreadable

    def reports(self) -> list[ModelReport]:
        """The newest report of each consumer for each role; none where the topic does not exist."""
        if not self._exists(self._reports):
            return []
        newest: dict[bytes | None, ModelReport] = {}
        for message in self._read(self._reports):
            newest.pop(message.key(), None)
            value = message.value()
            if value is not None:
                try:
                    newest[message.key()] = ModelReport.model_validate_json(value)
                except ValidationError:
                    continue
        return list(newest.values())

    def announce(self, announcement_id: UUID, role: Role, announcement: Announcement | None) -> int:
        """Write one record, and wait until all in-sync replicas have it.

        Returns:
            Its offset.

        Raises:
            PublishingError: there is no confirmation; the record may stand nevertheless.
        """
        delivered: list[tuple[KafkaError | None, Message]] = []
        producer = Producer(
            {
                **self._connection.as_librdkafka(),
                "acks": "all",
                "enable.idempotence": True,
                # As the project's other producers and the Java client's, so that one key stays in one partition.
                "partitioner": "murmur2_random",
                "delivery.timeout.ms": int(_DELIVERY_TIMEOUT_S * 1000),
                "log_level": 0,
            }
        )
        producer.produce(
            self.models,
            key=role,
            value=None if announcement is None else announcement.model_dump_json().encode(),
            headers=[
                (headers.CONTENT_TYPE, b"application/json"),
                (headers.ANNOUNCEMENT_ID, str(announcement_id).encode()),
            ],
            on_delivery=lambda error, message: delivered.append((error, message)),
        )
        try:
            producer.flush(_DELIVERY_TIMEOUT_S + 1)
        except (KafkaException, SystemError) as raised:
            fatal = fatal_error(raised)
            if fatal is None:
                raise
            reason = missing_right_of_producer(fatal, self.models) or fatal.str()
            raise PublishingError(f"not announced: {reason}") from None
        error, message = delivered[0] if delivered else (KafkaError(KafkaError._MSG_TIMED_OUT), None)  # noqa: SLF001
        offset = message.offset() if message is not None else None
        if error is not None or offset is None:
            producer.purge()
            missing = None if error is None else missing_right_of_producer(error, self.models)
            if missing is not None:
                raise PublishingError(f"not announced: {missing}")
            reason = error.str() if error is not None else "no offset"
            raise PublishingError(
                f"Kafka has not confirmed the announcement ({reason}); it may stand or not: "
                "run the same command again, it looks first"
            )
        return offset

    def _exists(self, topic: str) -> bool:
        try:
            cluster = Cluster(self._connection.as_librdkafka())
            deadline_s = time.monotonic() + _NEW_TOPIC_S
            while not (found := _is_known(cluster, topic)) and time.monotonic() < deadline_s:
                time.sleep(_PAUSE_S)
        except (ClusterUnreachableError, LoginRefusedError) as error:
            raise PublishingError(str(error)) from None
        except KafkaException as failure:
            refusal: KafkaError = failure.args[0]
            reason = denied(refusal, topic=("Read", topic)) or f"{refusal.str()}; check the ACLs"
            raise PublishingError(f"Kafka refuses to tell of {topic}: {reason}") from None
        return found

    def _read(self, topic: str) -> Iterator[Message]:
        """Every record up to the end, the partitions one after the other."""
        config: dict[str, Any] = {
            **self._connection.as_librdkafka(),
            # Nothing is committed: librdkafka only insists on a name.
            "group.id": _READER_GROUP,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            # The end of a topic is told without waiting for more to come.
            "fetch.wait.max.ms": 10,
            "log_level": 0,
        }
        deadline_s = time.monotonic() + _READ_TIMEOUT_S
        with Consumer(config) as consumer:
            try:
                partitions = sorted(consumer.list_topics(topic, timeout=_REQUEST_TIMEOUT_S).topics[topic].partitions)
                for partition in partitions:
                    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
                    yield from _until_end(consumer, topic, deadline_s)
            except KafkaException as failure:
                error = failure.args[0]
                reason = denied(error, topic=("Read", topic), group=("Describe", _READER_GROUP)) or error.str()
                raise PublishingError(f"{topic} cannot be read: {reason}") from None


def _is_known(cluster: Cluster, topic: str) -> bool:
    described = cluster.admin.describe_topics(TopicCollection([topic]), request_timeout=_REQUEST_TIMEOUT_S)
    try:
        cluster.answers(described)
    except KafkaException as failure:
        if failure.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return False
        raise
    return True


def _until_end(consumer: Consumer, topic: str, deadline_s: float) -> Iterator[Message]:
    while True:
        message = consumer.poll(max(0.0, deadline_s - time.monotonic()))
        if message is None:
            raise PublishingError(f"{topic} was not read to its end within {_READ_TIMEOUT_S:.0f} s: is Kafka well?")
        error = message.error()
        if error is None:
            yield message
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            return
        else:
            raise KafkaException(error)


def _announced(message: Message) -> Announced | None:
    try:
        role, announcement = read_announcement(message.key(), message.value())
    except NoAnnouncementError:
        return None
    if announcement is not None:
        # Another program may have announced a URL with a password in it: it goes no further.
        announcement = announcement.model_copy(update={"url": shown(announcement.url)})
    offset = message.offset() or 0
    return Announced(_id_of(message, offset), offset, role, announcement)


def _id_of(message: Message, offset: int) -> UUID:
    given = dict(message.headers() or ()).get(headers.ANNOUNCEMENT_ID)
    try:
        return UUID(given.decode() if isinstance(given, bytes) else str(given))
    except (ValueError, UnicodeDecodeError):
        moment = message.timestamp()[1]
        return uuid5(_NAMESPACE, f"{message.topic()}/{message.partition()}/{offset}/{moment}")
