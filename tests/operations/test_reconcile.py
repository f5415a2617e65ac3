"""`reconcile` names each disagreement by exactly its kind, and is not fooled."""

import json
import threading
import time
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from sqlalchemy import insert, select, text, update

from consumer.errors import TransientError
from consumer.operations.reconciliation.reading import Span, SpanReader
from schemas.tables import feedback, record_outcomes
from tests.integration.harness import DEADLINE_S, Bench, Visible, make_event, turn_until, wait_until
from tests.operations.reconcile_bench import commit_offset, reconcile, write

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


def execute(bench: Bench, *statements: str) -> None:
    with bench.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def headers_of(record: Visible) -> tuple[tuple[str, bytes | None], ...]:
    return tuple(record.headers.items())


def insert_like(bench: Bench, partition: int, offset: int, *, event_id: uuid.UUID) -> None:
    """A row owned by these coordinates, otherwise a copy of another one."""
    with bench.engine.begin() as connection:
        row = dict(connection.execute(select(feedback).limit(1)).mappings().one())
        row |= {"event_id": event_id, "source_partition": partition, "source_offset": offset}
        connection.execute(insert(feedback).values(row))


def classify_one_partition(bench: Bench, values: Iterable[dict[str, object] | bytes]) -> None:
    published = list(values)
    bench.publish(published, partition=0)
    consumer = bench.consumer()
    turn_until(lambda: bench.has_settled(len(published)), consumer)
    consumer.engine.stop()


def test_each_disagreement_is_reported_by_exactly_its_kind(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [make_event(f"message {n}") for n in range(10)]
    bench.publish(events, partition=0)
    bench.publish([b"not json"] * 4, partition=1)
    consumer = bench.consumer()
    turn_until(lambda: bench.has_settled(14), consumer)
    bench.publish([events[0]] * 4, partition=2)
    turn_until(lambda: bench.has_settled(18), consumer)
    results = {result.document["source"]["offset"]: result for result in bench.results()}
    letters = {int(letter.headers["dlq-source-offset"] or b""): letter for letter in bench.dead_letters()}

    def letter_for(partition: int, offset: int) -> tuple[tuple[str, bytes | None], ...]:
        at = {"dlq-source-partition": b"%d" % partition, "dlq-source-offset": b"%d" % offset}
        return tuple({**letters[0].headers, **at}.items())

    def result_with(source: dict[str, object]) -> bytes:
        document = results[0].document
        return json.dumps({**document, "source": {**document["source"], **source}}).encode()

    insert_like(bench, 2, 1, event_id=uuid.uuid4())
    insert_like(bench, 1, 1, event_id=uuid.uuid4())
    execute(
        bench,
        "DELETE FROM feedback WHERE (source_partition, source_offset) IN ((0, 1), (0, 4), (0, 6), (0, 8))",
        "UPDATE feedback SET queue = 'elsewhere' WHERE (source_partition, source_offset) = (0, 2)",
        "DELETE FROM record_outcomes WHERE (source_partition, source_offset) IN ((0, 3), (0, 4))",
        "UPDATE record_outcomes SET outcome = 'duplicate' WHERE (source_partition, source_offset) = (0, 6)",
        "UPDATE record_outcomes SET outcome = 'erased' WHERE (source_partition, source_offset) = (0, 8)",
        "UPDATE record_outcomes SET outcome = 'classified' WHERE (source_partition, source_offset) = (2, 1)",
        "UPDATE record_outcomes SET outcome = 'dead_letter' WHERE (source_partition, source_offset) = (2, 2)",
    )
    write(bench, bench.topics.results, results[5].value, results[5].key, headers_of(results[5]))
    write(bench, bench.topics.results, b"no result", b"foreign")
    write(bench, bench.topics.results, result_with({"topic_id": str(uuid.uuid4())}))
    write(bench, bench.topics.dead_letters, b"x", None, headers_of(letters[2]))
    write(bench, bench.topics.dead_letters, b"x", None, letter_for(0, 7))
    write(bench, bench.topics.dead_letters, b"x", None, letter_for(2, 3))
    write(bench, bench.topics.dead_letters, b"x", b"foreign")
    elsewhere = {**letters[0].headers, "dlq-source-topic": b"another.topic"}
    write(bench, bench.topics.dead_letters, b"x", None, tuple(elsewhere.items()))
    # A dead letter does not name the id of its topic: the time of its verdict tells of which one it is.
    earlier = {"dlq-source-partition": b"0", "dlq-source-offset": b"9", "dlq-first-failed-at": b"2026-01-01T00:00:00Z"}
    write(bench, bench.topics.dead_letters, b"x", None, tuple({**letters[0].headers, **earlier}.items()))
    with bench.engine.begin() as connection:
        former = {"source_topic_id": uuid.uuid4(), "source_partition": 0, "source_offset": 9}
        entry = {**bench.outcomes()[0], **former, "recorded_at": datetime(2026, 1, 1, tzinfo=UTC)}
        connection.execute(insert(record_outcomes).values(entry))

    answer = reconcile(bench, monkeypatch)

    assert answer.exit_code == 1
    disagreements = answer.disagreements
    for kind in ("foreign_result", "foreign_dead_letter"):
        assert len(disagreements.pop(kind)) == 1
    assert disagreements == {
        "row_missing": ["0:1"],
        "result_differs": ["0:2"],
        "row_without_verdict": ["0:3"],
        "unrecorded": ["0:4"],
        "result_twice": ["0:5"],
        "result_without_row": ["0:6"],
        "result_and_dead_letter": ["0:7"],
        "row_and_dead_letter": ["1:1"],
        "dead_letter_twice": ["1:2"],
        "result_missing": ["2:1"],
        "dead_letter_missing": ["2:2"],
        "dead_letter_without_verdict": ["2:3"],
    }
    assert answer.document["not_judged"] == {
        "erased": 1,
        "results_of_other_topics": 1,
        "dead_letters_of_other_topics": 2,
    }
    # Nothing of a customer leaves the topics and the table.
    assert "message" not in answer.stdout
    assert events[0]["event_id"] not in answer.stdout

    narrowed = reconcile(bench, monkeypatch, "--partition", "0", "--from-offset", "1", "--to-offset", "3")
    assert {kind: at for kind, at in narrowed.disagreements.items() if "foreign" not in kind} == {
        "row_missing": ["0:1"],
        "result_differs": ["0:2"],
    }
    assert narrowed.document["records"] == 2
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert reconcile(bench, monkeypatch, "--since", tomorrow).exit_code == 4
    assert reconcile(bench, monkeypatch, "--until", tomorrow).document["records"] == 18


def test_a_consumer_at_work_is_no_disagreement(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    running = bench.process(max_window_records=20)
    stop = threading.Event()
    published = 0

    def publish() -> None:
        nonlocal published
        while not stop.is_set():
            bench.publish([make_event(f"{n}") if n % 7 else b"not json" for n in range(50)])
            published += 50
            # Always some records in flight, never more than it could finish.
            while not bench.has_recorded(published - 100):
                time.sleep(0.01)

    publishing = threading.Thread(target=publish)
    publishing.start()
    try:
        bench.wait_for_outcomes(200, running)
        compared = []
        for _ in range(4):
            answer = reconcile(bench, monkeypatch)
            assert (answer.exit_code, answer.disagreements) == (0, {})
            compared.append(answer.document["records"])
    finally:
        stop.set()
        publishing.join()
    assert compared == sorted(set(compared)), "each run should have had more to judge"
    bench.wait_for_outcomes(published, running)
    wait_until(lambda: reconcile(bench, monkeypatch).document["records"] == published, "everything to be committed")


def test_what_an_open_transaction_holds_is_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit shows in the group before its markers reach the output topics: nothing may be missed in between."""
    classify_one_partition(bench, [make_event("first")])
    [result] = bench.results()
    producer = Producer({**bench.kafka.as_librdkafka(), "transactional.id": f"slow-{uuid.uuid4()}"})
    producer.init_transactions(DEADLINE_S)
    producer.begin_transaction()
    producer.produce(bench.topics.results, result.value, result.key, headers=list(headers_of(result)))
    producer.flush(DEADLINE_S)
    span = {result.partition: Span(0, result.offset + 3)}
    stuck = f"partition {result.partition} at offset {result.offset + 2}"
    impatient = SpanReader(bench.kafka.as_librdkafka(), "outsider", stall_timeout_s=1)
    with impatient, pytest.raises(TransientError, match=stuck):
        list(impatient.read(bench.topics.results, span))
    committing = threading.Timer(2, producer.commit_transaction, [DEADLINE_S])
    committing.start()

    answer = reconcile(bench, monkeypatch)

    committing.join()
    assert answer.disagreements == {"result_twice": ["0:0"]}


def test_what_retention_removed_is_not_judged(
    bench: Bench, admin: AdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    classify_one_partition(bench, [make_event("old"), b"not json", make_event("new")])
    for topic in (bench.topics.results, bench.topics.dead_letters):
        everything = [TopicPartition(topic, partition, -1) for partition in range(6)]
        for deleted in admin.delete_records(everything).values():
            deleted.result(DEADLINE_S)
    beginning = [TopicPartition(bench.topics.events, 0, 1)]
    admin.delete_records(beginning)[beginning[0]].result(DEADLINE_S)

    answer = reconcile(bench, monkeypatch)
    assert (answer.exit_code, answer.document["records"]) == (0, 2)
    assert answer.document["not_judged"] == {
        "results_deleted_by_retention": 1,
        "dead_letters_deleted_by_retention": 1,
    }
    answer = reconcile(bench, monkeypatch, "--partition", "0", "--from-offset", "0")
    assert (answer.exit_code, answer.document["records"]) == (0, 3)
    assert answer.document["not_judged"]["events_deleted_by_retention"] == 1

    # What was recorded later than the oldest result that is left must have its result.
    for n in range(60):
        write(bench, bench.topics.results, b"something else", b"key %d" % n)
    with bench.engine.begin() as connection:
        later = update(record_outcomes).where(record_outcomes.c.source_offset == 2)
        connection.execute(later.values(recorded_at=datetime.now(UTC) + timedelta(hours=1)))
    answer = reconcile(bench, monkeypatch)
    assert answer.disagreements["result_missing"] == ["0:2"]


def test_committed_offsets_are_held_against_the_ledger(
    bench: Bench, admin: AdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    classify_one_partition(bench, [make_event(f"{n}") for n in range(8)])

    def resume_offset(document: dict[str, list[dict[str, int]]]) -> int:
        return document["partitions"][0]["resume_next_offset"]

    # Two windows of two records may be in flight, five are too many.
    commit_offset(bench, admin, 4)
    assert reconcile(bench, monkeypatch, max_window_records=2).exit_code == 0
    commit_offset(bench, admin, 3)
    answer = reconcile(bench, monkeypatch, max_window_records=2)
    assert (answer.exit_code, answer.disagreements) == (1, {"offset_behind": ["0:3"]})
    assert resume_offset(answer.document) == 8
    answer = reconcile(bench, monkeypatch, group_id="a-renamed-group")
    assert (answer.exit_code, answer.disagreements) == (1, {"offset_missing": ["0:0"]})
    assert resume_offset(answer.document) == 8

    # A process that died between ledger and Kafka left a row without its result: the group must go back to it.
    last = bench.outcomes()[-1]
    event_id = uuid.uuid4()
    bench.publish([make_event("in flight")], partition=0)
    insert_like(bench, 0, 8, event_id=event_id)
    with bench.engine.begin() as connection:
        entry = {**last, "source_offset": 8, "event_id": event_id}
        connection.execute(insert(record_outcomes).values(entry))
    answer = reconcile(bench, monkeypatch, group_id="a-renamed-group")
    assert answer.disagreements == {"offset_missing": ["0:0"], "result_missing": ["0:8"]}
    assert resume_offset(answer.document) == 8

    commit_offset(bench, admin, 9)
    execute(
        bench, "DELETE FROM record_outcomes WHERE source_offset >= 7", "DELETE FROM feedback WHERE source_offset >= 7"
    )
    answer = reconcile(bench, monkeypatch)
    assert answer.disagreements == {"offset_beyond": ["0:9"], "unrecorded": ["0:7", "0:8"]}


def test_what_cannot_be_done_is_one_line_and_an_exit_code(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_password = bench.database.database_url.get_secret_value().replace("://", "://nobody:canary@", 1)
    wrong_password = wrong_password.replace(wrong_password.split("canary@")[1].split("@")[0] + "@", "", 1)
    cases: list[tuple[tuple[str, ...], dict[str, object], int, str]] = [
        ((), {}, 4, "nothing to compare"),
        (("--partition", "6"), {}, 2, "has 0 to 5"),
        (("--from-offset", "1"), {}, 2, "exactly one --partition"),
        (("--partition", "0", "--from-offset", "2", "--to-offset", "2"), {}, 2, "range is empty"),
        (("--partition", "0", "--from-offset", "2", "--since", "2h"), {}, 2, "choose one"),
        (("--since", "yesterday"), {}, 2, "--since"),
        ((), {"bootstrap_servers": "127.0.0.1:1"}, 1, "Kafka"),
        ((), {"events_topic": "not.there"}, 1, "topics apply"),
        ((), {"database_url": wrong_password}, 1, "PostgreSQL refuses"),
        ((), {"database_url": "postgresql://u:canary@127.0.0.1:1/d"}, 1, "PostgreSQL"),
    ]
    for arguments, changes, exit_code, words in cases:
        answer = reconcile(bench, monkeypatch, *arguments, **changes)
        assert (answer.exit_code, answer.stdout) == (exit_code, ""), answer
        assert words in answer.stderr
        assert answer.stderr.count("\n") == 1
        assert "canary" not in answer.stderr
