"""Whatever bytes arrive, decoding ends in a normalised event or in a reason, and the event is safe downstream."""

import json
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.decode import DecodedEvent, decode
from consumer.errors import PoisonEvent
from consumer.records import Headers, SourceRecord
from schemas.event import MAX_TEXT_CHARS

TOPIC_ID = uuid.UUID("11111111-2222-3333-4444-555555555555")
PUBLISHED_MS = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1000)
EVENT_ID = "0190b2c4-0000-7000-8000-000000000001"


def record(value: bytes | None, headers: Headers = (), offset: int = 7) -> SourceRecord:
    return SourceRecord(3, offset, PUBLISHED_MS, b"key", value, headers, epoch=1)


def event(**changes: object) -> bytes:
    content = {"event_id": EVENT_ID, "occurred_at": "2026-03-01T10:00:00+02:00", "source": "web", "text": "Fine."}
    return json.dumps({**content, **changes}).encode()


def decoded(value: bytes, headers: Headers = ()) -> DecodedEvent:
    return decode(record(value, headers), TOPIC_ID)


def test_a_plain_event_keeps_its_values_and_has_no_flags() -> None:
    found = decoded(event(rating=4, customer_id="c-1", metadata={"a": 1, "b": True}, plan="pro")).event
    assert (str(found.event_id), found.text, found.rating, found.customer_id) == (EVENT_ID, "Fine.", 4, "c-1")
    assert found.occurred_at == datetime(2026, 3, 1, 8, tzinfo=UTC)
    assert found.metadata == {"a": 1, "b": True}
    assert found.extra == {"plan": "pro"}
    assert found.flags == []


@pytest.mark.parametrize(
    ("value", "error_class"),
    [
        (None, "tombstone"),
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"\xff\xfe{\x00}\x00", "not_utf8"),
        ('{"text": "\xe9"}'.encode("latin-1"), "not_utf8"),
        (b"[1, 2]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (event(text=None), "invalid_text"),
        (json.dumps({"occurred_at": "2026-03-01T10:00:00Z", "source": "web"}).encode(), "missing_text"),
        (event(text=""), "invalid_text"),
        (event(text=" \n\t"), "invalid_text"),
        (event(text="\x00"), "invalid_text"),
        (event(text=["a"]), "invalid_text"),
        (event(event_id="17"), "invalid_event_id"),
        (event(rating=6), "invalid_rating"),
        (event(rating=10**400), "invalid_rating"),
        (event(occurred_at="yesterday"), "invalid_occurred_at"),
        (event(occurred_at="2026-03-01T10:00:00"), "invalid_occurred_at"),
        (event(occurred_at=1_772_000_000), "invalid_occurred_at"),
        (event(occurred_at="9999-12-31T23:59:59-12:00"), "invalid_occurred_at"),
        (event(source=""), "invalid_source"),
        (event(customer_id="x" * 257), "invalid_customer_id"),
        (event(metadata={"nested": {"a": 1}}), "invalid_metadata"),
        (event(metadata={str(n): n for n in range(101)}), "invalid_metadata"),
    ],
)
def test_what_is_no_event_is_refused_with_its_reason(value: bytes | None, error_class: str) -> None:
    with pytest.raises(PoisonEvent) as refused:
        decode(record(value), TOPIC_ID)
    assert (refused.value.stage, refused.value.error_class) == ("decode", error_class)


@pytest.mark.parametrize("version", [b"2", b"", b"one"])
def test_an_unknown_schema_version_is_refused(version: bytes) -> None:
    with pytest.raises(PoisonEvent, match="unknown_schema_version"):
        decoded(event(), (("schema-version", version),))


def test_refusals_do_not_quote_the_input() -> None:
    canary = "canary-7f3a"
    for value in (
        event(event_id=canary),
        event(metadata={canary: {}}),
        event(rating=canary),
        b'{"a": ' + canary.encode(),
    ):
        with pytest.raises(PoisonEvent) as refused:
            decoded(value)
        assert canary not in str(refused.value)


def test_a_long_text_is_cut_and_flagged() -> None:
    found = decoded(event(text="x" * (MAX_TEXT_CHARS + 1))).event
    assert len(found.text) == MAX_TEXT_CHARS
    assert found.flags == ["text_truncated"]


def test_nul_and_lone_surrogates_leave_the_text() -> None:
    found = decoded(
        rb'{"occurred_at": "2026-03-01T10:00:00Z", "source": "web", "text": "a\u0000b\ud800c\ud83d\ude00"}'
    ).event
    assert found.text == "ab\ufffdc\U0001f600"
    assert "text_cleaned" in found.flags


def test_numbers_that_json_or_postgresql_cannot_hold_are_replaced() -> None:
    raw = event(metadata={})[:-1] + b', "a": NaN, "b": 1e999, "c": 1' + b"0" * 5000 + b', "d": 1e300, "e": -0.0}'
    found = decoded(raw).event
    assert (found.extra["a"], found.extra["b"], found.extra["d"]) == (None, None, "1e+300")
    assert found.extra["c"] == "1" + "0" * 5000
    assert json.dumps(found.extra["e"]) == "0.0"
    assert {"value_cleaned", "value_bounded"} <= set(found.flags)


@pytest.mark.parametrize("depth", [20, 900, 200_000])
def test_deep_nesting_is_bounded_however_deep(depth: int) -> None:
    nested = b'{"a":' * depth + b"1" + b"}" * depth
    found = decoded(event()[:-1] + b', "deep": ' + nested + b"}").event
    assert found.flags == ["nesting_bounded"]
    assert len(json.dumps(found.extra)) < 200


def test_an_unlikely_time_is_flagged_and_kept() -> None:
    future, past = (
        decoded(event(occurred_at="2400-01-01T00:00:00Z")),
        decoded(event(occurred_at="1970-01-01T00:00:00Z")),
    )
    assert (future.event.flags, past.event.flags) == (["occurred_at_future"], ["occurred_at_past"])
    assert future.event.occurred_at == datetime(2400, 1, 1, tzinfo=UTC)


def test_a_missing_id_is_derived_from_the_coordinates() -> None:
    value = event(event_id=None)
    first, again = decode(record(value, offset=1), TOPIC_ID), decode(record(value, offset=1), TOPIC_ID)
    other = decode(record(value, offset=2), TOPIC_ID)
    assert first.event.event_id == again.event.event_id != other.event.event_id
    assert first.event.flags == ["id_derived"]


def test_the_payload_hash_sees_content_and_not_its_spelling() -> None:
    reordered = json.dumps(dict(reversed(json.loads(event()).items())), indent=1).encode()
    assert decoded(event()).payload_sha256 == decoded(reordered).payload_sha256
    assert decoded(event()).payload_sha256 != decoded(event(text="Fine!")).payload_sha256
    long = "x" * MAX_TEXT_CHARS
    assert decoded(event(text=long + "a")).payload_sha256 != decoded(event(text=long + "b")).payload_sha256


def test_trace_context_is_taken_over_unless_it_is_garbage() -> None:
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert decoded(event(), (("traceparent", trace),)).traceparent == trace.decode()
    assert decoded(event(), (("traceparent", b"\x00\xff"), ("tracestate", b"x" * 600))).traceparent is None


@pytest.mark.parametrize("schema_id", [1, 2**31])
def test_a_schema_id_before_the_json_is_passed_over(schema_id: int) -> None:
    framed = b"\x00" + schema_id.to_bytes(4, "big") + event()
    found, plain = decoded(framed), decoded(event(), (("__value_schema_id", b"\x00" + schema_id.to_bytes(4, "big")),))
    assert found.event == plain.event
    assert found.payload_sha256 == plain.payload_sha256


@pytest.mark.parametrize("value", [b"\x00", b"\x00\x00\x00\x00\x01", b"\x00\x00\x00\x00\x01\x0eAvro {}"])
def test_a_schema_id_before_something_else_names_the_right_serializer(value: bytes) -> None:
    with pytest.raises(PoisonEvent, match=r"not_json.*use the serializer for JSON Schema"):
        decoded(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(
    changes=st.dictionaries(
        st.sampled_from(["event_id", "occurred_at", "source", "text", "rating", "metadata", "customer_id", "plan"]),
        json_values,
    )
)
def test_any_json_ends_as_a_safe_event_or_a_reason(changes: dict[str, object]) -> None:
    try:
        found = decoded(event(**changes)).event
    except PoisonEvent:
        return
    everything = json.dumps(found.model_dump(mode="json"), allow_nan=False, ensure_ascii=False)
    assert "\\u0000" not in everything
    everything.encode("utf-8")


@given(value=st.binary(max_size=200))
def test_any_bytes_end_as_an_event_or_a_reason(value: bytes) -> None:
    with pytest.raises(PoisonEvent):
        decoded(value)
