"""The committed schemas follow the types, and database and topics are made as they are declared."""

from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from confluent_kafka.admin import AdminClient
from sqlalchemy import create_engine, inspect

from schemas import ids
from schemas.connection import DatabaseConnection
from schemas.jsonschema import contract_files
from schemas.migrate import migrate, newest_revision
from schemas.tables import metadata
from schemas.topics import DEAD_LETTERS, EVENTS, RESULTS, TopicSpec, apply_topics, diff_topics, load_topics


def test_the_committed_schemas_are_those_of_the_types() -> None:
    for path, content in contract_files().items():
        assert path.read_text("utf-8") == content, f"{path.name} is stale: run `python -m schemas generate`"


@pytest.mark.postgres
def test_the_migrations_make_the_tables_that_the_code_declares(empty_database: DatabaseConnection) -> None:
    engine = create_engine(empty_database.sqlalchemy_url())
    assert migrate(engine) == newest_revision()
    assert migrate(engine) == newest_revision(), "a second run changes nothing"
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        for table in metadata.tables.values():
            declared = {str(check.name) for check in table.constraints if str(check.name).startswith("ck_")}
            found = {check["name"] for check in inspect(connection).get_check_constraints(table.name)}
            assert declared == found, table.name
    engine.dispose()


@pytest.mark.kafka
def test_topics_are_made_once_and_mended(admin: AdminClient, make_topic: Any) -> None:
    spec = load_topics()[RESULTS]
    existing = make_topic("poor", 1, {"max.message.bytes": "1000000"})
    wanted: dict[str, TopicSpec] = {existing: spec, f"{existing}.new": spec}
    before = {(d.topic, d.setting) for d in diff_topics(admin, wanted)}
    assert {(existing, "partitions"), (existing, "max.message.bytes"), (f"{existing}.new", "topic")} <= before
    apply_topics(admin, wanted)
    for _ in range(100):
        if not diff_topics(admin, wanted):
            break
    assert diff_topics(admin, wanted) == []
    assert apply_topics(admin, wanted) == []


def test_output_topics_take_twice_what_an_event_may_be() -> None:
    topics = load_topics()
    limit = {name: int(spec.config["max.message.bytes"]) for name, spec in topics.items()}
    assert limit[RESULTS] >= 2 * limit[EVENTS] <= limit[DEAD_LETTERS]


def test_ids_are_ordered_in_time_or_the_same_every_time() -> None:
    first, second = ids.uuid7(), ids.uuid7()
    assert (first.version, first.variant) == (7, "specified in RFC 4122")
    assert first.int >> 80 <= second.int >> 80
    assert first != second
    assert ids.file_line_id("ab", 1) == ids.file_line_id("ab", 1) != ids.file_line_id("ab", 2)
