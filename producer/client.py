"""The publisher: validated feedback events into Kafka, each with an outcome that the caller can read."""

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from producer.broker import BrokerFaults, ask_for_topic
from producer.delivery import CloseReport, Delivery, Receipt, delivery_error
from producer.encoding import MAX_RECORD_BYTES, EncodedEvent, encode
from producer.errors import (
    BrokerError,
    DeliveryError,
    FlushTimeoutError,
    InvalidEventError,
    PublisherClosedError,
    PublishError,
    QueueFullError,
    UndeliveredError,
)
from schemas.connection import KafkaConnection
from schemas.event import FeedbackEvent
from schemas.missing_rights import fatal_error, missing_right_of_producer
from schemas.registry import RegistryError, SchemaRegistryConnection, schema_headers
from schemas.topics import EVENTS

_logger = logging.getLogger(__name__)

# Below 200 ms confluent-kafka's poll returns with the first event; above, only when the whole time is up.
_POLL_S: Final = 0.1
_PURGE_S: Final = 5.0
_EXIT_FLUSH_S: Final = 10.0
_MAX_QUEUED_KBYTES: Final = 65_536


class _Report(NamedTuple):
    receipt: Receipt
    error: KafkaError | None
    partition: int
    offset: int | None


class FeedbackPublisher:
    """Publishes feedback events; idempotent (each record is stored once, in order within its partition) and acks=all.

    Thread-safe: one publisher serves a whole process. Make it after forking. A background thread serves delivery
    reports, so that receipts are settled, and broken connections noticed, while nobody publishes; callbacks run there
    after librdkafka's own callback has returned (calling the client from inside that one hangs, confluent#457).

    Failures are never lost: a receipt's `result()` raises them, and those that nobody has looked at are raised by
    `flush`, `close` or leaving the `with` block, and by `publish` once as many have gathered as the queue holds.

        with FeedbackPublisher() as publisher:
            receipt = publisher.publish({"source": "web", "text": "...", "occurred_at": "2026-01-31T09:30:00Z"})
            delivery = receipt.result(timeout=30)

    Args:
        connection: the brokers and the login; by default from the environment (`KAFKA_BOOTSTRAP_SERVERS`, ...).
        topic: where to publish.
        delivery_timeout_s: how long a record may take, all retries included, before its outcome is unknown. The
            default is that of Kafka's own client, and outlasts a rolling restart of the brokers.
        queue_timeout_s: how long `publish` waits for room in a full queue.
        max_queued_records: records without an outcome at one time; 64 MiB is a second limit.
        schema_registry: where each record's schema is registered, and named in a header; by default from the
            environment (`KAFKA_SCHEMA_REGISTRY_URL`, ...), and none where that is not set. Asked once, here.
        on_settled: called in the publisher's thread with receipts that have just got their outcome, many at a time. It
            must neither block nor publish; what it raises is logged.

    Raises:
        BrokerError: librdkafka refuses the settings, for example a CA file that is not there; or a schema registry is
            set that is away or refuses the event's schema.
    """

    def __init__(
        self,
        connection: KafkaConnection | None = None,
        *,
        topic: str = EVENTS,
        delivery_timeout_s: float = 120.0,
        queue_timeout_s: float = 30.0,
        max_queued_records: int = 10_000,
        schema_registry: SchemaRegistryConnection | None = None,
        on_settled: Callable[[Sequence[Receipt]], None] | None = None,
    ) -> None:
        self._connection = connection if connection is not None else KafkaConnection()
        self._topic = topic
        self._queue_timeout_s = queue_timeout_s
        self._max_unseen_failures = max_queued_records
        self._on_settled = on_settled
        client_config = self._connection.as_librdkafka()
        self._faults = BrokerFaults(client_config)
        config: dict[str, Any] = {
            **client_config,
            "client.id": "feedback-publisher",
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "lz4",
            # What the Java client and aiokafka do: a key must meet the same partition whoever publishes.
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "delivery.timeout.ms": round(delivery_timeout_s * 1000),
            "queue.buffering.max.messages": max_queued_records,
            "queue.buffering.max.kbytes": _MAX_QUEUED_KBYTES,
            "message.max.bytes": MAX_RECORD_BYTES,
            # A mistyped topic must fail, not come into being with a cluster's default settings.
            "allow.auto.create.topics": False,
            "error_cb": self._faults.on_error,
        }
        try:
            self._schema_headers = schema_headers(schema_registry, topic)
        except RegistryError as error:
            raise BrokerError(str(error)) from None
        try:
            self._producer = Producer(config, logger=_logger)
        except KafkaException as error:
            raise BrokerError(f"librdkafka refuses the settings: {error.args[0].str()}") from None
        self._changed = threading.Condition()
        self._pending_records = 0
        self._delivered_records = 0
        self._failed: dict[Receipt, DeliveryError] = {}
        self._reported: list[_Report] = []
        self._closing = False
        self._close_report: CloseReport | None = None
        self._stop = threading.Event()
        self._process_id = os.getpid()
        self._thread = threading.Thread(target=self._serve, name="feedback-publisher", daemon=True)
        self._thread.start()
        # A program that forgets close() must not lose what still lingers in the queue.
        atexit.register(self._close_at_exit)

    def publish(
        self,
        event: FeedbackEvent | Mapping[str, Any],
        *,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> Receipt:
        """Queue one event and return at once, or when the queue has room.

        Args:
            event: one without an `event_id` gets a UUIDv7. To repeat an event, use the id of its receipt.
            traceparent: W3C trace context of the caller, carried to the result.
            tracestate: likewise.

        Raises:
            InvalidEventError: the event breaks the contract; nothing was sent.
            EventTooLargeError: it does not fit into the topic; nothing was sent.
            QueueFullError: no room in time; nothing was sent.
            UndeliveredError: too many failures that nobody looked at; nothing was sent.
            PublisherClosedError: the publisher was closed.
            BrokerError: the producer failed for good: close this publisher and make a new one.
        """
        return self._enqueue(encode(event, traceparent=traceparent, tracestate=tracestate))

    def publish_many(self, events: Iterable[FeedbackEvent | Mapping[str, Any]]) -> list[Receipt]:
        """Queue many events; one receipt for each, in their order.

        All of them are validated before the first is queued, so that an invalid one stops them all. For a stream
        without end call `publish` in a loop.

        Raises:
            InvalidEventError: see `publish`; `position` says which event.
            EventTooLargeError: see `publish`.
            QueueFullError: see `publish`; `queued` holds the receipts of those queued before.
        """
        receipts: list[Receipt] = []
        for record in list(encode_each(events)):
            try:
                receipts.append(self._enqueue(record))
            except QueueFullError as error:
                error.queued = receipts
                raise
        return receipts

    def offer(self, record: EncodedEvent) -> Receipt | None:
        """Queue an encoded event if there is room at this moment, and never wait.

        Returns:
            None where the queue is full; `why_full` tells the reason.

        Raises:
            UndeliveredError: see `publish`, as for those below.
            PublisherClosedError: see `publish`.
            BrokerError: see `publish`.
        """
        self._refuse_misuse()
        with self._changed:
            return self._try_to_queue(record)

    def why_full(self) -> QueueFullError:
        """The error for a record that found no room in time, with what is known now."""
        fault = self._faults.recent()
        reason = "Kafka takes records too slowly" if fault is None else fault
        return QueueFullError(f"the queue of {self._pending_records} records had no room in time: {reason}")

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until every record has its outcome, those that other threads publish meanwhile included.

        Raises:
            FlushTimeoutError: some had none in time; they stay queued.
            UndeliveredError: some were not delivered, and nobody had looked at their receipts.
        """
        self._refuse_misuse()
        with self._changed:
            self._changed.wait_for(self._is_idle, timeout_s)
            if self._pending_records:
                raise FlushTimeoutError(self._pending_records, timeout_s)
            self._raise_unseen_failures()

    def check(self, timeout_s: float = 10.0) -> str:
        """Ask the brokers for the topic, to learn now what the first delivery would show much later.

        Returns:
            The cluster's id.

        Raises:
            BrokerError: no broker answers, they refuse the login, or there is no such topic.
        """
        return ask_for_topic(self._producer, self._topic, self._faults, self._connection.bootstrap_servers, timeout_s)

    def close(self, timeout_s: float = 30.0) -> CloseReport:
        """Wait for outcomes, give up what has none in time, and free everything. Calling it again changes nothing.

        Returns:
            What was delivered, and what was not but had been looked at.

        Raises:
            UndeliveredError: as `flush`, and for the records given up; `report` says which.
        """
        self._refuse_misuse()
        with self._changed:
            if self._close_report is not None:
                return self._close_report
            self._closing = True
            self._changed.wait_for(self._is_idle, timeout_s)
            failed_before = set(self._failed)
            if self._pending_records:
                # Purging only asks; the thread below settles what it brings.
                self._producer.purge()
                self._changed.wait_for(self._is_idle, _PURGE_S)
            unseen = self._unseen_failures()
            given_up = [error for receipt, error in self._failed.items() if receipt not in failed_before | set(unseen)]
            self._close_report = self._summarise([*unseen.values(), *given_up])
            pending_records = self._pending_records
        self._stop.set()
        self._thread.join(_PURGE_S)
        atexit.unregister(self._close_at_exit)
        if pending_records:
            raise PublishError(f"{pending_records} records got no outcome: does a callback of a receipt block?")
        self._noting_what_is_fatal(self._producer.close)
        if unseen:
            raise UndeliveredError(self._close_report, next(iter(unseen.values())).reason)
        return self._close_report

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.close()
        except UndeliveredError as undelivered:
            if raised is None:
                raise
            raised.add_note(str(undelivered))

    def _enqueue(self, record: EncodedEvent) -> Receipt:
        self._refuse_misuse()
        deadline_s = time.monotonic() + self._queue_timeout_s
        with self._changed:
            while (receipt := self._try_to_queue(record)) is None:
                if not self._changed.wait(max(0.0, deadline_s - time.monotonic())):
                    raise self.why_full()
            return receipt

    def _try_to_queue(self, record: EncodedEvent) -> Receipt | None:
        self._refuse_unusable()
        receipt = Receipt(record.event_id)
        try:
            self._producer.produce(
                self._topic,
                record.value,
                record.key,
                headers=[*record.headers, *self._schema_headers],
                on_delivery=partial(self._on_delivery, receipt),
            )
        except BufferError:
            return None
        except KafkaException as error:
            refusal = missing_right_of_producer(error.args[0], self._topic) or error.args[0].str()
            raise BrokerError(f"topic {self._topic}: {self._faults.fatal or refusal}") from None
        self._pending_records += 1
        return receipt

    def _refuse_misuse(self) -> None:
        if threading.get_ident() == self._thread.ident:
            raise RuntimeError("a receipt's callback must not call the publisher: hand over to another thread")
        if os.getpid() != self._process_id:
            raise RuntimeError("this publisher was made before the process forked: make one in each process")

    def _refuse_unusable(self) -> None:
        if self._closing:
            raise PublisherClosedError("the publisher is closed")
        if self._faults.fatal is not None:
            raise BrokerError(f"the producer failed for good, make a new publisher: {self._faults.fatal}")
        if len(self._failed) >= self._max_unseen_failures:
            self._failed = self._unseen_failures()
            if len(self._failed) >= self._max_unseen_failures:
                self._raise_unseen_failures()

    def _unseen_failures(self) -> dict[Receipt, DeliveryError]:
        return {receipt: error for receipt, error in self._failed.items() if not receipt.outcome_seen}

    def _raise_unseen_failures(self) -> None:
        errors = list(self._unseen_failures().values())
        self._failed = {}
        if errors:
            raise UndeliveredError(self._summarise(errors), errors[0].reason)

    def _summarise(self, errors: list[DeliveryError]) -> CloseReport:
        return CloseReport.of(self._delivered_records, errors)

    def _is_idle(self) -> bool:
        return self._pending_records == 0

    def _on_delivery(self, receipt: Receipt, error: KafkaError | None, message: Message) -> None:
        offset = message.offset()
        known_offset = offset if offset is not None and offset >= 0 else None
        self._reported.append(_Report(receipt, error, message.partition() or 0, known_offset))

    def _serve(self) -> None:
        while not self._stop.is_set():
            self._noting_what_is_fatal(lambda: self._producer.poll(_POLL_S))
            self._settle()

    def _noting_what_is_fatal(self, call: Callable[[], object]) -> None:
        """Any call that serves callbacks may raise what ended the producer for good."""
        try:
            call()
        except (KafkaException, SystemError) as raised:
            fatal = fatal_error(raised)
            if fatal is None:
                raise
            self._faults.fatal = missing_right_of_producer(fatal, self._topic) or fatal.str()

    def _settle(self) -> None:
        reported, self._reported = self._reported, []
        if not reported:
            return
        failed: dict[Receipt, DeliveryError] = {}
        for receipt, error, partition, offset in reported:
            if error is None:
                receipt.set_result(Delivery(receipt.event_id, self._topic, partition, offset))
            else:
                failed[receipt] = delivery_error(
                    receipt.event_id, error, self._faults.fatal or self._faults.recent(), self._topic
                )
                receipt.set_exception(failed[receipt])
        with self._changed:
            self._pending_records -= len(reported)
            self._delivered_records += len(reported) - len(failed)
            self._failed.update(failed)
            self._changed.notify_all()
        if self._on_settled is not None:
            try:
                self._on_settled([report.receipt for report in reported])
            except Exception:
                # Without this thread no record would get an outcome any more.
                _logger.exception("the publisher's on_settled raised")

    def _close_at_exit(self) -> None:
        if os.getpid() != self._process_id:
            return
        try:
            self.close(_EXIT_FLUSH_S)
        except PublishError as error:
            _logger.error("a publisher that was never closed: %s", error)


def encode_each(events: Iterable[FeedbackEvent | Mapping[str, Any]]) -> Iterator[EncodedEvent]:
    """Encode events one by one.

    Raises:
        InvalidEventError: see `encode`; `position` says which event.
        EventTooLargeError: see `encode`.
    """
    for position, event in enumerate(events):
        try:
            yield encode(event)
        except InvalidEventError as error:
            raise InvalidEventError(error.field, error.reason, position) from None
