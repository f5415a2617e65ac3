"""Where a run takes place: brokers, a database, topics and a tiny model bundle that nobody else uses."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from confluent_kafka.admin import AdminClient
from sqlalchemy import Engine, create_engine

from devstack.stack import Stack
from schemas.connection import DatabaseConnection, KafkaConnection, LibrdkafkaConfig
from schemas.migrate import migrate
from schemas.topics import DEAD_LETTERS, EVENTS, RESULTS, apply_topics, load_topics
from tests.chaos.orders import MAX_POLL_INTERVAL_VARIABLE
from tests.chaos.proxy import Proxy
from tests.inference.tiny_bundle import build_tiny_bundle

DIRECTORY: Final = Path(".devstack")
GROUP: Final = "chaos"
SESSION_TIMEOUT_MS: Final = 6_000
TRANSACTION_TIMEOUT_MS: Final = 5_000
MAX_POLL_INTERVAL_MS: Final = 10_000
REVOKE_BUDGET_S: Final = 5.0
MAX_WINDOW_RECORDS: Final = 64

# As short as the settings allow, so that a fault that must outlast them takes seconds.
_SETTINGS: Final = {
    "CONSUMER_GROUP_ID": GROUP,
    "CONSUMER_SESSION_TIMEOUT_MS": str(SESSION_TIMEOUT_MS),
    "CONSUMER_TRANSACTION_TIMEOUT_MS": str(TRANSACTION_TIMEOUT_MS),
    "CONSUMER_REVOKE_BUDGET_S": str(REVOKE_BUDGET_S),
    "CONSUMER_SHUTDOWN_BUDGET_S": "10",
    "CONSUMER_STATEMENT_TIMEOUT_MS": "4000",
    "CONSUMER_LOCK_TIMEOUT_MS": "2000",
    "CONSUMER_INFERENCE_THREADS": "1",
    "CONSUMER_INFERENCE_DEADLINE_S": "2",
    "CONSUMER_MAX_WINDOW_RECORDS": str(MAX_WINDOW_RECORDS),
    "CONSUMER_LIBRDKAFKA": '{"heartbeat.interval.ms": "500"}',
    "CONSUMER_LOG_FORMAT": "json",
    MAX_POLL_INTERVAL_VARIABLE: str(MAX_POLL_INTERVAL_MS),
}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One set of servers, topics and bundles.

    Attributes:
        kafka: how the harness reaches the brokers.
        database: how the harness reaches the tables.
        bundle: the folder that consumers load their model from.
        other_bundle: one that decides otherwise about every text.
        work: logs and orders.
        stack: the servers, where they are ours to break.
        variables: the consumers' environment.
        proxies: what stands between the consumers and the servers, if anything does.
    """

    kafka: KafkaConnection
    database: DatabaseConnection
    events: str
    results: str
    dead_letters: str
    bundle: Path
    other_bundle: Path
    work: Path
    stack: Stack | None
    variables: Mapping[str, str]
    proxies: tuple[Proxy, ...] = ()

    @property
    def librdkafka(self) -> LibrdkafkaConfig:
        """The harness's connection; errors reach it as errors of its calls, not as the client's log lines."""
        return {**self.kafka.as_librdkafka(), "log_level": 0}

    def engine(self) -> Engine:
        """A database engine of the harness."""
        return create_engine(self.database.sqlalchemy_url(), pool_pre_ping=True)


def make_stage(
    kafka: KafkaConnection,
    database: DatabaseConnection,
    topics: tuple[str, str, str],
    work: Path,
    *,
    stack: Stack | None = None,
    variables: Mapping[str, str] | None = None,
) -> Stage:
    """A stage on servers that run, with the three topics and the migrated database given."""
    events, results, dead_letters = topics
    bundle = build_tiny_bundle(work / "bundle", version="1", seed=0)
    return Stage(
        kafka=kafka,
        database=database,
        events=events,
        results=results,
        dead_letters=dead_letters,
        bundle=bundle,
        other_bundle=build_tiny_bundle(work / "other-bundle", version="2", seed=1),
        work=work,
        stack=stack,
        variables={
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "DATABASE_URL": database.database_url.get_secret_value(),
            "CONSUMER_EVENTS_TOPIC": events,
            "CONSUMER_RESULTS_TOPIC": results,
            "CONSUMER_DEAD_LETTER_TOPIC": dead_letters,
            "CONSUMER_BUNDLE_URL": str(bundle),
            **_SETTINGS,
            **(variables or {}),
        },
    )


@contextmanager
def private_stage(name: str, stack: Stack | None = None, variables: Mapping[str, str] | None = None) -> Iterator[Stage]:
    """A stage on a devstack of its own, gone afterwards; logs of the consumers stay in `.devstack/NAME-work`."""
    stack = stack or Stack(DIRECTORY / name)
    work = (DIRECTORY / f"{name}-work").absolute()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    # What a killed run left behind.
    stack.clean()
    try:
        stack.up(progress=True)
        given = stack.environment()
        # Not from the environment, which may speak of other servers.
        kafka = KafkaConnection.model_construct(bootstrap_servers=given["KAFKA_BOOTSTRAP_SERVERS"])
        database = DatabaseConnection.model_validate({"database_url": given["DATABASE_URL"]})
        apply_topics(AdminClient({**kafka.as_librdkafka(), "log_level": 0}), load_topics())
        engine = create_engine(database.sqlalchemy_url())
        migrate(engine)
        engine.dispose()
        yield make_stage(kafka, database, (EVENTS, RESULTS, DEAD_LETTERS), work, stack=stack, variables=variables)
    finally:
        stack.clean()
