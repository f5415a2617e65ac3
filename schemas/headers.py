"""Names of the Kafka record headers that this project reads and writes."""

from typing import Final

SCHEMA_VERSION: Final = "schema-version"
CONTENT_TYPE: Final = "content-type"
EVENT_SCHEMA_VERSION: Final = 1
RESULT_SCHEMA_VERSION: Final = 1

# W3C Trace Context, carried from an event to its result unchanged.
TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"

# Identity of a result, so that a reader can filter without parsing the value.
EVENT_ID: Final = "event-id"

# On an event that `dlq replay` published again: how often its record was replayed, 1 for the first time.
REPLAY_ATTEMPT: Final = "replay-attempt"

# On a record of `feedback.models`: the id under which the table model_announcements knows it.
ANNOUNCEMENT_ID: Final = "announcement-id"

DLQ_PREFIX: Final = "dlq-"
DLQ_SOURCE_TOPIC: Final = "dlq-source-topic"
DLQ_SOURCE_PARTITION: Final = "dlq-source-partition"
DLQ_SOURCE_OFFSET: Final = "dlq-source-offset"
DLQ_STAGE: Final = "dlq-stage"
DLQ_ERROR_CLASS: Final = "dlq-error-class"
DLQ_ERROR_MESSAGE: Final = "dlq-error-message"
DLQ_ATTEMPT: Final = "dlq-attempt"
DLQ_FIRST_FAILED_AT: Final = "dlq-first-failed-at"
DLQ_APP_VERSION: Final = "dlq-app-version"
# Present only where the original value cannot fit into the dead-letter topic: its size and sha256.
DLQ_VALUE_OMITTED_BYTES: Final = "dlq-value-omitted-bytes"
DLQ_VALUE_OMITTED_SHA256: Final = "dlq-value-omitted-sha256"
