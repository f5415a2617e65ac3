"""What a record of the results or dead-letter topic says about the record of the events topic that it answers."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import cast
from uuid import UUID

from confluent_kafka import Message

from consumer.outcomes import CONFLICT_STAGE, Coordinates, Outcome
from consumer.records import Headers, OutboundRecord
from schemas import headers


@dataclass(frozen=True, slots=True)
class ResultEvidence:
    """A visible result: `at` the source record's coordinates in the topic with this id, `digest` of all its bytes."""

    topic_id: UUID
    at: Coordinates
    event_id: UUID
    digest: bytes

    def columns(self) -> dict[str, object]:
        """What is staged of it, beside its coordinates."""
        return {"event_id": self.event_id, "digest": self.digest}


@dataclass(frozen=True, slots=True)
class DeadLetterEvidence:
    """A visible dead letter and the verdict in its headers; `first_failed_at` is when the ledger recorded it."""

    source_topic: str
    at: Coordinates
    outcome: Outcome
    stage: str
    error_class: str
    error_message: str
    attempts: int
    first_failed_at: datetime
    app_version: str

    def columns(self) -> dict[str, object]:
        """What is staged of it, beside its coordinates."""
        return {"first_failed_at": self.first_failed_at}


def outbound(message: Message) -> OutboundRecord:
    """A record as it was read, in the form in which the consumer would write it."""
    found = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    return OutboundRecord(message.topic() or "", message.key(), message.value(), tuple(found))


def digest(record: OutboundRecord) -> bytes:
    """SHA-256 over key, value and headers. Equal exactly where all three are equal: lengths stand before each part."""
    parts: list[bytes | None] = [record.key, record.value]
    for name, value in record.headers:
        parts += [name.encode(), value]
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(b"-" if part is None else b"%d:" % len(part))
        hashed.update(part or b"")
    return hashed.digest()


def result_evidence(record: OutboundRecord) -> ResultEvidence | None:
    """What a record of the results topic answers; None if it is no result."""
    try:
        document = json.loads(record.value or b"null")
        source = document["source"]
        return ResultEvidence(
            topic_id=UUID(source["topic_id"]),
            at=_coordinates(source["partition"], source["offset"]),
            event_id=UUID(document["event"]["event_id"]),
            digest=digest(record),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def dead_letter_evidence(record_headers: Headers) -> DeadLetterEvidence | None:
    """What a record of the dead-letter topic answers; None if it is no dead letter.

    A dead letter that was published again and failed again holds the headers of its earlier failure too: those of the
    last block, the newest failure, count.
    """
    own = dict(record_headers)  # of several headers with one name, the last
    try:
        stage = _text(own, headers.DLQ_STAGE)
        return DeadLetterEvidence(
            source_topic=_text(own, headers.DLQ_SOURCE_TOPIC),
            at=_coordinates(int(_text(own, headers.DLQ_SOURCE_PARTITION)), int(_text(own, headers.DLQ_SOURCE_OFFSET))),
            outcome="conflict" if stage == CONFLICT_STAGE else "dead_letter",
            stage=stage,
            error_class=_text(own, headers.DLQ_ERROR_CLASS),
            error_message=_text(own, headers.DLQ_ERROR_MESSAGE),
            attempts=int(_text(own, headers.DLQ_ATTEMPT)),
            first_failed_at=_aware(_text(own, headers.DLQ_FIRST_FAILED_AT)),
            app_version=_text(own, headers.DLQ_APP_VERSION),
        )
    except (ValueError, KeyError):
        return None


def refused_entry(evidence: DeadLetterEvidence, topic_id: UUID) -> dict[str, object]:
    """The ledger entry that a dead letter was made from: every column but those of the event itself."""
    return {
        "source_topic_id": topic_id,
        "source_partition": evidence.at.partition,
        "source_offset": evidence.at.offset,
        "outcome": evidence.outcome,
        "stage": evidence.stage,
        "error_class": evidence.error_class,
        "error_message": evidence.error_message,
        "attempts": evidence.attempts,
        "app_version": evidence.app_version,
        "recorded_at": evidence.first_failed_at,
    }


def _coordinates(partition: object, offset: object) -> Coordinates:
    if not isinstance(partition, int) or not isinstance(offset, int) or not _fits(partition, offset):
        raise ValueError("no coordinates")
    return Coordinates(partition, offset)


def _fits(partition: int, offset: int) -> bool:
    return 0 <= partition < 2**31 and 0 <= offset < 2**63


def _text(own: dict[str, bytes | None], name: str) -> str:
    value = own[name]
    if value is None or b"\0" in value:
        raise ValueError(f"{name} is no text that a ledger could hold")
    return value.decode()


def _aware(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("a time without its offset")
    return at
