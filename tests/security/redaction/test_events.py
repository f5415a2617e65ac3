"""Redaction of whole events: every field, what the ledger knows them by, and what stays as it was sent."""

import hashlib
import json
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.decode import DecodedEvent, decode
from consumer.errors import PoisonEvent
from consumer.records import Headers, SourceRecord
from consumer.redaction.redactor import KINDS, Kind, Redactor
from schemas.event import MAX_TEXT_CHARS

TOPIC_ID = uuid.UUID("11111111-2222-3333-4444-555555555555")
KEY = b"a key of the tests"
ADDRESS, PHONE, CARD = "jane.doe@example.com", "+44 20 7946 0018", "4111 1111 1111 1111"
PERSONAL = (ADDRESS, "7946 0018", "442079460018", "4111 1111", "41111111")


def record(key: bytes | None = None, headers: Headers = (), **changes: object) -> SourceRecord:
    content = {
        "event_id": str(uuid.UUID(int=7)),
        "occurred_at": "2026-01-01T00:00:00Z",
        "source": "web",
        "text": "Fine.",
    }
    return SourceRecord(0, 1, 1_767_225_600_000, key, json.dumps({**content, **changes}).encode(), headers, epoch=1)


def decoded(given: SourceRecord, *kinds: Kind, key: bytes = KEY) -> DecodedEvent:
    return decode(given, TOPIC_ID, Redactor(kinds or KINDS, key))


def everything(found: DecodedEvent) -> str:
    trace = f"{found.traceparent} {found.tracestate}"
    return f"{found.event.model_dump_json()} {(found.key or b'').decode()} {trace}"


def test_no_field_of_an_event_keeps_what_is_personal() -> None:
    found = decoded(
        record(
            key=ADDRESS.encode(),
            headers=(("traceparent", ADDRESS.encode()), ("tracestate", f"vendor={ADDRESS}".encode())),
            text=f"Write to {ADDRESS} or call {PHONE}, card {CARD}.",
            source=f"mailto:{ADDRESS}",
            customer_id=ADDRESS,
            product=f"plan of {ADDRESS}",
            language=f"en {ADDRESS}",
            metadata={"phone": PHONE, "card": 4111111111111111, ADDRESS: True, "fine": 17, "none": None},
            anything={"deep": [{"mail": ADDRESS, "phones": [442079460018, CARD]}], "whatsapp": 442079460018},
        )
    )

    assert not [value for value in PERSONAL if value in everything(found)]
    assert found.event.text == "Write to <email> or call <phone>, card <card>."
    assert found.event.source == "mailto:<email>"
    assert found.event.metadata["fine"] == 17
    assert found.event.extra["anything"]["whatsapp"] == "<phone>"
    assert found.key == (found.event.customer_id or "").encode()
    assert (found.traceparent, found.tracestate) == (None, None)


def test_a_cloudevents_attributes_are_no_way_past_it() -> None:
    attributes = {
        "specversion": "1.0",
        "type": "t",
        "source": f"mailto:{ADDRESS}",
        "id": "1",
        "subject": CARD,
        "x": PHONE,
    }
    headers = tuple((f"ce_{name}", value.encode()) for name, value in attributes.items())

    found = decoded(record(headers=headers))

    assert not [value for value in PERSONAL if value in everything(found)]
    assert found.event.extra["cloudevent"]["subject"] == "<card>"


def test_an_ordinary_event_is_the_same_with_and_without_redaction() -> None:
    given = record(
        key=b"customer-7",
        headers=(
            ("traceparent", b"00-00004111111111111111111111111111-4111111111111111-01"),
            ("tracestate", b"dd=s:1;t.tid:4111111111111111"),
        ),
        text="Order 20240131123456 of 31.12.2024 never came, version 10.0.19045.3693 here",
        customer_id="customer-20255501",
        metadata={"order": 2025550123, "price": 19.9, "at": "2026-01-31T09:30:00Z"},
    )
    plain, found = decode(given, TOPIC_ID), decoded(given)

    assert found.event == plain.event
    assert (found.key, found.traceparent, found.tracestate) == (plain.key, plain.traceparent, plain.tracestate)
    assert found.payload_sha256 == plain.payload_sha256


def test_a_number_that_the_cut_goes_through_leaves_nothing_of_itself() -> None:
    text = "x" * (MAX_TEXT_CHARS - 9) + " " + CARD

    found = decoded(record(text=text)).event

    assert found.text.endswith("x <card>")
    assert "text_truncated" in found.flags
    assert len(decoded(record(text="a@b.co " * 4_000)).event.text) == MAX_TEXT_CHARS


def hashes(found: DecodedEvent) -> set[bytes | None]:
    return {found.payload_sha256, found.other_sha256}


def test_a_copy_is_known_again_whatever_was_redacted_when() -> None:
    """Redaction on or off, of fewer kinds, of a version that finds other things: the same content, the same event."""
    given = record(text=f"mail {ADDRESS} card {CARD}")
    plain = decode(given, TOPIC_ID)
    ways = [decoded(given), decoded(given, "email"), decoded(given, "phone")]

    assert [way.event.text for way in ways] == [
        "mail <email> card <card>",
        f"mail <email> card {CARD}",
        plain.event.text,
    ]
    for stored in (plain, *ways):
        for later in ways:
            assert stored.payload_sha256 in hashes(later)
    other = decoded(record(text=f"mail joe@example.com card {CARD}"))
    assert other.event.text == ways[0].event.text
    assert not hashes(other) & hashes(ways[0])


def test_who_reads_the_row_cannot_try_numbers_until_the_hash_fits() -> None:
    """The attack: everything but the number stands in the row, and a number has few digits."""
    given = record(text="call me: 415-555-0132")

    def guessed(stored: bytes) -> list[str]:
        content = json.loads(given.value or b"")
        tried = (f"415-555-{last:04}" for last in range(10_000))
        return [
            number
            for number in tried
            if hashlib.sha256(
                json.dumps({**content, "text": f"call me: {number}"}, sort_keys=True, separators=(",", ":")).encode()
            ).digest()
            == stored
        ]

    assert guessed(decode(given, TOPIC_ID).payload_sha256) == ["415-555-0132"]
    assert guessed(decoded(given).payload_sha256) == []


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([*PERSONAL, ADDRESS, PHONE, CARD]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from([ADDRESS, "phone", "a", ""]), inner),
    max_leaves=20,
)


def read(given_record: SourceRecord, redactor: Redactor | None) -> DecodedEvent | str:
    """The event, or why it is refused."""
    try:
        return decode(given_record, TOPIC_ID, redactor)
    except PoisonEvent as refused:
        return str(refused)


@settings(deadline=None)
@given(fields=st.dictionaries(st.sampled_from(["text", "metadata", "source", "x", "event_id"]), JSON), key=st.binary())
def test_any_event_is_redacted_or_refused_and_can_be_stored(fields: dict[str, Any], key: bytes) -> None:
    given_record = record(key=key, **fields)
    plain, found, again = (read(given_record, redactor) for redactor in (None, *(Redactor(KINDS, KEY),) * 2))
    if isinstance(plain, str) or isinstance(found, str) or isinstance(again, str):
        assert plain == found == again
        return
    json.dumps(found.event.model_dump(mode="json"), allow_nan=False).encode()
    assert found.event.event_id == plain.event.event_id
    assert len(found.event.extra) == len(plain.event.extra)
    assert plain.payload_sha256 in hashes(found)
    assert (again.event, again.payload_sha256) == (found.event, found.payload_sha256)


def test_the_reason_of_a_dead_letter_holds_nothing_of_the_event() -> None:
    changes: list[dict[str, Any]] = [{"rating": ADDRESS}, {"customer_id": 17, "text": ADDRESS}, {"occurred_at": CARD}]
    for change in changes:
        with pytest.raises(PoisonEvent) as refused:
            decoded(record(**change))
        assert not [value for value in PERSONAL if value in str(refused.value)]
