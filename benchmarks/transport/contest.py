"""One run of one contestant, judged from outside by the times that the broker stamps on visible results."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import OffsetSpec

from benchmarks.messages import real_texts
from benchmarks.rounds import ContestError
from benchmarks.servers import PARTITIONS, Servers
from benchmarks.transport.contestants import Contestant, variables_of

_START_DEADLINE_S: Final = 90.0
_LOOK_EVERY_S: Final = 0.1
_END_S: Final = 15.0
# A transaction that is open when the window ends must not hide what stands before it.
_TAIL_S: Final = 2.0
_KEYS: Final = 200
# Our consumer asks for at least twice as much as events may have.
_OUTPUT_BYTES: Final = "4194304"
_LATEST: Final = OffsetSpec.latest()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Run:
    """One run.

    Attributes:
        events: a topic that holds more than can be read in the time.
        records: in one transaction, or between two commits.
        warm_up_s: what is passed over after the first result.
        measured_s: what counts after that.
    """

    events: str
    records: int
    warm_up_s: float
    measured_s: float


def fill(servers: Servers, topic: str, count: int) -> None:
    """Publish `count` events with distinct ids under 200 keys."""
    producer = Producer({"bootstrap.servers": servers.brokers, "linger.ms": 50, "compression.type": "lz4"})
    for number, text in enumerate(real_texts(count)):
        event = {
            "event_id": str(UUID(int=number + 1, version=4)),
            "source": "app_store",
            "text": text,
            "occurred_at": "2026-01-31T09:30:00Z",
        }
        while True:
            try:
                producer.produce(topic, json.dumps(event).encode(), f"customer-{number % _KEYS}".encode())
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    if producer.flush(60.0):
        raise ContestError(f"{topic}: the broker did not take all events in time")


def measure(servers: Servers, contestant: Contestant, run: Run, log: Path) -> float:
    """Results a second that became visible to a read_committed reader.

    Args:
        servers: where.
        contestant: who.
        run: on what, and for how long.
        log: file for what the contestant says.

    Raises:
        ContestError: it ended, gave no result, or came to the end of the topic.
    """
    with ExitStack() as stack:
        database_url = stack.enter_context(servers.database()) if contestant.is_ours else ""
        results = stack.enter_context(
            servers.topic("results", message_timestamp_type="LogAppendTime", max_message_bytes=_OUTPUT_BYTES)
        )
        dead_letters = stack.enter_context(servers.topic("dead-letters", max_message_bytes=_OUTPUT_BYTES))
        variables = variables_of(
            contestant,
            brokers=servers.brokers,
            database_url=database_url,
            topics=(run.events, results, dead_letters),
            group=servers.new_name("group"),
            records=run.records,
        )
        with _running(contestant, variables, log) as process:
            deadline_s = time.monotonic() + _START_DEADLINE_S
            while not _holds_records(servers, results):
                _require_running(process, log)
                if time.monotonic() > deadline_s:
                    raise ContestError(f"no result in {_START_DEADLINE_S:.0f} s: see {log}")
                time.sleep(_LOOK_EVERY_S)
            time.sleep(run.warm_up_s + run.measured_s + _TAIL_S)
            _require_running(process, log)
        stamps = _visible_stamps_ms(servers, results)
    begin_ms = min(stamps) + 1000 * run.warm_up_s
    end_ms = begin_ms + 1000 * run.measured_s
    if max(stamps) < end_ms:
        raise ContestError(f"it stopped early, or ran out of events: see {log}")
    return sum(begin_ms <= stamp < end_ms for stamp in stamps) / run.measured_s


@contextmanager
def _running(contestant: Contestant, variables: dict[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    with log.open("wb") as out:
        process = subprocess.Popen(
            contestant.command,
            env={**inherited, **variables},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _require_running(process: "subprocess.Popen[bytes]", log: Path) -> None:
    if process.poll() is not None:
        raise ContestError(f"it ended with {process.returncode}: see {log}")


def _holds_records(servers: Servers, topic: str) -> bool:
    ends = servers.admin.list_offsets({TopicPartition(topic, number): _LATEST for number in range(PARTITIONS)})
    return any(end.result().offset > 0 for end in ends.values())


def _visible_stamps_ms(servers: Servers, topic: str) -> list[int]:
    """The broker's time of every record up to the last stable offsets, milliseconds."""
    reader = Consumer(
        {
            "bootstrap.servers": servers.brokers,
            "group.id": servers.new_name("reader"),
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    stamps: list[int] = []
    ended: set[int] = set()
    try:
        reader.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
        while len(ended) < PARTITIONS:
            for message in reader.consume(1000, timeout=1.0):
                if (error := message.error()) is None:
                    stamps.append(message.timestamp()[1])
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 (the client's public name for it)
                    ended.add(message.partition() or 0)
                else:
                    raise KafkaException(error)
    finally:
        reader.close()
    return stamps
