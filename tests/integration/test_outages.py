"""Kafka or PostgreSQL away, partitions moving, operators interfering: pause, go on, or stop and say why."""

import array
import fcntl
import json
import os
import signal
import termios
import threading
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient
from sqlalchemy import text

from consumer.errors import FatalError
from tests.conftest import Servers
from tests.integration.harness import Bench, make_event, turn_until, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


def test_two_consumers_share_and_one_takes_over(bench: Bench) -> None:
    events = [make_event(f"message {n}") for n in range(600)]
    first = bench.consumer(replica_id="a", max_window_records=16)
    bench.publish(events[:300])
    turn_until(lambda: bench.recorded() >= 50, first)
    # Under load, partitions move to the second and back.
    second = bench.consumer(replica_id="b", max_window_records=16)
    turn_until(lambda: len(second.engine._transport.assignment) == 3, first, second)
    bench.publish(events[300:])
    turn_until(lambda: bench.recorded() >= 400, first, second)
    second.engine.stop()
    turn_until(lambda: bench.has_settled(600), first)
    bench.assert_exactly_once(events)
    assert len(first.engine._transport.assignment) == 6


def test_the_database_goes_away_and_comes_back(bench: Bench, servers: Servers) -> None:
    if servers.stack is None:
        pytest.skip("the database is not ours to stop")
    consumer = bench.consumer()
    events = [make_event(f"message {n}") for n in range(100)]
    bench.publish(events[:10])
    turn_until(lambda: bench.recorded() == 10, consumer)
    servers.stack.postgres.stop()
    bench.publish(events[10:])
    retries = consumer.engine._metrics.retries._value
    turn_until(lambda: retries.get() >= 3, consumer)
    assert consumer.health.why_not_live() is None
    servers.stack.postgres.start()
    bench.engine.dispose()
    turn_until(lambda: bench.has_settled(100), consumer)
    bench.assert_exactly_once(events)


def test_a_cut_database_connection_costs_nothing(bench: Bench) -> None:
    consumer = bench.consumer()
    events = [make_event(f"message {n}") for n in range(40)]
    for start in range(0, 40, 10):
        bench.publish(events[start : start + 10])
        turn_until(partial(bench.has_recorded, start + 10), consumer)
        _cut_connections(bench)
    bench.assert_exactly_once(events)


def test_the_broker_goes_away_and_comes_back(bench: Bench, servers: Servers) -> None:
    if servers.stack is None:
        pytest.skip("the broker is not ours to stop")
    events = [make_event(f"message {n}") for n in range(200)]
    # A static member that outlives its session is fenced by itself, and restarts; a plain one goes on.
    running = bench.process(max_window_records=8, static_membership=False)
    bench.publish(events[:100])
    wait_until(lambda: bench.recorded() >= 20, "some progress", alive=running.process)
    servers.stack.kafka.kill()
    servers.stack.kafka.start()
    bench.publish(events[100:])
    bench.wait_for_outcomes(200, running)
    bench.assert_exactly_once(events)


def test_too_many_dead_letters_stop_it_until_somebody_accepts(bench: Bench) -> None:
    consumer = bench.consumer(dead_letter_max_run=20)
    good = [make_event(f"message {n}") for n in range(5)]
    bench.publish(good, partition=1)
    turn_until(lambda: bench.recorded() == 5, consumer)
    bench.publish([b"bad %d" % n for n in range(21)], partition=0)
    turn_until(lambda: "dead-letter limit" in (consumer.health.why_not_ready() or ""), consumer)
    assert consumer.health.why_not_live() is None
    assert bench.dead_letters() == []
    assert bench.recorded() == 5

    accepted = bench.process(arguments=("dlq", "accept", "--reason", "a test sent them"))
    assert accepted.process.wait(60) == 0
    turn_until(lambda: bench.recorded() == 26, consumer)
    assert len(bench.dead_letters()) == 21
    assert consumer.health.why_not_ready() is None


def commit_offset(bench: Bench, admin: AdminClient, group: str, offset: int) -> None:
    moved = ConsumerGroupTopicPartitions(group, [TopicPartition(bench.topics.events, 0, offset)])
    [future] = admin.alter_consumer_group_offsets([moved]).values()
    future.result(30)


def test_offsets_that_somebody_reset_stop_it(bench: Bench) -> None:
    bench.publish([make_event()], partition=0)
    consumer = bench.consumer()
    turn_until(lambda: bench.has_settled(1), consumer)
    consumer.engine.stop()
    renamed = f"renamed-{uuid.uuid4().hex[:8]}"
    stranger = bench.consumer(group_id=renamed)
    with pytest.raises(FatalError, match="no committed offset"):
        turn_until(lambda: False, stranger)


def test_a_database_that_lost_rows_stops_it_and_a_flag_lets_it_go_on(bench: Bench) -> None:
    bench.publish([make_event(), make_event()], partition=0)
    consumer = bench.consumer()
    turn_until(lambda: bench.has_settled(2), consumer)
    consumer.engine.stop()
    with bench.engine.begin() as connection:
        connection.execute(text("DELETE FROM record_outcomes WHERE source_offset = 1"))
    with pytest.raises(FatalError, match="the database lost rows"):
        turn_until(lambda: False, bench.consumer())
    event = make_event("after the flag")
    bench.publish([event], partition=0)
    allowed = bench.consumer(accept_offset_mismatch=True)
    turn_until(lambda: any(str(row["event_id"]) == event["event_id"] for row in bench.rows()), allowed)


def test_nothing_is_begun_before_a_new_partition_is_checked(bench: Bench) -> None:
    bench.publish([make_event(f"message {n}") for n in range(40)], partition=0)
    consumer = bench.consumer(max_window_records=4)
    transport, positions = consumer.engine._transport, consumer.engine._start_positions
    poll, begin = transport.poll, consumer.engine._begin_window

    def poll_until_records_come(max_records: int, timeout_s: float) -> Any:
        """A fast broker: a full window comes with the very poll that assigns the partition."""
        records = poll(max_records, timeout_s)
        while positions.unchecked and len(records) < max_records:
            records += poll(max_records - len(records), timeout_s)
        return records

    def begin_checked() -> None:
        assert positions.unchecked == []
        begin()

    transport.poll = poll_until_records_come  # type: ignore[method-assign]
    consumer.engine._begin_window = begin_checked  # type: ignore[method-assign]
    turn_until(lambda: bench.has_settled(40), consumer)


def test_a_failover_to_a_copy_that_was_behind_stops_a_running_consumer(bench: Bench) -> None:
    bench.publish([make_event(), make_event()], partition=0)
    consumer = bench.consumer()
    turn_until(lambda: bench.has_settled(2), consumer)
    with bench.engine.begin() as connection:
        connection.execute(text("DELETE FROM record_outcomes WHERE source_offset = 1"))
        connection.execute(text("DELETE FROM feedback WHERE source_offset = 1"))
    _cut_connections(bench)
    bench.publish([make_event("after the failover")], partition=0)
    with pytest.raises(FatalError, match="the database lost rows"):
        turn_until(lambda: bench.recorded() > 1, consumer)
    assert bench.recorded() == 1, "nothing is recorded on top of the gap"


def test_deleted_records_stop_it(bench: Bench, admin: AdminClient) -> None:
    bench.publish([make_event() for _ in range(5)], partition=0)
    consumer = bench.consumer()
    turn_until(lambda: bench.has_settled(5), consumer)
    consumer.engine.stop()
    bench.publish([make_event() for _ in range(5)], partition=0)
    [future] = admin.delete_records([TopicPartition(bench.topics.events, 0, 8)]).values()
    future.result(30)
    with pytest.raises(FatalError, match="deleted before they were read"):
        turn_until(lambda: False, bench.consumer())


def test_an_older_replica_with_the_same_identity_stops(bench: Bench) -> None:
    older = bench.process(replica_id="same")
    older.wait_ready()
    younger = bench.process(replica_id="same")
    younger.wait_ready()
    # The older one learns it with its next transaction.
    for _ in range(20):
        bench.publish([make_event() for _ in range(6)])
    wait_until(lambda: older.process.poll() is not None or younger.process.poll() is not None, "one of them to end")
    assert older.process.wait(60) == 1
    assert "replica_id" in json.dumps(older.log()[-1])


def test_it_refuses_to_start_and_says_why(bench: Bench) -> None:
    refusals: list[tuple[dict[str, Any], str]] = [
        ({"results_topic": "no.such.topic"}, "python -m schemas topics apply"),
        ({"bundle_url": "/no/such/bundle"}, "/no/such/bundle"),
        ({"policy_file": "/no/such/policy.toml"}, "/no/such/policy.toml"),
        ({"librdkafka": {"enable.auto.commit": "true"}}, "enable.auto.commit"),
    ]
    for changes, reason in refusals:
        refused = bench.process(**changes)
        assert refused.process.wait(60) == 1
        last = refused.log()[-1]
        assert last["event"] == "fatal"
        assert reason in last["reason"]


def test_an_unmigrated_database_is_refused(bench: Bench, empty_database: object) -> None:
    refused = bench.process(database_url=empty_database.database_url)  # type: ignore[attr-defined]
    assert refused.process.wait(60) == 1
    assert "python -m schemas migrate" in refused.log()[-1]["reason"]


def test_probes_metrics_and_info_are_served(bench: Bench) -> None:
    running = bench.process()
    running.wait_ready()
    bench.publish([make_event() for _ in range(10)])
    bench.wait_for_outcomes(10, running)
    assert running.get("/health/live")[0] == 200
    assert running.get("/nowhere")[0] == 404
    info = json.loads(running.get("/info")[1])
    assert info["model"]["name"] == "tiny"
    assert info["topics"]["events"] == bench.topics.events
    wait_until(lambda: 'feedback_records_total{outcome="classified"} 10.0' in running.get("/metrics")[1], "the count")
    metrics = running.get("/metrics")[1]
    assert f'feedback_partition_lag_records{{partition="0",topic="{bench.topics.events}"}} 0.0' in metrics
    assert "feedback_latency_seconds_bucket" in metrics


def test_torch_and_transformers_never_load(bench: Bench) -> None:
    running = bench.process()
    running.wait_ready()
    maps = (f"/proc/{running.process.pid}/maps",)
    with open(maps[0]) as mapped:  # noqa: PTH123
        loaded = mapped.read()
    assert "onnxruntime" in loaded
    assert "libtorch" not in loaded
    with open(f"/proc/{running.process.pid}/status") as status:  # noqa: PTH123
        rss_kib = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    assert rss_kib < 500 * 1024


def committed(bench: Bench, group: str) -> dict[int, int]:
    with KafkaConsumer({**bench.kafka.as_librdkafka(), "group.id": group}) as reader:
        positions = reader.committed([TopicPartition(bench.topics.events, number) for number in range(6)], timeout=30)
    return {position.partition: position.offset for position in positions}


def test_committed_offsets_are_what_was_processed(bench: Bench, make_settings: Callable[..., object]) -> None:
    bench.publish([make_event() for _ in range(7)], partition=2)
    consumer = bench.consumer()
    turn_until(lambda: bench.has_settled(7), consumer)
    group = make_settings().group_id  # type: ignore[attr-defined]
    assert committed(bench, group)[2] == 7


def test_sigterm_in_the_middle_of_a_log_line_ends_it(bench: Bench) -> None:
    """Its reader falls behind: the process stands in a write, holding the log's lock, when the signal comes."""
    read_end, write_end = os.pipe()
    running = bench.process(output=write_end, log_level="debug", librdkafka={"debug": "all"})
    os.close(write_end)
    wait_until(lambda: _waiting_bytes(read_end) > PIPE_BYTES - 4_096, "a full pipe", alive=running.process)
    running.process.send_signal(signal.SIGTERM)
    drain = threading.Thread(target=_drain, args=(read_end,))
    drain.start()
    assert running.process.wait(60) == 0
    drain.join()


PIPE_BYTES = 65_536


def _waiting_bytes(pipe: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


def _drain(pipe: int) -> None:
    with open(pipe, "rb") as unread:
        while unread.read(PIPE_BYTES):
            pass


def _cut_connections(bench: Bench) -> None:
    with bench.engine.begin() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'feedback-consumer' AND datname = current_database()"
            )
        )
