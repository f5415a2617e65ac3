"""The whole consumer against the real broker and database, with a tiny model that answers at once."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consumer.settings import ConsumerSettings
from schemas.connection import DatabaseConnection, KafkaConnection
from tests.conftest import TopicNames
from tests.inference.tiny_bundle import build_tiny_bundle
from tests.integration.harness import Bench


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_bundle(tmp_path_factory.mktemp("bundles") / "first", version="1", seed=0)


@pytest.fixture(scope="session")
def other_tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that decides otherwise about every text."""
    return build_tiny_bundle(tmp_path_factory.mktemp("bundles") / "second", version="2", seed=1)


@pytest.fixture
def make_settings(
    kafka: KafkaConnection, database: DatabaseConnection, topics: TopicNames, tiny_bundle: Path
) -> Callable[..., ConsumerSettings]:
    group = f"group-{uuid.uuid4().hex[:8]}"

    def make(**changes: object) -> ConsumerSettings:
        values = {
            "bootstrap_servers": kafka.bootstrap_servers,
            "database_url": database.database_url,
            "events_topic": topics.events,
            "results_topic": topics.results,
            "dead_letter_topic": topics.dead_letters,
            "group_id": group,
            "bundle_url": str(tiny_bundle),
            "http_port": 0,
            "inference_threads": 1,
            # A successor takes a killed member's place at once, instead of after its session.
            "static_membership": True,
            "session_timeout_ms": 6_000,
            "transaction_timeout_ms": 8_000,
            "librdkafka": {"heartbeat.interval.ms": "200"},
            "log_format": "json",
        }
        return ConsumerSettings(**{**values, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture
def bench(
    kafka: KafkaConnection,
    database: DatabaseConnection,
    topics: TopicNames,
    make_settings: Callable[..., ConsumerSettings],
) -> Iterator[Bench]:
    """A stage for consumers: publish, run them, look at topics and tables."""
    with Bench(kafka, database, topics, make_settings) as found:
        yield found
