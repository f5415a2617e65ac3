"""The reader: classified feedback out of Kafka, typed, filtered, from where the last run ended."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumer.client.broker import BrokerWatch
from consumer.client.errors import (
    CommitRefusedError,
    KafkaUnavailableError,
    ReaderError,
    UnreadableResultError,
)
from consumer.client.positions import Positions
from consumer.client.records import ResultRecord, read_result
from consumer.client.starts import Start, committed_offsets, start_offsets, watermarks
from schemas.connection import KafkaConnection
from schemas.result import ClassifiedFeedback
from schemas.topics import RESULTS

_logger = logging.getLogger(__name__)

_FETCH_RECORDS: Final = 500
# How soon a stop from another thread, or trouble with the brokers, is noticed.
_SLICE_S: Final = 0.2
_LEFT_OUT_INTERVAL_S: Final = 5.0
_PAUSE_S: Final = 0.1
_EXPELLED: Final = frozenset(
    {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION, KafkaError.FENCED_INSTANCE_ID}
)

T = TypeVar("T")


class ClassifiedFeedbackReader:
    """Reads results, each visible one once in its partition's order; always `read_committed`.

    With a group, Kafka keeps the position, and members share the partitions. Nothing is committed but what the
    caller says is processed: at least once, a crash in between gives the same records again.

        with ClassifiedFeedbackReader(group_id="crm") as reader:
            for record in reader:
                handle(record.feedback)
                reader.commit(record)

    Without a group the caller keeps `position`, best in the same database transaction as what it does with the
    records: exactly once. This reader then has all partitions that the topic has when it begins.

        with ClassifiedFeedbackReader(start=position_from_my_database()) as reader:
            for batch in reader.batches():
                ...

    Not thread-safe, `stop` excepted. Nothing is sent before the first read.

    Args:
        connection: the brokers and the login; by default from the environment (`KAFKA_BOOTSTRAP_SERVERS`, ...).
        group_id: the consumer group, one for each downstream service.
        start: where to begin: with a group, in partitions where it has committed nothing yet. A mapping is a stored
            `position`; partitions that it lacks are read from their beginning.
        where: which results to hand out; the position moves past the others. Any function, or a `ResultFilter`.
        until_end: end with the last result that is there when reading begins.
        on_unreadable: called with each record that cannot be read; if it returns, the record is left out. By default
            the error is raised, and again at the next read, so that no result is passed over unnoticed.
        topic: the results topic.
        outage_timeout_s: how long Kafka may be away before it is an error; with a group also how long this member may
            be silent before others take over, from 6 to 45 s.

    Raises:
        ValueError: `start` does not fit together with `group_id`, or is a time without a zone.
        ReaderError: librdkafka refuses the settings, for example a CA file that is not there.
    """

    def __init__(
        self,
        connection: KafkaConnection | None = None,
        *,
        group_id: str | None = None,
        start: Start = "beginning",
        where: Callable[[ClassifiedFeedback], bool] | None = None,
        until_end: bool = False,
        on_unreadable: Callable[[UnreadableResultError], None] | None = None,
        topic: str = RESULTS,
        outage_timeout_s: float = 30.0,
    ) -> None:
        if group_id is not None and isinstance(start, Mapping):
            raise ValueError("a stored position is for readers without a group: with one, Kafka keeps the position")
        if isinstance(start, datetime) and start.tzinfo is None:
            raise ValueError("start must be a time with its zone, such as datetime.now(UTC) - timedelta(hours=1)")
        connection = connection if connection is not None else KafkaConnection()
        self._group_id = group_id
        self._start = start
        self._where = where
        self._until_end = until_end
        self._on_unreadable = on_unreadable
        self._topic = topic
        # librdkafka demands a group even where none is joined.
        member_of = group_id or "feedback-reader-without-group"
        client_config = connection.as_librdkafka()
        self._watch = BrokerWatch(topic, member_of, client_config, outage_timeout_s)
        self._outage_timeout_s = outage_timeout_s
        config: dict[str, Any] = {
            **client_config,
            "client.id": "feedback-reader",
            "group.id": member_of,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            # What retention deleted before it was read must not be passed over in silence.
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "partition.assignment.strategy": "cooperative-sticky",
            # It also bounds how long a commit waits for a coordinator that is away.
            "session.timeout.ms": round(1000 * min(45.0, max(6.0, outage_timeout_s))),
            "error_cb": self._watch.on_error,
        }
        try:
            self._consumer = Consumer(config, logger=_logger)
        except KafkaException as failure:
            raise ReaderError(f"librdkafka refuses the settings: {failure.args[0].str()}") from None
        self._positions = Positions()
        self._fetched: deque[Message] = deque()
        # With until_end: where each partition ended when its reading began, and those that are not there yet.
        self._ends: dict[int, int] = {}
        self._unfinished: set[int] = set()
        self._is_open = False
        self._is_assigned = False
        self._is_closed = False
        self._is_broken = False
        self._stopping = threading.Event()
        self._left_out_at_s = time.monotonic()

    @property
    def position(self) -> dict[int, int]:
        """The next offset of each partition, after the records handed out so far and those left out among them.

        Opens the reader if nothing was read yet. Raises what `read` raises.
        """
        self._open()
        return self._positions.examined

    @property
    def is_finished(self) -> bool:
        """Whether `until_end` was asked for and everything is read, or `stop` was called."""
        if self._stopping.is_set():
            return True
        return self._until_end and self._is_assigned and not self._unfinished and not self._fetched

    def __iter__(self) -> Iterator[ResultRecord]:
        """Records one by one, for as long as the reader is not finished. Raises what `read` raises."""
        while not self.is_finished:
            yield from self.read(1)

    def batches(self, max_records: int = _FETCH_RECORDS) -> Iterator[list[ResultRecord]]:
        """Lists of 1 to `max_records` records: what is there, without waiting to fill them. Raises what `read` does."""
        while not self.is_finished:
            records = self.read(max_records)
            if records:
                yield records

    def read(self, max_records: int = _FETCH_RECORDS, timeout_s: float = 1.0) -> list[ResultRecord]:
        """Up to `max_records`; waits at most `timeout_s` seconds for the first, and returns an empty list then.

        Raises:
            KafkaUnavailableError, AccessRefusedError, TopicMissingError, PositionLostError: see there.
            UnreadableResultError: the next record is no result; there is no `on_unreadable`.
            RuntimeError: the reader is closed.
        """
        self._open()
        deadline_s = time.monotonic() + timeout_s
        while True:
            records = self._examine(max_records)
            if records or self.is_finished:
                break
            remaining_s = deadline_s - time.monotonic()
            self._fetch(max(0.0, min(remaining_s, _SLICE_S)))
            if remaining_s <= 0:
                records = self._examine(max_records)
                break
        self._commit_left_out()
        return records

    def commit(self, record: ResultRecord | None = None) -> None:
        """Tell Kafka that a record, and all before it in its partition, is processed; without one, all handed out.

        It is stored when this returns. Records of partitions that went to another member meanwhile are passed over:
        that member reads them again. One commit takes a round trip: for speed, commit once for many records.

        Raises:
            CommitRefusedError: the group expelled this member; others read the records since the last commit again.
            KafkaUnavailableError: not stored, or nobody knows; committing again is safe.
            RuntimeError: the reader has no group, or is closed.
        """
        if self._group_id is None:
            raise RuntimeError("a reader without a group commits nothing: store `position` with your own data")
        self._open()
        if record is None:
            self._positions.settle_all()
        else:
            self._positions.settle(record.partition, record.next_offset)
        self._send(self._positions.uncommitted)

    def stop(self) -> None:
        """End the iteration soon, from any thread or signal handler. Only `close` may follow."""
        self._stopping.set()

    def close(self) -> None:
        """Leave the group and free everything. What was handed out and not committed will be read again."""
        if not self._is_closed:
            self._is_closed = True
            self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        if self._is_closed:
            raise RuntimeError("the reader is closed")
        if self._is_broken:
            raise RuntimeError("the reader failed while it took partitions over: make a new one")
        if self._is_open:
            return
        partitions = self._watch.wait_for_partitions(self._consumer)
        if self._group_id is None:
            self._consumer.assign(
                self._patiently(
                    lambda: self._begin(start_offsets(self._consumer, self._topic, self._start, partitions))
                )
            )
        else:
            self._consumer.subscribe(
                [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
        self._is_open = True

    def _fetch(self, timeout_s: float) -> None:
        # consume() alone would wait out its timeout to fill the batch: wait for one, then take what is there.
        first = self._consumer.poll(timeout_s)
        if first is None:
            self._watch.check(self._consumer)
            return
        for message in [first, *self._consumer.consume(_FETCH_RECORDS - 1, 0)]:
            error = message.error()
            if error is None:
                self._watch.answered()
                self._fetched.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                # The end may be a transaction's marker, which no record ever reaches.
                self._watch.answered()
                self._unfinished.discard(message.partition() or 0)
            elif (judged := self._watch.judge(error)) is not None:
                raise judged

    def _examine(self, max_records: int) -> list[ResultRecord]:
        """Take wanted records from what was fetched; what raises stays the next one."""
        records: list[ResultRecord] = []
        while self._fetched and len(records) < max_records:
            message = self._fetched[0]
            partition, offset = message.partition() or 0, message.offset() or 0
            if partition in self._positions and offset < self._ends.get(partition, offset + 1):
                try:
                    record = self._accept(message)
                except Exception:
                    if records:
                        break
                    raise
                if record is None:
                    self._positions.leave_out(partition, offset)
                else:
                    self._positions.hand_out(partition, offset)
                    records.append(record)
            if offset + 1 >= self._ends.get(partition, offset + 2):
                self._unfinished.discard(partition)
            self._fetched.popleft()
        return records

    def _accept(self, message: Message) -> ResultRecord | None:
        try:
            record = read_result(message, self._topic)
        except UnreadableResultError as unreadable:
            if self._on_unreadable is None:
                raise
            self._on_unreadable(unreadable)
            return None
        return record if self._where is None or self._where(record.feedback) else None

    def _begin(self, starts: Mapping[int, int]) -> list[TopicPartition]:
        for number, next_offset in starts.items():
            self._positions.add(number, next_offset)
            if self._until_end:
                self._ends[number] = watermarks(self._consumer, self._topic, number)[1]
                if next_offset < self._ends[number]:
                    self._unfinished.add(number)
        self._is_assigned = True
        return [TopicPartition(self._topic, number, next_offset) for number, next_offset in starts.items()]

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Repeat a question to the brokers for as long as they may be away."""
        deadline_s = time.monotonic() + self._outage_timeout_s
        while True:
            try:
                return ask()
            except KafkaException as failure:
                judged = self._watch.judge(failure.args[0])
                if not isinstance(judged, KafkaUnavailableError) or time.monotonic() >= deadline_s:
                    self._watch.raise_for(failure)
                time.sleep(_PAUSE_S)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = sorted(position.partition for position in partitions)

        def positions() -> list[TopicPartition]:
            committed = committed_offsets(consumer, self._topic, numbers)
            fresh = [number for number in numbers if number not in committed]
            return self._begin({**committed, **start_offsets(consumer, self._topic, self._start, fresh)})

        try:
            consumer.incremental_assign(self._patiently(positions))
        except ReaderError:
            # librdkafka assigns them all the same, from where it sees fit.
            self._is_broken = True
            raise

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = {position.partition for position in partitions}
        settled = {number: at for number, at in self._positions.uncommitted.items() if number in numbers}
        try:
            if not self._watch.is_away:
                self._send(settled)
        except ReaderError as error:
            # Their next owner reads these records again.
            _logger.warning("not committed before partitions went away: %s", error)
        self._on_lost(consumer, partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = {position.partition for position in partitions}
        self._positions.remove(numbers)
        self._unfinished -= numbers
        self._fetched = deque(message for message in self._fetched if message.partition() not in numbers)
        consumer.incremental_unassign(partitions)

    def _commit_left_out(self) -> None:
        """Keep what the filter left out from being read again and again after each restart."""
        if self._group_id is None or time.monotonic() < self._left_out_at_s:
            return
        self._left_out_at_s = time.monotonic() + _LEFT_OUT_INTERVAL_S
        try:
            self._send(self._positions.uncommitted)
        except ReaderError as error:
            _logger.warning("the position past what was left out is not committed: %s", error)

    def _send(self, next_offsets: dict[int, int]) -> None:
        if not next_offsets:
            return
        positions = [TopicPartition(self._topic, number, offset) for number, offset in next_offsets.items()]
        deadline_s = time.monotonic() + self._outage_timeout_s
        while (error := self._try_to_commit(positions)) is not None:
            if error.code() in _EXPELLED:
                raise CommitRefusedError(
                    f"the group {self._group_id} gave this member's partitions to others, which read the records since "
                    "its last commit again: was it longer than 5 minutes between two reads?"
                )
            # While the group sorts itself out the broker takes no commit; that ends without our doing.
            if error.code() != KafkaError.REBALANCE_IN_PROGRESS or time.monotonic() >= deadline_s:
                self._watch.raise_for(KafkaException(error))
            time.sleep(_PAUSE_S)
        self._positions.commit(next_offsets)

    def _try_to_commit(self, positions: list[TopicPartition]) -> KafkaError | None:
        try:
            stored = self._consumer.commit(offsets=positions, asynchronous=False)
        except KafkaException as failure:
            error: KafkaError = failure.args[0]
            return error
        return next((position.error for position in stored or [] if position.error is not None), None)
