"""What goes over the wire, and what is refused before anything is sent."""

import json
from typing import Any
from uuid import UUID

import pytest

from producer.encoding import MAX_RECORD_BYTES, encode
from producer.errors import EventTooLargeError, InvalidEventError
from schemas.event import FeedbackEvent

CANARY = "\N{GREEK CAPITAL LETTER OMEGA}-canary"
EVENT: dict[str, Any] = {"source": "web", "occurred_at": "2026-01-31T10:30:00+01:00", "text": "Café"}


def test_the_record_is_compact_json_with_an_id_of_its_own() -> None:
    record = encode({**EVENT, "branch": "north"})
    assert record.event_id.version == 7
    assert record.key == str(record.event_id).encode()
    assert (
        record.value
        == (
            f'{{"event_id":"{record.event_id}","occurred_at":"2026-01-31T09:30:00Z","source":"web","text":"Café",'
            '"branch":"north"}'
        ).encode()
    )
    assert record.headers == (("schema-version", b"1"), ("content-type", b"application/json"))


def test_customer_and_trace_travel_with_the_record() -> None:
    event_id = UUID("01a1fe20-6871-7100-b89d-391cd08953de")
    event = FeedbackEvent.model_validate({**EVENT, "event_id": event_id, "customer_id": "kunde-ö"})
    record = encode(event, traceparent="00-ab-cd-01", tracestate="vendor=1")
    assert record.key == "kunde-ö".encode()
    assert record.event_id == event_id
    assert record.headers[2:] == (("traceparent", b"00-ab-cd-01"), ("tracestate", b"vendor=1"))


def test_a_feedback_event_without_an_id_gets_one_and_stays_as_it_was() -> None:
    event = FeedbackEvent.model_validate(EVENT)
    assert json.loads(encode(event).value)["event_id"] is not None
    assert event.event_id is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"text": f" {CANARY}\ud800"}, "text"),
        ({"text": "  "}, "text"),
        ({"rating": 6}, "rating"),
        ({"rating": CANARY}, "rating"),
        ({"event_id": CANARY}, "event_id"),
        ({"occurred_at": CANARY}, "occurred_at"),
        ({"occurred_at": 1_700_000_000}, "occurred_at"),
        ({"metadata": {CANARY: [CANARY]}}, "metadata"),
        ({CANARY: object()}, "extra"),
        ({CANARY: f"{CANARY}\udfff"}, "extra"),
        ({7: CANARY}, "extra"),
    ],
)
def test_an_invalid_event_is_refused_by_field_without_its_content(change: dict[Any, Any], field: str) -> None:
    with pytest.raises(InvalidEventError) as refused:
        encode({**EVENT, **change})
    assert refused.value.field == field
    # Not even one character of it, as in "found `x` at 3".
    assert CANARY[0] not in str(refused.value)


def test_size_is_judged_in_bytes_before_sending() -> None:
    with pytest.raises(EventTooLargeError) as refused:
        encode({**EVENT, "text": "é" * (MAX_RECORD_BYTES // 2)})
    assert refused.value.size_bytes > refused.value.limit_bytes == MAX_RECORD_BYTES
    assert encode({**EVENT, "text": "e" * (MAX_RECORD_BYTES // 2)}).size_bytes < MAX_RECORD_BYTES
