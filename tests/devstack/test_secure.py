"""The secure stack as its user meets it: certificates, users and files; no password where others could see it."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic
from cryptography import x509

from devstack.certificates import VALIDITY, Authority
from devstack.errors import DevstackError
from devstack.secure_kafka import ADMINISTRATOR, LOGIN_VARIABLES, USERS
from devstack.stack import STATE_FILE, Stack
from devstack.state import State
from schemas.connection import KafkaConnection


def devstack(directory: Path, command: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "devstack", command, "--dir", str(directory), *options],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("secure") / "stack")
    try:
        started = devstack(stack.directory, "up", "--secure")
        assert started.returncode == 0, started.stderr
        assert "python -m schemas access apply" in started.stdout
        yield stack
    finally:
        stack.clean()


def shell(stack: Stack, script: str, *options: str) -> str:
    """What a shell prints that has taken over what `env` prints."""
    exported = devstack(stack.directory, "env", *options)
    assert exported.returncode == 0, exported.stderr
    done = subprocess.run(["/bin/sh", "-c", f"{exported.stdout}\n{script}"], capture_output=True, text=True, check=True)
    return done.stdout


def connection(stack: Stack, user: str, *, by_certificate: bool = False) -> KafkaConnection:
    with pytest.MonkeyPatch.context() as patch:
        for name in LOGIN_VARIABLES:
            patch.delenv(name, raising=False)
        for name, value in stack.environment(user, by_certificate=by_certificate).items():
            patch.setenv(name, value)
        return KafkaConnection()


@pytest.mark.kafka
@pytest.mark.postgres
def test_nothing_that_was_started_shows_a_password_and_nobody_else_reads_one(stack: Stack) -> None:
    security = stack.directory / "security"
    passwords = {name: (security / f"{name}.password").read_text() for name in USERS}
    assert len(set(passwords.values())) == len(USERS)
    assert min(map(len, passwords.values())) >= 32
    assert stat.S_IMODE(security.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in security.iterdir()} == {0o600}

    seen = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    others = [file for file in stack.directory.rglob("*") if file.is_file() and not file.is_relative_to(security)]
    # Formatting and its log are gone; what brokers keep, logs and configurations are not.
    kept = [file.read_bytes() for file in others if file.suffix in {".log", ".properties", ".json"}]
    assert len(kept) > 2
    for password in passwords.values():
        assert not [line for line in seen if password in line]
        assert not [content for content in kept if password.encode() in content]


@pytest.mark.kafka
@pytest.mark.postgres
def test_users_get_in_by_password_or_certificate_and_have_no_right_yet(stack: Stack) -> None:
    for user in USERS:
        for by_certificate in (False, True):
            admin = AdminClient(connection(stack, user, by_certificate=by_certificate).as_librdkafka())
            topics = admin.list_topics(timeout=20).topics
            assert topics == {}
    administrator = AdminClient(connection(stack, ADMINISTRATOR).as_librdkafka())
    assert len(administrator.list_topics(timeout=20).brokers) == 1
    password = connection(stack, "publisher").model_copy(update={"sasl_username": ADMINISTRATOR})
    seen: list[KafkaError] = []
    config: dict[str, Any] = {**password.as_librdkafka(), "log_level": 0, "error_cb": seen.append}
    refused = AdminClient(config)
    with pytest.raises(KafkaException):
        refused.list_topics(timeout=3)
    refused.poll(0)
    assert KafkaError._AUTHENTICATION in {error.code() for error in seen}


@pytest.mark.kafka
@pytest.mark.postgres
def test_env_prints_one_role_and_takes_another_ones_variables_away(stack: Stack) -> None:
    left_over = "KAFKA_SASL_PASSWORD=old; KAFKA_SSL_KEY_LOCATION=old; export KAFKA_SASL_PASSWORD KAFKA_SSL_KEY_LOCATION"
    exported = devstack(stack.directory, "env", "--role", "consumer").stdout
    done = subprocess.run(
        ["/bin/sh", "-c", f"{left_over}\n{exported}\nenv"], capture_output=True, text=True, check=True, env={}
    )
    variables = dict(line.split("=", 1) for line in done.stdout.splitlines() if line.startswith("KAFKA_"))

    expected = stack.environment("consumer")
    assert variables == {name: value for name, value in expected.items() if name.startswith("KAFKA_")}
    password = (stack.directory / "security" / "consumer.password").read_text()
    assert password not in exported
    # A publisher has no business with the database.
    assert shell(stack, 'printf "%s" "${DATABASE_URL-none}"', "--role", "publisher") == "none"

    for options, words in (((), "say who logs in"), (("--role", "mallory"), "There is no user mallory")):
        refused = devstack(stack.directory, "env", *options)
        assert refused.returncode == 1
        assert words in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_restart_keeps_users_and_a_password_that_was_removed_is_made_anew(stack: Stack) -> None:
    before = connection(stack, "reader")
    kept = (stack.directory / "security" / "publisher.password").read_text()
    assert devstack(stack.directory, "down").returncode == 0
    (stack.directory / "security" / "reader.password").unlink()

    started = devstack(stack.directory, "up")  # it remembers that it is secure

    assert started.returncode == 0, started.stderr
    after = connection(stack, "reader")
    assert after.sasl_password != before.sasl_password
    assert AdminClient(after.as_librdkafka()).list_topics(timeout=20).topics == {}
    assert (stack.directory / "security" / "publisher.password").read_text() == kept
    with pytest.raises(KafkaException):
        AdminClient({**before.as_librdkafka(), "log_level": 0}).list_topics(timeout=3)


@pytest.mark.parametrize(
    ("holds", "asked", "words"),
    [([1], "--plain", "holds a secure stack"), ([], "--secure", "holds a plain stack")],
)
def test_a_stack_does_not_change_its_kind(holds: list[int], asked: str, words: str, tmp_path: Path) -> None:
    State("A" + "0" * 21, [2], [3], 4, str(tmp_path / "postgres"), certificate_ports=holds).save(tmp_path / STATE_FILE)

    refused = devstack(tmp_path, "up", asked)

    assert refused.returncode == 1
    assert words in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_plain_stack_is_remembered_as_ever(tmp_path: Path) -> None:
    State("A" + "0" * 21, [2], [3], 4, "home").save(tmp_path / STATE_FILE)

    assert '"format": 1' in (tmp_path / STATE_FILE).read_text()
    assert "certificate_ports" not in (tmp_path / STATE_FILE).read_text()
    with pytest.raises(DevstackError, match="holds a plain stack, which knows no users"):
        Stack(tmp_path).environment("reader")


def test_a_certificate_is_made_anew_before_it_expires(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "security")
    authority.create()
    first = authority.keep("reader").certificate.read_bytes()
    assert authority.keep("reader").certificate.read_bytes() == first
    lasts = x509.load_pem_x509_certificate(first).not_valid_after_utc - datetime.now(UTC)
    assert VALIDITY - timedelta(hours=1) < lasts <= VALIDITY

    now = datetime.now(UTC)
    authority.issue("reader", hosts=(), not_before=now, not_after=now + timedelta(days=29))
    due = authority.identity("reader").certificate.read_bytes()
    assert authority.keep("reader").certificate.read_bytes() not in {first, due}
    own = authority.certificate.read_bytes()
    authority.create()
    assert authority.certificate.read_bytes() == own


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.skipif(not os.environ.get("SECURITY_SLOW"), reason="starts three brokers; `make test-security` runs it")
def test_three_secure_brokers_are_a_quorum_and_go_on_without_one(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "stack", brokers=3, secure=True)
    try:
        stack.up()
        admin = AdminClient(connection(stack, ADMINISTRATOR).as_librdkafka())
        assert len(admin.list_topics(timeout=20).brokers) == 3
        stack.kafka.kill(1)
        admin.create_topics([NewTopic("notes", 1, 2)])["notes"].result(60)
    finally:
        stack.clean()
