"""A real Kafka and a real PostgreSQL for the tests: given from outside, in containers, or from the devstack."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from pydantic import SecretStr
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from devstack.stack import Stack
from schemas.connection import DatabaseConnection, KafkaConnection
from schemas.migrate import migrate
from schemas.topics import DEAD_LETTERS, EVENTS, RESULTS, effective_config, load_topics


@dataclass(frozen=True)
class Servers:
    """Where the servers of this test session are, and the stack that runs them, if it is ours."""

    bootstrap_servers: str
    database_url: str
    stack: Stack | None


@dataclass(frozen=True)
class TopicNames:
    """Three fresh topics, made as schemas/topics.toml says."""

    events: str
    results: str
    dead_letters: str


def docker_answers() -> bool:
    """Whether testcontainers could run here."""
    if "DOCKER_HOST" not in os.environ and not Path("/var/run/docker.sock").exists():
        return False
    import docker  # noqa: PLC0415 (testcontainers brings it; only asked for once)
    from docker.errors import DockerException  # noqa: PLC0415

    try:
        client = docker.from_env(timeout=2)
    except DockerException:
        return False
    try:
        return bool(client.ping())
    except (DockerException, OSError):
        return False
    finally:
        client.close()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Servers for the whole session: from the environment, else from containers, else from the devstack."""
    kafka, database = os.environ.get("KAFKA_BOOTSTRAP_SERVERS"), os.environ.get("DATABASE_URL")
    if kafka and database:
        yield Servers(kafka, database, None)
        return
    if docker_answers():
        with ExitStack() as cleanup:
            yield start_containers(cleanup)
        return
    stack = Stack(tmp_path_factory.mktemp("devstack"))
    try:
        stack.up(progress=False)
        environment = stack.environment()
        yield Servers(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["DATABASE_URL"], stack)
    finally:
        stack.clean()


def start_containers(cleanup: ExitStack) -> Servers:
    """A broker and a database in containers, removed by `cleanup`."""
    from testcontainers.community.kafka import KafkaContainer  # noqa: PLC0415
    from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415

    broker = KafkaContainer("confluentinc/cp-kafka:8.1.0").with_kraft()
    # One broker: the defaults of three replicas would leave init_transactions waiting for ever.
    for name in ("TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "TRANSACTION_STATE_LOG_MIN_ISR"):
        broker.with_env(f"KAFKA_{name}", "1")
    broker.with_env("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0")
    cleanup.enter_context(broker)
    database = cleanup.enter_context(PostgresContainer("postgres:18", driver=None))
    return Servers(broker.get_bootstrap_server(), database.get_connection_url(), None)


@pytest.fixture(scope="session")
def kafka(servers: Servers) -> KafkaConnection:
    """The real broker."""
    return KafkaConnection(bootstrap_servers=servers.bootstrap_servers)


@pytest.fixture(scope="session")
def admin(kafka: KafkaConnection) -> AdminClient:
    """An admin client of the real broker."""
    return AdminClient(kafka.as_librdkafka())


@pytest.fixture
def make_topic(admin: AdminClient) -> Callable[..., str]:
    """Creates a topic with a fresh name, and returns the name."""

    def make(name: str = "test", partitions: int = 1, config: dict[str, str] | None = None) -> str:
        topic = f"{name}.{uuid.uuid4().hex[:8]}"
        admin.create_topics([NewTopic(topic, partitions, 1, config=config or {})])[topic].result(30)
        return topic

    return make


@pytest.fixture
def topics(make_topic: Callable[..., str]) -> TopicNames:
    """The project's three topics under fresh names."""
    specs = load_topics()

    def make(name: str) -> str:
        _, config = effective_config(specs[name], broker_count=1)
        return make_topic(name, specs[name].partitions, config)

    return TopicNames(make(EVENTS), make(RESULTS), make(DEAD_LETTERS))


@pytest.fixture(scope="session")
def template_database(servers: Servers) -> str:
    """The name of a migrated database that others are copied from."""
    name = f"template_{uuid.uuid4().hex[:8]}"
    _execute(servers.database_url, f"CREATE DATABASE {name}")
    engine = create_engine(DatabaseConnection(database_url=_url_of(servers, name)).sqlalchemy_url())
    migrate(engine)
    engine.dispose()
    return name


@pytest.fixture
def database(servers: Servers, template_database: str) -> Iterator[DatabaseConnection]:
    """A fresh, migrated database of its own."""
    name = f"test_{uuid.uuid4().hex[:8]}"
    _execute(servers.database_url, f"CREATE DATABASE {name} TEMPLATE {template_database}")
    yield DatabaseConnection(database_url=_url_of(servers, name))
    _drop(servers, name)


@pytest.fixture
def empty_database(servers: Servers) -> Iterator[DatabaseConnection]:
    """A fresh database without any table."""
    name = f"empty_{uuid.uuid4().hex[:8]}"
    _execute(servers.database_url, f"CREATE DATABASE {name}")
    yield DatabaseConnection(database_url=_url_of(servers, name))
    _drop(servers, name)


def _url_of(servers: Servers, database: str) -> SecretStr:
    url = make_url(servers.database_url).set(database=database)
    return SecretStr(url.render_as_string(hide_password=False))


def _drop(servers: Servers, database: str) -> None:
    # FORCE is refused while an autovacuum worker, which is the server's own, looks at the database: without it, DROP
    # sends that away by itself.
    _execute(
        servers.database_url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "  # noqa: S608 (the name is made here)
        f"WHERE datname = '{database}' AND usename = current_user",
    )
    _execute(servers.database_url, f"DROP DATABASE {database}")


def _execute(database_url: str, statement: str) -> None:
    connection = DatabaseConnection(database_url=SecretStr(database_url))
    engine = create_engine(connection.sqlalchemy_url(), isolation_level="AUTOCOMMIT")
    with engine.connect() as session:
        session.execute(text(statement))
    engine.dispose()
