"""From a feedback event to a Kafka record: validated, identified, serialised, measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticSerializationError

from producer.errors import EventTooLargeError, InvalidEventError
from schemas import headers
from schemas.event import FeedbackEvent
from schemas.ids import uuid7
from schemas.registry import VALUE_SCHEMA_ID
from schemas.topics import EVENTS, load_topics

MAX_RECORD_BYTES: Final = int(load_topics()[EVENTS].config["max.message.bytes"])
"""The events topic's `max.message.bytes`. Applied before compression, as Kafka's own clients do."""

# Upper bounds from Kafka's message format v2 (KIP-98): a batch header, then varints around each part of a record.
_BATCH_OVERHEAD_BYTES: Final = 61
_RECORD_OVERHEAD_BYTES: Final = 36
_HEADER_OVERHEAD_BYTES: Final = 10
# Room for the header that names the schema, which the publisher adds where a schema registry is set.
_SCHEMA_ID_HEADER_BYTES: Final = len(VALUE_SCHEMA_ID) + 17 + _HEADER_OVERHEAD_BYTES

_FIXED_HEADERS: Final = (
    (headers.SCHEMA_VERSION, str(headers.EVENT_SCHEMA_VERSION).encode()),
    (headers.CONTENT_TYPE, b"application/json"),
)

# pydantic's own message for these would quote characters of the input, or a regular expression.
_REASONS: Final = {
    "missing": "is missing",
    "uuid_parsing": "must be a UUID",
    "uuid_type": "must be a UUID",
    "string_pattern_mismatch": "must not be blank",
    "string_unicode": "must be Unicode without halves of surrogate pairs",
}


@dataclass(frozen=True, slots=True, repr=False)
class EncodedEvent:
    """A record ready to be sent. `key` is the customer_id where there is one, else the event_id."""

    event_id: UUID
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]

    @property
    def size_bytes(self) -> int:
        """An upper bound of what the record takes in the log, uncompressed and in a batch of its own."""
        header_bytes = sum(len(name) + len(value) + _HEADER_OVERHEAD_BYTES for name, value in self.headers)
        overhead_bytes = _BATCH_OVERHEAD_BYTES + _RECORD_OVERHEAD_BYTES + _SCHEMA_ID_HEADER_BYTES
        return overhead_bytes + len(self.key) + len(self.value) + header_bytes


def encode(
    event: FeedbackEvent | Mapping[str, Any], *, traceparent: str | None = None, tracestate: str | None = None
) -> EncodedEvent:
    """Encode an event as compact UTF-8 JSON; one without an id gets a UUIDv7.

    NaN and infinities in metadata or unknown fields become null: JSON has no form for them.

    Args:
        event: a mapping is validated; a `FeedbackEvent` was when it was made.
        traceparent: W3C trace context, carried to the result.
        tracestate: likewise.

    Raises:
        InvalidEventError: the event breaks the contract, or a value has no JSON form.
        EventTooLargeError: the record would not fit into the topic.
    """
    if not isinstance(event, FeedbackEvent):
        event = _validate(event)
    event_id = event.event_id or uuid7()
    if event.event_id is None:
        event = event.model_copy(update={"event_id": event_id})
    record = EncodedEvent(
        event_id=event_id,
        key=(event.customer_id or str(event_id)).encode(),
        value=_serialise(event),
        headers=(
            *_FIXED_HEADERS,
            *(
                (name, _ascii(name, value))
                for name, value in ((headers.TRACEPARENT, traceparent), (headers.TRACESTATE, tracestate))
                if value is not None
            ),
        ),
    )
    if record.size_bytes > MAX_RECORD_BYTES:
        raise EventTooLargeError(record.size_bytes, MAX_RECORD_BYTES)
    return record


def _validate(event: Mapping[str, Any]) -> FeedbackEvent:
    if not isinstance(event, Mapping):
        raise InvalidEventError("event", "must be a FeedbackEvent or a mapping of its fields")
    fields = dict(event)
    if fields.get("event_id") is None:
        fields["event_id"] = uuid7()
    try:
        return FeedbackEvent.model_validate(fields)
    except ValidationError as invalid:
        error = invalid.errors(include_url=False, include_context=False, include_input=False)[0]
        # Deeper parts of the location, and names outside the contract, are the publisher's own keys.
        field = error["loc"][0]
        known = isinstance(field, str) and field in FeedbackEvent.model_fields
        raise InvalidEventError(str(field) if known else "extra", _reason(error)) from None


def _reason(error: ErrorDetails) -> str:
    return _REASONS.get(error["type"], error["msg"].removeprefix("Value error, "))


def _serialise(event: FeedbackEvent) -> bytes:
    try:
        return event.model_dump_json(exclude_unset=True).encode()
    except (PydanticSerializationError, ValueError):  # ValueError: nested deeper than pydantic goes
        raise InvalidEventError("extra", "holds a value that has no JSON form in UTF-8") from None


def _ascii(name: str, value: str) -> bytes:
    try:
        return value.encode("ascii")
    except UnicodeEncodeError:
        raise InvalidEventError(name, "must be ASCII") from None
