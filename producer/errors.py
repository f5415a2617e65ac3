"""What can go wrong while publishing, by what the caller can do about it.

    PublishError
    +-- InvalidEventError       the event breaks the contract: nothing was sent
    +-- EventTooLargeError      the event does not fit into the topic: nothing was sent
    +-- QueueFullError          Kafka takes records more slowly than they come: this one was not sent
    +-- PublisherClosedError    published after close(): not sent
    +-- BrokerError             brokers, login, settings or topic do not let us publish
    +-- DeliveryError           the outcome of one record, raised by its receipt
    |   +-- RefusedError            not stored, for sure
    |   +-- OutcomeUnknownError     perhaps stored; publishing it again with the same event_id is safe
    +-- FlushTimeoutError       records still without an outcome when flush() gave up waiting
    +-- UndeliveredError        failures that nobody had looked at, raised by flush(), close() or publish(),
                                and by publish_many() of the asyncio publisher

No message holds text or ids of a customer.
"""

from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from producer.delivery import CloseReport, Receipt


class PublishError(Exception):
    """Base of every error that the publisher raises."""


class InvalidEventError(PublishError):
    """The event breaks the contract of `schemas.event.FeedbackEvent`; nothing was sent.

    Attributes:
        field: the field at fault, `extra` for one that the contract does not name, `event` for the whole.
        reason: what it must be, without any input.
        position: its place in what `publish_many` was given, from 0; None elsewhere.
    """

    def __init__(self, field: str, reason: str, position: int | None = None) -> None:
        where = "" if position is None else f"event {position}: "
        super().__init__(f"{where}{field}: {reason}")
        self.field = field
        self.reason = reason
        self.position = position


class EventTooLargeError(PublishError):
    """The event does not fit into the topic; nothing was sent.

    Attributes:
        size_bytes: what the record would take in Kafka, uncompressed.
        limit_bytes: the topic's `max.message.bytes`.
    """

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"the event takes {size_bytes} bytes, the topic holds {limit_bytes}: shorten or split it")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class QueueFullError(PublishError):
    """No room in the queue within the time allowed; this record was not sent.

    Attributes:
        queued: receipts of the records that `publish_many` had queued before; those after them were not sent.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.queued: list[Receipt] = []


class PublisherClosedError(PublishError):
    """The publisher was closed before; the record was not sent."""


class BrokerError(PublishError):
    """The brokers, the login, the settings or the topic do not let us publish."""


class DeliveryError(PublishError):
    """The outcome of a record that is not known to be stored.

    Attributes:
        event_id: the event's id, for publishing it again.
        code: librdkafka's error code (`confluent_kafka.KafkaError.code()`).
        reason: librdkafka's description.
    """

    def __init__(self, event_id: UUID, code: int, reason: str) -> None:
        super().__init__(reason)
        self.event_id = event_id
        self.code = code
        self.reason = reason


class RefusedError(DeliveryError):
    """Kafka refused the record: it is not stored, and the same attempt would be refused again."""


class OutcomeUnknownError(DeliveryError):
    """Nobody knows whether Kafka stored the record: it timed out or was given up without an answer.

    Publish the same event again, unchanged and with this `event_id`: the consumer counts a second copy and emits
    nothing for it.
    """


class FlushTimeoutError(PublishError):
    """Records were still without an outcome when the time was up; they stay queued.

    Attributes:
        pending_records: how many.
    """

    def __init__(self, pending_records: int, timeout_s: float) -> None:
        super().__init__(f"{pending_records} records had no outcome after {timeout_s:g} s; they stay queued")
        self.pending_records = pending_records


class UndeliveredError(PublishError):
    """Records were not delivered, and nobody had looked at their receipts.

    Attributes:
        report: which ones; from `flush` and `publish` the records so far, from `AsyncFeedbackPublisher.publish_many`
            those of the call.
    """

    def __init__(self, report: "CloseReport", reason: str) -> None:
        parts = []
        if report.refused:
            parts.append(f"{len(report.refused)} refused")
        if report.unknown:
            parts.append(f"{len(report.unknown)} with unknown outcome (publish them again with the same event_id)")
        super().__init__(f"records not delivered: {', '.join(parts)}; the first: {reason}")
        self.report = report
