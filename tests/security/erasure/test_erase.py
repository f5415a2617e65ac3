"""`erase` deletes what there is of a customer, and nothing that was published before brings it back."""

import json
from datetime import datetime
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from sqlalchemy import select

from consumer.operations.reconciliation.cluster import Cluster
from schemas.tables import record_outcomes
from tests.integration.harness import DEADLINE_S, Bench, make_event, turn_until, wait_until
from tests.operations.reconcile_bench import reconcile
from tests.security.erasure.conftest import (
    CANARY,
    Run,
    assert_no_halves,
    audits,
    execute,
    invoke,
    label,
    outcomes_of,
    process,
    scalar,
)

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

ERASE = ("erase", "--json", "--yes")
NOTHING = {"feedback_rows": 0, "labels": 0, "ledger_entries": 0, "event_ids": 0}


def publish_everything(bench: Bench) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Whatever a customer's events can become, and somebody else's beside it: 11 records, 3 rows of theirs."""
    mine = [make_event(f"{CANARY} says {n}", customer_id=CANARY, name=CANARY) for n in range(3)]
    others = [make_event(f"other {n}", customer_id="somebody") for n in range(2)]
    bench.publish(mine, partition=0, key=CANARY.encode())
    bench.publish(others, partition=0)
    bench.publish([mine[0]], partition=1)  # a copy
    bench.publish([{**mine[1], "text": "changed"}], partition=1)  # a conflict
    bench.publish([{**make_event("five stars", customer_id=CANARY), "rating": 9}], partition=2)
    bench.publish([f"no json of {CANARY}".encode()], partition=2)
    bench.publish([make_event("only the key tells")], partition=3, key=CANARY.encode())
    bench.publish([{**others[1], "text": CANARY, "customer_id": CANARY}], partition=4)  # under somebody else's id
    process(bench, 11)
    label(bench, mine[0]["event_id"], mine[0]["event_id"], others[0]["event_id"], others[1]["event_id"])
    return mine, others


def replay_from_the_beginning(bench: Bench, admin: AdminClient) -> None:
    """Reset the group, and let a consumer go through everything once more."""
    group = bench.make_settings().group_id
    wait_until(lambda: not admin.describe_consumer_groups([group])[group].result(DEADLINE_S).members, "an empty group")
    admin.delete_consumer_groups([group])[group].result(DEADLINE_S)
    cluster = Cluster(bench.kafka.as_librdkafka(), group)
    ends = cluster.ends(bench.topics.events)
    consumer = bench.consumer(accept_offset_mismatch=True)
    turn_until(lambda: cluster.committed(bench.topics.events, list(ends)) == ends, consumer)
    consumer.engine.stop()


def test_a_customer_is_erased_and_nobody_else(
    bench: Bench, run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mine, others = publish_everything(bench)
    rows, ledger = bench.rows(), outcomes_of(bench)
    key_file = tmp_path / "erasure.key"
    key_file.write_text("a secret of at least sixteen bytes\n")

    dry = run("erase", "--json", stdin=f"{CANARY}\n")
    expected = {"feedback_rows": 3, "labels": 2, "ledger_entries": 7, "event_ids": 3}
    assert (dry.exit_code, dry.customer["would_erase"]) == (0, expected)
    assert (bench.rows(), outcomes_of(bench), audits(bench)) == (rows, ledger, [])

    options = ("--reason", "ticket 1", "--key-file", str(key_file))
    erased = run(*ERASE, *options, stdin=f"{CANARY}\n")

    assert (erased.exit_code, erased.customer["erased"], erased.stderr) == (0, expected, "")
    left = {str(row["event_id"]) for row in bench.rows()}
    assert {event["event_id"] for event in others} < left
    assert len(left) == 3, "and the one that names nobody"
    assert not {event["event_id"] for event in mine} & left
    assert scalar(bench, "SELECT count(*) FROM labels") == 2
    after = outcomes_of(bench)
    assert {at for at, outcome in after.items() if outcome == "erased"} == {
        (0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (4, 0),
    }  # fmt: skip
    assert {at: outcome for at, outcome in after.items() if outcome != "erased"} == {
        at: outcome for at, outcome in ledger.items() if after[at] != "erased"
    }
    assert_no_halves(bench)
    with bench.engine.connect() as connection:
        gone = select(record_outcomes).where(record_outcomes.c.outcome == "erased")
        for entry in connection.execute(gone).mappings():
            assert [entry[name] for name in ("payload_sha256", "stage", "error_class", "error_message")] == [None] * 4
    [audit] = audits(bench)
    assert {name: audit[name] for name in expected} == expected
    assert (audit["reason"], audit["finished_at"] >= audit["started_at"]) == ("ticket 1", True)
    assert len(audit["customer_hmac"]) == 32
    # The whole audit, in every form that a reader might search for.
    assert CANARY not in scalar(bench, "SELECT string_agg(e::text, '') FROM erasures e")

    said = run("erase", *options[2:], stdin=f"{CANARY}\n")
    assert (said.exit_code, said.stderr) == (4, "nothing left to erase\n")
    assert "erased before: 2" in said.stdout
    assert len(audits(bench)) == 1

    # What names nobody goes on demand.
    by_key = run(*ERASE, "--by-key", stdin=CANARY)
    assert (erased.customer["rows_by_key"], by_key.customer["rows_by_key"]) == (1, 0)
    assert by_key.customer["erased"] == {"feedback_rows": 1, "labels": 0, "ledger_entries": 1, "event_ids": 1}
    assert outcomes_of(bench)[3, 0] == "erased"
    assert {row["customer_id"] for row in bench.rows()} == {"somebody"}

    said_by_commands = "".join(answer.stdout + answer.stderr for answer in (dry, erased, said, by_key))
    captured = capfd.readouterr()
    assert CANARY not in said_by_commands + captured.out + captured.err


def test_nothing_brings_an_erased_customer_back(
    bench: Bench, admin: AdminClient, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, _ = publish_everything(bench)
    results, letters = len(bench.results()), len(bench.dead_letters())
    assert run(*ERASE, stdin=CANARY).exit_code == 0
    left, after = {str(row["event_id"]) for row in bench.rows()}, outcomes_of(bench)

    # Everything is read again: the others' results go out a second time, nothing of the customer's does.
    replay_from_the_beginning(bench, admin)
    assert {str(row["event_id"]) for row in bench.rows()} == left
    assert outcomes_of(bench) == after
    assert len(bench.results()) == results + 3
    assert len(bench.dead_letters()) == letters + 1, "the one that only mentions the customer"

    listed = json.loads(run("dlq", "list", "--json", "--state", "all").stdout)["dead_letters"]
    assert [(letter["partition"], letter["offset"]) for letter in listed] == [(2, 1)]
    assert run("dlq", "replay", "2:0", "--reason", "a mistake").exit_code == 4

    repaired = reconcile(bench, monkeypatch, "--repair")
    assert set(repaired.disagreements) <= {"result_twice", "dead_letter_twice"}, "what the replay published again"
    assert repaired.document["not_judged"]["erased"] == 7
    assert {str(row["event_id"]) for row in bench.rows()} == left

    # A publisher that sends an old event again, and one that reuses its id.
    bench.publish([mine[0], {**mine[2], "text": "changed again"}], partition=5)
    process(bench, 13)
    assert (outcomes_of(bench)[5, 0], outcomes_of(bench)[5, 1]) == ("erased", "erased")
    assert len(bench.dead_letters()) == letters + 1
    # New feedback is new feedback.
    bench.publish([make_event("they are back", customer_id=CANARY)], partition=5)
    process(bench, 14)
    assert [row["text"] for row in bench.rows() if row["customer_id"] == CANARY] == ["they are back"]


def test_records_that_nobody_has_read_yet_are_erased_as_well(
    bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than a crash leaves in flight: a consumer must not take them for a reset of its offsets."""
    first = make_event("first", customer_id=CANARY)
    bench.publish([first], partition=0)
    process(bench, 1, max_window_records=2)
    unread = [make_event(f"unread {n}", customer_id=CANARY) for n in range(10)]
    without_id = {key: value for key, value in make_event("no id", customer_id=CANARY).items() if key != "event_id"}
    bench.publish([*unread, first, without_id], partition=0)
    bench.publish([{**make_event("bad", customer_id=CANARY), "rating": 9}], partition=1)

    answer = run(*ERASE, stdin=CANARY)

    assert answer.exit_code == 0
    assert answer.customer["erased"] == {"feedback_rows": 1, "labels": 0, "ledger_entries": 1, "event_ids": 12}
    assert answer.customer["unread_undecodable_records"] == 1
    process(bench, 14, max_window_records=2)
    assert bench.rows() == []
    assert [outcome for (partition, _), outcome in outcomes_of(bench).items() if partition == 0] == ["erased"] * 13
    assert [len(bench.results()), len(bench.dead_letters())] == [1, 1]
    agreed = reconcile(bench, monkeypatch)
    assert (agreed.exit_code, agreed.document["not_judged"]) == (0, {"erased": 13})
    # The undecodable one has become a dead letter by now.
    again = run(*ERASE, stdin=CANARY)
    assert again.customer["erased"] == {**NOTHING, "ledger_entries": 1}
    assert (again.customer["unread_undecodable_records"], run(*ERASE, stdin=CANARY).exit_code) == (0, 4)


def test_after_a_restore_the_erasure_is_made_again_and_a_repair_respects_it(
    bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = [make_event(f"mine {n}", customer_id=CANARY) for n in range(3)]
    other = make_event("other", customer_id="somebody")
    bench.publish([*mine, other], partition=0)
    bench.publish([mine[0], {**mine[1], "text": "changed"}], partition=1)
    process(bench, 6)
    assert run(*ERASE, stdin=CANARY).exit_code == 0
    # A backup of before anything was recorded: results, dead letters and events tell it all.
    execute(bench, "TRUNCATE feedback, record_outcomes, erased_events, erasures, labels")

    assert run(*ERASE, stdin=CANARY).customer["erased"] == {**NOTHING, "event_ids": 3}
    answer = reconcile(bench, monkeypatch, "--repair")

    assert [str(row["event_id"]) for row in bench.rows()] == [other["event_id"]]
    assert answer.document["repaired"]["erased"] == 5, "three rows, a copy and a conflict"
    assert [row["stored_at"] for row in bench.rows()] == [row["classified_at"] for row in bench.rows()]
    assert_no_halves(bench)


def test_several_customers_are_erased_in_one_look_at_the_topics(bench: Bench, run: Run, tmp_path: Path) -> None:
    bench.publish([make_event(f"{n}", customer_id=f"customer {n % 3}") for n in range(9)])
    process(bench, 9)
    ids = tmp_path / "ids"
    ids.write_bytes(b"\xef\xbb\xbfcustomer 0\r\n\ncustomer 2\nnobody\ncustomer 0\n")

    answer = run(*ERASE, "--from", str(ids))

    erased = [customer["erased"] for customer in answer.document["customers"]]
    assert erased == [{**NOTHING, "feedback_rows": 3, "ledger_entries": 3, "event_ids": 3}] * 2 + [NOTHING]
    assert {row["customer_id"] for row in bench.rows()} == {"customer 1"}
    assert len(audits(bench)) == 2
    assert run("erase", "--customer", "nobody").exit_code == 4


def test_the_report_says_where_and_until_when(bench: Bench, admin: AdminClient, run: Run) -> None:
    publish_everything(bench)
    answer = run("erase", "--json", stdin=CANARY)
    held = {(held["topic"], held["match"]): held for held in answer.customer["held"]}
    events, results, letters = (
        held[topic, "own"] for topic in (bench.topics.events, bench.topics.results, bench.topics.dead_letters)
    )
    assert (events["records"], results["records"], letters["records"]) == (7, 3, 3)
    [first, *_] = events["partitions"]
    assert (first["partition"], first["records"], first["first_offset"], first["last_offset"]) == (0, 3, 0, 2)
    day = {"feedback.events": 14, "feedback.classified": 30, "feedback.deadletter": 30}
    for part in (events, results, letters):
        newest = max(partition["newest"] for partition in part["partitions"])
        assert part["gone_after"] > newest
        assert part["gone_by"] > part["gone_after"]
        kept = datetime.fromisoformat(part["gone_after"]) - datetime.fromisoformat(newest)
        assert kept.days == day[part["topic"].rsplit(".", 1)[0]]
    mentioned = held[bench.topics.dead_letters, "mention"]
    assert mentioned["first"] == [{"partition": 2, "offset": 1}], "as `dlq show` takes it"
    assert held[bench.topics.events, "key"]["records"] == 1

    # Once retention has taken the events, the report no longer names them, and there is still nothing to come back.
    assert run(*ERASE, stdin=CANARY).exit_code == 0
    everything = [TopicPartition(bench.topics.events, partition, -1) for partition in range(6)]
    for deleted in admin.delete_records(everything).values():
        deleted.result(DEADLINE_S)
    later = run("erase", "--json", stdin=CANARY)
    assert bench.topics.events not in {held["topic"] for held in later.customer["held"]}


def test_redacted_rows_are_found_by_the_id_that_was_redacted(bench: Bench, run: Run) -> None:
    """Redaction stores a pseudonym in the place of an id that is an address."""
    customer = "jane.doe@example.com"
    redaction = {"redact": "email", "redact_key": "k" * 32}
    bench.publish([make_event("mine", customer_id=customer), make_event("not mine", customer_id="joe@example.com")])
    process(bench, 2, **redaction)
    assert customer not in {row["customer_id"] for row in bench.rows()}

    answer = run(*ERASE, stdin=customer, CONSUMER_REDACT="email", CONSUMER_REDACT_KEY="k" * 32)

    assert answer.customer["erased"]["feedback_rows"] == 1
    assert [row["text"] for row in bench.rows()] == ["not mine"]


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        ((), "\n \n", "standard input holds no customer's id"),
        ((), "x" * 257, "line 1: an id has at most 256 characters"),
        (("--customer", CANARY, "--from", "ids"), None, "choose one: --customer, --from or standard input"),
        (("--from", "no/such/file"), None, "no/such/file: No such file"),
        (("--customer", CANARY, "--key-file", "/dev/null"), None, "a key has at least 16 bytes"),
        (("--customer", CANARY, "--reason", "x" * 1_001), None, "--reason has at most 1,000 characters"),
    ],
)
def test_bad_arguments_are_one_line_without_the_id(arguments: tuple[str, ...], stdin: str | None, words: str) -> None:
    answer = invoke(["erase", "--yes", *arguments], stdin)

    assert (answer.exit_code, answer.stdout) == (2, "")
    assert words in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert CANARY not in answer.stderr
