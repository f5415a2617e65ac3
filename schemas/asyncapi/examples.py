"""Examples of each message: records as they stand in the topics, with the header values decoded."""

from typing import Any, Final

Example = dict[str, Any]

_TRACEPARENT: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_QUESTION: Final = {
    "event_id": "01a1fe33-5e57-781a-bf5a-fd7dde72456b",
    "occurred_at": "2026-11-21T13:02:21.722420Z",
    "source": "web",
    "text": "Where can I download my invoice?",
}

EVENTS: Final[list[Example]] = [
    {
        "name": "complete",
        "summary": "Every field, and one that the contract does not name: it is kept under `extra`.",
        "headers": {"schema-version": "1", "content-type": "application/json", "traceparent": _TRACEPARENT},
        "payload": {
            "event_id": "01a1fe2e-9d10-7c52-8a27-3f0c5b1e4d77",
            "occurred_at": "2026-01-31T09:30:00Z",
            "source": "app_store",
            "text": "The export stops halfway since the last update.",
            "rating": 2,
            "customer_id": "customer-7",
            "product": "shop",
            "language": "en",
            "metadata": {"app_version": "4.2.0", "paying": True, "open_tickets": 1, "campaign": None},
            "branch": "north",
        },
    },
    {
        "name": "minimal",
        "summary": "What must be there, and an id that makes a publisher's retry harmless.",
        "headers": {},
        "payload": _QUESTION,
    },
]

_ENVELOPE: Final = {
    "specversion": "1.0",
    "id": "review-4711",
    "source": "/shop/reviews",
    "type": "com.example.review.written",
    "time": "2026-01-31T09:30:00Z",
}
_REVIEW: Final = {"source": "web", "text": "A dark mode would be easier on the eyes at night.", "rating": 4}

BINARY_CLOUD_EVENTS: Final[list[Example]] = [
    {
        "name": "review",
        "summary": "Time and id come from the envelope, the channel from the value.",
        "headers": {
            **{f"ce_{name}": value for name, value in _ENVELOPE.items()},
            "content-type": "application/json",
        },
        "payload": _REVIEW,
    },
]

STRUCTURED_CLOUD_EVENTS: Final[list[Example]] = [
    {
        "name": "review",
        "summary": "The same event; the consumer takes both for one.",
        "headers": {"content-type": "application/cloudevents+json"},
        "payload": {**_ENVELOPE, "datacontenttype": "application/json", "data": _REVIEW},
    },
]

RESULTS: Final[list[Example]] = [
    {
        "name": "question",
        "summary": "The answer to the minimal event.",
        "headers": {
            "schema-version": "1",
            "content-type": "application/json",
            "event-id": "01a1fe33-5e57-781a-bf5a-fd7dde72456b",
        },
        "payload": {
            "event": {
                **_QUESTION,
                "rating": None,
                "customer_id": None,
                "product": None,
                "language": None,
                "metadata": {},
                "extra": {},
                "flags": [],
            },
            "sentiment": {
                "label": "neutral",
                "score": 0.951269,
                "scores": {"negative": 0.030378, "neutral": 0.951269, "positive": 0.018353},
            },
            "category": {
                "label": "question",
                "score": 0.945229,
                "scores": {
                    "bug": 0.006567,
                    "complaint": 0.006845,
                    "documentation": 0.009815,
                    "feature_request": 0.005516,
                    "other": 0.012801,
                    "praise": 0.005685,
                    "question": 0.945229,
                    "usage_tip": 0.007542,
                },
            },
            "constructive": {"label": "no", "score": 0.989167, "scores": {"no": 0.989167, "yes": 0.010833}},
            "needs_review": False,
            "routing": {
                "queue": "support",
                "priority": "normal",
                "suggested_reply": "You find your invoices and refunds under Account > Billing. "
                "Send us the invoice number if something looks wrong.",
            },
            "model": {
                "name": "feedback-distilbert",
                "version": "0.1.0",
                "sha256": "46c8b03aad5e7d55c2ca2381e361307218e21709ea77ddf38975f86ba5773d81",
            },
            "revision": 1,
            "classified_at": "2026-11-21T13:02:21.836993Z",
            "latency_ms": 53.993,
            "source": {
                "topic": "feedback.events",
                "topic_id": "3076be93-e27a-4525-b7da-9052e90ab338",
                "partition": 0,
                "offset": 0,
            },
            "traceparent": None,
        },
    },
]

_ANNOUNCEMENT_HEADERS: Final = {
    "content-type": "application/json",
    "announcement-id": "01a1fe40-11f2-7d50-9a63-6a40a1c2b7d3",
}
_MANIFEST_SHA256: Final = "5f3c0f6b1f0fd4a9a3c1e7f4a1b8c5d29e6f70b4c8d1a2e3f4b5c6d7e8f90a1b"

ANNOUNCEMENTS: Final[list[Example]] = [
    {
        "name": "live",
        "summary": "A bundle that shall classify all events.",
        "headers": _ANNOUNCEMENT_HEADERS,
        "payload": {
            "role": "live",
            "name": "feedback-distilbert",
            "version": "0.2.0",
            "url": "s3://models/feedback-distilbert-0.2.0-5f3c0f6b1f0f",
            "manifest_sha256": _MANIFEST_SHA256,
            "model_sha256": "46c8b03aad5e7d55c2ca2381e361307218e21709ea77ddf38975f86ba5773d81",
            "share": 1.0,
            "announced_at": "2026-11-21T13:04:00Z",
        },
    },
]

WITHDRAWALS: Final[list[Example]] = [
    {
        "name": "withdrawn",
        "summary": "With the key `shadow`: the shadow bundle ends.",
        "headers": _ANNOUNCEMENT_HEADERS,
        "payload": None,
    },
]

MODEL_REPORTS: Final[list[Example]] = [
    {
        "name": "refused",
        "summary": "A bundle that this consumer may not load; what served goes on.",
        "headers": {},
        "payload": {
            "role": "live",
            "group_id": "feedback-classifier",
            "replica_id": "0",
            "state": "refused",
            "name": "feedback-distilbert",
            "version": "0.2.0",
            "manifest_sha256": _MANIFEST_SHA256,
            "announcement_offset": 3,
            "reason": "s3://models/feedback-distilbert-0.2.0-5f3c0f6b1f0f: outside the allowed places for bundles",
            "app_version": "0.1.0",
            "reported_at": "2026-11-21T13:04:02.512034Z",
        },
    },
]

DEAD_LETTERS: Final[list[Example]] = [
    {
        "name": "invalid_rating",
        "summary": "A rating of 9. The value is the publisher's, byte for byte.",
        "headers": {
            "schema-version": "1",
            "content-type": "application/json",
            "dlq-source-topic": "feedback.events",
            "dlq-source-partition": "2",
            "dlq-source-offset": "0",
            "dlq-stage": "decode",
            "dlq-error-class": "invalid_rating",
            "dlq-error-message": "rating must be a whole number from 1 to 5",
            "dlq-attempt": "1",
            "dlq-first-failed-at": "2026-11-21T13:02:48.062020+00:00",
            "dlq-app-version": "0.1.0",
        },
        "payload": '{"occurred_at": "2026-11-21T13:02:47Z", "source": "web", "text": "Works well", "rating": 9}',
    },
]
