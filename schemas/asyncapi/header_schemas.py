"""JSON Schemas of the record headers, one for each kind of message. On the wire a header's value is UTF-8 text."""

from typing import Any, Final

from schemas import headers

Schema = dict[str, Any]

_UUID: Final = "01a1fe33-5e57-781a-bf5a-fd7dde72456b"
_TRACE: Final[dict[str, Schema]] = {
    headers.TRACEPARENT: {
        "type": "string",
        "description": "W3C Trace Context; travels on to the result. Not ASCII, or over 512 characters: left out.",
        "examples": ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
    },
    headers.TRACESTATE: {
        "type": "string",
        "description": "W3C Trace Context, the vendors' part; as `traceparent`.",
        "examples": ["vendor=00f067aa0ba902b7"],
    },
}


def _text(description: str, **limits: object) -> Schema:
    return {"type": "string", "description": description, **limits}


def _digits(description: str) -> Schema:
    return _text(description, pattern="^[0-9]+$")


def _headers(properties: dict[str, Schema], required: list[str], description: str) -> Schema:
    return {"type": "object", "description": description, "properties": properties, "required": required}


_EVENT: Final[dict[str, Schema]] = {
    headers.SCHEMA_VERSION: _text(
        "Version of the event's contract. Without it the value is read as the version shown here.",
        enum=[str(headers.EVENT_SCHEMA_VERSION)],
    ),
    **_TRACE,
    headers.REPLAY_ATTEMPT: _digits("Written by `python -m consumer dlq replay`: how often the record was replayed."),
}
_OTHERS: Final = "Others are passed over, and kept in a dead letter."

EVENT_HEADERS: Final = _headers(
    {headers.CONTENT_TYPE: _text("Media type of the value.", examples=["application/json"]), **_EVENT},
    [],
    f"All are optional. {_OTHERS}",
)

# Names and meanings: CloudEvents 1.0.2, Kafka Protocol Binding, section 3.2.
BINARY_CLOUD_EVENT_HEADERS: Final = _headers(
    {
        "ce_specversion": _text("Version of CloudEvents.", enum=["1.0"]),
        "ce_id": _text("Together with `ce_source` it gives the `event_id`, where the value has none.", minLength=1),
        "ce_source": _text(
            "Stands for `source` where the value has none; it must be a channel's name then.", minLength=1
        ),
        "ce_type": _text("Kind of event, in the publisher's words; kept.", minLength=1),
        "ce_time": _text("Stands for `occurred_at` where the value has none.", format="date-time"),
        headers.CONTENT_TYPE: _text("A JSON media type.", examples=["application/json"]),
        **_EVENT,
    },
    ["ce_specversion", "ce_id", "ce_source", "ce_type"],
    f"Further attributes, `ce_` before their names, are kept with the event. {_OTHERS}",
)

STRUCTURED_CLOUD_EVENT_HEADERS: Final = _headers(
    {
        headers.CONTENT_TYPE: _text(
            "Says that the value is a CloudEvent; a charset may follow.",
            pattern=r"^application/cloudevents\+json *(;|$)",
            examples=["application/cloudevents+json"],
        ),
        **_EVENT,
    },
    [headers.CONTENT_TYPE],
    _OTHERS,
)

RESULT_HEADERS: Final = _headers(
    {
        headers.SCHEMA_VERSION: _text("Version of the result's contract.", enum=[str(headers.RESULT_SCHEMA_VERSION)]),
        headers.CONTENT_TYPE: _text("Media type of the value.", enum=["application/json"]),
        headers.EVENT_ID: _text("`event.event_id`, to filter by without parsing.", format="uuid", examples=[_UUID]),
        **_TRACE,
    },
    [headers.SCHEMA_VERSION, headers.CONTENT_TYPE, headers.EVENT_ID],
    "The trace headers are there where the event had them.",
)

ANNOUNCEMENT_HEADERS: Final = _headers(
    {
        headers.CONTENT_TYPE: _text("Media type of the value.", examples=["application/json"]),
        headers.ANNOUNCEMENT_ID: _text(
            "Under which the table `model_announcements` knows the record.", format="uuid", examples=[_UUID]
        ),
    },
    [],
    "`python -m model_export` writes both. Consumers need none.",
)

MODEL_REPORT_HEADERS: Final = _headers({}, [], "There are none.")

DEAD_LETTER_HEADERS: Final = _headers(
    {
        headers.DLQ_SOURCE_TOPIC: _text("Topic of the record.", examples=["feedback.events"]),
        headers.DLQ_SOURCE_PARTITION: _digits("Its partition."),
        headers.DLQ_SOURCE_OFFSET: _digits("Its offset."),
        headers.DLQ_STAGE: _text("The step that refused it.", examples=["decode"]),
        headers.DLQ_ERROR_CLASS: _text("A stable name to filter by.", examples=["invalid_rating"]),
        headers.DLQ_ERROR_MESSAGE: _text("What is wrong and what to do. Holds nothing of the record."),
        headers.DLQ_ATTEMPT: _digits("How often it was tried."),
        headers.DLQ_FIRST_FAILED_AT: _text("When the verdict was recorded, RFC 3339.", format="date-time"),
        headers.DLQ_APP_VERSION: _text("Version of the consumer that refused it."),
        headers.DLQ_VALUE_OMITTED_BYTES: _digits(
            "Only where the value does not fit: it is left out, and this is its size in bytes."
        ),
        headers.DLQ_VALUE_OMITTED_SHA256: _text(
            "Beside it: the sha256 of the value, which stays in the source topic.", pattern="^[0-9a-f]{64}$"
        ),
    },
    [
        headers.DLQ_SOURCE_TOPIC,
        headers.DLQ_SOURCE_PARTITION,
        headers.DLQ_SOURCE_OFFSET,
        headers.DLQ_STAGE,
        headers.DLQ_ERROR_CLASS,
        headers.DLQ_ERROR_MESSAGE,
        headers.DLQ_ATTEMPT,
        headers.DLQ_FIRST_FAILED_AT,
        headers.DLQ_APP_VERSION,
    ],
    "These follow the record's own headers, which are kept byte for byte, duplicates and nulls included.",
)
