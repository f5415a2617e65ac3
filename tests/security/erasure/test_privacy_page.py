"""docs/privacy.md classifies every column and every topic, and says of each what the code does."""

import re

from schemas.retention import KeptTables
from schemas.tables import metadata
from schemas.topics import load_topics
from tests.deploy.deployed_settings import ROOT

PAGE = (ROOT / "docs/privacy.md").read_text("utf-8")
CLASSES = {"personal", "reference", "staff", "none"}
COLUMNS = re.findall(r"^\| `(\w+)`[^|]*\| (\w+) \| ((?:`\w+`(?:, )?)+) \|$", PAGE, re.MULTILINE)
TOPICS = re.findall(r"^\| `(feedback\.[\w.]+)` \| (\w+) \| [^|]+ \| ([^|]+) \|$", PAGE, re.MULTILINE)
MS_OF_A_DAY = 86_400_000


def classified() -> list[tuple[str, str, str]]:
    return [(table, column, kind) for table, kind, columns in COLUMNS for column in re.findall(r"\w+", columns)]


def test_every_column_is_classified_once() -> None:
    declared = sorted((table.name, column.name) for table in metadata.tables.values() for column in table.columns)

    assert sorted((table, column) for table, column, _ in classified()) == declared
    assert {kind for _, _, kind in classified()} <= CLASSES


def test_what_is_personal_lies_where_an_erasure_deletes_it() -> None:
    """Another table that holds such things must be added to `consumer.operations.erasure.eraser`."""
    assert {table for table, _, kind in classified() if kind == "personal"} == {"feedback", "labels"}
    # What refers to a customer or their event, and may outlive them: by ids and coordinates alone.
    assert {table for table, _, kind in classified() if kind == "reference"} == {
        "feedback",
        "labels",
        "record_outcomes",
        "erased_events",
        "erasures",
        "dead_letter_decisions",
    }


def test_every_topic_is_classified_with_its_retention() -> None:
    declared = load_topics()
    assert {topic for topic, _, _ in TOPICS} == set(declared)
    for topic, _, kept in TOPICS:
        config = declared[topic].config
        compacted = "compact" in config["cleanup.policy"]
        expected = "compacted" if compacted else f"{int(config['retention.ms']) // MS_OF_A_DAY} days"
        assert kept == expected, topic


def test_no_compacted_topic_holds_a_customers_data() -> None:
    """There an erasure would have to write tombstones, which it does not."""
    personal = {topic for topic, kind, _ in TOPICS if kind == "personal"}
    assert personal == {"feedback.events", "feedback.classified", "feedback.deadletter"}
    for topic in personal:
        assert load_topics()[topic].config["cleanup.policy"] == "delete"
        assert int(load_topics()[topic].config["retention.ms"]) > 0


def test_each_table_that_retention_knows_is_explained() -> None:
    explained = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", PAGE, re.MULTILINE)
    assert [table for table, _ in explained] == list(KeptTables.model_fields)
    for table, column in explained:
        assert column in metadata.tables[table].columns
