"""Calls of librdkafka that outlast their own time-out."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from consumer.records import OutboundRecord
from consumer.transport import kafka_transactions
from consumer.transport.base import TransactionAbortedError
from consumer.transport.kafka_errors import Availability
from consumer.transport.kafka_transactions import TransactionalProducer
from demo.observe import read_to_end
from schemas.connection import KafkaConnection

TRANSACTION_TIMEOUT_MS = 5_000


def test_a_send_offsets_that_never_returns_costs_one_transaction(
    kafka: KafkaConnection, make_topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    class LosesItsCoordinator(Producer):
        """As in confluentinc/librdkafka#5456: the first call waits for a coordinator, whatever its time-out says."""

        calls = 0

        def send_offsets_to_transaction(self, *arguments: Any) -> None:
            LosesItsCoordinator.calls += 1
            if LosesItsCoordinator.calls == 1:
                released.wait(60)
            super().send_offsets_to_transaction(*arguments)

    monkeypatch.setattr(kafka_transactions, "Producer", LosesItsCoordinator)
    topic = make_topic(partitions=1)
    config = {**kafka.as_librdkafka(), "transactional.id": topic, "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS}
    producer = TransactionalProducer(config, Availability(20, lambda: None), TRANSACTION_TIMEOUT_MS)
    group = Consumer({**kafka.as_librdkafka(), "group.id": topic})
    try:
        started_s = time.monotonic()
        with pytest.raises(TransactionAbortedError):
            _transact(producer, topic, b"lost", 5, group)
        assert time.monotonic() - started_s < TRANSACTION_TIMEOUT_MS / 1000 + 2

        _transact(producer, topic, b"kept", 1, group)

        # What the first call does once it returns must not reach the group, and nothing of its transaction is visible.
        released.set()
        assert [record.value for record in read_to_end(kafka.as_librdkafka(), topic)] == [b"kept"]
        assert group.committed([TopicPartition(topic, 0)], 10)[0].offset == 1
    finally:
        released.set()
        group.close()


def _transact(producer: TransactionalProducer, topic: str, value: bytes, next_offset: int, group: Consumer) -> None:
    producer.initialise()
    producer.begin()
    producer.produce(OutboundRecord(topic=topic, key=None, value=value, headers=()))
    producer.send_offsets(topic, {0: next_offset}, group.consumer_group_metadata())
    producer.commit()
