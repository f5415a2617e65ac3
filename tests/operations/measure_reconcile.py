"""How long `reconcile` takes: `python -m tests.operations.measure_reconcile --records 100000`.

Starts a broker and a database of its own, lets a real consumer with a tiny model process the records, and times the
command on what is there: as it is, and after every row was lost.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from confluent_kafka import Producer
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, text

from devstack.stack import Stack
from schemas.connection import DatabaseConnection
from schemas.topics import EVENTS
from tests.inference.tiny_bundle import build_tiny_bundle
from tests.integration.harness import make_event

app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def main(records: Annotated[int, typer.Option(min=1)] = 100_000) -> None:
    """Print one line of JSON for each measurement."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder) / "stack")
        try:
            stack.up(progress=False)
            _measure(Path(folder), stack.environment(), records)
        finally:
            stack.clean()


def _measure(folder: Path, servers: dict[str, str], records: int) -> None:
    bundle = build_tiny_bundle(folder / "bundle", version="1", seed=0)
    environment = {
        **os.environ,
        **servers,
        "CONSUMER_BUNDLE_URL": str(bundle),
        "CONSUMER_HTTP_PORT": "0",
        "CONSUMER_MAX_WINDOW_RECORDS": "2000",
        "CONSUMER_LOG_LEVEL": "error",
    }
    for arguments in (("schemas", "migrate"), ("schemas", "topics", "apply")):
        subprocess.run([sys.executable, "-m", *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)
    producer = Producer({"bootstrap.servers": servers["KAFKA_BOOTSTRAP_SERVERS"], "partitioner": "murmur2_random"})
    for number in range(records):
        event = make_event(f"The export of report {number} stops halfway. " * 3, customer_id=f"c{number % 5000}")
        producer.produce(EVENTS, json.dumps(event).encode(), event["event_id"])
        producer.poll(0)
    assert producer.flush(60) == 0
    database = create_engine(DatabaseConnection(database_url=SecretStr(servers["DATABASE_URL"])).sqlalchemy_url())
    consumer = subprocess.Popen([sys.executable, "-m", "consumer", "run"], env=environment)
    while _count(database) < records:
        assert consumer.poll() is None, "the consumer ended"
        time.sleep(1)
    consumer.send_signal(signal.SIGTERM)
    assert consumer.wait(60) == 0
    _report("everything agrees", _reconcile(environment))
    with database.begin() as connection:
        connection.execute(text("DELETE FROM feedback"))
    _report("every row lost, --repair", _reconcile(environment, "--repair"))
    for table in ("feedback", "record_outcomes"):
        with database.begin() as connection:
            connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608
    _report("every row and verdict lost, --repair", _reconcile(environment, "--repair"))
    database.dispose()


def _count(database: Engine) -> int:
    with database.connect() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM record_outcomes")) or 0)


def _reconcile(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "consumer", "reconcile", "--json", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    document: dict[str, Any] = json.loads(done.stdout)
    return document | {"cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)}


def _report(what: str, document: dict[str, Any]) -> None:
    # Of all children so far; the consumer, with its model, is the largest before.
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    line = {
        "what": what,
        "records": document["records"],
        "elapsed_s": document["elapsed_s"],
        # Of the command alone; on a busy machine it tells more than the time that passed.
        "cpu_s": document["cpu_s"],
        "repaired": document["repaired"],
        "peak_mib": peak_mib,
        "load_average": os.getloadavg()[0],
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    app()
