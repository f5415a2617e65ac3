"""The stack as its user meets it: real servers, started by the command line and by the library."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from devstack.stack import Stack

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

TOPIC = "notes"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path / "stack")
    yield stack
    stack.clean()


def devstack(stack: Stack, command: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "devstack", command, "--dir", str(stack.directory), *options],
        capture_output=True,
        text=True,
        check=False,
    )


def start_up(stack: Stack) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "devstack", "up", "--dir", str(stack.directory)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def write_note(environment: dict[str, str], note: str, *, replicas: int = 1) -> None:
    """Write ``note`` to a topic and to a table."""
    write_record(environment, note, replicas=replicas)
    with psycopg2.connect(environment["DATABASE_URL"]) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS notes (note text)")
        cursor.execute("INSERT INTO notes VALUES (%s)", (note,))
    connection.close()


def write_record(environment: dict[str, str], note: str, *, replicas: int = 1) -> None:
    client: dict[str, str | int | float | bool] = {
        "bootstrap.servers": environment["KAFKA_BOOTSTRAP_SERVERS"],
        "log_level": 0,
    }
    admin = AdminClient(client)
    if TOPIC not in admin.list_topics(timeout=10).topics:
        admin.create_topics([NewTopic(TOPIC, 1, replicas)])[TOPIC].result(10)
    errors: list[object] = []
    producer = Producer({**client, "acks": "all", "message.timeout.ms": 30_000})
    producer.produce(TOPIC, note, on_delivery=lambda error, _message: errors.append(error))
    producer.flush(30)
    assert errors == [None]


def notes_in_topic(environment: dict[str, str]) -> list[str]:
    consumer = Consumer(
        {
            "bootstrap.servers": environment["KAFKA_BOOTSTRAP_SERVERS"],
            "group.id": "reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    notes: list[str] = []
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():
            break  # The end of the partition.
        notes.append((message.value() or b"").decode())
    consumer.close()
    return notes


def notes_in_table(environment: dict[str, str]) -> list[str]:
    with psycopg2.connect(environment["DATABASE_URL"]) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT note FROM notes")
        notes = [note for (note,) in cursor.fetchall()]
    connection.close()
    return notes


def processes_of(stack: Stack, *also: Path) -> list[psutil.Process]:
    """All processes on this machine whose command line names a folder of the stack, zombies left out."""
    folders = [str(stack.directory), *map(str, also)]
    found = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if any(folder in line for folder in folders):
            found.append(process)
    return found


def test_up_down_up_keeps_data_and_addresses_and_clean_removes_all(stack: Stack) -> None:
    assert devstack(stack, "status").returncode == 3
    first = devstack(stack, "up")
    assert first.returncode == 0, first.stderr
    pids = [server.pid for server in stack.status()]
    environment = stack.environment()
    exported = devstack(stack, "env").stdout
    shell = subprocess.run(
        ["/bin/sh", "-c", f'{exported}\nprintf "%s %s" "$KAFKA_BOOTSTRAP_SERVERS" "$DATABASE_URL"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shell.stdout.split(" ") == [environment["KAFKA_BOOTSTRAP_SERVERS"], environment["DATABASE_URL"]]
    write_note(environment, "kept")

    assert devstack(stack, "up").returncode == 0
    assert [server.pid for server in stack.status()] == pids
    answer = devstack(stack, "status", "--json")
    assert answer.returncode == 0
    assert json.loads(answer.stdout)["running"] is True

    assert devstack(stack, "down").returncode == 0
    assert devstack(stack, "status").returncode == 3
    data_folders = [server.data for server in stack.status()]
    assert processes_of(stack, *data_folders) == []

    assert devstack(stack, "up").returncode == 0
    assert stack.environment() == environment
    assert notes_in_topic(environment) == ["kept"]
    assert notes_in_table(environment) == ["kept"]

    assert devstack(stack, "clean").returncode == 0  # It stops the stack by itself.
    assert processes_of(stack, *data_folders) == []
    assert [folder for folder in (stack.directory, *data_folders) if folder.exists()] == []


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Stack]]:
    """Two stacks that were started at the same moment."""
    folder = tmp_path_factory.mktemp("pair")
    pair = Stack(folder / "one"), Stack(folder / "two")
    starts = [start_up(stack) for stack in pair]
    outputs = [start.communicate()[0] for start in starts]
    try:
        assert [start.returncode for start in starts] == [0, 0], outputs
        yield pair
    finally:
        for stack in pair:
            stack.clean()


def test_two_stacks_run_at_once_and_do_not_meet(pair: tuple[Stack, Stack]) -> None:
    one, two = pair
    write_note(one.environment(), "mine")
    write_note(two.environment(), "theirs")
    assert notes_in_topic(one.environment()) == notes_in_table(one.environment()) == ["mine"]
    two.down()
    assert [server.state for server in one.status()] == ["running", "running"]


def test_a_killed_server_comes_back_with_its_data_and_address(pair: tuple[Stack, Stack]) -> None:
    stack, _ = pair
    environment = stack.environment()
    write_note(environment, "survives")
    before = notes_in_topic(environment)

    stack.kafka.kill()
    stack.postgres.kill()
    assert [server.state for server in stack.status()] == ["stopped", "stopped"]

    stack.kafka.start()
    stack.postgres.start()
    assert stack.environment() == environment
    assert notes_in_topic(environment) == before
    assert "survives" in notes_in_table(environment)

    stack.kafka.kill()  # Our own child this time: nobody else would reap it.
    assert [child.pid for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE] == []


def test_a_failed_start_says_why_and_leaves_nothing_running(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "java-home" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        "*-version*) echo 'openjdk version \"21.0.1\"' >&2 ;;\n"
        "*kafka.Kafka*) echo 'the disk is made of cheese'; exit 1 ;;\n"
        "esac\n"
    )
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(java.parent.parent))
    outcome = devstack(stack, "up")
    assert outcome.returncode == 1
    assert "kafka-1 stopped while starting" in outcome.stderr
    assert "the disk is made of cheese" in outcome.stderr
    assert processes_of(stack, *(server.data for server in stack.status())) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_start_leaves_nothing_running(stack: Stack, number: signal.Signals) -> None:
    start = start_up(stack)
    broker = stack.directory / "kafka-1" / "process.json"
    while not broker.exists():
        assert start.poll() is None, start.communicate()
        time.sleep(0.02)
    start.send_signal(number)
    start.communicate(timeout=60)
    assert start.returncode == 128 + number
    assert processes_of(stack, *(server.data for server in stack.status())) == []


def test_three_brokers_go_on_when_one_is_killed(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "stack", brokers=3)
    try:
        stack.up()
        environment = stack.environment()
        assert len(environment["KAFKA_BOOTSTRAP_SERVERS"].split(",")) == 3
        write_record(environment, "before", replicas=3)
        stack.kafka.kill(1)
        write_record(environment, "after")
        assert notes_in_topic(environment) == ["before", "after"]
    finally:
        stack.clean()
