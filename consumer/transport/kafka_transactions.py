"""The transactional producer: one transaction at a time, under a deadline, with every failure told apart."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from typing import Any, Final, NoReturn

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from consumer.background import in_background
from consumer.errors import FatalError
from consumer.records import OutboundRecord
from consumer.transport.base import TransactionAbortedError
from consumer.transport.kafka_errors import RESTART, Availability, is_fenced
from schemas.missing_rights import denied

log = structlog.get_logger(__name__)

_REQUEST_TIMEOUT_S: Final = 10.0
# Leave the coordinator time to see the commit before it would abort the transaction by itself.
_DEADLINE_SHARE: Final = 0.8
# How long a call may outlast the time-out that it was given.
_OVERDUE_S: Final = 1.0


class TransactionalProducer:
    """Wraps librdkafka's transactional API after its own rules (INTRODUCTION.md, "Transactional Producer").

    Fatal errors end the process; abortable ones end the transaction; retriable ones repeat the same call. Where the
    fate of a transaction cannot be learnt, because the cluster is away or its coordinator forgot, the producer is
    replaced: initialising a new one of the same identity settles what the old one left open, as a new process would.
    """

    def __init__(self, config: dict[str, Any], availability: Availability, transaction_timeout_ms: int) -> None:
        self._config = config
        self._availability = availability
        self._budget_s = transaction_timeout_ms / 1000 * _DEADLINE_SHARE
        self._producer = Producer(config)
        self._must_initialise = True
        self._deadline_s = 0.0
        self._undeliverable: str | None = None
        self._denied: str | None = None

    def initialise(self) -> None:
        """Settle what a predecessor of this identity left open, and fence it. Does nothing when that is done.

        Raises:
            TransientError: the cluster is away; call again.
            FatalError: the cluster refuses.
        """
        if not self._must_initialise:
            return
        try:
            self._producer.init_transactions(_REQUEST_TIMEOUT_S)
        except KafkaException as failure:
            error: KafkaError = failure.args[0]
            if not error.retriable():
                self._availability.check_rights(error)
                raise FatalError(f"Kafka refuses: {error.name()}: {error.str()}") from None
            raise self._availability.judge(error) from None
        self._availability.answered()
        self._must_initialise = False

    def poll(self) -> None:
        """Serve delivery reports and error callbacks."""
        self._producer.poll(0)

    def begin(self) -> None:
        """See `Transport.begin`."""
        self._deadline_s = time.monotonic() + self._budget_s
        self._undeliverable = self._denied = None
        self._repeat(lambda _: self._producer.begin_transaction())

    def produce(self, record: OutboundRecord) -> None:
        """See `Transport.produce`."""

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
                self._repeat(enqueue)
            except BufferError:
                if time.monotonic() >= self._deadline_s:
                    self._abort("the producer's queue stayed full")
                self._producer.poll(0.05)
            else:
                return

    def send_offsets(self, topic: str, next_offsets: Mapping[int, int], group_metadata: object) -> None:
        """Add the group's offsets; `group_metadata` carries the generation that fences a member that lost them."""
        positions = [TopicPartition(topic, number, offset) for number, offset in sorted(next_offsets.items())]
        producer = self._producer

        def send(remaining_s: float) -> None:
            # librdkafka looks at no clock while it waits for the group's coordinator (confluentinc/librdkafka#5456).
            call = partial(producer.send_offsets_to_transaction, positions, group_metadata, remaining_s)
            in_background(call, "kafka-call").result(remaining_s + _OVERDUE_S)

        try:
            self._repeat(send)
        except FutureTimeoutError:
            # Nothing can be asked of this producer any more: not even to abort.
            self._replace("send_offsets_to_transaction did not return")
            raise TransactionAbortedError("the group's coordinator gave no answer") from None

    def commit(self) -> None:
        """See `Transport.commit`."""
        self._repeat(self._producer.commit_transaction, is_commit=True)
        self._availability.answered()

    def _repeat(self, operation: Callable[[float], object], *, is_commit: bool = False) -> None:
        """Run one call of the transaction; a retriable failure repeats the same call until the deadline."""
        while True:
            try:
                operation(max(0.1, self._deadline_s - time.monotonic()))
            except KafkaException as failure:
                error: KafkaError = failure.args[0]
                if error.code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:  # that topic's report told which one it is
                    self._availability.check_rights(error)
                if error.txn_requires_abort():
                    self._abort(error.name())
                if error.fatal() or not error.retriable():
                    raise FatalError(f"Kafka transaction: {error.name()}: {RESTART}") from None
                if time.monotonic() < self._deadline_s:
                    continue
                if not is_commit:
                    self._abort(error.name())
                # It may have happened or not: only a new producer learns which, and then the committed offsets tell.
                self._replace_after(error)
                raise TransactionAbortedError("the fate of a commit was unknown") from None
            else:
                return

    def _abort(self, reason: str) -> NoReturn:
        log.warning("transaction_aborted", reason=reason)
        try:
            self._producer.abort_transaction(_REQUEST_TIMEOUT_S)
        except KafkaException as failure:
            self._replace_after(failure.args[0])
        if self._denied is not None:
            raise FatalError(f"Kafka refuses: {self._denied}")
        if self._undeliverable is not None:
            raise FatalError(
                f"a record can never be delivered: {self._undeliverable}; compare the topics' limits with "
                "`python -m schemas topics diff`"
            )
        raise TransactionAbortedError(reason)

    def _replace_after(self, error: KafkaError) -> None:
        # Anything else, even what is fatal to this producer, ends with it: a coordinator that restarted may answer
        # INVALID_TXN_STATE, because it knows nothing of the transaction.
        if is_fenced(error):
            raise FatalError(f"Kafka transaction: {error.name()}: {RESTART}")
        self._replace(error.name())

    def _replace(self, reason: str) -> None:
        log.warning("producer_replaced", reason=reason)
        self._producer.purge()
        self._producer = Producer(self._config)
        self._must_initialise = True

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            return
        self._denied = self._denied or denied(error, topic=("Write", message.topic() or ""))
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            self._undeliverable = error.name()
