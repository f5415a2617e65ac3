"""A Kafka and a PostgreSQL of the benchmark's own, and topics and databases that one run uses."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

from confluent_kafka.admin import AdminClient, NewTopic
from sqlalchemy import Engine, create_engine, make_url, text

from devstack.stack import Stack
from schemas.connection import DatabaseConnection
from schemas.migrate import migrate
from schemas.topics import MODEL_REPORTS, MODELS, apply_topics, load_topics

_DIRECTORY: Final = Path(".devstack/benchmarks")
_TEMPLATE: Final = "bench_template"
_ANSWER_S: Final = 30.0
_VISIBLE_S: Final = 10.0
PARTITIONS: Final = 6


@dataclass(slots=True)
class Servers:
    """Servers that run.

    Attributes:
        brokers: host:port of Kafka.
        admin: of that Kafka.
    """

    brokers: str
    admin: AdminClient
    _database_url: str
    _server: Engine
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def new_name(self, purpose: str) -> str:
        """A name that no other run has."""
        return f"bench-{purpose}-{next(self._numbers)}"

    @contextmanager
    def topic(self, purpose: str, partitions: int = PARTITIONS, **config: str) -> Iterator[str]:
        """A topic that goes at the end. `config` has underscores for dots."""
        name = self.new_name(purpose)
        settings = {key.replace("_", "."): value for key, value in config.items()}
        [made] = self.admin.create_topics([NewTopic(name, partitions, 1, config=settings)]).values()
        made.result(_ANSWER_S)
        deadline_s = time.monotonic() + _VISIBLE_S
        while name not in self.admin.list_topics(timeout=_ANSWER_S).topics and time.monotonic() < deadline_s:
            time.sleep(0.05)
        try:
            yield name
        finally:
            [gone] = self.admin.delete_topics([name]).values()
            gone.result(_ANSWER_S)

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a migrated, empty database that goes at the end."""
        name = self.new_name("db").replace("-", "_")
        with self._server.connect() as connection:
            connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{_TEMPLATE}"'))
        try:
            yield _with_database(self._database_url, name)
        finally:
            with self._server.connect() as connection:
                connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))


@contextmanager
def own_servers() -> Iterator[Servers]:
    """Start servers that nothing else uses, and remove them with all their data."""
    stack = Stack(_DIRECTORY)
    # What a killed run left behind.
    stack.clean()
    try:
        stack.up(progress=True)
        given = stack.environment()
        brokers, database_url = given["KAFKA_BOOTSTRAP_SERVERS"], given["DATABASE_URL"]
        admin = AdminClient({"bootstrap.servers": brokers, "log_level": 0})
        topics = load_topics()
        apply_topics(admin, {name: topics[name] for name in (MODELS, MODEL_REPORTS)})
        server = create_engine(_sqlalchemy(database_url), isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            connection.execute(text(f'CREATE DATABASE "{_TEMPLATE}"'))
        template = create_engine(_sqlalchemy(_with_database(database_url, _TEMPLATE)))
        migrate(template)
        template.dispose()
        yield Servers(brokers, admin, database_url, server)
        server.dispose()
    finally:
        stack.clean()


def _sqlalchemy(url: str) -> str:
    return DatabaseConnection.model_validate({"database_url": url}).sqlalchemy_url()


def _with_database(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)
