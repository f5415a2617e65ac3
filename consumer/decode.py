"""From a record's bytes to a normalised event, or to the reason why that is impossible."""

import hashlib
import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from pydantic import ValidationError

from consumer.cloudevents import EXTRA_FIELD, CloudEvent, read_cloud_event
from consumer.errors import PoisonEvent
from consumer.normalise import clean_text, clean_value
from consumer.payload import parse_object, without_schema_id
from consumer.records import SourceRecord
from consumer.redaction.redactor import Redactor
from schemas import headers
from schemas.event import (
    MAX_LANGUAGE_CHARS,
    MAX_METADATA_ENTRIES,
    MAX_REFERENCE_CHARS,
    MAX_SOURCE_CHARS,
    MAX_TEXT_CHARS,
    FeedbackEvent,
    Flag,
    NormalisedEvent,
)
from schemas.ids import coordinates_id

_FUTURE: Final = timedelta(days=1)
_PAST: Final = timedelta(days=3650)
# W3C: a traceparent is 55 characters, a tracestate at most 512.
_MAX_TRACE_CHARS: Final = 512
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

_REFERENCE: Final = f"a string of 1 to {MAX_REFERENCE_CHARS} characters"
_EXPECTED: Final = {
    "event_id": "a UUID",
    "occurred_at": "a time in RFC 3339 with an offset, such as 2026-01-31T09:30:00Z",
    "source": f"a string of 1 to {MAX_SOURCE_CHARS} characters",
    "text": "a string that is not blank",
    "rating": "a whole number from 1 to 5",
    "customer_id": _REFERENCE,
    "product": _REFERENCE,
    "language": f"a language tag of 2 to {MAX_LANGUAGE_CHARS} characters",
    "metadata": f"a flat object of at most {MAX_METADATA_ENTRIES} strings, numbers, booleans or nulls",
}


@dataclass(frozen=True, slots=True, repr=False)
class DecodedEvent:
    """A normalised event with what the ledger needs to know of it.

    `payload_sha256` is taken over the content (the parsed object with sorted keys, before the text is cut), so that
    white space and key order do not make a second publication of the same event a conflict. Of a CloudEvent that is its
    data alone: what carries it may add other attributes to each delivery, and may change the content mode.

    With redaction, the hash of content in which something was replaced is a keyed one. `other_sha256` is then the one
    of the two that is not stored: an earlier copy, of other settings or another version, may stand under it.
    """

    event: NormalisedEvent
    key: bytes | None
    payload_sha256: bytes
    traceparent: str | None
    tracestate: str | None
    other_sha256: bytes | None = None


def decode(record: SourceRecord, topic_id: UUID, redactor: Redactor | None = None) -> DecodedEvent:
    """Decode and normalise one record of the events topic, and redact it if there is a redactor.

    Raises:
        PoisonEvent: the record holds no event of a version that this code knows. The message names the field and
            what it must be, and holds no input.
    """
    _check_schema_version(record)
    flags: set[Flag] = set()
    value = without_schema_id(record.value)
    cloud_event = read_cloud_event(record.headers, value, flags)
    parsed = parse_object(value, flags) if cloud_event is None else cloud_event.data
    raw_text = parsed.get("text")
    if isinstance(raw_text, str):
        parsed["text"] = clean_text(raw_text)
        if parsed["text"] != raw_text:
            flags.add("text_cleaned")
    content = clean_value(parsed, flags)
    payload_sha256 = hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).digest()
    event = _validate(content if cloud_event is None else cloud_event.fill(content))
    if len(event.text) > MAX_TEXT_CHARS:
        flags.add("text_truncated")
    published_at = datetime.fromtimestamp(max(0, record.timestamp_ms) / 1000, UTC)
    if event.occurred_at - published_at > _FUTURE:
        flags.add("occurred_at_future")
    elif published_at - event.occurred_at > _PAST:
        flags.add("occurred_at_past")
    event_id = event.event_id
    if event_id is None:
        event_id = coordinates_id(topic_id, record.partition, record.offset)
        flags.add("id_derived")
    normalised = NormalisedEvent.model_construct(
        event_id=event_id,
        occurred_at=event.occurred_at,
        source=event.source,
        text=event.text[:MAX_TEXT_CHARS],
        rating=event.rating,
        customer_id=event.customer_id,
        product=event.product,
        language=event.language,
        metadata=event.metadata,
        extra=_extra(event, cloud_event),
        flags=sorted(flags),
    )
    traceparent, tracestate = _trace_context(record, cloud_event)
    decoded = DecodedEvent(
        event=normalised,
        key=record.key,
        payload_sha256=payload_sha256,
        traceparent=traceparent,
        tracestate=tracestate,
    )
    return decoded if redactor is None else _redacted(decoded, event.text, redactor)


def _redacted(decoded: DecodedEvent, whole_text: str, redactor: Redactor) -> DecodedEvent:
    """The same event, redacted. `whole_text` is not cut yet: half a number at the end would not be known as one."""
    event = decoded.event
    update = {
        "text": redactor.text(whole_text, MAX_TEXT_CHARS)[:MAX_TEXT_CHARS],
        "source": redactor.text(event.source),
        "customer_id": None if event.customer_id is None else redactor.reference(event.customer_id),
        "product": None if event.product is None else redactor.text(event.product),
        "language": None if event.language is None else redactor.text(event.language),
        "metadata": redactor.value(event.metadata),
        "extra": redactor.value(event.extra),
    }
    decoded = replace(
        decoded,
        key=redactor.record_key(decoded.key),
        traceparent=_redacted_trace(decoded.traceparent, redactor),
        tracestate=_redacted_trace(decoded.tracestate, redactor),
    )
    plain_sha256, keyed_sha256 = decoded.payload_sha256, redactor.fingerprint(decoded.payload_sha256)
    # What was cut off is in the hash too.
    is_whole = "text_truncated" not in event.flags
    if is_whole and all(value == getattr(event, name) for name, value in update.items()):
        return replace(decoded, other_sha256=keyed_sha256)
    redacted = event.model_copy(update=update)
    return replace(decoded, event=redacted, payload_sha256=keyed_sha256, other_sha256=plain_sha256)


def _redacted_trace(text: str | None, redactor: Redactor) -> str | None:
    # Long numbers are an everyday part of trace contexts; an address in one is dropped with it, as W3C allows.
    if text is None or _TRACEPARENT.fullmatch(text):
        return text
    return None if any(kind == "email" for *_, kind in redactor.spans(text)) else text


def _check_schema_version(record: SourceRecord) -> None:
    version = record.header(headers.SCHEMA_VERSION)
    if version is not None and version != str(headers.EVENT_SCHEMA_VERSION).encode():
        raise PoisonEvent(
            "decode",
            "unknown_schema_version",
            f"header {headers.SCHEMA_VERSION} must be {headers.EVENT_SCHEMA_VERSION} or absent",
        )


def _validate(content: dict[str, Any]) -> FeedbackEvent:
    try:
        return FeedbackEvent.model_validate(content)
    except ValidationError as invalid:
        # pydantic's own messages quote characters of the input, and a deeper location is a key of the customer's.
        error = invalid.errors(include_url=False, include_context=False, include_input=False)[0]
        field = str(error["loc"][0])
        expected = _EXPECTED[field]
        if error["type"] == "missing":
            raise PoisonEvent("decode", f"missing_{field}", f"{field} is missing; it must be {expected}") from None
        raise PoisonEvent("decode", f"invalid_{field}", f"{field} must be {expected}") from None


def _extra(event: FeedbackEvent, cloud_event: CloudEvent | None) -> dict[str, Any]:
    unknown = event.model_extra or {}
    return unknown if cloud_event is None else {**unknown, EXTRA_FIELD: dict(cloud_event.attributes)}


def _trace_context(record: SourceRecord, cloud_event: CloudEvent | None) -> tuple[str | None, str | None]:
    traceparent, tracestate = (_trace_text(record.header(name)) for name in (headers.TRACEPARENT, headers.TRACESTATE))
    if traceparent is None and cloud_event is not None:
        # The CloudEvents extension for tracing: the context in which the event was made, where no hop gave another one.
        traceparent, tracestate = (
            _trace_text(cloud_event.attributes.get(name, "").encode())
            for name in (headers.TRACEPARENT, headers.TRACESTATE)
        )
    return traceparent, tracestate


def _trace_text(raw: bytes | None) -> str | None:
    if not raw or len(raw) > _MAX_TRACE_CHARS or not raw.isascii():
        return None
    text = raw.decode("ascii")
    return text if text.isprintable() else None
