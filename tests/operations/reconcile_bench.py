"""What tests of `reconcile` share: running the command as an operator does, and writing to topics as nobody should."""

import json
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner

from consumer.__main__ import app
from consumer.records import Headers
from demo.hostile import hostile_records
from tests.integration.harness import DEADLINE_S, Bench, make_event, turn_until, wait_until

MAX_EVENT_BYTES = 1_048_588


@dataclass(frozen=True)
class Answer:
    """What the command said and how it ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        assert self.stdout, self.stderr
        document: dict[str, Any] = json.loads(self.stdout)
        return document

    @property
    def disagreements(self) -> dict[str, list[str]]:
        """All coordinates by kind."""
        return {
            found["kind"]: [f"{at['partition']}:{at['offset']}" for at in found["first"]]
            for found in self.document["disagreements"]
        }


def reconcile(bench: Bench, monkeypatch: pytest.MonkeyPatch, *arguments: str, **changes: object) -> Answer:
    """`python -m consumer reconcile --json --show 1000 ...` with the settings of the bench's consumers."""
    settings = bench.make_settings(**changes)
    with monkeypatch.context() as environment:
        environment.setenv("KAFKA_BOOTSTRAP_SERVERS", settings.bootstrap_servers)
        environment.setenv("DATABASE_URL", settings.database_url.get_secret_value())
        for name in ("group_id", "events_topic", "results_topic", "dead_letter_topic", "max_window_records"):
            environment.setenv(f"CONSUMER_{name.upper()}", str(getattr(settings, name)))
        found = CliRunner().invoke(app, ["reconcile", "--json", "--show", "1000", *arguments], catch_exceptions=False)
    return Answer(found.exit_code, found.stdout, found.stderr)


def write(bench: Bench, topic: str, value: bytes | None, key: bytes | None = None, headers: Headers = ()) -> None:
    """Write a record to any topic, as somebody might who has the rights and no business there."""
    producer = Producer({**bench.kafka.as_librdkafka(), "partitioner": "murmur2_random"})
    producer.produce(topic, value, key, headers=list(headers))
    assert producer.flush(DEADLINE_S) == 0


def commit_offset(bench: Bench, admin: AdminClient, next_offset: int) -> None:
    """Set the committed offset of partition 0, as an operator may once every consumer has left."""
    group = bench.make_settings().group_id
    position = ConsumerGroupTopicPartitions(group, [TopicPartition(bench.topics.events, 0, next_offset)])
    wait_until(lambda: not admin.describe_consumer_groups([group])[group].result(DEADLINE_S).members, "an empty group")
    [altered] = admin.alter_consumer_group_offsets([position])[group].result(DEADLINE_S).topic_partitions
    assert altered.error is None


def publish_everything(bench: Bench) -> int:
    """Ordinary events and every hostile one, in two goes, with a consumer in this process that handles them.

    Returns:
        How many records were published.
    """
    plain = [
        make_event(f"message {n}", customer_id=f"c{n % 3}", rating=n % 5 + 1, plan={"n": [n, 1.5]}) for n in range(80)
    ]
    trace = (("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ("tracestate", b"vendor=1"))
    bench.publish(plain, headers=trace)
    hostile = hostile_records(6, MAX_EVENT_BYTES)
    consumer = bench.consumer()
    count = len(plain)
    for late in (False, True):
        for record in hostile:
            if record.late == late:
                bench.publish([record.value], partition=record.partition, key=record.key, headers=record.headers)
                count += 1
        turn_until(partial(bench.has_settled, count), consumer)
    consumer.engine.stop()
    return count
