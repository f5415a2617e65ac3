"""`python -m producer load` as a user runs it, and what its figures must not hide."""

import json
import math
import signal
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from producer.load.latency import BUCKET_LIMITS_MS, Latency
from producer.load.schedule import MAX_EVENTS, RunIds
from schemas.connection import KafkaConnection
from tests.integration.conftest import bench as bench  # noqa: PLC0414 (fixtures)
from tests.integration.conftest import make_settings as make_settings  # noqa: PLC0414
from tests.integration.conftest import tiny_bundle as tiny_bundle  # noqa: PLC0414
from tests.integration.harness import Bench, turn_until, wait_until
from tests.producer.test_cli import command, environment, stored_events


@contextmanager
def load(kafka: KafkaConnection, *arguments: str) -> "Iterator[subprocess.Popen[bytes]]":
    """A load that runs; killed at the end of the block if it still does."""
    with subprocess.Popen(
        command("load", "--json", *arguments),
        env=environment(kafka.bootstrap_servers),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(process: "subprocess.Popen[bytes]", exit_code: int) -> tuple[dict[str, Any], str]:
    """The report and what stood on stderr."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == exit_code, err.decode()
    return json.loads(out), err.decode()


def slower_than(latency: dict[str, Any], limit_ms: float) -> int:
    """How many events fell into buckets above a limit."""
    return sum(row["events"] for row in latency["histogram"] if (row["up_to_ms"] or math.inf) > limit_ms)


@contextmanager
def end_of(kafka: KafkaConnection, topic: str) -> Iterator[Callable[[], int]]:
    """Tells how many records a topic has taken."""
    with Consumer({**kafka.as_librdkafka(), "group.id": "end"}) as consumer:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions

        def count() -> int:
            places = [TopicPartition(topic, partition) for partition in partitions]
            return sum(consumer.get_watermark_offsets(place, timeout=10)[1] for place in places)

        yield count


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_stalled_consumer_shows_in_the_latency_of_everything_due_meanwhile(bench: Bench) -> None:
    consumer = bench.consumer()
    turn_until(lambda: len(consumer.engine._transport.assignment) == 6, consumer)
    names = bench.topics
    topics = ("--topic", names.events, "--results-topic", names.results, "--dead-letter-topic", names.dead_letters)
    with (
        end_of(bench.kafka, names.events) as published,
        load(bench.kafka, "--rate", "50", "--duration", "5", *topics) as running,
    ):
        turn_until(lambda: bench.recorded() >= 25, consumer)
        before = published()
        # An open loop goes on sending while nothing comes back; a second's worth of events waits.
        wait_until(lambda: published() >= before + 50, "events of a second", alive=running)
        turn_until(lambda: running.poll() is not None, consumer)
        report, _ = finish(running, 0)
    assert (report["sent"], report["results"], report["missing"], report["duplicates"]) == (250, 250, 0, 0)
    visible = report["due_to_visible"]
    assert visible["events"] == sum(row["events"] for row in visible["histogram"]) == 250
    # Whoever waited for answers before sending would have met the stall once.
    assert slower_than(visible, 330) >= 25
    assert visible["p99_ms"] >= 700


@pytest.mark.kafka
def test_a_generator_that_stalls_says_so_and_its_latency_counts_from_the_due_time(
    kafka: KafkaConnection, make_topic: Callable[..., str]
) -> None:
    topic = make_topic()
    with (
        end_of(kafka, topic) as published,
        load(kafka, "--rate", "200", "--duration", "2", "--no-results", "--topic", topic) as running,
    ):
        wait_until(lambda: published() >= 40, "the first events", alive=running)
        running.send_signal(signal.SIGSTOP)
        time.sleep(0.7)  # the stall itself
        running.send_signal(signal.SIGCONT)
        report, err = finish(running, 0)
    assert (report["sent"], report["acknowledged"], report["schedule_held"]) == (400, 400, False)
    assert report["send_lateness"]["max_ms"] >= 600
    assert report["due_to_acknowledged"]["p90_ms"] >= 300
    assert (report["results"], report["missing"], report["due_to_visible"]) == (None, None, None)
    assert "was not held" in err
    events = stored_events(kafka, topic)
    assert len({event["event_id"] for event in events}) == len({event["text"] for event in events}) == 400
    assert {event["metadata"]["load_run"] for event in events} == {report["run_id"]}


class OddConsumer(threading.Thread):
    """Answers to the first events of a run: twice, with a dead letter, not at all, only in an aborted transaction."""

    def __init__(self, kafka: KafkaConnection, events: str, results: str, dead_letters: str) -> None:
        super().__init__(daemon=True)
        self._kafka, self._events, self._results, self._dead_letters = kafka, events, results, dead_letters
        self._count = 20

    def run(self) -> None:
        config = self._kafka.as_librdkafka()
        producer = Producer({**config, "transactional.id": self._events})
        producer.init_transactions(30)
        with Consumer({**config, "group.id": "odd", "enable.auto.commit": False}) as consumer:
            consumer.assign([TopicPartition(self._events, 0, 0)])
            received: list[bytes] = []
            while len(received) < self._count:
                received += [message.value() or b"" for message in consumer.consume(self._count, 0.1)]
        answers: list[tuple[str, bytes, Any]] = [(self._results, b"{}", [("event-id", b"nobody's")])]
        aborted: list[tuple[str, bytes, Any]] = []
        for index, value in enumerate(received):
            result = (self._results, b"{}", [("event-id", json.loads(value)["event_id"].encode())])
            odd: dict[int, list[tuple[str, bytes, Any]]] = {
                0: [result, result],
                1: [(self._dead_letters, value, [])],
                2: [],
                3: [],
            }
            answers += odd.get(index, [result])
            aborted += [result] if index == 3 else []
        self._answer(producer, aborted).abort_transaction(30)
        self._answer(producer, answers).commit_transaction(30)

    def _answer(self, producer: Producer, records: list[tuple[str, bytes, Any]]) -> Producer:
        producer.begin_transaction()
        for topic, value, headers in records:
            producer.produce(topic, value, headers=headers)
        producer.flush(30)
        return producer


@pytest.mark.kafka
def test_whatever_does_not_come_back_once_is_told(
    kafka: KafkaConnection, make_topic: Callable[..., str], tmp_path: Path
) -> None:
    events, results, dead_letters = make_topic("events"), make_topic("results"), make_topic("dead")
    texts = tmp_path / "reviews.jsonl"
    texts.write_text('{"text":"one","rating":4,"customer_id":"c"}\n{"text":"two","source":"email"}\n')
    topics = ("--topic", events, "--results-topic", results, "--dead-letter-topic", dead_letters)
    odd = OddConsumer(kafka, events, results, dead_letters)
    odd.start()
    arguments = ("--rate", "50", "--duration", "0.4", "--grace", "4", "--texts", str(texts))
    with load(kafka, *arguments, *topics) as running:
        report, err = finish(running, 1)
    odd.join(30)
    counts = {name: report[name] for name in ("sent", "results", "dead_letters", "missing", "duplicates")}
    assert counts == {"sent": 20, "results": 17, "dead_letters": 1, "missing": 2, "duplicates": 1}
    visible = report["due_to_visible"]
    assert (visible["events"], visible["unfinished"]) == (19, 2)
    assert visible["p50_ms"] > 0
    # 17 of 19 came back: what is slower than them has no figure, rather than a flattering one.
    assert (visible["p90_ms"], visible["max_ms"]) == (None, None)
    assert "2 events did not come back" in err
    stored = stored_events(kafka, events)
    assert [event["text"] for event in stored[:3]] == ["one #0", "two #1", "one #2"]
    assert stored[0].items() >= {"rating": 4, "source": "load", "customer_id": "c"}.items()
    times = [event["occurred_at"] for event in stored]
    assert times == sorted(set(times))


@pytest.mark.kafka
def test_an_interrupted_load_tells_what_it_has(kafka: KafkaConnection, make_topic: Callable[..., str]) -> None:
    topic = make_topic()
    with (
        end_of(kafka, topic) as published,
        load(kafka, "--rate", "50", "--duration", "600", "--no-results", "--topic", topic) as running,
    ):
        wait_until(lambda: published() >= 20, "the first events", alive=running)
        running.send_signal(signal.SIGINT)
        report, err = finish(running, 130)
        assert report["interrupted"]
        assert 20 <= report["sent"] < report["planned"] == 30_000
        assert published() == report["acknowledged"]
    assert "interrupted" in err


@pytest.mark.kafka
def test_each_mistake_gets_one_clear_line(
    kafka: KafkaConnection, make_topic: Callable[..., str], tmp_path: Path
) -> None:
    good = tmp_path / "good.txt"
    good.write_text("hello\n")
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text":"one"}\n{"text":"canary-7f3a","rating":"canary-7f3a"}\n')
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    topic = make_topic()
    mistakes = [
        (("--topic", "no.such.topic"), 3, "topic no.such.topic"),
        (("--topic", topic, "--results-topic", "no.such.results"), 3, "topic no.such.results"),
        (("--duration", "1e9"), 2, f"more than {MAX_EVENTS:,}"),
        (("--texts", str(bad)), 2, "line 2: rating"),
        (("--texts", str(empty)), 2, "no message"),
        (("--texts", __file__), 2, "--format"),
    ]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "producer", "load", "--rate", "2", "--duration", "1", *arguments],
            env=environment(kafka.bootstrap_servers),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for arguments, _, _ in mistakes
    ]
    for process, (arguments, exit_code, message) in zip(running, mistakes, strict=True):
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (exit_code, ""), (arguments, err)
        assert message in err, arguments
        assert len(err.splitlines()) == 1, err
        assert "canary" not in err
    assert stored_events(kafka, topic) == []


def test_percentiles_are_exact_and_the_unfinished_are_the_slowest() -> None:
    latencies_s = array("d", [number / 1000 for number in range(990, 0, -1)])
    latencies_s.append(math.nan)
    all_back = Latency.of(latencies_s, 0)
    assert (all_back.percentiles_ms[50.0], all_back.percentiles_ms[99.9], all_back.max_ms) == (495.0, 990.0, 990.0)
    some_lost = Latency.of(latencies_s, 10)
    assert (some_lost.percentiles_ms[50.0], some_lost.percentiles_ms[99.0]) == (500.0, 990.0)
    assert (some_lost.percentiles_ms[99.9], some_lost.max_ms) == (None, None)
    assert sum(some_lost.bucket_counts) == 990
    # The limit belongs to its bucket.
    assert some_lost.bucket_counts[BUCKET_LIMITS_MS.index(1.0)] == 1
    assert Latency.of(array("d"), 0).as_json()["p50_ms"] is None


def test_ids_of_a_run_lead_back_to_their_index_and_others_do_not() -> None:
    ids, others = RunIds.fresh(), RunIds.fresh()
    for index in (0, 1, MAX_EVENTS - 1):
        assert ids.index_of(ids.make(index)) == index
        assert ids.index_of(others.make(index)) is None
        assert (ids.make(index).version, ids.make(index).variant) == (7, "specified in RFC 4122")
