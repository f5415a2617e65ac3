"""One member of a Kafka consumer group with a transactional producer (KIP-447), over confluent-kafka."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from consumer.records import Headers, OutboundRecord, SourceRecord
from consumer.transport.base import AssignmentListener, TransactionAbortedError
from consumer.transport.kafka_config import KafkaOptions
from consumer.transport.kafka_errors import Availability, refused_settings
from consumer.transport.kafka_logs import client_logger
from consumer.transport.kafka_transactions import TransactionalProducer
from consumer.transport.membership import STATISTICS_INTERVAL_MS, GroupMembership

_REQUEST_TIMEOUT_S: Final = 10.0
_PROBE_INTERVAL_S: Final = 5.0
_PROBE_TIMEOUT_S: Final = 2.0


class KafkaTransport:
    """See `Transport` for the contract of each method."""

    def __init__(self, options: KafkaOptions, while_waiting: Callable[[], None] = lambda: None) -> None:
        self._options = options
        self._topic = options.events_topic
        self._availability = Availability(
            options.outage_budget_s,
            while_waiting,
            topic=("Read", options.events_topic),
            group=("Read", options.group_id),
            transactional_id=("Write", options.transactional_id),
        )
        # The others have their poll interval to answer a rebalance, and who died is expelled after a session.
        self._membership = GroupMembership((options.max_poll_interval_ms + options.session_timeout_ms) / 1000)
        callbacks = {"error_cb": self._availability.on_client_error, "logger": client_logger()}
        statistics = {
            "statistics.interval.ms": STATISTICS_INTERVAL_MS,
            "stats_cb": self._membership.on_statistics,
        }
        try:
            self._consumer = Consumer({**options.consumer(), **callbacks, **statistics})
            self._producer = TransactionalProducer(
                {**options.producer(), **callbacks}, self._availability, options.transaction_timeout_ms
            )
        except KafkaException as failure:
            raise refused_settings(failure) from None
        self._listener: AssignmentListener | None = None
        self._assignment: dict[int, int] = {}
        self._expected: dict[int, int] = {}
        self._epoch = 0
        self._paused = False
        self._joined = False
        self._closing = False
        self._next_probe_s = 0.0

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
        self._availability.wait_for(self._producer.initialise)
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def poll(self, max_records: int, timeout_s: float) -> list[SourceRecord]:
        """See `Transport`."""
        try:
            self._producer.poll()
            # consume() alone would wait out its timeout to fill the batch: wait for one, then take what is there.
            first = self._consumer.poll(timeout_s)
            messages = [] if first is None else [first]
            if messages and max_records > 1:
                messages += self._consumer.consume(max_records - 1, 0)
        except KafkaException as failure:
            # What was handed out before the failure must be read again.
            raise TransactionAbortedError(str(self._availability.judge(failure.args[0]))) from None
        self._probe_while_away()
        self._membership.check(is_cluster_away=self._availability.is_away)
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
        self._producer.begin()

    def produce(self, record: OutboundRecord) -> None:
        """See `Transport`."""
        self._producer.produce(record)

    def send_offsets(self, next_offsets: Mapping[int, int]) -> None:
        """See `Transport`."""
        self._producer.send_offsets(self._topic, next_offsets, self._consumer.consumer_group_metadata())

    def commit(self) -> None:
        """See `Transport`."""
        self._producer.commit()

    def rewind(self) -> None:
        """See `Transport`."""
        self._producer.initialise()
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
            raise self._availability.judge(failure.args[0]) from None

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
        self._closing = True
        self._consumer.close()

    def _accept(self, message: Message) -> SourceRecord | None:
        error = message.error()
        if error is not None:
            self._availability.judge(error)
            return None
        self._availability.answered()
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

    def _probe_while_away(self) -> None:
        # librdkafka says once that all brokers are down, and never that one is back: ask.
        if not self._availability.is_away or time.monotonic() < self._next_probe_s:
            return
        self._next_probe_s = time.monotonic() + _PROBE_INTERVAL_S
        try:
            self._consumer.list_topics(self._topic, timeout=_PROBE_TIMEOUT_S)
        except KafkaException as failure:
            self._availability.judge(failure.args[0])
        else:
            self._availability.answered()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._closing:
            # A rebalance overtook the shutdown: who leaves takes nothing up, and waits for no coordinator.
            consumer.incremental_assign([])
            return
        self._joined = True
        numbers = sorted(position.partition for position in partitions)
        starts: Mapping[int, int | None] = {}
        if numbers and self._listener is not None:
            starts = self._listener.on_assigned(self._availability.wait_for(lambda: self._committed(numbers)))
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
        try:
            if self._listener is not None:
                self._listener.on_revoked(sorted(position.partition for position in partitions))
        finally:
            self._give_up(consumer, partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_up(consumer, partitions)
        if self._listener is not None:
            self._listener.on_lost(sorted(position.partition for position in partitions))

    def _give_up(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._paused and partitions:
            # librdkafka keeps a partition's pause while it is away, and would deliver nothing when it comes back.
            consumer.resume(partitions)
        for position in partitions:
            self._assignment.pop(position.partition, None)
            self._expected.pop(position.partition, None)
        consumer.incremental_unassign(partitions)

    def _committed(self, numbers: Sequence[int]) -> dict[int, int | None]:
        try:
            positions = self._consumer.committed(
                [TopicPartition(self._topic, number) for number in numbers], timeout=_REQUEST_TIMEOUT_S
            )
        except KafkaException as failure:
            raise self._availability.judge(failure.args[0]) from None
        for position in positions:
            if position.error is not None:
                raise self._availability.judge(position.error)
        return {position.partition: position.offset if position.offset >= 0 else None for position in positions}

    def _positions(self, numbers: Mapping[int, int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, number) for number in sorted(numbers)]


def _headers(message: Message) -> Headers:
    # The stubs allow every form that produce() takes; what was consumed is always a list of name and bytes.
    return tuple(cast("list[tuple[str, bytes | None]]", message.headers() or []))
