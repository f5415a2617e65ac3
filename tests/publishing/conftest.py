"""`python -m model_export publish|rollback|withdraw|list` against the real broker and database, with tiny bundles."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import typer
from sqlalchemy import Engine, create_engine, select
from typer.testing import CliRunner

from consumer.inference.bundle import load_bundle
from model_export.predictions import predict_texts
from model_export.publish_commands import register
from model_export.publishing.topic import Announced, ModelTopics
from schemas.connection import DatabaseConnection, KafkaConnection
from schemas.labels import HEADS
from schemas.tables import model_announcements, model_versions
from schemas.topics import MODEL_REPORTS, MODELS, effective_config, load_topics
from tests.inference.tiny_bundle import build_tiny_bundle

app = typer.Typer()
register(app)


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    exit_code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on its standard output."""
        return json.loads(self.out)


@dataclass
class Desk:
    """An operator's desk: commands, and a look at topic and tables past them."""

    kafka: KafkaConnection
    environment: dict[str, str]
    topics: ModelTopics
    database: Engine
    store: Path
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: object, **variables: str) -> Done:
        environment = {**self.environment, **self.variables, **variables}
        done = CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Done(done.exit_code, done.stdout, done.stderr)

    def publish(self, bundle: object, *arguments: object, **variables: str) -> Done:
        return self.run("publish", bundle, "--to", self.store, *arguments, **variables)

    def announced(self) -> list[Announced]:
        """Every announcement of the topic."""
        return self.topics.announcements()[0]

    def versions_announced(self) -> list[str]:
        """The version of every announcement, in order; `-` is a withdrawal."""
        return ["-" if each.announcement is None else each.announcement.version for each in self.announced()]

    def rows(self) -> list[dict[str, Any]]:
        """The history in the table."""
        with self.database.connect() as connection:
            rows = connection.execute(select(model_announcements).order_by(model_announcements.c.number))
            return [dict(row) for row in rows.mappings()]

    def versions(self) -> list[dict[str, Any]]:
        """The published bundles in the table."""
        with self.database.connect() as connection:
            return [dict(row) for row in connection.execute(select(model_versions)).mappings()]


@pytest.fixture
def desk(
    kafka: KafkaConnection, database: DatabaseConnection, make_topic: Callable[..., str], tmp_path: Path
) -> Iterator[Desk]:
    specs = load_topics()
    models, reports = (make_topic(name, 1, effective_config(specs[name], 1)[1]) for name in (MODELS, MODEL_REPORTS))
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "DATABASE_URL": database.database_url.get_secret_value(),
        "CONSUMER_MODELS_TOPIC": models,
        "CONSUMER_MODEL_REPORTS_TOPIC": reports,
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "COLUMNS": "250",
    }
    engine = create_engine(database.sqlalchemy_url())
    yield Desk(kafka, environment, ModelTopics(kafka, models, reports), engine, tmp_path / "store")
    engine.dispose()


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The tiny bundle of a version; those of even versions decide otherwise about every text."""
    folder = tmp_path_factory.mktemp("published")

    def build(version: str) -> Path:
        path = folder / version
        return path if path.exists() else build_tiny_bundle(path, version=version, seed=(int(version) + 1) % 2)

    return build


@pytest.fixture(scope="session")
def right_for_odd(bundles: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows on which bundles of odd versions are always right, and those of even ones always wrong."""
    texts = [f"Message {number} about things" for number in range(200)]
    said = predict_texts(load_bundle(bundles("1")), texts)
    data = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    rows = [
        {"text": text, "split": "dev", **{head: names[said[head][row].argmax()] for head, names in HEADS.items()}}
        for row, text in enumerate(texts)
    ]
    data.write_text("\n".join(json.dumps(row) for row in rows))
    return data
