"""The same servers in containers, where a Docker engine runs."""

from contextlib import ExitStack

import pytest
from confluent_kafka.admin import AdminClient
from pydantic import SecretStr
from sqlalchemy import create_engine

from schemas.connection import DatabaseConnection, KafkaConnection
from schemas.migrate import migrate, newest_revision
from schemas.topics import apply_topics, load_topics
from tests.conftest import docker_answers, start_containers


@pytest.mark.skipif(not docker_answers(), reason="no Docker engine answers: the devstack serves the tests instead")
@pytest.mark.timeout(600)
def test_containers_serve_as_the_devstack_does() -> None:
    with ExitStack() as cleanup:
        servers = start_containers(cleanup)
        admin = AdminClient(KafkaConnection(bootstrap_servers=servers.bootstrap_servers).as_librdkafka())
        assert apply_topics(admin, load_topics())
        engine = create_engine(DatabaseConnection(database_url=SecretStr(servers.database_url)).sqlalchemy_url())
        cleanup.callback(engine.dispose)
        assert migrate(engine) == newest_revision()
