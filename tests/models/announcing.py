"""Writes announcements as a publisher does, and reads what consumers report."""

import hashlib
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from prometheus_client import CollectorRegistry

from consumer.app import Consumer
from consumer.inference.manifest import MANIFEST_FILE
from schemas.announcement import LIVE, Announcement, ModelReport, Role
from schemas.connection import KafkaConnection
from tests.integration.harness import DEADLINE_S, Bench, turn_until


@dataclass
class Announcer:
    """One topic of announcements and one of reports."""

    kafka: KafkaConnection
    topic: str
    reports_topic: str

    def announce(self, folder: Path, role: Role = LIVE, *, share: float = 1.0, **changes: object) -> int:
        """Announce a bundle; returns the record's offset."""
        return self.write(role.encode(), announcement(folder, role, share, **changes))

    def withdraw(self, role: Role) -> int:
        return self.write(role.encode(), None)

    def write(self, key: bytes | None, value: bytes | None) -> int:
        offsets: list[int] = []
        producer = Producer(self.kafka.as_librdkafka())
        producer.produce(self.topic, value, key, on_delivery=lambda _, message: offsets.append(message.offset() or 0))
        assert producer.flush(30) == 0
        return offsets[0]

    def wait_for_report(self, bench: Bench, consumer: Consumer, offset: int | None) -> ModelReport:
        """Step the consumer until it answers the announcement at an offset; returns its last report then."""
        deadline_s = time.monotonic() + DEADLINE_S
        while True:
            found = [report for report in self.reports(bench) if report.announcement_offset == offset]
            if found:
                return found[-1]
            assert time.monotonic() < deadline_s, f"no report on the announcement at {offset}"
            for _ in range(5):
                consumer.engine.turn()

    def reports(self, bench: Bench) -> list[ModelReport]:
        """All reports, in order."""
        return [ModelReport.model_validate_json(record.value or b"") for record in bench._read(self.reports_topic)]


def announcement(folder: Path, role: Role = LIVE, share: float = 1.0, **changes: object) -> bytes:
    """The value of a record that announces a bundle; `changes` replace fields."""
    content = (folder / MANIFEST_FILE).read_bytes()
    manifest = json.loads(content)
    fields: dict[str, Any] = {
        "role": role,
        "name": manifest["name"],
        "version": manifest["version"],
        "url": str(folder),
        "manifest_sha256": hashlib.sha256(content).hexdigest(),
        "model_sha256": manifest["files"]["model.onnx"],
        "share": share,
        "announced_at": datetime.now(UTC),
        **changes,
    }
    return Announcement(**fields).model_dump_json().encode()


def running(bench: Bench, **changes: object) -> Consumer:
    """A consumer in this process that has joined its group: librdkafka cannot let go of one that waits to."""
    consumer = bench.consumer(**changes)
    turn_until(lambda: consumer.health.why_not_ready() is None, consumer)
    return consumer


def sample(consumer: Consumer, name: str, **labels: str) -> float:
    """One sample of a consumer in this process; 0 where there is none."""
    registry: CollectorRegistry = consumer.engine._metrics.registry
    return registry.get_sample_value(name, labels) or 0.0
