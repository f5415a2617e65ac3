"""`reconcile` agrees with a clean run; `--repair` brings back what PostgreSQL lost, as it was, and nothing else."""

import json
import uuid
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from sqlalchemy import text

from tests.integration.harness import Bench, make_event, turn_until
from tests.operations.reconcile_bench import commit_offset, publish_everything, reconcile, write

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


def rows_by_id(bench: Bench) -> dict[uuid.UUID, dict[str, Any]]:
    """Every column but the one that tells when the row was stored."""
    return {row["event_id"]: {**row, "stored_at": None} for row in bench.rows()}


def entries(bench: Bench) -> list[dict[str, Any]]:
    """The ledger, without what a result does not tell: which version recorded it, and when to the microsecond."""
    unknown = {"app_version": None, "recorded_at": None}
    return [entry if entry["stage"] else {**entry, **unknown} for entry in bench.outcomes()]


def execute(bench: Bench, statement: str) -> int:
    with bench.engine.begin() as connection:
        return connection.execute(text(statement)).rowcount


def test_a_clean_run_agrees_and_lost_rows_come_back_as_they_were(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    published = publish_everything(bench)
    answer = reconcile(bench, monkeypatch)
    assert (answer.exit_code, answer.stderr) == (0, "")
    clean = answer.document
    assert (clean["agrees"], clean["disagreements"], clean["not_judged"]) == (True, [], {})
    assert clean["records"] == published == sum(clean["outcomes"].values())
    assert set(clean["outcomes"]) == {"classified", "duplicate", "conflict", "dead_letter"}
    assert clean["results"] == clean["outcomes"]["classified"]
    assert clean["dead_letters"] == clean["outcomes"]["conflict"] + clean["outcomes"]["dead_letter"]
    erased = execute(
        bench,
        "WITH gone AS (DELETE FROM feedback WHERE source_partition = 0 RETURNING *) UPDATE record_outcomes o "
        "SET outcome = 'erased' FROM gone WHERE (o.source_partition, o.source_offset) = (0, gone.source_offset)",
    )
    before, ledger = rows_by_id(bench), bench.outcomes()
    lost = execute(bench, "DELETE FROM feedback WHERE source_offset % 3 > 0")
    assert reconcile(bench, monkeypatch).exit_code == 1
    assert rows_by_id(bench) != before

    answer = reconcile(bench, monkeypatch, "--repair")

    assert (answer.exit_code, answer.disagreements) == (0, {})
    assert answer.document["before_repair"] == {"row_missing": lost}
    assert answer.document["repaired"]["rows"] == lost
    assert answer.document["not_judged"] == {"erased": erased}
    assert rows_by_id(bench) == before
    assert bench.outcomes() == ledger
    again = reconcile(bench, monkeypatch, "--repair")
    assert (again.exit_code, set(again.document["repaired"].values())) == (0, {0})


def test_a_database_restored_to_an_earlier_time_is_caught_up_without_classifying_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = publish_everything(bench)
    rows, ledger, results = rows_by_id(bench), entries(bench), bench.results()
    for table in ("feedback", "record_outcomes"):
        execute(bench, f"DELETE FROM {table} WHERE source_offset >= 4")  # noqa: S608
    # Of some records only the verdict is lost.
    execute(bench, "DELETE FROM record_outcomes WHERE source_offset = 1")
    found = reconcile(bench, monkeypatch).disagreements
    assert set(found) == {"unrecorded", "row_without_verdict", "offset_beyond"}
    assert len(found["offset_beyond"]) == 6

    answer = reconcile(bench, monkeypatch, "--repair")

    assert (answer.exit_code, answer.disagreements) == (0, {})
    assert rows_by_id(bench) == rows
    assert entries(bench) == ledger
    # The consumer starts without a flag, goes on, and says nothing a second time.
    consumer = bench.consumer()
    bench.publish([make_event("after the restore")])
    turn_until(lambda: bench.has_settled(published + 1), consumer)
    consumer.engine.stop()
    assert len(bench.results()) == len(results) + 1
    assert reconcile(bench, monkeypatch).exit_code == 0


def test_what_cannot_be_rebuilt_is_left_and_said(
    bench: Bench, admin: AdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    event, missed, forged = make_event("processed"), make_event("never processed"), make_event("forged")
    bench.publish([event], partition=0)
    consumer = bench.consumer()
    turn_until(lambda: bench.has_settled(1), consumer)
    consumer.engine.stop()
    bench.publish([missed, forged, forged], partition=0)
    commit_offset(bench, admin, 4)
    [result] = bench.results()
    for offset, event_id, written in (
        (2, forged["event_id"], json.dumps),  # with blanks: no consumer of this project writes these bytes
        (3, event["event_id"], lambda document: json.dumps(document, separators=(",", ":"))),  # of another event
    ):
        source = {**result.document["source"], "offset": offset}
        document = {**result.document, "event": {**result.document["event"], "event_id": event_id}, "source": source}
        write(bench, bench.topics.results, written(document).encode(), result.key, tuple(result.headers.items()))

    answer = reconcile(bench, monkeypatch, "--repair")

    assert answer.exit_code == 1
    assert answer.disagreements == {"unrecorded": ["0:1", "0:2", "0:3"], "offset_beyond": ["0:4"]}
    assert answer.document["repaired"] == {
        "rows": 0,
        "verdicts_from_results": 0,
        "verdicts_from_rows": 0,
        "verdicts_from_dead_letters": 0,
        "erased": 0,
        "duplicates": 0,
        "unreadable_results": 1,
    }
    assert [row["event_id"] for row in bench.rows()] == [uuid.UUID(event["event_id"])]
    assert bench.recorded() == 1
    words = {found["kind"]: found["to_do"] for found in answer.document["disagreements"]}
    assert "publish those records again" in words["unrecorded"]
