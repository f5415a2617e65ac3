"""A small run in which every promise was kept, made by hand, for tests to break."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from demo.audit import Observation
from demo.records import Coordinates, Ending, Expectation, PublishedRecord, VisibleRecord
from schemas import headers

TOPIC_ID = uuid.UUID(int=7)
FIRST, SECOND = uuid.UUID(int=101), uuid.UUID(int=102)
AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


def published_record(
    coordinates: Coordinates, *endings: Ending, event_id: uuid.UUID | None = None, **expectation: Any
) -> PublishedRecord:
    return PublishedRecord(
        coordinates=coordinates,
        key=b"customer",
        value=f"sent at {coordinates}".encode(),
        headers=(("origin", b"a"), ("origin", None)),
        expectation=Expectation(endings=frozenset(endings), event_id=event_id, **expectation),
    )


def row(event_id: uuid.UUID, coordinates: Coordinates, **changes: Any) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "record_key": b"customer",
        "source_topic": "feedback.events",
        "source_topic_id": TOPIC_ID,
        "source_partition": coordinates.partition,
        "source_offset": coordinates.offset,
        "occurred_at": AT,
        "source": "web",
        "text": "It works.",
        "rating": None,
        "customer_id": "c-1",
        "product": None,
        "language": "en",
        "metadata": {"build": 1.5},
        "extra": {},
        "flags": ["text_cleaned"],
        "sentiment": "positive",
        "sentiment_scores": {"negative": 0.1, "neutral": 0.2, "positive": 0.7},
        "category": "praise",
        "category_scores": {"bug": 0.25, "praise": 0.75},
        "constructive": "no",
        "constructive_scores": {"no": 0.9, "yes": 0.1},
        "needs_review": False,
        "queue": "general",
        "priority": "low",
        "suggested_reply": None,
        "model_name": "default",
        "model_version": "1",
        "model_sha256": "ab",
        "revision": 1,
        "classified_at": AT,
        "latency_ms": 12.25,
        "traceparent": None,
        **changes,
    }


def result(of: dict[str, Any], offset: int, partition: int = 0) -> VisibleRecord:
    at = AT.isoformat()
    value = {
        "event": {"event_id": str(of["event_id"]), "occurred_at": at}
        | {
            name: of[name]
            for name in (
                *("source", "text", "rating", "customer_id", "product", "language", "metadata", "extra", "flags"),
            )
        },
        **{
            head: {"label": of[head], "score": of[f"{head}_scores"][of[head]], "scores": of[f"{head}_scores"]}
            for head in ("sentiment", "category", "constructive")
        },
        "needs_review": of["needs_review"],
        "routing": {name: of[name] for name in ("queue", "priority", "suggested_reply")},
        "model": {name: of[f"model_{name}"] for name in ("name", "version", "sha256")},
        "revision": of["revision"],
        "classified_at": at,
        "latency_ms": of["latency_ms"],
        "source": {
            "topic": of["source_topic"],
            "topic_id": str(of["source_topic_id"]),
            "partition": of["source_partition"],
            "offset": of["source_offset"],
        },
        "traceparent": None,
    }
    return VisibleRecord(
        topic="feedback.classified",
        partition=partition,
        offset=offset,
        key=of["record_key"],
        value=json.dumps(value).encode(),
        headers=((headers.EVENT_ID, str(of["event_id"]).encode()),),
        observed_s=0.0,
    )


def dead_letter(of: PublishedRecord, error_class: str, offset: int = 0) -> VisibleRecord:
    return VisibleRecord(
        topic="feedback.deadletter",
        partition=0,
        offset=offset,
        key=of.key,
        value=of.value,
        headers=(
            *of.headers,
            (headers.DLQ_SOURCE_PARTITION, str(of.coordinates.partition).encode()),
            (headers.DLQ_SOURCE_OFFSET, str(of.coordinates.offset).encode()),
            (headers.DLQ_ERROR_CLASS, error_class.encode()),
        ),
        observed_s=0.0,
    )


def outcome(coordinates: Coordinates, ending: Ending) -> dict[str, Any]:
    return {
        "source_topic_id": TOPIC_ID,
        "source_partition": coordinates.partition,
        "source_offset": coordinates.offset,
        "outcome": ending.value,
    }


def kept_promise() -> tuple[list[PublishedRecord], Observation]:
    """Two events, a copy of the first, a conflict with it, and a record that is no event."""
    published = [
        published_record(Coordinates(0, 0), Ending.CLASSIFIED, event_id=FIRST, flags=frozenset({"text_cleaned"})),
        published_record(Coordinates(0, 1), Ending.CLASSIFIED, event_id=SECOND),
        published_record(Coordinates(0, 2), Ending.DUPLICATE, event_id=FIRST),
        published_record(Coordinates(0, 3), Ending.CONFLICT, event_id=FIRST),
        published_record(Coordinates(0, 4), Ending.DEAD_LETTER, error_class="not_json"),
    ]
    rows = [row(FIRST, Coordinates(0, 0)), row(SECOND, Coordinates(0, 1), sentiment="negative", category="bug")]
    observation = Observation(
        topic_id=TOPIC_ID,
        results=[result(rows[0], 0), result(rows[1], 1)],
        dead_letters=[dead_letter(published[3], "event_id_conflict", 0), dead_letter(published[4], "not_json", 1)],
        rows=rows,
        outcomes=[outcome(record.coordinates, next(iter(record.expectation.endings))) for record in published],
    )
    return published, observation
