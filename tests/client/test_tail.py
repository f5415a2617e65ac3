"""`python -m consumer.client tail` and the example, as a user runs them: processes, exit codes, output."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.connection import KafkaConnection
from schemas.result import ClassifiedFeedback
from tests.client.conftest import Publish, make_result
from tests.integration.harness import wait_until

pytestmark = pytest.mark.kafka

NASTY = "\x1b[31mred\x1b[0m \x9b2J\u202eright to left [bold]markup[/bold]\r\nsecond line \x07"


def environment(kafka: KafkaConnection, **others: str) -> dict[str, str]:
    return {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, **others}


def tail(kafka: KafkaConnection, *arguments: str, **others: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "consumer.client", "tail", *arguments],
        env=environment(kafka, **others),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_prints_what_matches_for_programs_and_for_people(
    kafka: KafkaConnection, publish: Publish, make_topic: Callable[..., str]
) -> None:
    topic = make_topic()
    publish(
        topic, make_result(NASTY, category="praise"), make_result("b", source="email"), b"no result", make_result("c")
    )
    whole = ("--topic", topic, "--from-beginning", "--until-end")
    done = tail(kafka, *whole, "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [ClassifiedFeedback.model_validate(line["result"]).event.text for line in lines] == [NASTY, "b", "c"]
    assert [line["offset"] for line in lines] == [0, 1, 3]
    assert done.stdout.isascii()
    assert (
        done.stderr == f"left out: {topic}/0@2 is unreadable: value: Invalid JSON: expected ident at line 1 column 2\n"
    )

    done = tail(kafka, *whole)
    assert "red" in done.stdout
    assert "[bold]markup[/bold] second line" in done.stdout
    assert [character for character in done.stdout if not character.isprintable() and character != "\n"] == []
    assert len(done.stdout.splitlines()) == 4, "a heading, and a line for each result"

    done = tail(
        kafka, *whole, "--json", "--category", "bug", "--min-score", "category=0.5", "--since", "1h", "--limit", "1"
    )
    assert done.returncode == 2, "--since and --from-beginning"
    done = tail(kafka, *whole[:2], "--until-end", "--since", "1h", "--json", "--category", "bug", "--limit", "1")
    assert [json.loads(line)["offset"] for line in done.stdout.splitlines()] == [1]


def test_it_follows_until_it_is_interrupted(
    kafka: KafkaConnection, publish: Publish, make_topic: Callable[..., str]
) -> None:
    topic = make_topic()
    command = [sys.executable, "-m", "consumer.client", "tail", "--topic", topic, "--json"]
    with subprocess.Popen(command, env=environment(kafka), stdout=subprocess.PIPE) as following:
        assert following.stdout is not None
        os.set_blocking(following.stdout.fileno(), False)

        def line_after_one_more() -> bytes | None:
            # It shows what comes after it began, and does not say when that is.
            publish(topic, make_result("now"))
            return following.stdout.readline() if following.stdout else None

        line = wait_until(line_after_one_more, "a result", alive=following)
        assert json.loads(line)["result"]["event"]["text"] == "now"
        following.send_signal(signal.SIGINT)
        assert following.wait(30) == 130


def test_each_mistake_gets_one_clear_line(
    kafka: KafkaConnection, guarded_kafka: KafkaConnection, make_topic: Callable[..., str]
) -> None:
    topic = make_topic()
    wrong_login = {
        "KAFKA_BOOTSTRAP_SERVERS": guarded_kafka.bootstrap_servers,
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SASL_USERNAME": "alice",
        "KAFKA_SASL_PASSWORD": "wrong",
    }
    cases: list[tuple[tuple[str, ...], dict[str, str], int, str]] = [
        (("--topic", "no.such.topic"), {}, 1, "there is no topic no.such.topic"),
        ((), {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, 1, "127.0.0.1:1"),
        ((), wrong_login, 1, "check the login"),
        (("--category", "bugs"), {}, 2, "no label 'bugs'"),
        (("--min-score", "0.8"), {}, 2, "HEAD=P"),
        (("--min-score", "mood=0.8"), {}, 2, "probability"),
        (("--since", "yesterday"), {}, 2, "a time with an offset"),
        (("--since", "1h", "--from-beginning"), {}, 2, "exclude each other"),
        (("--topic", topic, "--until-end", "--from-beginning"), {}, 4, "nothing there"),
        (("--topic", topic, "--until-end", "--source", "web"), {}, 4, "nothing matches"),
    ]
    for arguments, others, exit_code, message in cases:
        done = tail(kafka, *arguments, **others)
        assert (done.returncode, done.stdout) == (exit_code, ""), done.stderr
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr


def test_the_example_stores_each_result_once(
    kafka: KafkaConnection, publish: Publish, make_topic: Callable[..., str], tmp_path: Path
) -> None:
    topic = make_topic(partitions=2)
    for partition in (0, 1):
        publish(topic, *(make_result() for _ in range(20)), partition=partition)
    file = tmp_path / "results.db"
    # Only the default topic is another one: the real one may be in use.
    program = (
        "import runpy, sys\n"
        "from consumer.client import ClassifiedFeedbackReader\n"
        f"ClassifiedFeedbackReader.__init__.__kwdefaults__['topic'] = {topic!r}\n"
        f"sys.argv = ['read_results.py', {str(file)!r}]\n"
        f"runpy.run_path({str(Path(__file__).parents[2] / 'examples' / 'read_results.py')!r})\n"
    )

    def run() -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", program]
        return subprocess.run(command, env=environment(kafka), capture_output=True, text=True, timeout=60, check=False)

    assert run().stdout.endswith("40 results in all\n")
    doomed = make_result("doomed")
    publish(topic, *(make_result() for _ in range(5)), doomed)
    # It dies in the middle of a batch, at a row that its database refuses.
    trap = f"CREATE TRIGGER trap BEFORE INSERT ON results WHEN new.event_id = '{doomed['event']['event_id']}'"
    with sqlite3.connect(file) as database:
        database.execute(f"{trap} BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    died = run()
    assert died.returncode == 1
    assert "disk full" in died.stderr
    with sqlite3.connect(file) as database:
        database.execute("DROP TRIGGER trap")
    database.close()
    # A result that came twice would break the table's primary key.
    assert run().stdout.splitlines() == ["6 results stored", "46 results in all"]
    assert run().stdout.splitlines() == ["46 results in all"]
