"""From a record's bytes to a normalised event, or to the reason why that is impossible."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from pydantic import ValidationError

from consumer.errors import PoisonEvent
from consumer.normalise import clean_text, clean_value, prune_nesting
from consumer.records import SourceRecord
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
_MAX_INTEGER_DIGITS: Final = 19
# W3C: a traceparent is 55 characters, a tracestate at most 512.
_MAX_TRACE_CHARS: Final = 512

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
    white space and key order do not make a second publication of the same event a conflict.
    """

    event: NormalisedEvent
    payload_sha256: bytes
    traceparent: str | None
    tracestate: str | None


def decode(record: SourceRecord, topic_id: UUID) -> DecodedEvent:
    """Decode and normalise one record of the events topic.

    Raises:
        PoisonEvent: the record holds no event of a version that this code knows. The message names the field and
            what it must be, and holds no input.
    """
    _check_schema_version(record)
    flags: set[Flag] = set()
    parsed = _parse_object(record.value, flags)
    raw_text = parsed.get("text")
    if isinstance(raw_text, str):
        parsed["text"] = clean_text(raw_text)
        if parsed["text"] != raw_text:
            flags.add("text_cleaned")
    content = clean_value(parsed, flags)
    payload_sha256 = hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).digest()
    event = _validate(content)
    text = event.text
    if len(text) > MAX_TEXT_CHARS:
        text = text[:MAX_TEXT_CHARS]
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
        text=text,
        rating=event.rating,
        customer_id=event.customer_id,
        product=event.product,
        language=event.language,
        metadata=event.metadata,
        extra=event.model_extra or {},
        flags=sorted(flags),
    )
    return DecodedEvent(
        event=normalised,
        payload_sha256=payload_sha256,
        traceparent=_trace_header(record, headers.TRACEPARENT),
        tracestate=_trace_header(record, headers.TRACESTATE),
    )


def _check_schema_version(record: SourceRecord) -> None:
    version = record.header(headers.SCHEMA_VERSION)
    if version is not None and version != str(headers.EVENT_SCHEMA_VERSION).encode():
        raise PoisonEvent(
            "decode",
            "unknown_schema_version",
            f"header {headers.SCHEMA_VERSION} must be {headers.EVENT_SCHEMA_VERSION} or absent",
        )


def _parse_object(value: bytes | None, flags: set[Flag]) -> dict[str, Any]:
    if value is None:
        raise PoisonEvent("decode", "tombstone", "the record has no value; an event is a JSON object")
    try:
        text = value.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PoisonEvent("decode", "not_utf8", f"the value is not UTF-8 at byte {error.start}") from None
    try:
        parsed = _loads(text, flags)
    except RecursionError:
        flags.add("nesting_bounded")
        parsed = _loads(prune_nesting(text), flags)
    if not isinstance(parsed, dict):
        raise PoisonEvent("decode", "not_an_object", "the value is JSON, but no object; an event is a JSON object")
    return parsed


def _loads(text: str, flags: set[Flag]) -> Any:  # noqa: ANN401 (any JSON value)
    def parse_integer(digits: str) -> int | str:
        # int() is quadratic, and refuses more than 4,300 digits with an error of its own.
        if len(digits) <= _MAX_INTEGER_DIGITS:
            return int(digits)
        flags.add("value_bounded")
        return digits

    try:
        return json.loads(text, parse_int=parse_integer)
    except ValueError as error:
        position = getattr(error, "pos", None)
        raise PoisonEvent("decode", "not_json", f"the value is not JSON at character {position}") from None


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


def _trace_header(record: SourceRecord, name: str) -> str | None:
    raw = record.header(name)
    if raw is None or len(raw) > _MAX_TRACE_CHARS or not raw.isascii():
        return None
    text = raw.decode("ascii")
    return text if text.isprintable() else None
