"""Whose a record is, however its bytes are written; and ids as people type them."""

import base64
import json
import uuid
from pathlib import Path

import pytest

from consumer.operations.erasure.customers import UnusableInputError, fingerprint, read_ids, read_key
from consumer.operations.erasure.matching import Found, Match, Matcher
from consumer.records import Headers, SourceRecord

TOPIC_ID = uuid.UUID(int=1)
EVENT_ID = uuid.UUID("01a1fe33-5e57-781a-bf5a-fd7dde72456b")
CLOUD_EVENT: Headers = (("content-type", b"application/cloudevents+json"),)


def event(customer_id: object, **changes: object) -> dict[str, object]:
    required = {"event_id": str(EVENT_ID), "occurred_at": "2026-01-01T00:00:00Z", "source": "web", "text": "It works."}
    return {**required, "customer_id": customer_id, **changes}


def match(
    customer_id: str, value: object, *, key: bytes | None = None, headers: Headers = ()
) -> tuple[Match, uuid.UUID | None] | None:
    data = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
    found = Matcher([["somebody else"], [customer_id]], TOPIC_ID).event(
        SourceRecord(0, 7, 0, key, data, headers, epoch=0)
    )
    assert found is None or found.customers == (1,)
    return None if found is None else (found.match, found.event_id)


OWN = (Match.OWN, EVENT_ID)


@pytest.mark.parametrize("customer_id", ["customer-7", "Jürgen", 'a"b\\c', "日本", "7", "😀", "a/b", " spaced "])
def test_an_id_is_found_however_json_writes_it(customer_id: str) -> None:
    assert match(customer_id, event(customer_id)) == OWN
    assert match(customer_id, json.dumps(event(customer_id), ensure_ascii=False).encode()) == OWN
    escaped = json.dumps(event("@")).replace(
        '"@"', '"' + "".join(f"\\u{ord(c):04x}" for c in _utf16(customer_id)) + '"'
    )
    assert match(customer_id, escaped.encode()) == OWN
    assert match(customer_id, b"\x00\x00\x00\x00\x09" + json.dumps(event(customer_id)).encode()) == OWN
    assert match(customer_id, event("customer-70", text=f"I know {customer_id}")) is None
    assert match(customer_id, event(None, metadata={"customer_id": customer_id})) is None


def _utf16(text: str) -> str:
    raw = text.encode("utf-16-be")
    return "".join(chr(int.from_bytes(raw[n : n + 2])) for n in range(0, len(raw), 2))


def test_cloud_events_are_found_in_all_their_forms() -> None:
    attributes = {"specversion": "1.0", "id": "1", "source": "shop", "type": "feedback"}
    data = event("customer-7")
    packed = base64.b64encode(json.dumps(data).encode()).decode()
    assert match("customer-7", {**attributes, "data": data}, headers=CLOUD_EVENT) == OWN
    assert match("customer-7", {**attributes, "data_base64": packed}, headers=CLOUD_EVENT) == OWN
    binary = tuple((f"ce_{name}", text.encode()) for name, text in attributes.items())
    assert match("customer-7", data, headers=binary) == OWN
    broken = {**attributes, "data": {**data, "rating": 9}}
    assert match("customer-7", broken, headers=CLOUD_EVENT) == (Match.OWN, None)


@pytest.mark.parametrize(
    ("value", "key", "expected"),
    [
        (event("customer-7", rating=9), None, Match.OWN),
        (event("customer-7", text=" "), None, Match.OWN),
        (b'{"customer_id": "customer-7", "text": ', None, Match.MENTION),
        (b"\xff customer-7 \xff", None, Match.MENTION),
        (b"not json", b"customer-7", Match.KEY),
        (None, b"customer-7", Match.KEY),
        (b"not json", b"customer-70", Match.MENTION),
        (event("customer-8", rating=9), b"customer-7", Match.MENTION),
        (b"not json", b"customer-8", None),
    ],
)
def test_what_cannot_be_decoded_is_matched_by_what_can_be_read(
    value: object, key: bytes | None, expected: Match | None
) -> None:
    found = match("customer-7", value, key=key)
    assert found == (None if expected is None else (expected, None))


def test_a_header_counts_as_bytes_and_a_number_as_an_id() -> None:
    assert match("customer-7", b"not json", headers=(("user", b"customer-7"),)) == (Match.MENTION, None)
    assert match("4711", event(4711)) == (Match.OWN, None), "refused as invalid_customer_id, and theirs"
    assert match("471", b"not json 471") is None, "too short to mean anything among other bytes"
    assert match("customer-7", event(None), key=b"customer-7") == (Match.KEY, EVENT_ID)
    assert match("customer-7", event("customer-8"), key=b"customer-7") is None


def test_many_customers_are_looked_for_at_once() -> None:
    matcher = Matcher([[f"customer-{n}", f"<email:{n}>"] for n in range(200)], TOPIC_ID)
    value = json.dumps(event("customer-150")).encode()
    assert matcher.event(SourceRecord(0, 0, 0, None, value, (), 0)) == Found((150,), Match.OWN, EVENT_ID)
    result = json.dumps({"event": event("<email:3>")}).encode()
    assert matcher.result(result, None) == Found((3,), Match.OWN, EVENT_ID)
    for stranger in (b"no json", b"{}", b"[1]", b'{"event": 7}', None):
        assert matcher.result(stranger, None) is None


def test_ids_come_one_a_line() -> None:
    lines = [b"\xef\xbb\xbffirst\r\n", b"\n", b" spaced \n", b"nul\0", b"first"]
    assert read_ids(lines, "here") == ("first", " spaced ", "nul")
    for bad, words in (([b"\xff"], "line 1: an id is UTF-8"), ([b"a", b"x" * 300], "line 2: an id has at most")):
        with pytest.raises(UnusableInputError, match=words):
            read_ids(bad, "here")


def test_a_fingerprint_needs_its_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"0123456789abcdef\n")
    key = read_key(path)
    assert fingerprint("customer-7", key) == fingerprint("customer-7", b"0123456789abcdef")
    assert fingerprint("customer-7", key) != fingerprint("customer-8", key) != fingerprint("customer-8", b"x" * 16)
    with pytest.raises(UnusableInputError, match="No such file"):
        read_key(tmp_path / "nowhere")
