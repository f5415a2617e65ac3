"""Results as the stream processor writes them, put into topics of their own."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import UUID, uuid4

import pytest
from confluent_kafka import Producer

from consumer.client import ClassifiedFeedbackReader
from schemas.connection import KafkaConnection
from tests.login.conftest import guarded_kafka as guarded_kafka  # noqa: PLC0414 (a fixture)

SCORES = {
    "sentiment": {"negative": 0.1, "neutral": 0.8, "positive": 0.1},
    "category": {"bug": 0.7, "praise": 0.2, "other": 0.1},
    "constructive": {"no": 0.9, "yes": 0.1},
}


def make_result(
    text: str = "words", *, source: str = "web", needs_review: bool = False, **labels: str
) -> dict[str, Any]:
    """A result, with labels other than neutral, bug and no where they are given."""
    chosen = {"sentiment": "neutral", "category": "bug", "constructive": "no", **labels}
    return {
        "event": {
            "event_id": str(uuid4()),
            "occurred_at": "2026-01-01T00:00:00Z",
            "source": source,
            "text": text,
            **dict.fromkeys(("rating", "customer_id", "product", "language")),
            "metadata": {},
            "extra": {},
            "flags": [],
        },
        **{
            head: {"label": label, "score": SCORES[head].get(label, 0.5), "scores": SCORES[head]}
            for head, label in chosen.items()
        },
        "needs_review": needs_review,
        "routing": {"queue": "support", "priority": "normal", "suggested_reply": None},
        "model": {"name": "m", "version": "1", "sha256": ""},
        "revision": 1,
        "classified_at": "2026-01-01T00:00:01Z",
        "latency_ms": 1.0,
        "source": {"topic": "t", "topic_id": str(UUID(int=1)), "partition": 0, "offset": 0},
        "traceparent": None,
    }


Publish = Callable[..., Producer]


@pytest.fixture
def publish(kafka: KafkaConnection) -> Publish:
    """Writes results, or raw values, as one transaction; left open or aborted where asked for."""

    def write(
        topic: str,
        *values: dict[str, Any] | bytes | None,
        partition: int = 0,
        end: str = "commit",
        headers: dict[str, bytes] | None = None,
    ) -> Producer:
        producer = Producer({**kafka.as_librdkafka(), "transactional.id": uuid4().hex, "retry.backoff.ms": 10})
        producer.init_transactions(30)
        producer.begin_transaction()
        for value in values:
            encoded = json.dumps(value).encode() if isinstance(value, dict) else value
            producer.produce(topic, encoded, partition=partition, headers={"schema-version": b"1", **(headers or {})})
        producer.flush(30)
        if end == "commit":
            producer.commit_transaction(30)
        elif end == "abort":
            producer.abort_transaction(30)
        return producer

    return write


@pytest.fixture
def make_reader(kafka: KafkaConnection) -> Iterator[Callable[..., ClassifiedFeedbackReader]]:
    """Makes readers that are closed at the end."""
    with ExitStack() as cleanup:

        def make(topic: str, **options: Any) -> ClassifiedFeedbackReader:
            reader = ClassifiedFeedbackReader(options.pop("connection", kafka), topic=topic, **options)
            cleanup.callback(reader.close)
            return reader

        yield make
