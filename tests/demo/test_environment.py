"""The demonstration on servers that somebody else uses too."""

import socket
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from rich.console import Console
from sqlalchemy import create_engine, inspect, text

from demo.environment import environment
from demo.observe import observe
from demo.processes import SetupError
from demo.progress import Progress
from schemas.connection import DatabaseConnection
from tests.conftest import Servers


@pytest.fixture
def progress() -> Progress:
    return Progress(Console(quiet=True))


@pytest.fixture
def given(servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Servers:
    """The test servers, as if a user had named them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", servers.bootstrap_servers)
    monkeypatch.setenv("DATABASE_URL", servers.database_url)
    return servers


def databases(given: Servers) -> set[str]:
    url = DatabaseConnection.model_validate({"database_url": given.database_url}).sqlalchemy_url()
    server = create_engine(url)
    with server.connect() as connection:
        names = set(connection.execute(text("SELECT datname FROM pg_database")).scalars())
    server.dispose()
    return names


def topics(admin: AdminClient) -> set[str]:
    return {name for name in admin.list_topics(timeout=30).topics if ".demo-" in name}


def wait_until_no_topics(admin: AdminClient) -> None:
    # A broker answers from its own copy of the cluster's metadata, a moment behind the deletion.
    deadline_s = time.monotonic() + 30
    while left := topics(admin):
        assert time.monotonic() < deadline_s, f"not deleted: {left}"
        time.sleep(0.05)


@pytest.mark.kafka
@pytest.mark.postgres
def test_given_servers_get_topics_and_a_database_that_are_deleted_again(
    given: Servers, admin: AdminClient, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSUMER_GROUP_ID", "of-somebody-else")
    databases_before = databases(given)
    with environment(progress) as place:
        assert topics(admin) == {place.events_topic, place.results_topic, place.dead_letter_topic}
        assert place.variables["DATABASE_URL"].rsplit("/", 1)[1] in databases(given) - databases_before
        assert {"feedback", "record_outcomes"} <= set(inspect(place.database).get_table_names())
        assert place.variables["CONSUMER_GROUP_ID"] != "of-somebody-else"
        producer = Producer(place.kafka)
        producer.produce(place.results_topic, b"{}")
        producer.flush(30)
        observation = observe(
            place.kafka,
            place.database,
            events_topic=place.events_topic,
            results_topic=place.results_topic,
            dead_letter_topic=place.dead_letter_topic,
        )
        assert [record.value for record in observation.results] == [b"{}"]
        assert not observation.dead_letters
        assert not observation.rows
    assert databases(given) == databases_before
    wait_until_no_topics(admin)


def test_only_one_of_the_two_servers_given_is_refused(progress: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(SetupError, match="only KAFKA_BOOTSTRAP_SERVERS is set"), environment(progress):
        pass


@pytest.mark.kafka
@pytest.mark.usefixtures("given")
def test_a_database_that_does_not_answer_is_reported_without_its_password(
    admin: AdminClient, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setenv("DATABASE_URL", f"postgresql://somebody:hunter2@127.0.0.1:{port}/feedback")
        with pytest.raises(SetupError, match="the given PostgreSQL") as refused, environment(progress):
            pass
    assert "hunter2" not in str(refused.value)
    wait_until_no_topics(admin)
