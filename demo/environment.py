"""A place of its own for the demonstration: a Kafka, a database and topics that nobody else uses."""

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from pydantic import ValidationError
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from demo.processes import SetupError, run_module
from demo.progress import Progress
from devstack.stack import Stack
from schemas.connection import DatabaseConnection, KafkaConnection, LibrdkafkaConfig
from schemas.topics import DEAD_LETTERS, EVENTS, RESULTS, TopicSpec, apply_topics, load_topics

DIRECTORY: Final = Path(".devstack")
LOG_PATH: Final = DIRECTORY / "demo-consumer.log"
_OURS: Final = ("KAFKA_", "CONSUMER_", "DATABASE_URL")


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where everything is. `variables` is the whole environment of the project's own programs; it holds secrets."""

    connection: KafkaConnection
    database: Engine
    events_topic: str
    results_topic: str
    dead_letter_topic: str
    max_message_bytes: int
    partitions: int
    variables: dict[str, str]

    @property
    def kafka(self) -> LibrdkafkaConfig:
        """The connection as librdkafka takes it. Holds the password in the clear."""
        # Trouble reaches the caller as an error of the call; log lines of the client would repeat it.
        return {**self.connection.as_librdkafka(), "log_level": 0}


@contextmanager
def environment(progress: Progress) -> Iterator[Environment]:
    """The brokers and database that KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL name, or else a private devstack.

    Given ones keep what they hold: topics and database get names that nobody has, and are deleted at the end.

    Raises:
        SetupError: something could not be started or reached.
    """
    given = [name for name in ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL") if os.environ.get(name)]
    if len(given) == 1:
        raise SetupError(f"only {given[0]} is set: set both KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL, or neither")
    with _alone(), _given(progress) if given else _private(progress) as place:
        yield place


@contextmanager
def _alone() -> Iterator[None]:
    try:
        DIRECTORY.mkdir(exist_ok=True)
        opened = (DIRECTORY / "demo.lock").open("w")
    except OSError as error:
        raise SetupError(f"{error.filename}: {error.strerror}; run it in a folder that you can write to") from None
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError("a demonstration is running in this folder already") from None
        yield


@contextmanager
def _private(progress: Progress) -> Iterator[Environment]:
    stack = Stack(DIRECTORY / "demo")
    # What a killed demonstration left behind.
    stack.clean()
    try:
        stack.up(progress=True)
        given = stack.environment()
        # Not from the environment, which may speak of another Kafka.
        connection = KafkaConnection.model_construct(bootstrap_servers=given["KAFKA_BOOTSTRAP_SERVERS"])
        variables = _variables(os.environ, given)
        with progress.step("Topics created"):
            run_module("schemas", "topics", "apply", environment=variables)
        names = {name: name for name in (EVENTS, RESULTS, DEAD_LETTERS)}
        with _prepared(connection, given["DATABASE_URL"], names, variables, progress) as place:
            yield place
    finally:
        stack.clean()


@contextmanager
def _given(progress: Progress) -> Iterator[Environment]:
    run = secrets.token_hex(4)
    names = {name: f"{name}.demo-{run}" for name in (EVENTS, RESULTS, DEAD_LETTERS)}
    try:
        connection, database = KafkaConnection(), DatabaseConnection()
    except ValidationError as invalid:
        error = invalid.errors(include_url=False, include_input=False)[0]
        raise SetupError(f"{error['loc'][0]}: {error['msg']}") from None
    specs = load_topics()
    with (
        _own_topics(connection, {own: specs[name] for name, own in names.items()}),
        _own_database(database, f"feedback_demo_{run}") as database_url,
    ):
        kafka = {name: value for name, value in os.environ.items() if name.startswith("KAFKA_")}
        variables = _variables(os.environ, {**kafka, "DATABASE_URL": database_url})
        with _prepared(connection, database_url, names, variables, progress) as place:
            yield place


@contextmanager
def _prepared(
    connection: KafkaConnection,
    database_url: str,
    names: Mapping[str, str],
    variables: dict[str, str],
    progress: Progress,
) -> Iterator[Environment]:
    with progress.step("Database migrated"):
        run_module("schemas", "migrate", environment=variables)
    spec = load_topics()[EVENTS]
    database = DatabaseConnection.model_validate({"database_url": database_url})
    engine = create_engine(database.sqlalchemy_url(), hide_parameters=True)
    try:
        yield Environment(
            connection=connection,
            database=engine,
            events_topic=names[EVENTS],
            results_topic=names[RESULTS],
            dead_letter_topic=names[DEAD_LETTERS],
            max_message_bytes=int(spec.config["max.message.bytes"]),
            partitions=spec.partitions,
            variables={
                **variables,
                "CONSUMER_EVENTS_TOPIC": names[EVENTS],
                "CONSUMER_RESULTS_TOPIC": names[RESULTS],
                "CONSUMER_DEAD_LETTER_TOPIC": names[DEAD_LETTERS],
                "CONSUMER_GROUP_ID": f"{names[EVENTS]}-demo",
                "CONSUMER_REPLICA_ID": "0",
            },
        )
    finally:
        engine.dispose()


@contextmanager
def _own_topics(connection: KafkaConnection, specs: dict[str, TopicSpec]) -> Iterator[None]:
    admin = AdminClient({**connection.as_librdkafka(), "log_level": 0})
    try:
        try:
            apply_topics(admin, specs)
        except KafkaException as error:
            raise SetupError(f"the topics cannot be made in the given Kafka: {error.args[0].str()}") from None
        yield
    finally:
        for deleted in admin.delete_topics(list(specs), operation_timeout=30.0, request_timeout=35.0).values():
            # Absent where they could not be made.
            with suppress(KafkaException):
                deleted.result()


@contextmanager
def _own_database(given: DatabaseConnection, name: str) -> Iterator[str]:
    url = make_url(given.sqlalchemy_url())
    # CREATE DATABASE refuses to run inside a transaction.
    server = create_engine(url, isolation_level="AUTOCOMMIT", hide_parameters=True)
    try:
        _execute(server, f'CREATE DATABASE "{name}"')
        try:
            yield url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
        finally:
            _execute(server, f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        server.dispose()


def _execute(server: Engine, statement: str) -> None:
    try:
        with server.connect() as connection:
            connection.execute(text(statement))
    except SQLAlchemyError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise SetupError(f"the given PostgreSQL does not run {statement}: {reason}") from None


def _variables(outside: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in outside.items() if not name.startswith(_OURS)}
    return {**kept, **own}
