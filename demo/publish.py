"""Publishes, and remembers where Kafka put each record and how it may end."""

from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from demo.hostile import CLASSIFIED, HostileRecord
from demo.records import Coordinates, Expectation, PublishedRecord
from producer.delivery import Delivery
from producer.encoding import encode
from schemas.connection import LibrdkafkaConfig
from schemas.event import FeedbackEvent

_FLUSH_TIMEOUT_S: Final = 30.0


def published_event(event: FeedbackEvent, delivery: Delivery) -> PublishedRecord:
    """What the project's publisher sent for an event with an id, and that it must be classified.

    Raises:
        KafkaException: a retry hid where Kafka stored it, so that nobody can audit it.
    """
    if delivery.offset is None:
        raise KafkaException(KafkaError(KafkaError.UNKNOWN, "Kafka stored an event without saying where"))
    record = encode(event)
    return PublishedRecord(
        coordinates=Coordinates(delivery.partition, delivery.offset),
        key=record.key,
        value=record.value,
        headers=record.headers,
        expectation=Expectation(endings=CLASSIFIED, event_id=record.event_id),
    )


class RawPublisher:
    """A plain Kafka producer: any bytes and headers to any partition.

    Attributes:
        published: the records that Kafka acknowledged, with their coordinates.
    """

    def __init__(self, kafka: LibrdkafkaConfig, topic: str, max_message_bytes: int) -> None:
        self.published: list[PublishedRecord] = []
        self._topic = topic
        self._refused: list[KafkaError] = []
        self._producer = Producer(
            {
                **kafka,
                "acks": "all",
                "enable.idempotence": True,
                # Compressed, a record at the size limit would be a small one.
                "compression.type": "none",
                "message.max.bytes": max_message_bytes,
            }
        )

    def send(self, record: HostileRecord) -> None:
        """Hand one record to the producer; its coordinates are known after `flush`."""

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            partition, offset = message.partition(), message.offset()
            if error is not None or partition is None or offset is None:
                self._refused.append(error or KafkaError(KafkaError.UNKNOWN))
                return
            self.published.append(
                PublishedRecord(
                    coordinates=Coordinates(partition, offset),
                    key=record.key,
                    value=record.value,
                    headers=record.headers,
                    expectation=record.expectation,
                )
            )

        self._producer.produce(
            self._topic,
            value=record.value,
            key=record.key,
            partition=record.partition,
            headers=list(record.headers),
            on_delivery=on_delivery,
        )
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until every record is acknowledged.

        Raises:
            KafkaException: Kafka refused a record, or did not answer in time.
        """
        if self._producer.flush(_FLUSH_TIMEOUT_S):
            raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT, "Kafka did not acknowledge in time"))  # noqa: SLF001
        if self._refused:
            raise KafkaException(self._refused[0])
