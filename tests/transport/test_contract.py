"""What the engine relies on, asked of every transport: the in-memory one and a real Kafka."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Protocol

import pytest
from confluent_kafka import Consumer, KafkaError, Producer

from consumer.errors import FatalError, TransientError
from consumer.records import OutboundRecord, SourceRecord
from consumer.transport.base import Transport
from consumer.transport.kafka import KafkaTransport
from consumer.transport.kafka_config import KafkaOptions
from consumer.transport.memory import InMemoryBroker, InMemoryTransport
from schemas.connection import KafkaConnection

DEADLINE_S = 30.0


@dataclass
class Listener:
    """Starts where the group left off, and remembers what it was told."""

    assigned: list[dict[int, int | None]] = field(default_factory=list)
    revoked: list[list[int]] = field(default_factory=list)
    lost: list[list[int]] = field(default_factory=list)
    when_revoked: Callable[[], None] = lambda: None

    def on_assigned(self, committed: Mapping[int, int | None]) -> Mapping[int, int | None]:
        self.assigned.append(dict(committed))
        return committed

    def on_revoked(self, partitions: Sequence[int]) -> None:
        self.revoked.append(list(partitions))
        self.when_revoked()

    def on_lost(self, partitions: Sequence[int]) -> None:
        self.lost.append(list(partitions))


class World(Protocol):
    """A broker with an events topic of two partitions, seen from outside."""

    output_topic: str

    def append(self, value: bytes, partition: int) -> None: ...
    def member(self, identity: str) -> Transport: ...
    def visible(self) -> list[bytes | None]: ...


@dataclass
class InMemoryWorld:
    broker: InMemoryBroker = field(default_factory=lambda: InMemoryBroker(partitions=2))
    output_topic: str = "out"

    def append(self, value: bytes, partition: int) -> None:
        self.broker.append(value, partition=partition, headers=(("h", b"1"), ("h", None)))

    def member(self, identity: str) -> Transport:
        return InMemoryTransport(self.broker, identity)

    def visible(self) -> list[bytes | None]:
        return [record.value for record in self.broker.produced]


@dataclass
class KafkaWorld:
    connection: KafkaConnection
    events_topic: str
    output_topic: str
    cleanup: ExitStack

    def append(self, value: bytes, partition: int) -> None:
        producer = Producer(self.connection.as_librdkafka())
        producer.produce(self.events_topic, value, partition=partition, headers=[("h", b"1"), ("h", None)])
        assert producer.flush(DEADLINE_S) == 0

    def member(self, identity: str) -> Transport:
        transport = KafkaTransport(
            KafkaOptions(
                connection=self.connection.as_librdkafka(),
                group_id=f"group-{self.events_topic}",
                replica_id=identity,
                events_topic=self.events_topic,
                static_membership=False,
                session_timeout_ms=6_000,
                max_poll_interval_ms=60_000,
                transaction_timeout_ms=10_000,
                outage_budget_s=20,
                max_output_bytes=1_000_000,
                # Members hear of a rebalance with a heartbeat.
                librdkafka={"heartbeat.interval.ms": "200"},
            )
        )
        self.cleanup.callback(transport.close)
        return transport

    def visible(self) -> list[bytes | None]:
        reader = Consumer(
            {
                **self.connection.as_librdkafka(),
                "group.id": "reader",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
            }
        )
        values = []
        with reader:
            reader.subscribe([self.output_topic])
            while True:
                message = reader.poll(DEADLINE_S)
                assert message is not None
                error = message.error()
                if error is None:
                    values.append(message.value())
                elif error.code() == KafkaError._PARTITION_EOF:
                    return values


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "memory":
        yield InMemoryWorld()
        return
    make_topic = request.getfixturevalue("make_topic")
    with ExitStack() as cleanup:
        yield KafkaWorld(request.getfixturevalue("kafka"), make_topic("events", 2), make_topic("out", 1), cleanup)


def poll_until(
    member: Transport, enough: Callable[[list[SourceRecord]], bool], *others: Transport
) -> list[SourceRecord]:
    """Poll until the records that came are enough; the others only poll along, as members must."""
    records: list[SourceRecord] = []
    deadline_s = time.monotonic() + DEADLINE_S
    while not enough(records):
        assert time.monotonic() < deadline_s, f"only {records} came, assigned {dict(member.assignment)}"
        records += member.poll(100, 0.05)
        for other in others:
            other.poll(1, 0.05)
    return records


def started(world: World, identity: str = "0") -> tuple[Transport, Listener]:
    member, listener = world.member(identity), Listener()
    member.start(listener)
    return member, listener


def emit(member: Transport, world: World, value: bytes, next_offsets: dict[int, int]) -> None:
    member.begin()
    member.produce(OutboundRecord(world.output_topic, b"k", value, ()))
    member.send_offsets(next_offsets)
    member.commit()


def finish_as_the_engine_would(member: Transport) -> None:
    """Whichever call the broker answers first may tell of an abort; then it rewinds and tries again."""
    for _ in range(3):
        try:
            member.send_offsets({0: 1})
            member.commit()
        except TransientError:
            member.rewind()
            member.begin()


def test_records_come_in_order_with_all_that_they_are(world: World) -> None:
    for value in (b"a", b"b", b"c"):
        world.append(value, 0)
    member, listener = started(world)
    records = poll_until(member, lambda found: len(found) == 3)
    assert [(record.partition, record.offset, record.value) for record in records] == [
        (0, 0, b"a"),
        (0, 1, b"b"),
        (0, 2, b"c"),
    ]
    assert records[0].headers == (("h", b"1"), ("h", None))
    assert records[0].epoch == member.assignment[0]
    assert {partition for told in listener.assigned for partition in told} == {0, 1}
    assert member.is_joined


def test_never_more_records_than_asked_for(world: World) -> None:
    for _ in range(5):
        world.append(b"x", 0)
    member, _ = started(world)
    poll_until(member, lambda _: len(member.assignment) == 2)
    assert max(len(member.poll(2, 0.2)) for _ in range(6)) <= 2


def test_outputs_and_offsets_become_visible_together(world: World) -> None:
    world.append(b"a", 0)
    world.append(b"b", 0)
    member, _ = started(world)
    poll_until(member, lambda found: len(found) == 2)
    member.begin()
    member.produce(OutboundRecord(world.output_topic, None, b"first", ()))
    assert world.visible() == []
    member.send_offsets({0: 1})
    member.commit()
    assert world.visible() == [b"first"]
    member.close()
    successor, listener = started(world)
    assert [record.value for record in poll_until(successor, lambda found: len(found) == 1)] == [b"b"]
    assert {0: 1}.items() <= {p: at for told in listener.assigned for p, at in told.items()}.items()


def test_rewind_reads_again_from_the_committed_offset(world: World) -> None:
    for value in (b"a", b"b"):
        world.append(value, 0)
    world.append(b"c", 1)
    member, _ = started(world)
    poll_until(member, lambda found: len(found) == 3)
    emit(member, world, b"r", {0: 1})
    member.pause()
    member.rewind()
    assert member.poll(10, 0.3) == []
    member.resume()
    again = poll_until(member, lambda found: len(found) == 2)
    assert sorted(record.value or b"" for record in again) == [b"b", b"c"]


def test_a_paused_member_gets_nothing_and_then_everything_once(world: World) -> None:
    world.append(b"a", 0)
    member, _ = started(world)
    poll_until(member, lambda found: len(found) == 1)
    member.pause()
    world.append(b"b", 0)
    assert [record for _ in range(5) for record in member.poll(10, 0.1)] == []
    member.resume()
    assert [record.value for record in poll_until(member, lambda found: len(found) == 1)] == [b"b"]


def test_a_second_member_takes_a_share_and_the_first_is_told_before(world: World) -> None:
    world.append(b"a", 0)
    world.append(b"b", 1)
    first, told = started(world)
    poll_until(first, lambda found: len(found) == 2)
    # The last chance is used: what was read is committed before the partition goes.
    told.when_revoked = lambda: emit(first, world, b"saved", {0: 1, 1: 1})
    second, _ = started(world, "1")
    poll_until(second, lambda _: len(second.assignment) == 1, first)
    assert len(first.assignment) == 1
    assert set(first.assignment) | set(second.assignment) == {0, 1}
    assert told.revoked == [list(second.assignment)]
    assert world.visible() == [b"saved"]
    assert second.poll(10, 0.3) == []


def test_a_partition_that_came_back_has_another_epoch(world: World) -> None:
    first, _ = started(world)
    poll_until(first, lambda _: len(first.assignment) == 2)
    before = dict(first.assignment)
    second, _ = started(world, "1")
    poll_until(second, lambda _: len(second.assignment) == 1, first)
    moved = next(iter(second.assignment))
    second.close()
    poll_until(first, lambda _: len(first.assignment) == 2)
    assert first.assignment[moved] != before[moved]


def test_a_partition_that_left_while_paused_delivers_when_it_comes_back(world: World) -> None:
    first, _ = started(world)
    poll_until(first, lambda _: len(first.assignment) == 2)
    first.pause()
    second, _ = started(world, "1")
    poll_until(second, lambda _: len(second.assignment) == 1, first)
    moved = next(iter(second.assignment))
    first.resume()
    world.append(b"a", moved)
    second.close()
    records = poll_until(first, lambda found: len(found) == 1)
    assert records[0].partition == moved


def test_an_older_process_of_the_same_identity_is_fenced(world: World) -> None:
    world.append(b"a", 0)
    zombie, _ = started(world)
    poll_until(zombie, lambda found: len(found) == 1)
    zombie.begin()
    zombie.produce(OutboundRecord(world.output_topic, None, b"zombie", ()))
    successor, _ = started(world)
    with pytest.raises(FatalError):
        finish_as_the_engine_would(zombie)
    assert world.visible() == []
    with suppress(TransientError, FatalError):
        zombie.close()
    poll_until(successor, lambda _: len(successor.assignment) == 2)


def test_lag_counts_what_was_not_read(world: World) -> None:
    member, _ = started(world)
    poll_until(member, lambda _: len(member.assignment) == 2)
    for value in (b"a", b"b"):
        world.append(value, 0)
    poll_until(member, lambda found: len(found) == 2)
    assert member.lag()[0] == 0


def test_closing_tells_what_was_still_assigned(world: World) -> None:
    member, listener = started(world)
    poll_until(member, lambda _: len(member.assignment) == 2)
    member.close()
    assert sorted(partition for told in listener.revoked for partition in told) == [0, 1]
    assert not member.assignment
