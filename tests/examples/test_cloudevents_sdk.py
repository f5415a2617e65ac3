"""What the SDK of the CloudEvents project writes, the running consumer classifies."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, to_binary_event, to_structured_event
from cloudevents.core.v03.event import CloudEvent as CloudEventV03
from cloudevents.core.v1.event import CloudEvent

from schemas.ids import cloudevent_id
from tests.integration.harness import Bench, turn_until

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
DATA = {"text": "It crashes.", "rating": 1}


def cloud_event(ce_id: str, data: Any = DATA, version: Any = CloudEvent, **extensions: str) -> Any:
    attributes = {
        "type": "com.example.review.written",
        "source": "/shop/reviews",
        "id": ce_id,
        "time": datetime(2026, 1, 31, 9, 30, tzinfo=UTC),
        "partitionkey": "customer-4711",
        **({} if version is CloudEvent else {"specversion": "0.3"}),
    }
    return version({**attributes, **extensions}, data)


def test_both_content_modes_become_rows_results_and_dead_letters(bench: Bench) -> None:
    def publish(message: KafkaMessage) -> None:
        key = message.key.encode() if isinstance(message.key, str) else message.key
        bench.publish([message.value], key=key, headers=tuple(message.headers.items()))

    publish(to_binary_event(cloud_event("1", traceparent=TRACE)))
    publish(to_structured_event(cloud_event("1", knativearrivaltime="2026-02-01T00:00:00Z")))
    publish(to_structured_event(cloud_event("2", json.dumps(DATA).encode(), subject="review/2")))
    publish(to_binary_event(cloud_event("3", version=CloudEventV03)))
    consumer = bench.consumer()
    turn_until(lambda: bench.has_settled(4), consumer)

    assert [outcome["outcome"] for outcome in bench.outcomes()] == [
        "classified",
        "duplicate",
        "classified",
        "dead_letter",
    ]
    first, second = (cloudevent_id("/shop/reviews", number) for number in ("1", "2"))
    rows = {row["event_id"]: row for row in bench.rows()}
    assert set(rows) == {first, second}
    assert (rows[first]["text"], rows[first]["source"]) == ("It crashes.", "/shop/reviews")
    assert rows[first]["occurred_at"] == datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
    assert rows[second]["extra"]["cloudevent"]["subject"] == "review/2"
    results = bench.results()
    assert [result.document["event"]["event_id"] for result in results] == [str(first), str(second)]
    assert {result.key for result in results} == {b"customer-4711"}
    assert results[0].headers["traceparent"] == TRACE.encode()
    assert results[0].document["event"]["extra"]["cloudevent"]["type"] == "com.example.review.written"
    [dead_letter] = bench.dead_letters()
    assert dead_letter.headers["dlq-error-class"] == b"invalid_cloudevent"
    assert dead_letter.headers["dlq-error-message"] == b"specversion must be 1.0"
