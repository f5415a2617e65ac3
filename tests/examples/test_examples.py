"""Each example works as it stands: against the real broker, beside a running consumer."""

import json
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient

from devstack.jars import Jar, cache_directory, locked_jars
from devstack.java import find_java
from tests.integration.harness import DEADLINE_S, Bench, ConsumerProcess, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

Example = Callable[..., "subprocess.Popen[str]"]

TOOLS_JAR = Jar(
    "org.apache.kafka", "kafka-tools", "4.3.0", "b88bc6ccc520d648142515526e4042c285612ce94b032434a88e3e936e38b600"
)
MAIN_CLASSES = {
    "kafka-console-producer.sh": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-console-consumer.sh": "org.apache.kafka.tools.consumer.ConsoleConsumer",
}


def finish(process: "subprocess.Popen[str]") -> str:
    printed, complaint = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, complaint
    return printed


def test_a_cloudevent_is_published_in_both_modes_and_the_subscriber_goes_on_where_it_stopped(
    bench: Bench, running_consumer: ConsumerProcess, example: Example, admin: AdminClient
) -> None:
    ids = []
    for mode in ((), ("--structured",)):
        source, ce_id = (
            finish(example("cloudevents_publish.py", *mode)).strip().removeprefix("sent: source ").split(", id ")
        )
        ids.append(str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, source), ce_id)))
        bench.wait_for_outcomes(len(ids), running_consumer)
    assert {row["source"] for row in bench.rows()} == {"web"}
    # Both have the customer's key, so one partition, in order.
    for expected in ids:
        [line] = finish(example("subscribe.py", "1")).splitlines()
        assert line.startswith(f"{expected}: ")
    waiting = example("subscribe.py")
    group = ConsumerGroupTopicPartitions("example-subscriber")
    wait_until(
        lambda: admin.describe_consumer_groups([group.group_id])[group.group_id].result(10).members,
        "the subscriber to join",
    )
    waiting.send_signal(signal.SIGTERM)
    assert finish(waiting) == ""


@pytest.fixture(scope="session")
def kafka_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like Kafka's own bin/: each script starts the same class, from the jars of the test broker's release."""
    jars = cache_directory()
    paths = [jars / f"{jar.artifact}-{jar.version}.jar" for jar in (*locked_jars(), TOOLS_JAR)]
    if not TOOLS_JAR.matches(paths[-1]):
        from jgo.maven import MavenContext  # noqa: PLC0415 (heavy; most runs download nothing)

        scratch = tmp_path_factory.mktemp("download")
        component = MavenContext(repo_cache=scratch, timeout=60).project(TOOLS_JAR.group, TOOLS_JAR.artifact)
        try:
            downloaded = Path(component.at_version(TOOLS_JAR.version).artifact().resolve())
        except (OSError, RuntimeError) as failure:
            pytest.skip(f"{TOOLS_JAR.coordinate} cannot be downloaded: {type(failure).__name__}")
        assert TOOLS_JAR.matches(downloaded)
        shutil.move(downloaded, paths[-1])
    if not all(path.exists() for path in paths):
        pytest.skip("the jars of Kafka are not here: these tests run on another broker")
    folder = tmp_path_factory.mktemp("kafka") / "bin"
    folder.mkdir()
    for name, main_class in MAIN_CLASSES.items():
        script = folder / name
        class_path = os.pathsep.join(map(str, paths))
        script.write_text(f'#!/bin/sh\nexec "{find_java().executable}" -cp "{class_path}" {main_class} "$@"\n', "utf-8")
        script.chmod(0o755)
    return folder


def test_kafkas_own_console_tools_publish_and_read(
    bench: Bench, running_consumer: ConsumerProcess, example: Example, kafka_bin: Path
) -> None:
    printed = finish(example("console_tools.sh", tools=kafka_bin))
    [line] = [line for line in printed.splitlines() if "customer-4711" in line]
    headers, key, value = line.split("\t", 2)
    result = json.loads(value)
    assert key == "customer-4711"
    assert f"event-id:{result['event']['event_id']}" in headers.split(",")
    assert result["event"]["text"] == "The export button does nothing."
    assert result["event"]["flags"] == ["id_derived"]
    bench.wait_for_outcomes(1, running_consumer)


@pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed")
def test_kcat_publishes_and_reads(bench: Bench, running_consumer: ConsumerProcess, example: Example) -> None:
    result = json.loads(finish(example("kcat.sh")).splitlines()[-1])
    assert result["event"]["text"] == "The export button does nothing."
    bench.wait_for_outcomes(1, running_consumer)
