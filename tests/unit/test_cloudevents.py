"""CloudEvents beside plain JSON: the same event in either content mode, and a reason for what is malformed."""

import base64
import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.decode import DecodedEvent, decode
from consumer.errors import PoisonEvent
from consumer.records import Headers
from tests.unit.test_decode import EVENT_ID, TOPIC_ID, json_values, record

SOURCE, ID = "https://shop.example/reviews", "review-17"
ATTRIBUTES: dict[str, Any] = {
    "specversion": "1.0",
    "id": ID,
    "source": SOURCE,
    "type": "com.example.review.written",
    "time": "2026-03-01T10:00:00+02:00",
}
DATA = {"text": "Fine.", "rating": 4, "plan": "pro"}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STRUCTURED: Headers = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)


def binary(data: object = DATA, content_type: bytes | None = b"application/json", **changes: object) -> DecodedEvent:
    attributes = {name: value for name, value in {**ATTRIBUTES, **changes}.items() if value is not None}
    headers = [
        (f"ce_{name}", value if isinstance(value, bytes) else str(value).encode()) for name, value in attributes.items()
    ]
    return decode(record(json.dumps(data).encode(), (*headers, ("content-type", content_type))), TOPIC_ID)


def structured(data: object = DATA, headers: Headers = STRUCTURED, **changes: object) -> DecodedEvent:
    envelope = {**ATTRIBUTES, "data": data, **changes}
    return decode(record(json.dumps({k: v for k, v in envelope.items() if v is not None}).encode(), headers), TOPIC_ID)


def refusal(of: Any, *arguments: Any, **changes: object) -> PoisonEvent:
    with pytest.raises(PoisonEvent) as refused:
        of(*arguments, **changes)
    assert refused.value.stage == "decode"
    return refused.value


def test_data_is_the_event_and_attributes_fill_what_it_lacks() -> None:
    found = binary(subject="42", content_type=b"Application/Vnd.Reviews+JSON;charset=utf-8").event
    assert found.event_id == uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, SOURCE), ID)
    assert (found.text, found.rating, found.source) == ("Fine.", 4, SOURCE)
    assert found.occurred_at.isoformat() == "2026-03-01T08:00:00+00:00"
    assert found.flags == []
    assert found.extra == {
        "plan": "pro",
        "cloudevent": {**ATTRIBUTES, "subject": "42", "datacontenttype": "Application/Vnd.Reviews+JSON;charset=utf-8"},
    }


def test_what_data_says_wins() -> None:
    own = {"event_id": EVENT_ID, "occurred_at": "2026-02-01T00:00:00Z", "source": "app_store"}
    found = structured({**DATA, **own}).event
    assert (str(found.event_id), found.source) == (EVENT_ID, "app_store")
    assert found.occurred_at.isoformat() == "2026-02-01T00:00:00+00:00"
    assert found.extra["cloudevent"]["source"] == SOURCE


def test_a_redelivery_is_the_same_event_in_either_mode_and_whatever_was_added_on_the_way() -> None:
    encoded = base64.b64encode(json.dumps(DATA).encode()).decode()
    first, *others = (
        binary(),
        structured(),
        structured(data=None, data_base64=encoded),
        structured(sequence=7, sampled=True, knativearrivaltime="2026-03-02T00:00:00Z"),
        binary(content_type=None, time="2026-03-01T08:00:00Z"),
        structured(headers=(("Content-Type", b"Application/CloudEvents+JSON"),)),
    )
    for other in others:
        assert other.event.event_id == first.event.event_id
        assert other.payload_sha256 == first.payload_sha256
    assert others[2].event.extra["cloudevent"].items() >= {("sequence", "7"), ("sampled", "true")}
    assert binary({**DATA, "rating": 1}).payload_sha256 != first.payload_sha256
    assert binary(id="review-18").event.event_id != first.event.event_id
    assert binary(source="https://shop.example/other").event.event_id != first.event.event_id


def test_the_trace_header_comes_before_the_trace_attribute() -> None:
    assert (binary(traceparent=TRACE, tracestate="a=1").traceparent, binary().traceparent) == (TRACE, None)
    assert structured(traceparent=TRACE, tracestate="a=1").tracestate == "a=1"
    hop = TRACE.replace("b7", "c8")
    found = structured(headers=(*STRUCTURED, ("traceparent", hop.encode())), traceparent=TRACE, tracestate="a=1")
    assert (found.traceparent, found.tracestate) == (hop, None)


@pytest.mark.parametrize("mode", [binary, structured])
@pytest.mark.parametrize(
    ("changes", "error_class", "message"),
    [
        ({"specversion": None}, "invalid_cloudevent", "specversion is missing; it must be 1.0"),
        ({"specversion": "0.3"}, "invalid_cloudevent", "specversion must be 1.0"),
        ({"id": None}, "invalid_cloudevent", "id is missing"),
        ({"id": ""}, "invalid_cloudevent", "id must be a string that is not empty"),
        ({"id": "canary\x00"}, "invalid_cloudevent", "id must be a string"),
        ({"source": None}, "invalid_cloudevent", "source is missing"),
        ({"type": None}, "invalid_cloudevent", "type is missing"),
        ({"time": "canary"}, "invalid_cloudevent", "time must be in RFC 3339"),
        ({"time": None}, "missing_occurred_at", "occurred_at is missing"),
        ({"source": "canary" * 20}, "missing_source", "name the channel in data"),
        ({"data": {"text": " "}}, "invalid_text", "text must be"),
        ({"data": {**DATA, "cloudevent": 1}}, "invalid_cloudevent", "data must not have a field named cloudevent"),
    ],
)
def test_a_malformed_cloudevent_is_refused_by_attribute(
    mode: Any, changes: dict[str, Any], error_class: str, message: str
) -> None:
    poison = refusal(mode, **changes)
    assert poison.error_class == error_class
    assert message in poison.message
    assert "canary" not in poison.message


@pytest.mark.parametrize(
    ("poison", "error_class", "message"),
    [
        (lambda: refusal(binary, content_type=b"text/plain"), "unsupported_content_type", "datacontenttype must be"),
        (lambda: refusal(structured, datacontenttype="text/xml"), "unsupported_content_type", "datacontenttype must"),
        (
            lambda: refusal(binary, content_type=b"application/cloudevents-batch+json"),
            "unsupported_content_type",
            "batch",
        ),
        (lambda: refusal(binary, content_type=b"application/cloudevents+avro"), "unsupported_content_type", "formats"),
        (lambda: refusal(binary, type=b"\xff"), "invalid_cloudevent", "type must be UTF-8"),
        (lambda: refusal(binary, comexample=b"\xff"), "invalid_cloudevent", "an attribute must be UTF-8"),
        (lambda: refusal(binary, "text"), "not_an_object", "no object"),
        (lambda: refusal(structured, "text"), "invalid_cloudevent", "data must be a JSON object"),
        (lambda: refusal(structured, None), "invalid_cloudevent", "data must be a JSON object"),
        (lambda: refusal(structured, data_base64="e30="), "invalid_cloudevent", "must not both be present"),
        (lambda: refusal(structured, None, data_base64="%"), "invalid_cloudevent", "data_base64 must be"),
        (lambda: refusal(structured, None, data_base64="AAAA"), "not_json", "not JSON"),
        (lambda: refusal(structured, id=5), "invalid_cloudevent", "id must be a string"),
        (lambda: refusal(structured, comexample=["canary"]), "invalid_cloudevent", "an attribute must be a string"),
    ],
)
def test_what_only_one_mode_can_get_wrong(poison: Any, error_class: str, message: str) -> None:
    found = poison()
    assert found.error_class == error_class
    assert message in found.message


def test_plain_json_stays_plain_whatever_other_headers_it_has() -> None:
    value = json.dumps({**DATA, "occurred_at": "2026-03-01T10:00:00Z", "source": "web"}).encode()
    found = decode(record(value, (("content-type", b"text/plain"), ("ce_correlation", b"7"))), TOPIC_ID).event
    assert (found.extra, found.flags) == ({"plan": "pro"}, ["id_derived"])


attribute_names = st.sampled_from([*ATTRIBUTES, "datacontenttype", "traceparent", "data", "data_base64"]) | st.text()


@given(
    headers=st.lists(
        st.tuples(
            attribute_names.map(lambda name: f"ce_{name}") | st.just("content-type"),
            st.none()
            | st.binary(max_size=60)
            | st.sampled_from([str(value).encode() for value in ATTRIBUTES.values()]),
        ),
        max_size=8,
    ),
    is_complete=st.booleans(),
    data=json_values | st.just(DATA),
)
def test_any_attribute_headers_end_as_a_safe_event_or_a_reason(
    headers: list[tuple[str, bytes | None]], is_complete: bool, data: object
) -> None:
    complete = [(f"ce_{name}", str(value).encode()) for name, value in ATTRIBUTES.items()] if is_complete else []
    assert_safe_or_refused(json.dumps(data).encode(), (*complete, *headers))


@given(changes=st.dictionaries(attribute_names, json_values, max_size=8), data=json_values | st.just(DATA))
def test_any_envelope_ends_as_a_safe_event_or_a_reason(changes: dict[str, object], data: object) -> None:
    assert_safe_or_refused(json.dumps({**ATTRIBUTES, "data": data, **changes}).encode(), STRUCTURED)


def assert_safe_or_refused(value: bytes, headers: Headers) -> None:
    try:
        found = decode(record(value, headers), TOPIC_ID).event
    except PoisonEvent:
        return
    everything = json.dumps(found.model_dump(mode="json"), allow_nan=False, ensure_ascii=False)
    assert "\\u0000" not in everything
    everything.encode("utf-8")
    if "cloudevent" in found.extra:
        assert all(isinstance(attribute, str) for attribute in found.extra["cloudevent"].values())
