"""Publishes, runs consumers in this process or in their own, and looks at what came out as an outsider would."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import KafkaError, Producer
from sqlalchemy import Engine as Database
from sqlalchemy import create_engine, func, select

from consumer.app import Consumer, build
from consumer.records import Headers
from consumer.settings import ConsumerSettings
from schemas.connection import DatabaseConnection, KafkaConnection
from schemas.tables import feedback, record_outcomes
from tests.conftest import TopicNames

DEADLINE_S = 60.0


def make_event(text: str = "It works.", **changes: object) -> dict[str, Any]:
    """A valid event with an id of its own."""
    event = {"event_id": str(uuid.uuid4()), "occurred_at": "2026-01-01T00:00:00Z", "source": "test", "text": text}
    return {**event, **changes}


@dataclass(frozen=True)
class Visible:
    """A record as a read_committed reader sees it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes | None]

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.value or b"null")
        return document


@dataclass
class ConsumerProcess:
    """`python -m consumer run`, or the same with a seam that kills it, as a process of its own."""

    process: "subprocess.Popen[bytes]"
    log_path: Path

    def log(self) -> list[dict[str, Any]]:
        """Its log lines; every one is JSON."""
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]

    def wait_for_log(self, event: str) -> dict[str, Any]:
        def find() -> dict[str, Any] | None:
            lines = self.log_path.read_text().splitlines()
            return next((entry for line in lines if (entry := json.loads(line))["event"] == event), None)

        found: dict[str, Any] = wait_until(find, f"{event} in the log of the consumer", alive=self.process)
        return found

    def get(self, path: str) -> tuple[int, str]:
        """GET a path of its HTTP server."""
        port = self.wait_for_log("http_listening")["port"]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    def wait_ready(self) -> None:
        wait_until(lambda: self.get("/health/ready")[0] == 200, "the consumer to be ready", alive=self.process)

    def end(self, number: signal.Signals) -> int:
        """Send a signal and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)


@dataclass
class Bench:
    """One set of topics, one database, and the consumers that work on them."""

    kafka: KafkaConnection
    database: DatabaseConnection
    topics: TopicNames
    make_settings: Callable[..., ConsumerSettings]
    _cleanup: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        self.engine: Database = create_engine(self.database.sqlalchemy_url())
        self._cleanup.callback(self.engine.dispose)
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def publish(
        self,
        values: Iterable[dict[str, Any] | bytes | None],
        *,
        partition: int | None = None,
        key: bytes | None = None,
        headers: Headers = (),
    ) -> None:
        """Publish events or raw values; without a key or partition, an event's own id is its key."""
        producer = Producer({**self.kafka.as_librdkafka(), "message.max.bytes": 4_000_000})
        refused: list[KafkaError] = []
        for value in values:
            producer.produce(
                self.topics.events,
                json.dumps(value).encode() if isinstance(value, dict) else value,
                key=str(value["event_id"]) if key is None and isinstance(value, dict) and "event_id" in value else key,
                headers=list(headers),
                on_delivery=lambda error, _: refused.append(error) if error else None,
                partition=-1 if partition is None else partition,  # -1: by the key
            )
            producer.poll(0)
        assert producer.flush(DEADLINE_S) == 0
        assert refused == []

    def consumer(self, **changes: object) -> Consumer:
        """A consumer in this process, started, to be stepped with `turn_until`."""
        consumer = build(self.make_settings(**changes))
        self._cleanup.callback(consumer.http.close)
        self._cleanup.callback(consumer.models.close)
        consumer.engine.start()
        consumer.health.wait_for(None)
        return consumer

    def process(
        self,
        *,
        module: str = "consumer",
        arguments: tuple[str, ...] = ("run",),
        output: int | None = None,
        **changes: object,
    ) -> ConsumerProcess:
        """A consumer as the process that production runs; it is killed at the end of the test.

        It logs to a file, or to the file descriptor `output`.
        """
        settings = self.make_settings(**changes)
        secret = settings.database_url.get_secret_value()
        environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "DATABASE_URL": secret,
            **{
                f"CONSUMER_{name.upper()}": json.dumps(value) if isinstance(value, dict | list) else str(value)
                for name, value in settings.model_dump(
                    mode="json",
                    exclude_defaults=True,
                    exclude={"bootstrap_servers", "database_url"},
                ).items()
            },
        }
        log_path = Path(os.environ.get("PYTEST_TMP", "/tmp")) / f"consumer-{uuid.uuid4().hex[:8]}.log"  # noqa: S108
        with log_path.open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=environment,
                stdout=output or sink,
                stderr=subprocess.STDOUT,
            )
        started = ConsumerProcess(process, log_path)
        self._cleanup.callback(_show, log_path)
        self._cleanup.callback(started.end, signal.SIGKILL)
        return started

    def results(self) -> list[Visible]:
        """What a read_committed reader sees in the results topic."""
        return self._read(self.topics.results)

    def dead_letters(self) -> list[Visible]:
        """What a read_committed reader sees in the dead-letter topic."""
        return self._read(self.topics.dead_letters)

    def rows(self) -> list[dict[str, Any]]:
        """All feedback rows."""
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(select(feedback)).mappings()]

    def outcomes(self) -> list[dict[str, Any]]:
        """All ledger entries, in the order of their coordinates."""
        ordered = select(record_outcomes).order_by(record_outcomes.c.source_partition, record_outcomes.c.source_offset)
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(ordered).mappings()]

    def recorded(self) -> int:
        """How many ledger entries there are."""
        with self.engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(record_outcomes)) or 0

    def has_recorded(self, count: int) -> bool:
        """Whether the ledger holds at least so many entries."""
        return self.recorded() >= count

    def has_ended_or_recorded(self, running: ConsumerProcess, count: int) -> bool:
        """Whether a process ended, or the ledger holds at least so many entries."""
        return running.process.poll() is not None or self.has_recorded(count)

    def has_settled(self, count: int) -> bool:
        """Whether the ledger holds at least so many entries, and a reader sees all that they stand for."""
        if not self.has_recorded(count):
            return False
        visible = sum(outcome["outcome"] in {"classified", "dead_letter", "conflict"} for outcome in self.outcomes())
        return len(self.results()) + len(self.dead_letters()) >= visible

    def wait_for_outcomes(self, count: int, *processes: ConsumerProcess) -> None:
        """Wait until a number of records has settled, while the processes that should see to it live."""
        alive = processes[0].process if processes else None
        wait_until(lambda: self.has_recorded(count), f"{count} ledger entries", alive=alive)
        wait_until(lambda: self.has_settled(count), "their visible records", alive=alive)

    def assert_exactly_once(self, published: Iterable[dict[str, Any]]) -> None:
        """Each event has one row and one result, they agree, and nothing else is there."""
        wanted = {event["event_id"] for event in published}
        rows = {str(row["event_id"]): row for row in self.rows()}
        results = self.results()
        ids = [result.document["event"]["event_id"] for result in results]
        assert sorted(ids) == sorted(set(ids)), "a result is visible twice"
        assert set(ids) == wanted == set(rows)
        for result in results:
            document = result.document
            row = rows[document["event"]["event_id"]]
            for head in ("sentiment", "category", "constructive"):
                assert document[head]["label"] == row[head]
                assert document[head]["scores"] == row[f"{head}_scores"]
            assert document["model"]["version"] == row["model_version"]

    def _read(self, topic: str) -> list[Visible]:
        reader = KafkaConsumer(
            {
                **self.kafka.as_librdkafka(),
                "group.id": "outsider",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
            }
        )
        with reader:
            partitions = list(reader.list_topics(topic, timeout=DEADLINE_S).topics[topic].partitions)
            reader.assign([_from_beginning(topic, number) for number in partitions])
            found: list[Visible] = []
            ended: set[int | None] = set()
            while len(ended) < len(partitions):
                message = reader.poll(DEADLINE_S)
                assert message is not None, f"{topic} does not answer"
                error = message.error()
                if error is not None:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    ended.add(message.partition())
                    continue
                found.append(
                    Visible(
                        message.partition() or 0,
                        message.offset() or 0,
                        message.key(),
                        message.value(),
                        dict(message.headers() or []),  # type: ignore[arg-type]
                    )
                )
        return found


def turn_until(condition: Callable[[], object], *consumers: Consumer) -> None:
    """Step the consumers in turn until the condition holds."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come to pass"
        for consumer in consumers:
            consumer.engine.turn()


def wait_until(condition: Callable[[], Any], what: str, *, alive: "subprocess.Popen[bytes] | None" = None) -> Any:
    """Ask until the condition holds; fail at once when the process that should bring it about has ended."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < deadline_s, f"waited in vain for {what}"
        assert alive is None or alive.poll() is None, f"the consumer ended while we waited for {what}"
        time.sleep(0.05)
    return found


def _show(log_path: Path) -> None:
    """Leave the end of a log with the test's output, which pytest shows where the test failed."""
    sys.stdout.write(log_path.read_text()[-3_000:])
    log_path.unlink()


def _from_beginning(topic: str, partition: int) -> Any:
    from confluent_kafka import OFFSET_BEGINNING, TopicPartition  # noqa: PLC0415

    return TopicPartition(topic, partition, OFFSET_BEGINNING)
