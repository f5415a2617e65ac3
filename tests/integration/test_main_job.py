"""Events in, classified records out, exactly once, on the real parts."""

import json
import uuid

import pytest

from schemas.result import ClassifiedFeedback
from tests.integration.harness import Bench, make_event, turn_until

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


def test_events_become_rows_and_results_that_agree(bench: Bench) -> None:
    events = [make_event(f"message number {n}", customer_id=f"c{n % 3}", rating=n % 5 + 1) for n in range(300)]
    bench.publish(events)
    consumer = bench.consumer()
    turn_until(lambda: bench.has_settled(300), consumer)
    bench.assert_exactly_once(events)
    assert bench.dead_letters() == []
    for result in bench.results():
        document = ClassifiedFeedback.model_validate_json(result.value or b"")
        assert result.key == str(document.event.event_id).encode()
        assert result.headers["event-id"] == str(document.event.event_id).encode()
        assert document.sentiment.score == max(document.sentiment.scores.values())
        assert document.latency_ms > 0


def test_results_keep_the_order_of_their_key(bench: Bench) -> None:
    events = [make_event(f"{n}", metadata={"n": n}) for n in range(120)]
    for start in range(0, 120, 40):
        bench.publish(events[start : start + 40], key=b"customer-%d" % (start // 40))
    consumer = bench.consumer(max_window_records=16)
    turn_until(lambda: bench.has_settled(120), consumer)
    by_key: dict[bytes | None, list[int]] = {}
    for result in sorted(bench.results(), key=lambda result: (result.partition, result.offset)):
        by_key.setdefault(result.key, []).append(result.document["event"]["metadata"]["n"])
    assert [len(numbers) for numbers in by_key.values()] == [40, 40, 40]
    assert all(numbers == sorted(numbers) for numbers in by_key.values())


def test_trace_context_and_unknown_fields_reach_the_result(bench: Bench) -> None:
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    bench.publish([make_event(plan={"tier": ["pro", 2]})], headers=(("traceparent", trace),))
    consumer = bench.consumer()
    turn_until(lambda: bench.has_settled(1), consumer)
    [result] = bench.results()
    assert result.headers["traceparent"] == trace
    assert result.document["traceparent"] == trace.decode()
    assert result.document["event"]["extra"] == {"plan": {"tier": ["pro", 2]}}


@pytest.mark.parametrize("window", ["one window", "two windows"])
def test_a_repeated_event_is_counted_and_emits_nothing(bench: Bench, window: str) -> None:
    event = make_event("said twice")
    consumer = bench.consumer()
    bench.publish([event], partition=4)
    if window == "two windows":
        turn_until(lambda: bench.has_settled(1), consumer)
    bench.publish([event], partition=1)
    bench.publish([event], partition=4)
    turn_until(lambda: bench.has_settled(3), consumer)
    bench.assert_exactly_once([event])
    assert bench.dead_letters() == []
    assert sorted(outcome["outcome"] for outcome in bench.outcomes()) == ["classified", "duplicate", "duplicate"]


@pytest.mark.parametrize("window", ["one window", "two windows"])
def test_the_same_id_with_another_text_is_a_conflict(bench: Bench, window: str) -> None:
    first = make_event("the first stands")
    second = {**first, "text": "the second does not"}
    consumer = bench.consumer()
    bench.publish([first], partition=0)
    if window == "two windows":
        turn_until(lambda: bench.has_settled(1), consumer)
    bench.publish([second], partition=0)
    turn_until(lambda: bench.has_settled(2), consumer)
    bench.assert_exactly_once([first])
    assert bench.rows()[0]["text"] == "the first stands"
    [letter] = bench.dead_letters()
    assert letter.document == second
    assert letter.headers["dlq-error-class"] == b"event_id_conflict"


def test_a_dead_letter_is_the_record_byte_for_byte_with_its_reason(bench: Bench) -> None:
    value = b"\xff\x00 not an event"
    bench.publish([value], partition=2, key=b"\xfe\x00", headers=(("a", b"1"), ("a", b"\xff"), ("b", None)))
    bench.publish([None], partition=3, key=b"tombstone")
    consumer = bench.consumer()
    turn_until(lambda: bench.has_settled(2), consumer)
    letters = {letter.key: letter for letter in bench.dead_letters()}
    letter = letters[b"\xfe\x00"]
    assert letter.value == value
    # A dict keeps the last of two headers with one name; the order and number are held by the unit test.
    assert (letter.headers["a"], letter.headers["b"]) == (b"\xff", None)
    expected = {
        "dlq-source-topic": bench.topics.events.encode(),
        "dlq-source-partition": b"2",
        "dlq-source-offset": b"0",
        "dlq-stage": b"decode",
        "dlq-error-class": b"not_utf8",
        "dlq-attempt": b"1",
    }
    assert expected.items() <= letter.headers.items()
    assert letters[b"tombstone"].value is None
    assert letters[b"tombstone"].headers["dlq-error-class"] == b"tombstone"
    assert bench.rows() == []


def test_a_record_at_the_size_limit_has_its_result_or_its_dead_letter(bench: Bench) -> None:
    limit = 1_048_588 - 200
    long_text = make_event("x" * 900_000)
    many_fields = make_event("ok", numbers=[1e15] * 1)
    padding = limit - len(json.dumps(many_fields)) - 200
    many_fields["numbers"] = [1] * (padding // 3)
    poison = b"x" * limit
    bench.publish([long_text, many_fields, poison], partition=0)
    consumer = bench.consumer()
    turn_until(lambda: bench.has_settled(3), consumer)
    results = {result.document["event"]["event_id"]: result.document for result in bench.results()}
    assert results[long_text["event_id"]]["event"]["flags"] == ["text_truncated"]
    assert len(results[many_fields["event_id"]]["event"]["extra"]["numbers"]) == padding // 3
    [letter] = bench.dead_letters()
    assert letter.value == poison


def test_a_missing_id_is_derived_and_survives_a_replay(bench: Bench) -> None:
    event = make_event("no id")
    del event["event_id"]
    bench.publish([event], partition=0)
    consumer = bench.consumer()
    turn_until(lambda: bench.has_settled(1), consumer)
    [row] = bench.rows()
    assert row["flags"] == ["id_derived"]
    assert row["event_id"].version == 5


def test_a_canary_in_bad_and_good_events_is_told_to_nobody(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    canary = f"canary-{uuid.uuid4().hex}"
    bench.publish(
        [
            make_event(canary, customer_id=canary),
            make_event(canary, event_id=canary),
            make_event(canary, rating=canary),
            canary.encode(),
            make_event(canary, metadata={canary: [canary]}),
        ],
        key=b"k",
    )
    consumer = bench.consumer()
    turn_until(lambda: bench.has_settled(5), consumer)
    from prometheus_client import generate_latest  # noqa: PLC0415

    metrics = generate_latest(consumer.engine._metrics.registry).decode()
    told = "".join(str(letter.headers) for letter in bench.dead_letters())
    out, err = capfd.readouterr()
    assert len(bench.dead_letters()) == 4
    assert canary not in out + err + metrics + told
