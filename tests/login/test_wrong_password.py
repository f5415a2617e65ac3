"""A wrong password is said in one line, soon, by every command; and never printed."""

import os
import subprocess
import sys

import pytest

from schemas.connection import KafkaConnection
from tests.login.conftest import PASSWORD, USER

pytestmark = pytest.mark.kafka

COMMANDS = {
    "dead letters": "consumer dlq list",
    "topics": "schemas topics diff",
    "publisher": "producer send hello",
    "load": "producer load --rate 1 --duration 1",
    "reconcile": "consumer reconcile",
}


def run(command: str, kafka: KafkaConnection, password: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_SECURITY_PROTOCOL": kafka.security_protocol,
        "KAFKA_SASL_MECHANISM": kafka.sasl_mechanism,
        "KAFKA_SASL_USERNAME": USER,
        "KAFKA_SASL_PASSWORD": password,
    }
    return subprocess.run(
        [sys.executable, "-m", *command.split()],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_kafkas_wrong_password_is_one_line(command: str, guarded_kafka: KafkaConnection) -> None:
    done = run(command, guarded_kafka, "wrong-canary")

    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "Authentication failed" in done.stderr
    assert "wrong-canary" not in done.stdout + done.stderr


def test_the_right_password_is_let_in(guarded_kafka: KafkaConnection) -> None:
    assert run("schemas topics apply", guarded_kafka, PASSWORD).returncode == 0
    assert run("producer send hello", guarded_kafka, PASSWORD).returncode == 0


def test_a_consumer_with_a_wrong_password_ends_with_the_reason(
    guarded_kafka: KafkaConnection,
) -> None:
    done = run("consumer run --log-format json --http-port 0", guarded_kafka, "wrong-canary")

    assert done.returncode == 1
    assert "refuses the login" in done.stderr.splitlines()[-1]
    assert "wrong-canary" not in done.stdout + done.stderr
