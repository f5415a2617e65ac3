"""Killed anywhere, an erasure leaves no halves and is simply run again; consumers at work neither wait nor win."""

import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, text

from consumer.operations.erasure import eraser, erasing
from consumer.operations.erasure.writers import wait_for_writers
from consumer.outcomes import Coordinates, Proposal
from consumer.results import FeedbackRow
from consumer.sinks.ledger import Ledger
from schemas.tables import feedback
from tests.integration.harness import Bench, make_event, wait_until
from tests.operations.command import Command
from tests.security.erasure.conftest import (
    CANARY,
    SLOW,
    Run,
    assert_no_halves,
    audits,
    label,
    outcomes_of,
    process,
    scalar,
    topic_id_of,
)

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

ERASE = ("erase", "--json", "--yes")
ROWS = 35


def test_killed_anywhere_it_leaves_no_halves_and_the_next_run_finishes(
    bench: Bench, start: Callable[..., Command], tmp_path: Path
) -> None:
    """One customer, killed at one step after the other: each run goes on where the last one ended."""
    events = [make_event(f"{n}", customer_id=CANARY if n % 2 else "somebody") for n in range(2 * ROWS)]
    bench.publish(events)
    process(bench, len(events))
    label(bench, *(event["event_id"] for event in events))
    ids = tmp_path / "ids"
    ids.write_text(CANARY)
    done = []
    for step, times in (("announce", 1), ("note", 2), ("wait", 1), ("chunk", 1), ("chunk", 3), ("note", 1)):
        killed = start("tests.security.erasure.dying_erase", step, str(times), "--yes", "--from", str(ids))
        assert killed.wait() == -9, killed.err
        assert_no_halves(bench)
        done.append(scalar(bench, "SELECT count(*) FROM record_outcomes WHERE outcome = 'erased'"))
        # What is counted is what is gone.
        noted = audits(bench)
        assert (
            sum(audit["feedback_rows"] for audit in noted)
            == sum(audit["ledger_entries"] for audit in noted)
            == done[-1]
        )
        assert {audit["finished_at"] for audit in noted} <= {None}

    assert done == [0, 0, 0, 0, 20, 20]
    last = start("consumer", *ERASE, "--from", str(ids))
    assert last.wait() == 0, last.err
    assert last.document["customers"][0]["erased"]["feedback_rows"] == ROWS - 20
    noted = audits(bench)
    assert {name: sum(audit[name] for audit in noted) for name in ("feedback_rows", "labels", "event_ids")} == {
        "feedback_rows": ROWS,
        "labels": ROWS,
        "event_ids": ROWS,
    }
    assert [audit["finished_at"] is not None for audit in noted] == [False, False, False, True]
    assert_no_halves(bench)
    assert {row["customer_id"] for row in bench.rows()} == {"somebody"}
    assert start("consumer", *ERASE, "--from", str(ids)).wait() == 4


def a_row_like(bench: Bench, event_id: uuid.UUID, offset: int) -> FeedbackRow:
    with bench.engine.connect() as connection:
        row = dict(connection.execute(select(feedback).limit(1)).mappings().one())
    del row["stored_at"]
    return {**row, "event_id": event_id, "source_partition": 0, "source_offset": offset, "customer_id": CANARY}


def test_a_window_that_is_being_stored_cannot_slip_through(
    bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asked whether the event is erased before the erasure said so, and commits its row afterwards."""
    bench.publish([make_event("of somebody")], partition=0)
    process(bench, 1)
    event = make_event("mine", customer_id=CANARY)
    bench.publish([event], partition=0)
    event_id = uuid.UUID(str(event["event_id"]))
    ledger = Ledger(bench.engine, topic_id_of(bench), "test")
    row = a_row_like(bench, event_id, 1)
    proposal = Proposal(Coordinates(0, 1), event_id, b"hash", row=row)
    reached = threading.Event()

    def wait(connection: Connection) -> None:
        reached.set()
        wait_for_writers(connection)

    monkeypatch.setattr(erasing, "wait_for_writers", wait)
    answers = []
    erasing_thread = threading.Thread(target=lambda: answers.append(run(*ERASE, stdin=CANARY)))
    with bench.engine.connect() as connection, connection.begin():
        ledger._insert(connection, [proposal])
        erasing_thread.start()
        assert reached.wait(60)
        time.sleep(0.3)
        assert erasing_thread.is_alive(), "it must wait for this transaction"
    erasing_thread.join(60)

    assert answers[0].customer["erased"] == {"feedback_rows": 1, "labels": 0, "ledger_entries": 1, "event_ids": 1}
    assert event_id not in {found["event_id"] for found in bench.rows()}
    assert outcomes_of(bench)[0, 1] == "erased"
    # The same, a moment later: the window was prepared before, and is stored after the erasure.
    ledger.persist([Proposal(Coordinates(0, 2), event_id, b"hash", row={**row, "source_offset": 2})])
    assert outcomes_of(bench)[0, 2] == "erased"
    assert_no_halves(bench)


def test_a_writer_that_never_ends_is_named(bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    event = make_event("mine", customer_id=CANARY)
    bench.publish([event], partition=0)
    process(bench, 1)
    monkeypatch.setattr(wait_for_writers, "__defaults__", (0.2,))
    with bench.engine.connect() as connection, connection.begin():
        connection.execute(text("UPDATE record_outcomes SET attempts = attempts WHERE false"))
        answer = run(*ERASE, stdin=CANARY)

    assert (answer.exit_code, answer.stdout) == (1, "")
    assert "a transaction that writes to the ledger goes on" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert run(*ERASE, stdin=CANARY).customer["erased"]["feedback_rows"] == 1
    # Made by somebody who had the row on the screen while it went.
    label(bench, event["event_id"])
    assert run(*ERASE, stdin=CANARY).customer["erased"]["labels"] == 1
    assert_no_halves(bench)


def test_a_replay_and_an_erasure_exclude_each_other(bench: Bench, run: Run) -> None:
    key = int.from_bytes(topic_id_of(bench).bytes[:8], signed=True)
    with bench.engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": key})
        for arguments in (ERASE, ("retention", "apply", "--yes"), ("dlq", "replay", "--all", "--reason", "x")):
            answer = run(*arguments, stdin=CANARY)
            assert (answer.exit_code, answer.stdout) == (1, "")
            assert "runs: wait for its end" in answer.stderr
        assert run("erase", stdin=CANARY).exit_code == 4, "a dry run changes nothing, so it may"


@SLOW
def test_consumers_go_on_beside_it(bench: Bench, run: Run) -> None:
    """Erased again and again while its new events come in, a customer leaves no halves, and nobody deadlocks."""
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = scalar(bench, deadlocks)
    running = [bench.process(max_window_records=20, replica_id=str(n)) for n in range(2)]
    for each in running:
        each.wait_ready()
    stop = threading.Event()
    published: list[dict[str, object]] = []

    def publish() -> None:
        while not stop.is_set():
            events = [make_event(f"{n}", customer_id=CANARY if n % 2 else "somebody") for n in range(50)]
            # Each one twice, in another partition: copies of what is being erased.
            bench.publish(events)
            bench.publish(events, partition=5)
            published.extend(events)
            while not bench.has_recorded(2 * len(published) - 200) and not stop.is_set():
                time.sleep(0.01)

    publishing = threading.Thread(target=publish)
    publishing.start()
    try:
        wait_until(lambda: bench.has_recorded(200), "a first load")
        answers = [run(*ERASE, stdin=CANARY) for _ in range(4)]
    finally:
        stop.set()
        publishing.join()
    assert {answer.exit_code for answer in answers} <= {0}, answers[-1].stderr
    wait_until(lambda: bench.has_recorded(2 * len(published)), "all verdicts", alive=running[0].process)

    run(*ERASE, stdin=CANARY)

    assert {row["customer_id"] for row in bench.rows()} == {"somebody"}
    assert len(bench.rows()) == len(published) // 2
    assert_no_halves(bench)
    assert scalar(bench, deadlocks) == before
    ids = [result.document["event"]["event_id"] for result in bench.results()]
    assert len(ids) == len(set(ids)), "a copy of an erased event must not give a second result"


def test_rows_whose_topic_is_gone_are_erased_in_chunks(bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows whose records left the topics long ago are found by the table alone."""
    bench.publish([make_event("one", customer_id=CANARY)], partition=0)
    process(bench, 1)
    former = uuid.uuid4()
    copies = """
        INSERT INTO feedback SELECT (jsonb_populate_record(f, jsonb_build_object('event_id', gen_random_uuid(),
            'source_topic_id', CAST(:former AS text), 'source_offset', n))).*
        FROM feedback f, generate_series(1, 45) n
    """
    with bench.engine.begin() as connection:
        connection.execute(text(copies), {"former": str(former)})

    monkeypatch.setattr(eraser, "CHUNK_ROWS", 10)
    answer = run(*ERASE, stdin=CANARY)

    assert answer.customer["erased"]["feedback_rows"] == 46
    assert scalar(bench, f"SELECT count(*) FROM record_outcomes WHERE source_topic_id = '{former}'") == 45  # noqa: S608
    assert bench.rows() == []
