"""What exchanging the live bundle costs: `python -m tests.models.measure_swaps --swaps 20 --rate 100`.

Starts a broker and a database of its own and the shipped consumer on the shipped bundle, publishes at a steady rate,
and announces two copies of the bundle in turn, under other versions. Prints one line of JSON; exits 1 if an event was
lost or classified twice.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

from consumer.inference.bundle import default_bundle
from consumer.inference.manifest import MANIFEST_FILE
from devstack.stack import Stack
from schemas.connection import KafkaConnection
from schemas.topics import EVENTS, MODEL_REPORTS, MODELS, RESULTS
from tests.integration.harness import ConsumerProcess, wait_until
from tests.models.announcing import Announcer

_BURST_EVENTS = 600
_CAUGHT_UP_EVENTS = 50
# The same load without a swap, to compare with.
_CONTROL_S = 20.0

app = typer.Typer(add_completion=False, help=__doc__)


@dataclass
class Load:
    """Publishes at a steady rate until it is told to stop."""

    connection: KafkaConnection
    rate_per_s: float
    published: list[str] = field(default_factory=list)
    ahead: int = 0
    is_stopped: threading.Event = field(default_factory=threading.Event)

    def burst(self, events: int) -> None:
        """Publish so many at once; the schedule goes on after them."""
        self.ahead += events

    def run(self) -> None:
        producer = Producer({**self.connection.as_librdkafka(), "partitioner": "murmur2_random", "linger.ms": 5})
        began_s = time.monotonic()
        for text in _texts():
            due_s = began_s + (len(self.published) - self.ahead) / self.rate_per_s
            if self.is_stopped.wait(max(0.0, due_s - time.monotonic())):
                break
            event_id = str(uuid.uuid4())
            event = {"event_id": event_id, "occurred_at": "2026-01-01T00:00:00Z", "source": "load", "text": text}
            producer.produce(EVENTS, json.dumps(event).encode(), event_id)
            producer.poll(0)
            self.published.append(event_id)
        assert producer.flush(60) == 0


@app.command()
def main(
    swaps: Annotated[int, typer.Option(min=1)] = 20,
    rate: Annotated[float, typer.Option(min=1, help="events a second")] = 100.0,
    rest_s: Annotated[float, typer.Option(min=0, help="seconds of load before, between and after the swaps")] = 3.0,
) -> None:
    """Measure, and print one line of JSON."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder) / "stack")
        try:
            stack.up(progress=False)
            measured = _measure(Path(folder), stack.environment(), swaps, rate, rest_s)
        finally:
            stack.clean()
    sys.stdout.write(json.dumps(measured) + "\n")
    if measured["events_lost"] or measured["classified_twice"]:
        raise typer.Exit(1)


def _measure(folder: Path, servers: dict[str, str], swaps: int, rate: float, rest_s: float) -> dict[str, Any]:
    copies = [_copy(folder / version, version) for version in ("1.0.0-a", "1.0.0-b")]
    environment = {
        **os.environ,
        **servers,
        "CONSUMER_HTTP_PORT": "0",
        "CONSUMER_BUNDLE_ALLOWED_PREFIXES": json.dumps([str(folder)]),
        "CONSUMER_LOG_FORMAT": "json",
    }
    for arguments in (("schemas", "migrate"), ("schemas", "topics", "apply")):
        subprocess.run([sys.executable, "-m", *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)
    connection = KafkaConnection(bootstrap_servers=servers["KAFKA_BOOTSTRAP_SERVERS"])
    announcer = Announcer(connection, MODELS, MODEL_REPORTS)
    log_path = folder / "consumer.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "consumer", "run"], env=environment, stderr=log)
    consumer = ConsumerProcess(process, log_path)
    load = Load(connection, rate)
    publishing = threading.Thread(target=load.run, name="load")
    seconds: list[float] = []
    try:
        consumer.wait_ready()
        publishing.start()
        # Full windows first: they, and not the bundles, set the process's memory before it is measured.
        load.burst(_BURST_EVENTS)
        _settle(consumer, load)
        rss_before = rss_mb(process.pid)
        control_ms = time.time() * 1000
        time.sleep(_CONTROL_S)
        began_ms = time.time() * 1000
        for number in range(swaps):
            announced_s = time.monotonic()
            announcer.announce(copies[number % 2])
            wait_until(lambda: live_swaps(consumer) == number + 1, "the bundle to serve", alive=process)  # noqa: B023
            seconds.append(time.monotonic() - announced_s)
            time.sleep(rest_s)
        ended_ms = time.time() * 1000
        _settle(consumer, load)
        rss_after = rss_mb(process.pid)
    finally:
        load.is_stopped.set()
        if publishing.is_alive():
            publishing.join()
    results = _settled_results(connection, len(load.published), consumer)
    consumer.end(signal.SIGTERM)
    counts = Counter(event_id for event_id, *_ in results)
    return {
        "swaps": swaps,
        "events": len(load.published),
        "rate_per_s": rate,
        "events_lost": len(set(load.published) - set(counts)),
        "classified_twice": sum(count > 1 for count in counts.values()),
        "results_by_version": dict(Counter(version for *_, version in results)),
        "without_swaps": _flow(results, control_ms, began_ms),
        "during_swaps": _flow(results, began_ms, ended_ms),
        "seconds_to_serve": {"median": round(sorted(seconds)[swaps // 2], 2), "max": round(max(seconds), 2)},
        "rss_mb": {"before": rss_before, "after": rss_after},
        "cpus": os.cpu_count(),
        "load_average": os.getloadavg()[0],
    }


def _flow(results: list[tuple[str, int, float, str]], from_ms: float, to_ms: float) -> dict[str, float]:
    """How steadily results became visible in a stretch of time."""
    moments = sorted(ms for _, ms, _, _ in results if from_ms <= ms <= to_ms)
    latencies = sorted(latency for _, ms, latency, _ in results if from_ms <= ms <= to_ms)
    return {
        "longest_pause_s": round(max(after - before for before, after in pairwise(moments)) / 1000, 3),
        "latency_p50_ms": latencies[len(latencies) // 2],
        "latency_p99_ms": latencies[len(latencies) * 99 // 100],
        "latency_max_ms": latencies[-1],
    }


def rss_mb(pid: int) -> float:
    """The resident memory of a process, in 10^6 bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def _copy(folder: Path, version: str) -> Path:
    """The shipped bundle under another version."""
    shutil.copytree(default_bundle(), folder)
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    (folder / MANIFEST_FILE).write_text(json.dumps({**manifest, "version": version}))
    return folder


def _texts() -> Iterator[str]:
    lines = (files("demo") / "data" / "messages.jsonl").read_text("utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    while True:
        yield from texts


def _settle(consumer: ConsumerProcess, load: Load) -> None:
    """Wait until the consumer has caught up, and what was discarded is gone."""
    while len(load.published) < load.ahead or _classified(consumer) < len(load.published) - _CAUGHT_UP_EVENTS:
        assert consumer.process.poll() is None, "the consumer ended"
        time.sleep(0.5)
    time.sleep(3)


def _classified(consumer: ConsumerProcess) -> float:
    return _sample(consumer, 'feedback_records_total{outcome="classified"} ')


def live_swaps(consumer: ConsumerProcess) -> int:
    """How often the consumer exchanged its live bundle."""
    return round(_sample(consumer, 'feedback_model_changes_total{outcome="serving",role="live"} '))


def _sample(consumer: ConsumerProcess, series: str) -> float:
    lines = consumer.get("/metrics")[1].splitlines()
    return next((float(line.removeprefix(series)) for line in lines if line.startswith(series)), 0.0)


def _settled_results(
    connection: KafkaConnection, count: int, consumer: ConsumerProcess
) -> list[tuple[str, int, float, str]]:
    """Of each visible result the event's id, Kafka's time in ms, its latency in ms and the bundle's version."""
    found: list[tuple[str, int, float, str]] = []
    reader = Consumer(
        {
            **connection.as_librdkafka(),
            "group.id": "measure",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    with reader:
        partitions = reader.list_topics(RESULTS, timeout=30).topics[RESULTS].partitions
        reader.assign([TopicPartition(RESULTS, number, OFFSET_BEGINNING) for number in partitions])
        quiet_since_s = time.monotonic()
        # A further second, in which a second result of some event would arrive.
        while len(found) < count or time.monotonic() - quiet_since_s < 1.0:
            assert consumer.process.poll() is None, "the consumer ended"
            assert time.monotonic() - quiet_since_s < 60, "results stay away"
            message = reader.poll(0.2)
            if message is None:
                continue
            error = message.error()
            assert error is None or error.code() == KafkaError._PARTITION_EOF, error
            document = json.loads(message.value() or b"")
            _, timestamp_ms = message.timestamp()
            found.append(
                (
                    document["event"]["event_id"],
                    timestamp_ms,
                    document["latency_ms"],
                    document["model"]["version"],
                )
            )
            quiet_since_s = time.monotonic()
    return found


if __name__ == "__main__":
    app()
