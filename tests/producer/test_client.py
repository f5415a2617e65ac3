"""The publisher against a real broker, and against none."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from confluent_kafka import KafkaError

from producer.client import FeedbackPublisher
from producer.delivery import Receipt
from producer.errors import (
    BrokerError,
    FlushTimeoutError,
    InvalidEventError,
    OutcomeUnknownError,
    PublisherClosedError,
    QueueFullError,
    RefusedError,
    UndeliveredError,
)
from schemas.connection import KafkaConnection
from tests.producer.topic_reader import read_topic

EVENT: dict[str, Any] = {"source": "web", "occurred_at": "2026-01-31T09:30:00Z", "text": "It crashes on start"}

# From Kafka's own tests of org.apache.kafka.common.utils.Utils.murmur2.
MURMUR2 = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536}


@pytest.fixture
def nowhere() -> Iterator[KafkaConnection]:
    """A port that is taken and refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield KafkaConnection(bootstrap_servers=f"127.0.0.1:{taken.getsockname()[1]}")


@pytest.mark.kafka
def test_receipts_name_the_place_where_the_record_lies(kafka: KafkaConnection, make_topic: Callable[..., str]) -> None:
    topic = make_topic(partitions=7)
    with FeedbackPublisher(kafka, topic=topic) as publisher:
        receipts = publisher.publish_many({**EVENT, "customer_id": customer} for customer in MURMUR2)
        receipts.append(publisher.publish(EVENT, traceparent="00-ab-cd-01"))
        deliveries = [receipt.result(30) for receipt in receipts]
    stored = {(record.partition(), record.offset()): record for record in read_topic(kafka, topic)}
    assert len(stored) == 4
    for delivery in deliveries:
        record = stored[delivery.partition, delivery.offset]
        assert UUID(json.loads(record.value() or b"")["event_id"]) == delivery.event_id
    for delivery, hashed in zip(deliveries, MURMUR2.values(), strict=False):
        assert delivery.partition == (hashed & 0x7FFFFFFF) % 7
    last = stored[deliveries[3].partition, deliveries[3].offset]
    assert last.key() == str(deliveries[3].event_id).encode()
    assert last.headers() == [
        ("schema-version", b"1"),
        ("content-type", b"application/json"),
        ("traceparent", b"00-ab-cd-01"),
    ]


@pytest.mark.kafka
def test_a_full_queue_slows_many_threads_down_and_drops_nothing(
    kafka: KafkaConnection, make_topic: Callable[..., str]
) -> None:
    topic = make_topic(partitions=3)
    receipts: list[Receipt] = []
    with FeedbackPublisher(kafka, topic=topic, max_queued_records=20) as publisher:

        def publish() -> None:
            receipts.extend(publisher.publish(EVENT) for _ in range(250))

        threads = [threading.Thread(target=publish) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        publisher.flush()
        assert all(receipt.done() for receipt in receipts)
        assert publisher.close().delivered_records == 1000
    stored = {json.loads(record.value() or b"")["event_id"] for record in read_topic(kafka, topic)}
    assert stored == {str(receipt.event_id) for receipt in receipts}
    assert len(stored) == 1000


@pytest.mark.kafka
def test_a_refusal_is_sure_and_raised_when_nobody_looked(
    kafka: KafkaConnection, make_topic: Callable[..., str]
) -> None:
    topic = make_topic(config={"max.message.bytes": "1000"})
    publisher = FeedbackPublisher(kafka, topic=topic)
    seen = publisher.publish({**EVENT, "text": "".join(map(str, range(2000)))})
    with pytest.raises(RefusedError) as refused:
        seen.result(30)
    assert (refused.value.event_id, refused.value.code) == (seen.event_id, KafkaError.MSG_SIZE_TOO_LARGE)
    publisher.flush()
    unseen = publisher.publish({**EVENT, "text": "".join(map(str, range(2000)))})
    with pytest.raises(UndeliveredError) as undelivered:
        publisher.flush()
    assert undelivered.value.report.refused == (unseen.event_id,)
    assert publisher.close().refused == ()


@pytest.mark.kafka
def test_publishing_from_a_callback_is_refused_instead_of_hanging(
    kafka: KafkaConnection, make_topic: Callable[..., str]
) -> None:
    raised: list[str] = []
    with FeedbackPublisher(kafka, topic=make_topic()) as publisher:

        def again(_: object) -> None:
            try:
                publisher.publish(EVENT)
            except RuntimeError as error:
                raised.append(str(error))

        publisher.publish(EVENT).add_done_callback(again)
        publisher.flush()
    assert len(raised) == 1
    assert "callback" in raised[0]


@pytest.mark.kafka
def test_a_program_that_forgets_to_close_still_delivers(kafka: KafkaConnection, make_topic: Callable[..., str]) -> None:
    topic = make_topic()
    program = (
        "from producer.client import FeedbackPublisher\n"
        f"publisher = FeedbackPublisher(topic={topic!r})\n"
        f"publisher.publish({EVENT!r})\n"
    )
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)
    assert len(read_topic(kafka, topic)) == 1


@pytest.mark.kafka
def test_one_invalid_event_stops_all_of_publish_many(kafka: KafkaConnection, make_topic: Callable[..., str]) -> None:
    topic = make_topic()
    with FeedbackPublisher(kafka, topic=topic) as publisher:
        with pytest.raises(InvalidEventError, match="event 1: rating") as refused:
            publisher.publish_many([EVENT, {**EVENT, "rating": 9}])
        assert refused.value.position == 1
        assert publisher.check()
    assert read_topic(kafka, topic) == []


def test_without_a_broker_the_queue_fills_and_close_says_what_is_left(nowhere: KafkaConnection) -> None:
    publisher = FeedbackPublisher(nowhere, queue_timeout_s=0.3, max_queued_records=3)
    with pytest.raises(BrokerError, match="Connection refused"):
        publisher.check(timeout_s=0.5)
    with pytest.raises(QueueFullError, match="Connection refused") as full:
        publisher.publish_many([EVENT] * 5)
    assert len(full.value.queued) == 3
    with pytest.raises(FlushTimeoutError, match="3 records"):
        publisher.flush(timeout_s=0.1)
    with pytest.raises(UndeliveredError, match="3 with unknown outcome") as undelivered:
        publisher.close(timeout_s=0.1)
    assert set(undelivered.value.report.unknown) == {receipt.event_id for receipt in full.value.queued}
    assert publisher.close() == undelivered.value.report
    with pytest.raises(PublisherClosedError):
        publisher.publish(EVENT)


def test_a_record_that_times_out_is_an_unknown_outcome(nowhere: KafkaConnection) -> None:
    publisher = FeedbackPublisher(nowhere, delivery_timeout_s=0.5)
    receipt = publisher.publish(EVENT)
    with pytest.raises(OutcomeUnknownError) as unknown:
        receipt.result(timeout=10)
    assert unknown.value.code == KafkaError._MSG_TIMED_OUT
    assert publisher.close().unknown == ()


def test_failures_that_nobody_reads_stop_the_publisher_in_the_end(nowhere: KafkaConnection) -> None:
    publisher = FeedbackPublisher(nowhere, delivery_timeout_s=0.2, max_queued_records=2)
    publisher.publish_many([EVENT, EVENT])
    with publisher._changed:
        assert publisher._changed.wait_for(publisher._is_idle, 10)
    with pytest.raises(UndeliveredError, match="2 with unknown outcome"):
        publisher.publish(EVENT)
    publisher.close(timeout_s=0)


def test_an_error_in_the_block_is_not_hidden_by_what_was_not_delivered(nowhere: KafkaConnection) -> None:
    publisher = FeedbackPublisher(nowhere, delivery_timeout_s=0.2)
    publisher.publish(EVENT)
    with pytest.raises(KeyError) as raised, publisher:
        raise KeyError("the caller's own")
    assert any("1 with unknown outcome" in note for note in raised.value.__notes__)


def test_a_fatal_error_ends_publishing_but_brokers_being_down_does_not(nowhere: KafkaConnection) -> None:
    publisher = FeedbackPublisher(nowhere, max_queued_records=5)
    publisher._faults.on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    publisher.publish(EVENT)
    publisher._faults.on_error(KafkaError(KafkaError._FATAL, "sequence desynchronised", fatal=True))
    with pytest.raises(BrokerError, match="sequence desynchronised"):
        publisher.publish(EVENT)
    with pytest.raises(UndeliveredError):
        publisher.close(timeout_s=0)


def test_settings_that_librdkafka_refuses_are_reported_as_such() -> None:
    connection = KafkaConnection(security_protocol="SSL", ssl_ca_location="/nowhere/ca.pem")
    with pytest.raises(BrokerError, match=r"ssl\.ca\.location"):
        FeedbackPublisher(connection)
