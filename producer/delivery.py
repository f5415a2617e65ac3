"""The outcome of a published record: delivered, refused, or unknown."""

from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Self
from uuid import UUID

from confluent_kafka import KafkaError

from producer.errors import DeliveryError, OutcomeUnknownError, RefusedError
from schemas.missing_rights import missing_right_of_producer

# Errors that depend on the record, the topic or the login alone, so that every attempt meets them: nothing is stored.
# librdkafka knows more (rd_kafka_message_status), but confluent-kafka 2.16 does not pass it on. All other codes are
# therefore unknown outcomes, even _PURGE_QUEUE and _MSG_TIMED_OUT: a record that waits for its second attempt is
# reported with them as well, and the first attempt may have been stored.
_REFUSALS: Final = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.POLICY_VIOLATION,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNSUPPORTED_COMPRESSION_TYPE,
        KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 (librdkafka's local codes begin with an underscore)
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    }
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where Kafka stored an event.

    `offset` is None where a lost acknowledgement was made good by a retry: the record is stored once, but the broker
    no longer says where.
    """

    event_id: UUID
    topic: str
    partition: int
    offset: int | None


@dataclass(frozen=True, slots=True)
class CloseReport:
    """What a publisher did in its life, and what it did not deliver.

    Attributes:
        delivered_records: acknowledged by Kafka.
        refused: ids of events that are not stored, for sure.
        unknown: ids of events that may be stored; publishing them again with the same id is safe.

    `refused` and `unknown` hold the failures that nobody had looked at, and all records that closing gave up.
    """

    delivered_records: int
    refused: tuple[UUID, ...]
    unknown: tuple[UUID, ...]

    @classmethod
    def of(cls, delivered_records: int, failures: Iterable[DeliveryError]) -> Self:
        """Sort failures by kind."""
        refused: list[UUID] = []
        unknown: list[UUID] = []
        for failure in failures:
            (refused if isinstance(failure, RefusedError) else unknown).append(failure.event_id)
        return cls(delivered_records, tuple(refused), tuple(unknown))


class Receipt(Future[Delivery]):
    """The pending outcome of one event: a `concurrent.futures.Future`, so `asyncio.wrap_future` works too.

    `result()` gives the `Delivery` or raises `RefusedError` or `OutcomeUnknownError`. Asking for the outcome counts
    as handling it: a failure that somebody has seen is not raised again by `flush` or `close`. Callbacks run in the
    publisher's thread and must neither block nor publish. A receipt cannot be cancelled: the record may be on its way.

    Attributes:
        event_id: the event's id, made by the publisher where the event had none.
        outcome_seen: somebody has asked for the outcome since it was there.
    """

    def __init__(self, event_id: UUID) -> None:
        super().__init__()
        self.event_id = event_id
        self.outcome_seen = False
        self.set_running_or_notify_cancel()

    def result(self, timeout: float | None = None) -> Delivery:
        """The delivery, waiting at most `timeout` seconds for it.

        Raises:
            RefusedError: not stored.
            OutcomeUnknownError: perhaps stored.
            TimeoutError: no outcome yet.
        """
        try:
            return super().result(timeout)
        finally:
            self.outcome_seen = self.outcome_seen or self.done()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The failure, or None when delivered, waiting at most `timeout` seconds.

        Raises:
            TimeoutError: no outcome yet.
        """
        try:
            return super().exception(timeout)
        finally:
            self.outcome_seen = self.outcome_seen or self.done()


def delivery_error(event_id: UUID, error: KafkaError, fault: str | None = None, topic: str = "") -> DeliveryError:
    """The error of a delivery report: refused only where no attempt can have been stored.

    Args:
        event_id: the event's id.
        error: the delivery report's error.
        fault: what the connection complained about lately, added to the reason of an unknown outcome.
        topic: where it was sent to.
    """
    code = error.code()
    if code in _REFUSALS:
        return RefusedError(event_id, code, missing_right_of_producer(error, topic) or error.str())
    reason = error.str() if fault is None else f"{error.str()} ({fault})"
    return OutcomeUnknownError(event_id, code, reason)
