"""`retention` deletes what is older than its limit, never so that a record could be processed twice."""

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from sqlalchemy import insert

from consumer.operations.retention import deleting
from consumer.operations.retention.limits import table_limits
from consumer.operations.retention.topic_limits import TopicLimit, topic_limits
from schemas.retention import KeptTables, load_retention
from schemas.tables import shadow_comparisons
from tests.integration.harness import DEADLINE_S, Bench, make_event, wait_until
from tests.operations.reconcile_bench import reconcile
from tests.security.erasure.conftest import (
    CANARY,
    SLOW,
    Run,
    assert_no_halves,
    execute,
    invoke,
    label,
    outcomes_of,
    process,
    scalar,
)

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

DAY = timedelta(days=1)
OLD = "now() - interval '100 days'"


def keeping(folder: Path, **days: int) -> str:
    """A retention file with these limits, and everything else for ever."""
    lines = []
    for table in KeptTables.model_fields:
        keep = f"{days[table]}d" if table in days else "forever"
        lines.append(f'[tables.{table}]\ndescription = "x"\nkeep = "{keep}"')
    path = folder / "retention.toml"
    path.write_text("\n".join(lines))
    return str(path)


def age(bench: Bench, below_offset: int) -> None:
    """Let the first records of each partition be as old as if they had been processed long ago."""
    execute(bench, f"UPDATE feedback SET stored_at = {OLD} WHERE source_offset < {below_offset}")  # noqa: S608
    execute(bench, f"UPDATE record_outcomes SET recorded_at = {OLD} WHERE source_offset < {below_offset}")  # noqa: S608


def forget(admin: AdminClient, topic: str, before: int) -> None:
    """Delete the first records of each partition from a topic, as its retention would."""
    wanted = [TopicPartition(topic, partition, before) for partition in range(2)]
    for deleted in admin.delete_records(wanted).values():
        deleted.result(DEADLINE_S)


def publish_two_partitions(bench: Bench, each: int = 6) -> None:
    for partition in range(2):
        events = [make_event(f"{n}", customer_id=CANARY) for n in range(each - 1)]
        bench.publish(events, partition=partition)
        bench.publish([b"no json"], partition=partition)
    process(bench, 2 * each)


def test_old_rows_go_with_their_labels_and_reconcile_does_not_miss_them(
    bench: Bench, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_two_partitions(bench)
    label(bench, *(row["event_id"] for row in bench.rows()))
    age(bench, 3)
    # A repaired row is as old as it was.
    execute(bench, "DELETE FROM feedback")
    assert reconcile(bench, monkeypatch, "--repair").exit_code == 0
    monkeypatch.setattr(deleting, "CHUNK_ROWS", 2)
    monkeypatch.setitem(deleting._TIMES, "feedback", (*deleting._TIMES["feedback"][:2], 2))
    file = keeping(tmp_path, feedback=90)

    counted = run("retention", "apply", "--file", file, "--json")
    assert (counted.exit_code, counted.document["would_delete_rows"]["feedback"], len(bench.rows())) == (0, 6, 10)
    answer = run("retention", "apply", "--file", file, "--yes", "--json")

    assert answer.document == {
        "dry_run": False,
        "deleted_rows": {**dict.fromkeys(KeptTables.model_fields, 0), "feedback": 6},
    }
    assert sorted(row["source_offset"] for row in bench.rows()) == [3, 3, 4, 4]
    assert scalar(bench, "SELECT count(*) FROM labels") == 4
    assert_no_halves(bench)
    horizon = scalar(bench, "SELECT deleted_before FROM retention_horizons WHERE table_name = 'feedback'")
    assert abs(datetime.now(UTC) - 90 * DAY - horizon) < timedelta(minutes=5)
    for arguments in ((), ("--repair",)):
        found = reconcile(bench, monkeypatch, *arguments)
        assert (found.exit_code, found.document["not_judged"]) == (0, {"rows_deleted_by_retention": 6})
    assert len(bench.rows()) == 4
    assert run("retention", "apply", "--file", file, "--yes").exit_code == 4
    # What is younger than the horizon and missing is lost.
    execute(bench, "DELETE FROM feedback WHERE source_partition = 0")
    assert reconcile(bench, monkeypatch).disagreements == {"row_missing": ["0:3", "0:4"]}
    assert reconcile(bench, monkeypatch, "--repair").exit_code == 0
    assert len(bench.rows()) == 4


def test_the_ledger_goes_only_when_its_records_are_gone(
    bench: Bench, admin: AdminClient, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_two_partitions(bench)
    age(bench, 100)
    execute(bench, "INSERT INTO erased_events VALUES (gen_random_uuid(), now() - interval '100 days')")
    file = keeping(tmp_path, feedback=90, record_outcomes=90, erased_events=90)
    # The events topic still holds everything, whatever the clocks say.
    answer = run("retention", "apply", "--file", file, "--yes", "--json")
    assert answer.document["deleted_rows"] == {
        **dict.fromkeys(KeptTables.model_fields, 0),
        "feedback": 10,
        "erased_events": 1,
    }

    forget(admin, bench.topics.events, 4)
    run("dlq", "drop", "--all", "--reason", "a test")
    answer = run("retention", "apply", "--file", file, "--yes", "--json")
    assert answer.document["deleted_rows"]["record_outcomes"] == 8
    assert [offset for (_, offset) in outcomes_of(bench)] == [4, 5, 4, 5]
    assert scalar(bench, "SELECT count(*) FROM dead_letter_decisions") == 2
    found = reconcile(bench, monkeypatch)
    assert (found.exit_code, found.document["records"]) == (0, 4)
    found = reconcile(bench, monkeypatch, "--partition", "0", "--from-offset", "0")
    assert (found.exit_code, found.document["not_judged"]["verdicts_deleted_by_retention"]) == (0, 4)

    # Nothing at all is left in the topic: the newest verdict stays, and consumers go on without a flag.
    forget(admin, bench.topics.events, -1)
    assert run("retention", "apply", "--file", file, "--yes", "--json").document["deleted_rows"]["record_outcomes"] == 2
    assert [offset for (_, offset) in outcomes_of(bench)] == [5, 5]
    assert scalar(bench, "SELECT count(*) FROM dead_letter_decisions") == 2
    bench.publish([make_event("new")], partition=0)
    process(bench, 3)
    assert reconcile(bench, monkeypatch).exit_code == 0


def test_a_ledger_shorter_than_the_topics_is_refused(
    bench: Bench, admin: AdminClient, run: Run, tmp_path: Path
) -> None:
    publish_two_partitions(bench)
    age(bench, 100)

    def set_config(topic: str, name: str, value: str) -> None:
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        for future in admin.incremental_alter_configs([resource]).values():
            future.result(DEADLINE_S)

    def limit_of(topic: str) -> TopicLimit:
        return topic_limits(bench.kafka.as_librdkafka(), [topic])[topic]

    for table in ("record_outcomes", "erased_events"):
        answer = run("retention", "apply", "--file", keeping(tmp_path, feedback=1, **{table: 37}), "--yes")
        assert (answer.exit_code, answer.stdout) == (1, "")
        assert answer.stderr.startswith(f"{table}: 37d is too short: the brokers may keep a record of feedback.")
        assert answer.stderr.endswith("for 37.0 days (retention.ms and segment.ms); keep at least 38d\n")
    assert len(bench.rows()) == 10, "nothing of the file is applied"
    assert run("retention", "apply", "--file", keeping(tmp_path, record_outcomes=38), "--yes").exit_code == 4
    # What counts is what the brokers do, not what schemas/topics.toml says.
    set_config(bench.topics.dead_letters, "retention.ms", str(60 * 86_400_000))
    wait_until(lambda: limit_of(bench.topics.dead_letters).retention == 60 * DAY, "the new setting")
    answer = run("retention", "apply", "--file", keeping(tmp_path, record_outcomes=38))
    assert "keep at least 68d" in answer.stderr
    assert "38d is too short" in run("retention", "show", "--file", keeping(tmp_path, record_outcomes=38)).stdout
    for name, value in (("retention.ms", "-1"), ("cleanup.policy", "compact")):
        set_config(bench.topics.events, name, value)
        wait_until(lambda: limit_of(bench.topics.events).longest is None, "the new setting")
        answer = run("retention", "apply", "--file", keeping(tmp_path, record_outcomes=90))
        assert f"the brokers keep records of {bench.topics.events} for ever" in answer.stderr
        assert len(answer.stderr.splitlines()) == 1


def test_the_other_tables(bench: Bench, run: Run, tmp_path: Path) -> None:
    bench.publish([make_event("old"), make_event("new")], partition=0)
    process(bench, 2)
    label(bench, *(row["event_id"] for row in bench.rows()))
    execute(bench, f"UPDATE labels SET labelled_at = {OLD} WHERE id = (SELECT min(id) FROM labels)")  # noqa: S608
    with bench.engine.begin() as connection:
        for days in (0, 100):
            names = {column.name: "x" for column in shadow_comparisons.columns}
            numbers = {"events": 1, "score_difference_sum": 0.5, "hour": datetime.now(UTC) - days * DAY}
            connection.execute(insert(shadow_comparisons).values({**names, **numbers}))

    # What ships keeps everything.
    assert all(getattr(load_retention(), table).keep is None for table in KeptTables.model_fields)
    shown = run("retention", "show")
    assert (shown.exit_code, shown.stderr, shown.stdout.count("forever")) == (0, "", 5)
    answer = run("retention", "apply", "--yes")
    assert (answer.exit_code, answer.stderr) == (4, "nothing is older than the file allows\n")

    answer = run("retention", "apply", "--file", keeping(tmp_path, labels=90, shadow_comparisons=90), "--yes", "--json")

    deleted = {table: rows for table, rows in answer.document["deleted_rows"].items() if rows}
    assert deleted == {"labels": 1, "shadow_comparisons": 1}
    assert len(bench.rows()) == 2
    for table in ("labels", "shadow_comparisons"):
        assert scalar(bench, f"SELECT count(*) FROM {table}") == 1  # noqa: S608


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        ("[tables", "Expected"),
        ('[tables.feedback]\ndescription = "x"\nkeep = "90"', 'keep must be "forever", or a number of days'),
        ('[tables.feedbak]\nkeep = "90d"', "tables.feedback: Field required"),
    ],
)
def test_a_file_that_makes_no_sense_is_one_line(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "limits.toml"
    if content is not None:
        path.write_text(content)

    for command in ("show", "apply"):
        answer = invoke(["retention", command, "--file", str(path)])
        assert (answer.exit_code, answer.stdout) == (2, "")
        assert words in answer.stderr
        assert len(answer.stderr.splitlines()) == 1


@SLOW
def test_consumers_go_on_beside_it(bench: Bench, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While rows are deleted in small chunks, nobody waits for a lock, and what is new stays."""
    running = bench.process(max_window_records=20, lock_timeout_ms=1_000)
    running.wait_ready()
    monkeypatch.setitem(deleting._TIMES, "feedback", (*deleting._TIMES["feedback"][:2], 25))
    stop = threading.Event()
    published: list[dict[str, object]] = []

    def publish() -> None:
        while not stop.is_set():
            events = [make_event(f"{n}") for n in range(50)]
            bench.publish(events)
            published.extend(events)
            while not bench.has_recorded(len(published) - 100) and not stop.is_set():
                time.sleep(0.01)

    publishing = threading.Thread(target=publish)
    publishing.start()
    deleted = 0
    try:
        wait_until(lambda: bench.has_recorded(200), "a first load", alive=running.process)
        for _ in range(4):
            # Half of what is there grows old at once.
            execute(
                bench,
                f"WITH old AS (UPDATE feedback SET stored_at = {OLD} WHERE source_offset % 2 = 0 RETURNING *) "  # noqa: S608
                f"UPDATE record_outcomes o SET recorded_at = {OLD} FROM old WHERE (o.source_topic_id, "
                "o.source_partition, o.source_offset) = (old.source_topic_id, old.source_partition, old.source_offset)",
            )
            answer = run("retention", "apply", "--file", keeping(tmp_path, feedback=90), "--yes", "--json")
            assert answer.exit_code == 0, answer.stderr
            deleted += answer.document["deleted_rows"]["feedback"]
            found = reconcile(bench, monkeypatch)
            assert (found.exit_code, found.disagreements) == (0, {})
    finally:
        stop.set()
        publishing.join()
    wait_until(lambda: bench.has_recorded(len(published)), "all verdicts", alive=running.process)
    assert deleted > 100
    assert len(bench.rows()) == len(published) - deleted
    assert {entry["event"] for entry in running.log()}.isdisjoint({"backing_off", "crashed", "fatal"})


def test_limits_are_judged_by_the_longest_that_a_record_may_stay() -> None:
    kept = load_retention().model_copy(
        update={"record_outcomes": load_retention().labels.model_copy(update={"keep": 20 * DAY})}
    )
    now = datetime(2026, 1, 31, tzinfo=UTC)

    def problem(*topics: TopicLimit) -> str | None:
        limits = table_limits(kept, {f"topic {n}": topic for n, topic in enumerate(topics)}, now)
        return next(limit.problem for limit in limits if limit.table == "record_outcomes")

    assert problem(TopicLimit(14 * DAY, 5 * DAY, is_compacted=False)) is None
    assert "topic 1" in (problem(TopicLimit(DAY, DAY, is_compacted=False), TopicLimit(14 * DAY, 6 * DAY, False)) or "")
    assert "for ever" in (problem(TopicLimit(DAY, DAY, is_compacted=True)) or "")
