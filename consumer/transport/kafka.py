"""One member of a Kafka consumer group with a transactional producer (KIP-447), over confluent-kafka."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar, cast

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from consumer.errors import FatalError, TransientError
from consumer.records import Headers, OutboundRecord, SourceRecord
from consumer.transport.base import AssignmentListener, TransactionAbortedError
from consumer.transport.kafka_config import KafkaOptions
from consumer.transport.kafka_logs import client_logger
from consumer.transport.outage import OutageBudget

log = structlog.get_logger(__name__)
T = TypeVar("T")

_REQUEST_TIMEOUT_S: Final = 10.0
_PROBE_INTERVAL_S: Final = 5.0
_PROBE_TIMEOUT_S: Final = 2.0
# Leave the coordinator time to see the commit before it would abort the transaction by itself.
_TRANSACTION_DEADLINE_SHARE: Final = 0.8
_REFUSALS: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,  # noqa: SLF001 (librdkafka's own codes begin with an underscore)
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
    }
)
_OUT_OF_RANGE: Final = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})  # noqa: SLF001


class KafkaTransport:
    """See `Transport` for the contract of each method."""

    def __init__(self, options: KafkaOptions) -> None:
        self._options = options
        self._topic = options.events_topic
        self._outage = OutageBudget("Kafka", options.outage_budget_s)
        self._next_probe_s = 0.0
        callbacks = {"error_cb": self._on_client_error, "logger": client_logger()}
        self._consumer = Consumer({**options.consumer(), **callbacks})
        self._producer = Producer({**options.producer(), **callbacks})
        self._listener: AssignmentListener | None = None
        self._assignment: dict[int, int] = {}
        self._expected: dict[int, int] = {}
        self._epoch = 0
        self._paused = False
        self._joined = False
        self._deadline_s = 0.0
        self._undeliverable: str | None = None

    @property
    def assignment(self) -> Mapping[int, int]:
        """See `Transport`."""
        return self._assignment

    @property
    def is_joined(self) -> bool:
        """See `Transport`."""
        return self._joined

    def start(self, listener: AssignmentListener) -> None:
        """See `Transport`."""
        self._listener = listener
        self._until_available(lambda: self._producer.init_transactions(_REQUEST_TIMEOUT_S))
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def poll(self, max_records: int, timeout_s: float) -> list[SourceRecord]:
        """See `Transport`."""
        try:
            self._producer.poll(0)
            # consume() alone would wait out its timeout to fill the batch: wait for one, then take what is there.
            first = self._consumer.poll(timeout_s)
            messages = [] if first is None else [first]
            if messages and max_records > 1:
                messages += self._consumer.consume(max_records - 1, 0)
        except KafkaException as failure:
            # What was handed out before the failure must be read again.
            self._judge(failure.args[0])
            raise TransactionAbortedError(failure.args[0].name()) from None
        self._probe_while_away()
        records = [record for message in messages if (record := self._accept(message)) is not None]
        # A rebalance inside consume() may have taken a partition after its records were handed out.
        return [record for record in records if self._assignment.get(record.partition) == record.epoch]

    def pause(self) -> None:
        """See `Transport`."""
        if not self._paused:
            self._paused = True
            self._consumer.pause(self._positions(self._assignment))

    def resume(self) -> None:
        """See `Transport`."""
        if self._paused:
            self._paused = False
            self._consumer.resume(self._positions(self._assignment))

    def begin(self) -> None:
        """See `Transport`."""
        self._deadline_s = time.monotonic() + self._options.transaction_timeout_ms / 1000 * _TRANSACTION_DEADLINE_SHARE
        self._undeliverable = None
        self._in_transaction(lambda _: self._producer.begin_transaction())

    def produce(self, record: OutboundRecord) -> None:
        """See `Transport`."""

        def enqueue(_: float) -> None:
            self._producer.produce(
                record.topic,
                value=record.value,
                key=record.key,
                headers=list(record.headers),
                on_delivery=self._on_delivery,
            )

        while True:
            try:
                self._in_transaction(enqueue)
            except BufferError:
                if time.monotonic() >= self._deadline_s:
                    self._abort("the producer's queue stayed full")
                self._producer.poll(0.05)
            else:
                return

    def send_offsets(self, next_offsets: Mapping[int, int]) -> None:
        """See `Transport`."""
        positions = [TopicPartition(self._topic, number, offset) for number, offset in sorted(next_offsets.items())]
        metadata = self._consumer.consumer_group_metadata()
        self._in_transaction(
            lambda remaining_s: self._producer.send_offsets_to_transaction(positions, metadata, remaining_s)
        )

    def commit(self) -> None:
        """See `Transport`."""
        self._in_transaction(self._producer.commit_transaction, is_commit=True)
        self._outage.recovered()

    def rewind(self) -> None:
        """See `Transport`."""
        if not self._assignment:
            return
        committed = self._committed(sorted(self._assignment))
        positions = [
            TopicPartition(self._topic, number, OFFSET_BEGINNING if offset is None else offset)
            for number, offset in committed.items()
        ]
        # Assigning anew, unlike seek(), also holds for a paused partition and for one whose fetcher is not up yet.
        self._consumer.incremental_unassign(self._positions(self._assignment))
        self._consumer.incremental_assign(positions)
        self._expected = {number: offset or 0 for number, offset in committed.items()}
        if self._paused:
            self._consumer.pause(self._positions(self._assignment))

    def beginnings(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """See `Transport`."""
        try:
            return {
                number: self._consumer.get_watermark_offsets(
                    TopicPartition(self._topic, number), timeout=_REQUEST_TIMEOUT_S
                )[0]
                for number in partitions
            }
        except KafkaException as failure:
            self._judge(failure.args[0])
            raise TransientError(f"Kafka: {failure.args[0].name()}") from None

    def lag(self) -> Mapping[int, int]:
        """See `Transport`."""
        behind = {}
        for position in self._consumer.position(self._positions(self._assignment)):
            _, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, position.partition), cached=True)
            # position() also moves past transaction markers, which count as offsets but are no records.
            read = max(position.offset, self._expected.get(position.partition, 0))
            if high >= 0:
                behind[position.partition] = max(0, high - read)
        return behind

    def close(self) -> None:
        """See `Transport`."""
        self._consumer.close()

    def _accept(self, message: Message) -> SourceRecord | None:
        error = message.error()
        if error is not None:
            self._judge(error)
            return None
        self._outage.recovered()
        number, offset = message.partition(), message.offset()
        if number is None or offset is None or number not in self._assignment:
            return None
        if offset < self._expected.get(number, 0):
            return None  # delivered a second time after a pause (librdkafka#4637)
        self._expected[number] = offset + 1
        _, timestamp_ms = message.timestamp()
        return SourceRecord(
            partition=number,
            offset=offset,
            timestamp_ms=timestamp_ms,
            key=message.key(),
            value=message.value(),
            headers=_headers(message),
            epoch=self._assignment[number],
        )

    def _judge(self, error: KafkaError) -> None:
        if error.code() in _OUT_OF_RANGE:
            raise FatalError(
                f"the committed offset of {self._topic} is out of range: records were deleted before they were read, "
                "or the topic was replaced; see docs/reliability.md before you reset the group"
            )
        if error.fatal() or error.code() in _REFUSALS:
            raise FatalError(f"Kafka: {error.name()}: check the login, the ACLs and replica_id")
        log.warning("kafka_error", error=error.name())
        self._outage.failed(error.name())

    def _on_client_error(self, error: KafkaError) -> None:
        # Called from poll(); raising here would surface there as the client's own error.
        if error.code() == KafkaError._ALL_BROKERS_DOWN or error.code() in _REFUSALS:  # noqa: SLF001
            log.warning("kafka_unavailable", error=error.name())
            self._outage.failed(error.name())

    def _probe_while_away(self) -> None:
        # librdkafka says once that all brokers are down, and never that one is back: ask.
        if not self._outage.is_away or time.monotonic() < self._next_probe_s:
            return
        self._next_probe_s = time.monotonic() + _PROBE_INTERVAL_S
        try:
            self._consumer.list_topics(self._topic, timeout=_PROBE_TIMEOUT_S)
        except KafkaException as failure:
            self._judge(failure.args[0])
        else:
            self._outage.recovered()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._joined = True
        numbers = sorted(position.partition for position in partitions)
        starts: Mapping[int, int | None] = {}
        if numbers and self._listener is not None:
            starts = self._listener.on_assigned(self._committed_when_available(numbers))
        for number in numbers:
            self._epoch += 1
            self._assignment[number] = self._epoch
            self._expected[number] = starts[number] or 0
        positions = [
            TopicPartition(self._topic, number, OFFSET_BEGINNING if start is None else start)
            for number, start in starts.items()
        ]
        consumer.incremental_assign(positions)
        if self._paused and positions:
            consumer.pause(positions)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = sorted(position.partition for position in partitions)
        try:
            if self._listener is not None:
                self._listener.on_revoked(numbers)
        finally:
            self._give_up(consumer, partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = sorted(position.partition for position in partitions)
        self._give_up(consumer, partitions)
        if self._listener is not None:
            self._listener.on_lost(numbers)

    def _give_up(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for position in partitions:
            self._assignment.pop(position.partition, None)
            self._expected.pop(position.partition, None)
        consumer.incremental_unassign(partitions)

    def _committed_when_available(self, numbers: Sequence[int]) -> dict[int, int | None]:
        return self._until_available(lambda: self._committed(numbers))

    def _committed(self, numbers: Sequence[int]) -> dict[int, int | None]:
        try:
            positions = self._consumer.committed(
                [TopicPartition(self._topic, number) for number in numbers], timeout=_REQUEST_TIMEOUT_S
            )
        except KafkaException as failure:
            self._judge(failure.args[0])
            raise TransientError(f"Kafka: {failure.args[0].name()}") from None
        for position in positions:
            if position.error is not None:
                self._judge(position.error)
                raise TransientError(f"Kafka: {position.error.name()}")
        return {position.partition: position.offset if position.offset >= 0 else None for position in positions}

    def _until_available(self, operation: Callable[[], T]) -> T:
        while True:
            try:
                result = operation()
            except TransientError:
                continue  # each attempt waits for its own timeout, and the outage budget ends the series
            except KafkaException as failure:
                error: KafkaError = failure.args[0]
                if not error.retriable() and error.code() != KafkaError._TIMED_OUT:  # noqa: SLF001
                    raise FatalError(f"Kafka refuses: {error.name()}: {error.str()}") from None
                self._judge(error)
            else:
                self._outage.recovered()
                return result

    def _in_transaction(self, operation: Callable[[float], object], *, is_commit: bool = False) -> None:
        """Run one transactional call; a retriable failure repeats the same call until the deadline."""
        while True:
            try:
                operation(max(0.1, self._deadline_s - time.monotonic()))
            except KafkaException as failure:
                error: KafkaError = failure.args[0]
                if error.txn_requires_abort():
                    self._abort(error.name())
                if error.fatal() or not error.retriable():
                    raise FatalError(
                        f"Kafka transaction: {error.name()}: this process was fenced or must restart; "
                        "give each replica its own replica_id"
                    ) from None
                if time.monotonic() < self._deadline_s:
                    continue
                if is_commit:
                    raise FatalError("the fate of a commit is unknown; the next process resolves it") from None
                self._abort(error.name())
            else:
                return

    def _abort(self, reason: str) -> None:
        """Abort the open transaction.

        Raises:
            TransactionAbortedError: always, once it is aborted.
            FatalError: it cannot be aborted, or a record can never be delivered.
        """
        log.warning("transaction_aborted", reason=reason)
        deadline_s = time.monotonic() + self._options.transaction_timeout_ms / 1000
        while True:
            try:
                self._producer.abort_transaction(max(0.1, deadline_s - time.monotonic()))
            except KafkaException as failure:
                error: KafkaError = failure.args[0]
                if error.retriable() and time.monotonic() < deadline_s:
                    continue
                raise FatalError(f"the transaction cannot be aborted: {error.name()}") from None
            break
        if self._undeliverable is not None:
            raise FatalError(
                f"a record can never be delivered: {self._undeliverable}; compare the topics' limits with "
                "`python -m schemas topics diff`"
            )
        raise TransactionAbortedError(reason)

    def _on_delivery(self, error: KafkaError | None, _: Message) -> None:
        if error is not None and error.code() in {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.TOPIC_AUTHORIZATION_FAILED}:
            self._undeliverable = error.name()

    def _positions(self, numbers: Mapping[int, int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, number) for number in sorted(numbers)]


def _headers(message: Message) -> Headers:
    # The stubs allow every form that produce() takes; what was consumed is always a list of name and bytes.
    return tuple(cast("list[tuple[str, bytes | None]]", message.headers() or []))
