"""A right that is missing is told in one line: which one, and on what."""

import json
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Producer

from producer.client import FeedbackPublisher
from producer.errors import BrokerError, DeliveryError
from schemas.access import Right
from schemas.connection import DatabaseConnection
from schemas.event import utc_now
from schemas.topics import DEAD_LETTERS, EVENTS, MODELS, RESULTS
from tests.integration.harness import wait_until
from tests.security.kafka.conftest import GROUP, Secured, slow
from tests.security.kafka.test_roles import consumer_variables, running

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


def told(operation: str, target: str) -> str:
    return f"the right to {operation} is missing on {target}: `python -m schemas access show`"


@dataclass(frozen=True)
class Case:
    """A command of a role without one of its rights."""

    role: str
    command: str
    arguments: tuple[str, ...]
    operation: str
    target: str


REPLAY = ("--all", "--reason", "a test")
CASES = [
    Case("publisher", "producer send", ("hello",), "Write", f"topic {EVENTS}"),
    Case("reader", "consumer.client tail", ("--limit", "1"), "Read", f"topic {RESULTS}"),
    Case("operator", "consumer dlq list", (), "DescribeConfigs", f"topic {DEAD_LETTERS}"),
    Case("operator", "consumer reconcile", (), "Describe", f"group {GROUP}"),
    Case("operator", "consumer dlq replay", REPLAY, "Write", f"transactional-id {GROUP}-dlq-replay"),
    Case("announcer", "model_export list", (), "Read", f"topic {MODELS}"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.role} without {case.operation} on {case.target}")
def test_a_command_names_it(
    case: Case, secured: Secured, without: Callable[[Right], None], database: DatabaseConnection
) -> None:
    without(secured.right(case.role, case.operation, case.target.split()[1]))
    secured.variables = {"DATABASE_URL": database.database_url.get_secret_value()}

    done = secured.run(case.role, case.command, *case.arguments)

    assert done.status in {1, 3}
    assert told(case.operation, case.target) in done.line


def test_who_may_not_announce_is_told_so(
    secured: Secured,
    without: Callable[[Right], None],
    database: DatabaseConnection,
    bundles: Callable[[str], Path],
) -> None:
    """Nobody gets a producer id who may write nowhere: librdkafka raises that in the middle of its callbacks."""
    without(secured.right("announcer", "Write", MODELS))
    secured.variables = {"DATABASE_URL": database.database_url.get_secret_value()}
    store = bundles("3").parent / "refused"

    done = secured.run(
        "announcer", "model_export publish", str(bundles("3")), "--to", str(store), "--live", "--force", "a test"
    )

    assert done.status == 1
    assert told("Write", f"topic {MODELS}") in done.err
    assert "Traceback" not in done.err


def test_a_publisher_that_lost_its_right_learns_the_outcome_of_every_event(
    secured: Secured, without: Callable[[Right], None], lend: Callable[..., None]
) -> None:
    lend(Right("User:publisher", "topic", EVENTS, prefixed=False, operation="Describe"))
    without(secured.right("publisher", "Write", EVENTS))
    event = {"source": "test", "text": "hello", "occurred_at": utc_now()}
    publisher = FeedbackPublisher(secured.connection("publisher"), delivery_timeout_s=20)
    receipt = publisher.publish(event)

    with pytest.raises(DeliveryError) as unknown:
        receipt.result(timeout=30)
    with pytest.raises(BrokerError) as refused:
        publisher.publish(event)
    publisher.close(timeout_s=5)

    for raised in (unknown, refused):
        assert told("Write", f"topic {EVENTS}") in str(raised.value)


@pytest.mark.parametrize(
    ("right", "target"),
    [
        pytest.param(("Read", GROUP), f"group {GROUP}", marks=slow),
        (("Write", DEAD_LETTERS), f"topic {DEAD_LETTERS}"),
        (("Write", f"{GROUP}-"), f"transactional-id {GROUP}-0"),
    ],
)
def test_a_consumer_ends_and_names_it(
    *,
    right: tuple[str, str],
    target: str,
    secured: Secured,
    without: Callable[[Right], None],
    lend: Callable[..., None],
    database: DatabaseConnection,
    bundles: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    operation, name = right
    without(secured.right("consumer", operation, name))
    # It sees the topic and may not write to it: without a look at its rights, the first dead letter would tell.
    lend(Right("User:consumer", "topic", DEAD_LETTERS, prefixed=False, operation="Describe"))
    variables = consumer_variables(database, bundles("1"))
    with running({**secured.environment("consumer"), **variables}, tmp_path / "consumer.log") as consumer:
        assert consumer.process.wait(60) == 1
        assert told(operation, target) in consumer.log()[-1]["reason"]


@slow
def test_a_consumer_whose_right_is_taken_away_meanwhile_ends_and_names_it(
    *,
    secured: Secured,
    without: Callable[[Right], None],
    lend: Callable[..., None],
    database: DatabaseConnection,
    bundles: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    group = "revoked"
    lend(*secured.rights("consumer", group=group))
    variables = consumer_variables(database, bundles("1"), CONSUMER_GROUP_ID=group)
    with running({**secured.environment("consumer"), **variables}, tmp_path / "consumer.log") as consumer:
        consumer.wait_ready()
        without(secured.right("consumer", "Write", RESULTS))
        publisher = Producer(secured.librdkafka("publisher"))
        publisher.produce(
            EVENTS, json.dumps({"occurred_at": "2026-01-01T00:00:00Z", "source": "test", "text": "hello"}).encode()
        )
        assert publisher.flush(30) == 0

        assert consumer.process.wait(60) == 1
        assert told("Write", f"topic {RESULTS}") in consumer.log()[-1]["reason"]


@slow
def test_a_consumer_works_on_without_the_announcements(
    *,
    secured: Secured,
    without: Callable[[Right], None],
    lend: Callable[..., None],
    database: DatabaseConnection,
    bundles: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    without(secured.right("consumer", "Read", MODELS))
    group = "unannounced"
    lend(*[right for right in secured.rights("consumer", group=group) if right.name != MODELS])
    variables = consumer_variables(database, bundles("1"), CONSUMER_GROUP_ID=group)
    with running({**secured.environment("consumer"), **variables}, tmp_path / "consumer.log") as consumer:
        consumer.wait_ready()
        unreadable = consumer.wait_for_log("models_topic_unreadable")
        assert (unreadable["topic"], unreadable["error"]) == (MODELS, "TOPIC_AUTHORIZATION_FAILED")
        assert "python -m schemas access apply" in unreadable["advice"]
        wait_until(
            lambda: "feedback_models_topic_readable 0.0" in consumer.get("/metrics")[1],
            "the metric",
            alive=consumer.process,
        )
        assert consumer.end(signal.SIGTERM) == 0
