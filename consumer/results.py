"""Feedback rows and the results made from them. `to_result` is the only builder of a result, first time and replay."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from consumer.decode import DecodedEvent
from consumer.inference.classifier import Verdict
from consumer.inference.manifest import Manifest
from consumer.policy import Policy
from consumer.records import Headers, OutboundRecord, SourceRecord
from schemas import headers

FeedbackRow = Mapping[str, Any]
"""A row of `schemas.tables.feedback`, by column name."""


def feedback_row(
    record: SourceRecord,
    decoded: DecodedEvent,
    verdict: Verdict,
    *,
    topic: str,
    topic_id: UUID,
    policy: Policy,
    model: Manifest,
    classified_at: datetime,
) -> FeedbackRow:
    """The row that stores one classified event, with all that its result needs."""
    event = decoded.event
    sentiment, category, constructive = (verdict.heads[head] for head in ("sentiment", "category", "constructive"))
    routing = policy.decide(
        event.text, category=category.label, sentiment=sentiment.label, constructive=constructive.label
    )
    return {
        "event_id": event.event_id,
        "source_topic": topic,
        "source_topic_id": topic_id,
        "source_partition": record.partition,
        "source_offset": record.offset,
        "record_key": decoded.key,
        "payload_sha256": decoded.payload_sha256,
        "occurred_at": event.occurred_at,
        "source": event.source,
        "text": event.text,
        "rating": event.rating,
        "customer_id": event.customer_id,
        "product": event.product,
        "language": event.language,
        "metadata": event.metadata,
        "extra": event.extra,
        "flags": list(event.flags),
        "sentiment": sentiment.label,
        "sentiment_scores": sentiment.scores,
        "category": category.label,
        "category_scores": category.scores,
        "constructive": constructive.label,
        "constructive_scores": constructive.scores,
        "needs_review": verdict.needs_review,
        "queue": routing.queue,
        "priority": routing.priority,
        "suggested_reply": routing.suggested_reply,
        "model_name": model.name,
        "model_version": model.version,
        "model_sha256": model.sha256,
        "revision": 1,
        "classified_at": classified_at,
        "latency_ms": round(classified_at.timestamp() * 1000 - record.timestamp_ms, 3),
        "traceparent": decoded.traceparent,
        "tracestate": decoded.tracestate,
    }


def to_result(row: FeedbackRow, topic: str) -> OutboundRecord:
    """The result record for `topic` that a feedback row stands for: `schemas.result.ClassifiedFeedback` as JSON.

    Equal rows give equal bytes. It keeps the event's key, so that results keep the order of their key.
    """
    value = {
        "event": {
            "event_id": str(row["event_id"]),
            "occurred_at": _rfc3339(row["occurred_at"]),
            **{
                name: row[name]
                for name in ("source", "text", "rating", "customer_id", "product", "language", "metadata", "extra")
            },
            "flags": row["flags"],
        },
        **{head: _head(row, head) for head in ("sentiment", "category", "constructive")},
        "needs_review": row["needs_review"],
        "routing": {name: row[name] for name in ("queue", "priority", "suggested_reply")},
        "model": {name: row[f"model_{name}"] for name in ("name", "version", "sha256")},
        "revision": row["revision"],
        "classified_at": _rfc3339(row["classified_at"]),
        "latency_ms": row["latency_ms"],
        "source": {
            "topic": row["source_topic"],
            "topic_id": str(row["source_topic_id"]),
            "partition": row["source_partition"],
            "offset": row["source_offset"],
        },
        "traceparent": row["traceparent"],
    }
    return OutboundRecord(
        topic=topic,
        key=None if row["record_key"] is None else bytes(row["record_key"]),
        value=json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(),
        headers=_result_headers(row),
    )


def _head(row: FeedbackRow, head: str) -> dict[str, Any]:
    scores = row[f"{head}_scores"]
    label = row[head]
    return {"label": label, "score": scores[label], "scores": {name: scores[name] for name in sorted(scores)}}


def _result_headers(row: FeedbackRow) -> Headers:
    trace = ((name, row[name]) for name in (headers.TRACEPARENT, headers.TRACESTATE))
    return (
        (headers.SCHEMA_VERSION, str(headers.RESULT_SCHEMA_VERSION).encode()),
        (headers.CONTENT_TYPE, b"application/json"),
        (headers.EVENT_ID, str(row["event_id"]).encode()),
        *((name, value.encode()) for name, value in trace if value is not None),
    )


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
