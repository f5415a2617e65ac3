"""A feedback row from the result that was made from it: the other direction of `to_result`."""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from consumer.records import OutboundRecord
from consumer.results import FeedbackRow, to_result
from schemas import headers
from schemas.result import ClassifiedFeedback


def row_from_result(result: OutboundRecord, payload_sha256: bytes) -> FeedbackRow | None:
    """The row that stood behind a result, every column but `stored_at`.

    The hash of the event's content is the one thing that a result does not hold.

    Returns:
        None unless the row gives exactly these bytes again: then something was not understood, and a row that tells
        another story than what readers saw is worse than none.
    """
    try:
        value = result.value or b"null"
        ClassifiedFeedback.model_validate_json(value)
        row = _row(result, json.loads(value), payload_sha256)
        same = to_result(row, result.topic) == result
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None
    return row if same else None


def _row(result: OutboundRecord, document: Any, payload_sha256: bytes) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    event, source, routing, model = (document[name] for name in ("event", "source", "routing", "model"))
    own = dict(result.headers)
    tracestate = own.get(headers.TRACESTATE)
    return {
        "event_id": UUID(event["event_id"]),
        "source_topic": source["topic"],
        "source_topic_id": UUID(source["topic_id"]),
        "source_partition": source["partition"],
        "source_offset": source["offset"],
        "record_key": result.key,
        "payload_sha256": payload_sha256,
        "occurred_at": datetime.fromisoformat(event["occurred_at"]),
        **{
            name: event[name]
            for name in ("source", "text", "rating", "customer_id", "product", "language", "metadata", "extra", "flags")
        },
        **{
            column: value
            for head in ("sentiment", "category", "constructive")
            for column, value in ((head, document[head]["label"]), (f"{head}_scores", document[head]["scores"]))
        },
        "needs_review": document["needs_review"],
        **{name: routing[name] for name in ("queue", "priority", "suggested_reply")},
        **{f"model_{name}": model[name] for name in ("name", "version", "sha256")},
        "revision": document["revision"],
        "classified_at": datetime.fromisoformat(document["classified_at"]),
        "latency_ms": document["latency_ms"],
        "traceparent": document["traceparent"],
        "tracestate": None if tracestate is None else tracestate.decode(),
    }
