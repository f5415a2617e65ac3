"""`python -m consumer dlq` as an operator uses it, on what a real consumer left behind."""

import base64
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from pydantic import SecretStr
from sqlalchemy import make_url, text

from consumer.records import Headers, OutboundRecord, SourceRecord
from consumer.sinks import dead_letter_catalogue
from schemas import headers
from tests.integration.harness import DEADLINE_S, Bench, Visible, make_event, turn_until
from tests.operations.dead_letter_seed import (
    dead_letter,
    publish,
    record_verdicts,
    seed,
    source_record,
)

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

Dlq = Callable[..., tuple[int, str, str]]
HOSTILE = "no event \x1b]0;owned\x07 [red]x[/red] \u202eevil\r\nstage      fine".encode()


def listed(dlq: Dlq, *arguments: str) -> list[dict[str, Any]]:
    """The dead letters that `list` shows, oldest first."""
    code, out, err = dlq("list", "--json", *arguments)
    assert code in {0, 4}, err
    found: list[dict[str, Any]] = json.loads(out)["dead_letters"]
    return found[::-1]


def address(entry: dict[str, Any]) -> str:
    return f"{entry['partition']}:{entry['offset']}"


def replayed_events(bench: Bench) -> list[Visible]:
    return [event for event in bench._read(bench.topics.events) if headers.REPLAY_ATTEMPT in event.headers]


def test_what_became_classifiable_is_replayed_to_one_row_and_one_result(
    bench: Bench, dlq: Dlq, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = make_event("from the future", customer_id="c-1")
    own: Headers = (("schema-version", b"2"), ("note", None), ("note", b"\xff"), ("dlq-source-topic", b"mine"))
    nonsense = ("replay-attempt", b"0x7f")
    publish(bench, [OutboundRecord(bench.topics.events, b"c-1", json.dumps(event).encode(), (nonsense, *own))])
    bench.publish([HOSTILE], key=b"c-2")
    consumer = bench.consumer()
    turn_until(lambda: bench.has_settled(2), consumer)
    [source] = [record for record in bench._read(bench.topics.events) if record.key == b"c-1"]

    # The version that knows this schema comes, and the dead letters go round again.
    monkeypatch.setattr(headers, "EVENT_SCHEMA_VERSION", 2)
    code, out, err = dlq("replay", "--all", "--reason", "version 2 is out", "--json")
    assert code == 0, err
    assert json.loads(out)["replayed"] == [
        {"stage": "decode", "error_class": "not_json", "records": 1},
        {"stage": "decode", "error_class": "unknown_schema_version", "records": 1},
    ]
    turn_until(lambda: bench.has_settled(4), consumer)

    bench.assert_exactly_once([event])
    again = {record.key: record for record in replayed_events(bench)}
    assert set(again) == {b"c-1", b"c-2"}
    assert (again[b"c-1"].partition, again[b"c-1"].value) == (source.partition, source.value)
    assert raw_headers(bench, again[b"c-1"]) == [*own, ("replay-attempt", b"1")]
    # The other one is a new dead letter, at coordinates of its own; the old ones are done.
    [failed] = listed(dlq)
    assert (failed["partition"], failed["offset"]) == (again[b"c-2"].partition, again[b"c-2"].offset)
    assert {entry["reason"] for entry in listed(dlq, "--state", "replayed")} == {"version 2 is out"}
    assert dlq("replay", address(failed), "--reason", "once more")[0] == 0
    turn_until(lambda: bench.has_settled(5), consumer)
    assert sorted(letter.headers.get("replay-attempt") or b"" for letter in bench.dead_letters()) == [
        b"", b"0x7f", b"1", b"2",
    ]  # fmt: skip


def raw_headers(bench: Bench, at: Visible) -> list[tuple[str, bytes | None]]:
    from confluent_kafka import Consumer  # noqa: PLC0415

    config = {**bench.kafka.as_librdkafka(), "group.id": "outsider", "auto.offset.reset": "error"}
    with Consumer(config) as reader:
        reader.assign([TopicPartition(bench.topics.events, at.partition, at.offset)])
        message = reader.poll(DEADLINE_S)
        assert message is not None
        assert message.error() is None
        found: list[tuple[str, bytes | None]] = message.headers()  # type: ignore[assignment]
        return found


def test_list_counts_everything_and_filters_by_stage_class_time_and_state(
    bench: Bench, dlq: Dlq, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pages that end within what was recorded at one and the same time.
    monkeypatch.setattr(dead_letter_catalogue, "_PAGE_RECORDS", 300)
    seed(bench, [source_record(number) for number in range(1_100)])
    seed(bench, [source_record(number) for number in range(1_100, 1_103)], "invalid_rating")
    entries = listed(dlq, "--limit", "5000")
    assert (len(entries), len({address(entry) for entry in entries})) == (1_103, 1_103)
    boundary = entries[-3]["recorded_at"]

    code, out, err = dlq("list", "--limit", "2", "--since", "1h")
    assert code == 0
    lines = out.splitlines()
    assert lines[1].split()[:4] == ["decode", "not_json", "open", "1,100"]
    assert [line.split()[-1] for line in lines[-2:]] == ["invalid_rating"] * 2
    assert err == "2 of 1,103 listed: --limit lists more\n"
    assert [entry["error_class"] for entry in listed(dlq, "--since", boundary)] == ["invalid_rating"] * 3
    assert len(listed(dlq, "--until", boundary, "--limit", "5000")) == 1_100
    assert len(listed(dlq, "--class", "invalid_rating", "--class", "other", "--stage", "decode")) == 3

    assert dlq("drop", "--class", "invalid_rating", "--reason", "a test", "--dry-run")[0] == 0
    assert len(listed(dlq, "--class", "invalid_rating")) == 3
    code, out, _ = dlq("drop", "--class", "invalid_rating", "--reason", "a test", "--json")
    assert json.loads(out)["dropped"] == [{"stage": "decode", "error_class": "invalid_rating", "records": 3}]
    dropped = listed(dlq, "--state", "dropped")
    assert [(entry["state"], entry["reason"]) for entry in dropped] == [("dropped", "a test")] * 3
    code, out, err = dlq("list", "--class", "invalid_rating")
    assert (code, out, err) == (4, "", "no open dead letters match\n")
    # Once more changes nothing, and what was dropped does not go out.
    assert dlq("drop", address(dropped[0]), "--reason", "another one")[0] == 0
    assert listed(dlq, "--state", "dropped") == dropped
    code, _, err = dlq("replay", address(dropped[0]), "--reason", "too late")
    assert (code, err) == (1, f"the first decision stands: {address(dropped[0])} is dropped; leave them out\n")


def test_show_renders_hostile_bytes_safely_and_hands_out_the_exact_ones(
    bench: Bench, dlq: Dlq, admin: AdminClient, tmp_path: Path
) -> None:
    binary = bytes(range(255, -1, -1)) * 20
    bench.publish([HOSTILE], key=b"the key of k\x1b[2J", headers=(("x\x1b[1m", b"\x9b31m"), ("y", None)))
    bench.publish([binary, None], key=b"k")
    turn_until(lambda: bench.has_settled(3), bench.consumer())
    at = {entry["error_class"]: address(entry) for entry in listed(dlq)}
    hostile, other, tombstone = at["not_json"], at["not_utf8"], at["tombstone"]

    code, shown, err = dlq("show", hostile)
    assert code == 0, err
    assert [char for char in shown if not char.isprintable() and char != "\n"] == []
    assert "| no event <U+001B>]0;owned<U+0007> [red]x[/red] <U+202E>evil<U+000D>\n| stage      fine\n" in shown
    assert "| x<U+001B>[1m: 00000000  9b 33 31 6d" in shown
    assert "key (16 bytes, text)\n| the key of k<U+001B>[2J\n" in shown

    code, shown, _ = dlq("show", other)
    assert "| 00000010  ef ee ed" in shown
    assert "... 1,024 more bytes: --full shows them" in shown
    assert "00001300" in dlq("show", other, "--full")[1]
    saved = tmp_path / "value"
    assert dlq("show", other, "--save", str(saved))[0] == 0
    assert saved.read_bytes() == binary
    assert saved.stat().st_mode & 0o077 == 0
    code, _, err = dlq("show", other, "--save", str(saved))
    assert (code, err.splitlines()) == (2, [f"{saved}: File exists"])
    assert "value: null" in dlq("show", tombstone)[1]

    # The same from the dead-letter topic, when the events topic's retention has passed.
    from_source = json.loads(dlq("show", hostile, "--json")[1])
    assert base64.b64decode(from_source["value_base64"]) == HOSTILE
    empty(admin, bench.topics.events)
    from_dead_letters = json.loads(dlq("show", hostile, "--json")[1])
    assert from_source["read_from"].pop("topic") == bench.topics.events
    assert from_dead_letters["read_from"].pop("topic") == bench.topics.dead_letters
    assert {**from_source, "read_from": 0} == {**from_dead_letters, "read_from": 0}
    empty(admin, bench.topics.dead_letters)
    assert dlq("show", hostile)[0] == 4
    # What no topic holds any more stays open, and the operator is told.
    code, out, _ = dlq("replay", "--all", "--reason", "too late")
    assert code == 1
    assert "replayed 0 dead letters\nstay open: 3 not in the dead-letter topic" in out
    assert len(listed(dlq)) == 3


def empty(admin: AdminClient, topic: str) -> None:
    """As retention does, sooner."""
    partitions = admin.list_topics(topic, timeout=DEADLINE_S).topics[topic].partitions
    for future in admin.delete_records([TopicPartition(topic, number, -1) for number in partitions]).values():
        future.result()


def test_a_value_too_large_for_the_dead_letter_topic_is_replayed_from_the_events_topic(
    bench: Bench, dlq: Dlq, admin: AdminClient
) -> None:
    large = b"not json " * 600_000
    publisher = Producer(
        {**bench.kafka.as_librdkafka(), "compression.type": "zstd", "message.max.bytes": 50_000_000, "linger.ms": 0}
    )
    for value in (large, os.urandom(600_000)):
        publisher.produce(bench.topics.events, value, b"large")
        assert publisher.flush(DEADLINE_S) == 0
    consumer = bench.consumer()
    turn_until(lambda: bench.has_settled(2), consumer)
    assert [letter.value is None for letter in bench.dead_letters()] == [True, False]

    # Smaller records from now on: the random one fits no longer, and cannot be compressed.
    limit = ConfigEntry("max.message.bytes", "500000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, bench.topics.events, incremental_configs=[limit])
    admin.incremental_alter_configs([resource])[resource].result()
    code, out, err = dlq("replay", "--all", "--reason", "try", "--json")
    assert code == 1, err
    document = json.loads(out)
    assert document["replayed_records"] == 1
    assert [(refused["reason"], refused["records"]) for refused in document["refused"]] == [("too_large", 1)]
    [event] = replayed_events(bench)
    assert hashlib.sha256(event.value or b"").digest() == hashlib.sha256(large).digest()
    turn_until(lambda: bench.has_settled(3), consumer)

    empty(admin, bench.topics.events)
    code, out, _ = dlq("replay", "--all", "--reason", "try", "--dry-run")
    assert code == 1
    assert "the events topic holds them no longer" in out


def test_conflicts_and_loops_are_left_out_and_a_second_copy_is_not_sent(bench: Bench, dlq: Dlq) -> None:
    event = make_event("first")
    bench.publish([event, {**event, "text": "second"}], key=b"k")
    turn_until(lambda: bench.has_settled(2), bench.consumer())
    code, _, err = dlq("replay", "--all", "--reason", "try")
    assert (code, err) == (4, "no open dead letters match (1 event_id_conflict left out)\n")

    looping = source_record(600, headers=((headers.REPLAY_ATTEMPT, b"3"),))
    fresh = source_record(601, headers=((headers.REPLAY_ATTEMPT, b"nonsense"),))
    verdicts = record_verdicts(bench, [looping, fresh])
    letters = [dead_letter(bench, record, at, "not_json") for record, at in verdicts]
    # A consumer whose offsets were reset publishes its dead letters again; a former topic had these coordinates too.
    former = SourceRecord(fresh.partition, fresh.offset, 0, fresh.key, b"former", (), 1)
    _, recorded_at = verdicts[1]
    publish(bench, [dead_letter(bench, former, recorded_at.replace(year=2020), "not_json"), *letters, *letters])
    code, out, err = dlq("replay", "--class", "not_json", "--reason", "try")
    assert code == 1, err
    assert "replayed 1 dead letter\n" in out
    assert "stay open: 1 replayed 3 times already: name them with --beyond-guard (0:100)\n" in out
    assert [(event.value, event.headers) for event in replayed_events(bench)] == [
        (fresh.value, {headers.REPLAY_ATTEMPT: b"1"})
    ]
    assert dlq("replay", "0:100", "--beyond-guard", "--reason", "it was the disk")[0] == 0
    # The named one, and nothing else that is open.
    assert {event.value: event.headers[headers.REPLAY_ATTEMPT] for event in replayed_events(bench)} == {
        fresh.value: b"1",
        looping.value: b"4",
    }
    assert len(listed(dlq)) == 1


def test_rate_and_limit_hold_a_replay_back(bench: Bench, dlq: Dlq) -> None:
    seed(bench, [source_record(number) for number in range(30)])
    code, out, _ = dlq("replay", "--all", "--limit", "4", "--reason", "a few first")
    assert (code, out.splitlines()[0]) == (0, "replayed 4 dead letters")
    assert len(replayed_events(bench)) == 4
    assert dlq("replay", "--all", "--rate", "10", "--reason", "the rest")[0] == 0
    spread = text(
        "SELECT extract(epoch FROM max(sent_at) - min(sent_at)) FROM dead_letter_decisions WHERE reason = 'the rest'"
    )
    with bench.engine.connect() as connection:
        # 26 of them, ten a second: transactions of 10, 10 and 6.
        assert 1.5 <= float(connection.scalar(spread) or 0) < 10
    assert len(replayed_events(bench)) == 30


REFUSALS: list[tuple[tuple[str, ...], int, str]] = [
    (("replay", "--all"), 2, "say why with --reason"),
    (("replay", "--reason", "x"), 2, "choose one: PARTITION:OFFSET"),
    (("replay", "--all", "--class", "x", "--reason", "x"), 2, "choose one: PARTITION:OFFSET"),
    (("replay", "--all", "--beyond-guard", "--reason", "x"), 2, "--beyond-guard is for dead letters named"),
    (("drop", "2;17", "--reason", "x"), 2, "named PARTITION:OFFSET"),
    (("list", "--since", "4"), 2, "--since takes a time with an offset"),
    (("list", "--since", "1h", "--until", "2h"), 2, "--since must be before --until"),
    (("list", "--stage", "x"), 2, "--stage is one of decode"),
    (("list",), 4, "no open dead letters match"),
    (("show", "0:0"), 4, "is no dead letter"),
    (("replay", "--all", "--reason", "x"), 4, "no open dead letters match"),
    (("drop", "--all", "--reason", "x"), 4, "no open dead letters match"),
    (("drop", "0:0", "--reason", "x"), 4, "no dead letter of"),
]


def test_what_cannot_be_done_is_said_in_one_line(dlq: Dlq) -> None:
    for arguments, code, said in REFUSALS:
        found, out, err = dlq(*arguments)
        assert (found, out) == (code, ""), (arguments, err)
        assert said in err, (arguments, err)
        assert len(err.splitlines()) == 1, (arguments, err)


def test_a_missing_broker_and_a_wrong_password_are_one_line(bench: Bench, dlq: Dlq) -> None:
    url = make_url(bench.database.database_url.get_secret_value()).set(password="canary-7f3a")
    wrong = SecretStr(url.render_as_string(hide_password=False))
    for arguments in (("list",), ("replay", "--all", "--reason", "x")):
        code, out, err = dlq(*arguments, database_url=wrong)
        assert (code, out) == (1, "")
        assert err.startswith("PostgreSQL refuses")
        assert len(err.splitlines()) == 1
        assert "canary-7f3a" not in err
    code, out, err = dlq("replay", "--all", "--reason", "x", bootstrap_servers="127.0.0.1:1")
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert err.startswith("Kafka")
