"""The dead letter of a record: its bytes as they were, and the reason in headers."""

import hashlib
from datetime import UTC, datetime

from consumer.records import Headers, OutboundRecord, SourceRecord
from schemas import headers


def to_dead_letter(
    record: SourceRecord,
    topic: str,
    *,
    source_topic: str,
    stage: str,
    error_class: str,
    error_message: str,
    attempts: int,
    first_failed_at: datetime,
    app_version: str,
    max_bytes: int,
) -> OutboundRecord:
    """The record for the dead-letter topic: key, value and headers byte for byte, and `dlq-` headers after them.

    A value that cannot fit into `max_bytes` is left out, and its size and sha256 stand in headers: it is still in the
    source topic at the coordinates that the headers name, and a transaction that can never commit would lose more.
    """
    reason: Headers = (
        (headers.DLQ_SOURCE_TOPIC, source_topic.encode()),
        (headers.DLQ_SOURCE_PARTITION, str(record.partition).encode()),
        (headers.DLQ_SOURCE_OFFSET, str(record.offset).encode()),
        (headers.DLQ_STAGE, stage.encode()),
        (headers.DLQ_ERROR_CLASS, error_class.encode()),
        (headers.DLQ_ERROR_MESSAGE, error_message.encode()),
        (headers.DLQ_ATTEMPT, str(attempts).encode()),
        (headers.DLQ_FIRST_FAILED_AT, first_failed_at.astimezone(UTC).isoformat().encode()),
        (headers.DLQ_APP_VERSION, app_version.encode()),
    )
    whole = OutboundRecord(topic, record.key, record.value, record.headers + reason)
    if whole.size_bytes <= max_bytes or record.value is None:
        return whole
    omitted: Headers = (
        (headers.DLQ_VALUE_OMITTED_BYTES, str(len(record.value)).encode()),
        (headers.DLQ_VALUE_OMITTED_SHA256, hashlib.sha256(record.value).hexdigest().encode()),
    )
    return OutboundRecord(topic, record.key, None, record.headers + reason + omitted)
