"""What a consumer from the wheel needs to reach the test servers."""

import os
import uuid

import pytest

from schemas.connection import DatabaseConnection, KafkaConnection
from tests.conftest import TopicNames


@pytest.fixture
def bench_environment(kafka: KafkaConnection, empty_database: DatabaseConnection, topics: TopicNames) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "DATABASE_URL": empty_database.database_url.get_secret_value(),
        "CONSUMER_EVENTS_TOPIC": topics.events,
        "CONSUMER_RESULTS_TOPIC": topics.results,
        "CONSUMER_DEAD_LETTER_TOPIC": topics.dead_letters,
        "CONSUMER_GROUP_ID": f"wheel-{uuid.uuid4().hex[:8]}",
        "CONSUMER_HTTP_PORT": "0",
        "CONSUMER_LOG_FORMAT": "json",
    }
