"""`python -m producer` as a user runs it: processes, exit codes, output."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.connection import KafkaConnection
from schemas.ids import file_line_id
from tests.producer.topic_reader import read_topic

CANARY = "canary-7f3a"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "producer", *arguments]


def environment(bootstrap_servers: str) -> dict[str, str]:
    return {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers}


def run(bootstrap_servers: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*arguments),
        env=environment(bootstrap_servers),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def stored_events(kafka: KafkaConnection, topic: str) -> list[dict[str, Any]]:
    return [json.loads(record.value() or b"") for record in read_topic(kafka, topic)]


@pytest.mark.kafka
def test_send_prints_the_id_and_the_place(kafka: KafkaConnection, make_topic: Callable[..., str]) -> None:
    topic = make_topic()
    options = ("--rating", "4", "--customer-id", "c-1", "--meta", "plan=pro", "--topic", topic)
    done = run(kafka.bootstrap_servers, "send", "Love it", *options, "--json")
    assert done.returncode == 0, done.stderr
    (event,) = stored_events(kafka, topic)
    assert json.loads(done.stdout) == {"event_id": event["event_id"], "topic": topic, "partition": 0, "offset": 0}
    assert event.items() >= {"text": "Love it", "rating": 4, "source": "cli", "metadata": {"plan": "pro"}}.items()


@pytest.mark.kafka
def test_bad_lines_are_numbered_left_out_and_change_the_exit_code(
    kafka: KafkaConnection, make_topic: Callable[..., str], tmp_path: Path
) -> None:
    topic = make_topic()
    own_id = "01a1fe20-6871-7100-b89d-391cd08953de"
    path = tmp_path / "reviews.jsonl"
    path.write_text(
        f'{{"text":"one","branch":"north"}}\n{CANARY}\n{{"text":"two","rating":"{CANARY}"}}\n'
        f'{{"text":"three","event_id":"{own_id}","source":"email","occurred_at":"2025-05-01T00:00:00Z"}}\n'
    )
    os.utime(path, (1_700_000_000, 1_700_000_000))
    arguments = ("file", str(path), "--topic", topic, "--source", "survey", "--state-dir", str(tmp_path / "state"))
    done = run(kafka.bootstrap_servers, *arguments, "--json")
    assert done.returncode == 1, done.stderr
    summary = json.loads(done.stdout)
    assert [problem["line"] for problem in summary["problems"]] == [2, 3]
    assert (summary["sent_events"], summary["bad_lines"], summary["complete"]) == (2, 2, True)
    assert done.stderr.splitlines()[0].startswith("line 2: ")
    assert CANARY not in done.stdout + done.stderr
    first_id = str(file_line_id(summary["file_sha256"], 1))
    written_at = "2023-11-14T22:13:20Z"
    by_id = {event["event_id"]: event for event in stored_events(kafka, topic)}
    assert by_id[first_id].items() >= {"source": "survey", "occurred_at": written_at, "branch": "north"}.items()
    assert by_id[own_id].items() >= {"source": "email", "occurred_at": "2025-05-01T00:00:00Z"}.items()

    again = run(kafka.bootstrap_servers, *arguments, "--json")
    assert again.returncode == 1
    assert json.loads(again.stdout)["sent_events"] == 0
    assert len(stored_events(kafka, topic)) == 2


@pytest.mark.kafka
def test_a_killed_import_goes_on_with_the_same_events(
    kafka: KafkaConnection, make_topic: Callable[..., str], tmp_path: Path
) -> None:
    topic = make_topic(partitions=3)
    lines = 4000
    path, state_dir = tmp_path / "reviews.csv", tmp_path / "state"
    path.write_text("text\n" + "".join(f"message {number}\n" for number in range(lines)))
    arguments = ("file", str(path), "--topic", topic, "--state-dir", str(state_dir))
    with subprocess.Popen(
        command(*arguments, "--rate", "1500"), env=environment(kafka.bootstrap_servers), stderr=subprocess.PIPE
    ) as killed:
        acknowledged_line, deadline_s = 0, time.monotonic() + 30
        while acknowledged_line < 500:
            assert killed.poll() is None, "the import ended before it could be killed"
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
            for state in state_dir.glob("*.json"):
                acknowledged_line = json.loads(state.read_text())["acknowledged_line"]
        killed.kill()
    (state,) = state_dir.glob("*.json")
    acknowledged_line = json.loads(state.read_text())["acknowledged_line"]
    stored_before = len(stored_events(kafka, topic))
    # A copied or touched file must not turn what is sent twice into other events.
    os.utime(path, (1_700_000_000, 1_700_000_000))

    done = run(kafka.bootstrap_servers, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["resumed_after_line"] == acknowledged_line
    assert summary["sent_events_all_attempts"] == lines
    # Line 1 is the header.
    assert summary["sent_events"] == lines + 1 - acknowledged_line

    stored = [record.value() or b"" for record in read_topic(kafka, topic)]
    assert len(stored) == stored_before + summary["sent_events"]
    distinct = {json.loads(value)["event_id"]: value for value in stored}
    assert set(distinct) == {str(file_line_id(summary["file_sha256"], number)) for number in range(2, lines + 2)}
    assert set(stored) == set(distinct.values())
    assert len({json.loads(value)["occurred_at"] for value in stored}) == 1


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (("send", "hello", "--topic", "no.such.topic"), 3, "topic no.such.topic"),
        (
            (
                "send",
                "   ",
            ),
            2,
            "text: must not be blank",
        ),
        (("send", "hello", "--meta", "novalue"), 2, "KEY=VALUE"),
        (("file", __file__), 2, "--format"),
        (("file", __file__, "--format", "csv"), 2, "no column `text`"),
        (("file", __file__, "--format", "text", "--occurred-at", "yesterday"), 2, "RFC 3339"),
    ],
)
def test_each_mistake_gets_one_clear_line(
    kafka: KafkaConnection, make_topic: Callable[..., str], arguments: tuple[str, ...], exit_code: int, message: str
) -> None:
    chosen = arguments if "no.such.topic" in arguments else (*arguments, "--topic", make_topic())
    done = run(kafka.bootstrap_servers, *chosen)
    assert done.returncode == exit_code
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_a_broker_it_gives_up_in_time(tmp_path: Path) -> None:
    path = tmp_path / "reviews.txt"
    path.write_text("hello\n")
    started_s = time.monotonic()
    done = run("127.0.0.1:1", "file", str(path), "--state-dir", str(tmp_path))
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert "127.0.0.1:1" in done.stderr
    assert time.monotonic() - started_s < 15
    assert list(tmp_path.glob("*.json")) == []


@pytest.mark.kafka
def test_the_example_works_as_it_stands(kafka: KafkaConnection, make_topic: Callable[..., str]) -> None:
    topic = make_topic()
    example = Path(__file__).parents[2] / "examples" / "publish.py"
    # Only the default topic is another one: the real one may be in use.
    program = (
        "import runpy\n"
        "from producer.client import FeedbackPublisher\n"
        f"FeedbackPublisher.__init__.__kwdefaults__['topic'] = {topic!r}\n"
        f"runpy.run_path({str(example)!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(kafka.bootstrap_servers),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (event,) = stored_events(kafka, topic)
    assert done.stdout == f"{event['event_id']} is at {topic}/0@0\n"
