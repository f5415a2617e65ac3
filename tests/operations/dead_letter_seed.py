"""Dead letters in quantity: ledger entries and records of the dead-letter topic, as a consumer leaves them."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from confluent_kafka import Producer
from sqlalchemy import insert

from consumer.dead_letters import to_dead_letter
from consumer.outcomes import Coordinates
from consumer.records import Headers, OutboundRecord, SourceRecord
from consumer.transport.topic_check import check_topics
from schemas.tables import record_outcomes
from tests.integration.harness import DEADLINE_S, Bench

PARTITIONS = 6


def source_record(number: int, *, headers: Headers = ()) -> SourceRecord:
    """A record whose key and value tell which one it is."""
    partition, offset = number % PARTITIONS, number // PARTITIONS
    return SourceRecord(partition, offset, 0, f"key-{number}".encode(), f"value-{number}".encode(), headers, 1)


def topic_id_of(bench: Bench) -> UUID:
    topics = bench.topics
    connection = bench.kafka.as_librdkafka()
    return check_topics(
        connection, events=topics.events, results=topics.results, dead_letters=topics.dead_letters
    ).topic_id


def seed(bench: Bench, records: Sequence[SourceRecord], error_class: str = "not_json") -> None:
    """Make these records dead letters."""
    publish(
        bench,
        [dead_letter(bench, record, at, error_class) for record, at in record_verdicts(bench, records, error_class)],
    )


def record_verdicts(
    bench: Bench, records: Sequence[SourceRecord], error_class: str = "not_json"
) -> list[tuple[SourceRecord, datetime]]:
    """The ledger's part: each record with the time of its verdict."""
    topic_id = topic_id_of(bench)
    rows = [
        {
            "source_topic_id": topic_id,
            "source_partition": record.partition,
            "source_offset": record.offset,
            "outcome": "dead_letter",
            "stage": "decode",
            "error_class": error_class,
            "error_message": "the value is not JSON at character 0",
            "app_version": "test",
        }
        for record in records
    ]
    statement = insert(record_outcomes).returning(
        record_outcomes.c.source_partition, record_outcomes.c.source_offset, record_outcomes.c.recorded_at
    )
    with bench.engine.begin() as connection:
        times = {Coordinates(row[0], row[1]): row[2] for row in connection.execute(statement, rows)}
    return [(record, times[Coordinates(record.partition, record.offset)]) for record in records]


def dead_letter(bench: Bench, record: SourceRecord, recorded_at: datetime, error_class: str) -> OutboundRecord:
    """The topic's part."""
    return to_dead_letter(
        record,
        bench.topics.dead_letters,
        source_topic=bench.topics.events,
        stage="decode",
        error_class=error_class,
        error_message="the value is not JSON at character 0",
        attempts=1,
        first_failed_at=recorded_at,
        app_version="test",
        max_bytes=4_194_304,
    )


def publish(bench: Bench, letters: Sequence[OutboundRecord]) -> None:
    producer = Producer(
        {**bench.kafka.as_librdkafka(), "partitioner": "murmur2_random", "queue.buffering.max.messages": 1_000_000}
    )
    for letter in letters:
        producer.produce(letter.topic, letter.value, letter.key, headers=list(letter.headers))
    assert producer.flush(DEADLINE_S) == 0
