"""Each role does its whole job with the rights of schemas/access.toml, and nothing else."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from consumer.client.errors import AccessRefusedError
from consumer.client.reader import ClassifiedFeedbackReader
from devstack.secure_kafka import ADMINISTRATOR, USERS
from schemas.access import apply_access, load_access, rights_of
from schemas.connection import DatabaseConnection
from schemas.topics import EVENTS, MODEL_REPORTS, load_topics
from tests.integration.harness import ConsumerProcess, wait_until
from tests.security.kafka.conftest import GROUP, Secured, slow

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


def consumer_variables(database: DatabaseConnection, bundle: Path, **more: str) -> dict[str, str]:
    return {
        "DATABASE_URL": database.database_url.get_secret_value(),
        "CONSUMER_BUNDLE_URL": str(bundle),
        "CONSUMER_BUNDLE_ALLOWED_PREFIXES": json.dumps([str(bundle.parent), f"file://{bundle.parent}"]),
        "CONSUMER_HTTP_PORT": "0",
        "CONSUMER_INFERENCE_THREADS": "1",
        "CONSUMER_LOG_FORMAT": "json",
        "CONSUMER_SESSION_TIMEOUT_MS": "6000",
        "CONSUMER_LIBRDKAFKA": '{"heartbeat.interval.ms": "200"}',
        **more,
    }


@contextmanager
def running(variables: Mapping[str, str], log: Path) -> Iterator[ConsumerProcess]:
    """`python -m consumer run` in a process of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "CONSUMER_"))}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "consumer", "run"],
            env={**inherited, **variables},
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    started = ConsumerProcess(process, log)
    try:
        yield started
    finally:
        started.end(signal.SIGKILL)


def test_all_of_them_do_their_jobs(
    secured: Secured, database: DatabaseConnection, bundles: Callable[[str], Path], tmp_path: Path
) -> None:
    variables = consumer_variables(database, bundles("1"))
    secured.variables = variables

    with running(secured.environment("consumer"), tmp_path / "consumer.log") as consumer:
        consumer.wait_ready()
        sent = secured.run("publisher", "producer send", "Where is my invoice?", "--json")
        assert sent.status == 0, sent.err
        publisher = Producer(secured.librdkafka("publisher"))
        publisher.produce(EVENTS, b"not json")
        assert publisher.flush(30) == 0

        event_id = json.loads(sent.out)["event_id"]
        wait_until(lambda: event_id in results(secured), "the result")
        with ClassifiedFeedbackReader(secured.connection("reader"), group_id="reader-crm") as reader:
            record = next(iter(reader))
            reader.commit(record)

        consumer.wait_for_log("partitions_assigned")
        listed = wait_for_dead_letter(secured)
        assert listed["counts"][0]["error_class"] == "not_json"
        replayed = secured.run("operator", "consumer dlq replay", "--all", "--reason", "a test", "--json")
        assert replayed.status == 0, replayed.err
        compared = secured.run("operator", "consumer reconcile")
        assert compared.status == 0, compared.err

        store = bundles("1").parent / "store"
        announced = secured.run(
            "announcer", "model_export publish", str(bundles("2")), "--to", str(store), "--live", "--force", "a test"
        )
        assert announced.status == 0, announced.err
        told = secured.run("announcer", "model_export list", "--json")
        assert told.status == 0, told.err
        assert consumer.end(signal.SIGTERM) == 0
        serves = [line for line in consumer.log() if line["event"] == "model_serves"]
        assert [line["version"] for line in serves][-1] in {"1", "2"}
        assert not [
            line for line in consumer.log() if line["event"] in {"model_report_lost", "models_topic_unreadable"}
        ]


def results(secured: Secured) -> set[str]:
    """The events whose results a reader sees."""
    read = secured.run("reader", "consumer.client tail", "--from-beginning", "--until-end", "--json")
    assert read.status in {0, 4}, read.err
    return {json.loads(line)["result"]["event"]["event_id"] for line in read.out.splitlines()}


def wait_for_dead_letter(secured: Secured) -> dict[str, Any]:
    def find() -> dict[str, Any] | None:
        listed = secured.run("operator", "consumer dlq list", "--json")
        return json.loads(listed.out) if listed.status == 0 else None

    found: dict[str, Any] = wait_until(find, "the dead letter")
    return found


@slow
def test_a_certificate_lets_in_as_a_password_does(
    secured: Secured,
    lend: Callable[..., None],
    database: DatabaseConnection,
    bundles: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    group = "by-certificate"
    lend(*secured.rights("consumer", group=group))
    variables = consumer_variables(database, bundles("1"), CONSUMER_GROUP_ID=group)
    certified = {role: secured.environment(role, by_certificate=True) for role in ("publisher", "consumer", "reader")}

    sent = secured.run_with(certified["publisher"], "producer send", "Signed by a certificate.", "--json")
    assert sent.status == 0, sent.err
    with running({**certified["consumer"], **variables}, tmp_path / "consumer.log") as consumer:
        consumer.wait_ready()
        read = secured.run_with(
            certified["reader"], "consumer.client tail", "--from-beginning", "--limit", "1", "--json"
        )
    assert read.status == 0, read.err


def test_the_administrator_role_makes_and_changes_topics(secured: Secured) -> None:
    # In the stack the administrator is a superuser: the role's rights alone are held by another user here.
    deployer = {"administrator": ["User:reader"]}
    rights = rights_of(load_access(), deployer, GROUP)
    apply_access(secured.administrator, rights, prune=False)
    try:
        secured.administrator.admin.delete_topics([MODEL_REPORTS])[MODEL_REPORTS].result(30)
        applied = secured.run("reader", "schemas topics apply", "--json")
        assert applied.status == 0, applied.err
        assert MODEL_REPORTS in {each["topic"] for each in json.loads(applied.out)}
        assert secured.run("reader", "schemas topics diff").status == 0
        assert "only a superuser" in secured.run("reader", "schemas access diff").line
    finally:
        secured.take(*rights)
        apply_access(secured.administrator, secured.rights("reader"), prune=False)


def test_the_roles_are_those_that_a_secure_stack_knows() -> None:
    assert set(load_access()) == {*USERS, ADMINISTRATOR}


def test_every_right_is_on_a_topic_of_the_project_or_on_a_group_of_ours() -> None:
    for role in load_access().values():
        for right in role.rights:
            resource, name = right.resource
            assert name in load_topics() if resource == "topic" else name.startswith(("{group}", "{user}", "feedback-"))


def test_a_reader_without_a_right_on_its_group_is_told_which_one(secured: Secured) -> None:
    with (
        ClassifiedFeedbackReader(secured.connection("reader"), group_id="billing") as reader,
        pytest.raises(AccessRefusedError, match="the right to Read is missing on group billing"),
    ):
        reader.read(timeout_s=20)
