"""One record of the results topic: the result with where and how it came."""

from dataclasses import dataclass, field
from typing import Final, cast

from confluent_kafka import Message
from pydantic import ValidationError

from consumer.client.errors import UnreadableResultError
from schemas import headers
from schemas.result import ClassifiedFeedback

_TRACE_HEADERS: Final = (headers.TRACEPARENT, headers.TRACESTATE)


@dataclass(frozen=True, slots=True)
class ResultRecord:
    """A result as Kafka delivered it. Its `repr` shows coordinates only.

    `timestamp_ms` is Kafka's, in milliseconds since 1970. `headers` may repeat a name.
    """

    partition: int
    offset: int
    timestamp_ms: int = field(repr=False)
    key: bytes | None = field(repr=False)
    headers: tuple[tuple[str, bytes | None], ...] = field(repr=False)
    feedback: ClassifiedFeedback = field(repr=False)

    @property
    def next_offset(self) -> int:
        """Where to go on in this partition once the record is processed."""
        return self.offset + 1

    @property
    def trace_context(self) -> dict[str, str]:
        """The publisher's W3C trace context, as a carrier for OpenTelemetry's `propagate.extract`; may be empty."""
        found = {name: value for name, value in self.headers if name in _TRACE_HEADERS and value is not None}
        return {name: value.decode("ascii", "replace") for name, value in found.items()}


def read_result(message: Message, topic: str) -> ResultRecord:
    """Parse a record. Fields that this version does not know are ignored.

    Raises:
        UnreadableResultError: it is of another schema version, or no result.
    """
    partition, offset = message.partition() or 0, message.offset() or 0
    # The stubs allow every form that produce() takes; what was consumed is always a list of name and bytes.
    found = tuple(cast("list[tuple[str, bytes | None]]", message.headers() or []))
    version = dict(found).get(headers.SCHEMA_VERSION)
    if version is not None and version != str(headers.RESULT_SCHEMA_VERSION).encode():
        reason = f"its header {headers.SCHEMA_VERSION} is not {headers.RESULT_SCHEMA_VERSION}: upgrade feedback-stream"
        raise UnreadableResultError(topic, partition, offset, reason)
    value = message.value()
    if value is None:
        raise UnreadableResultError(topic, partition, offset, "it has no value")
    try:
        feedback = ClassifiedFeedback.model_validate_json(value)
    except ValidationError as invalid:
        error = invalid.errors(include_url=False, include_context=False, include_input=False)[0]
        # A deeper location may be a key that a customer chose.
        place = ".".join(str(part) for part in error["loc"][:2]) or "value"
        raise UnreadableResultError(topic, partition, offset, f"{place}: {error['msg']}") from None
    _, timestamp_ms = message.timestamp()
    return ResultRecord(partition, offset, timestamp_ms, message.key(), found, feedback)
