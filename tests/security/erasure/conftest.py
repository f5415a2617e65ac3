"""The consumer's bench, and the commands of erasure and retention as they are typed."""

import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from sqlalchemy import insert, select, text
from typer.testing import CliRunner

from consumer.__main__ import app
from consumer.transport.topic_check import check_topics
from schemas.tables import erasures, labels
from tests.integration.conftest import bench, make_settings, other_tiny_bundle, tiny_bundle
from tests.integration.harness import Bench, turn_until
from tests.operations.command import Command, environment_of

__all__ = ["bench", "make_settings", "other_tiny_bundle", "tiny_bundle"]

CANARY = "canary-customer-4711"
SLOW = pytest.mark.skipif(not os.environ.get("SECURITY_SLOW"), reason="takes long: make test-security runs it")


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        assert self.stdout, self.stderr
        document: dict[str, Any] = json.loads(self.stdout)
        return document

    @property
    def customer(self) -> dict[str, Any]:
        """What is said of the only customer."""
        [customer] = self.document["customers"]
        found: dict[str, Any] = customer
        return found


class Run(Protocol):
    """Runs a command of `python -m consumer` in this process."""

    def __call__(self, *arguments: str, stdin: str | None = None, **variables: str) -> Answer: ...


def invoke(arguments: Sequence[str], stdin: str | None = None, environment: Mapping[str, str] | None = None) -> Answer:
    """`python -m consumer ...` in this process."""
    done = CliRunner().invoke(app, list(arguments), input=stdin, env=environment)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Answer(done.exit_code, done.stdout, done.stderr)


@pytest.fixture
def run(bench: Bench) -> Run:
    """`python -m consumer ...` with the settings of the bench's consumers."""

    def with_settings(*arguments: str, stdin: str | None = None, **variables: str) -> Answer:
        return invoke(arguments, stdin, {**environment_of(bench.make_settings()), **variables})

    return with_settings


@pytest.fixture
def start(bench: Bench, tmp_path: Path) -> Callable[..., Command]:
    """Starts a module as a process of its own with the bench's settings."""

    def begin(module: str, *arguments: str, **changes: object) -> Command:
        return Command.start(bench.make_settings(**changes), tmp_path, module, *arguments)

    return begin


def topic_id_of(bench: Bench) -> uuid.UUID:
    """Kafka's id of the bench's events topic."""
    topics = bench.topics
    return check_topics(
        bench.kafka.as_librdkafka(), events=topics.events, results=topics.results, dead_letters=topics.dead_letters
    ).topic_id


def label(bench: Bench, *event_ids: object) -> None:
    """Correct these events, as a reviewer does."""
    with bench.engine.begin() as connection:
        for event_id in event_ids:
            connection.execute(insert(labels).values(event_id=event_id, category="bug", labelled_by="reviewer"))


def execute(bench: Bench, statement: str) -> int:
    with bench.engine.begin() as connection:
        return connection.execute(text(statement)).rowcount


def scalar(bench: Bench, statement: str) -> Any:
    with bench.engine.connect() as connection:
        return connection.scalar(text(statement))


def audits(bench: Bench) -> list[dict[str, Any]]:
    """The rows of `erasures`, oldest first."""
    with bench.engine.connect() as connection:
        return [dict(row) for row in connection.execute(select(erasures).order_by(erasures.c.started_at)).mappings()]


def outcomes_of(bench: Bench) -> dict[tuple[int, int], str]:
    """The ledger's verdicts by coordinates."""
    return {(entry["source_partition"], entry["source_offset"]): entry["outcome"] for entry in bench.outcomes()}


def assert_no_halves(bench: Bench) -> None:
    """Each row has a verdict that says classified, and each label has a row."""
    halves = """
        SELECT count(*) FROM feedback f LEFT JOIN record_outcomes o
        USING (source_topic_id, source_partition, source_offset)
        WHERE o.outcome IS DISTINCT FROM 'classified'
    """
    assert scalar(bench, halves) == 0
    orphans = "SELECT count(*) FROM labels l WHERE NOT EXISTS (SELECT FROM feedback f WHERE f.event_id = l.event_id)"
    assert scalar(bench, orphans) == 0


def process(bench: Bench, count: int, **changes: object) -> None:
    """Let a consumer in this process handle records until the ledger holds so many."""
    consumer = bench.consumer(**changes)
    turn_until(lambda: bench.has_settled(count), consumer)
    consumer.engine.stop()
