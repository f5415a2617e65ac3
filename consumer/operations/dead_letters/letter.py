"""A record of the dead-letter topic, taken apart: the original record, and the reason that was appended to it."""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Self, cast

from confluent_kafka import Message

from consumer.outcomes import Coordinates
from consumer.records import Headers, OutboundRecord
from schemas import headers

_MAX_ATTEMPT_DIGITS: Final = 3


def headers_of(message: Message) -> Headers:
    """The headers of a consumed message, in their order, duplicates and nulls included."""
    # The stubs allow every form that produce() takes; what was consumed is always a list of name and bytes.
    return tuple(cast("list[tuple[str, bytes | None]]", message.headers() or []))


@dataclass(frozen=True, slots=True, repr=False)
class DeadLetter:
    """The original key, value and headers, where they came from, and where in the dead-letter topic they are.

    Attributes:
        first_failed_at: the ledger's time of the verdict. With `source` it tells records of one topic and of another
            that had the same name before apart.
        omitted_sha256: hexadecimal digest of a value that was too large to be carried; `value` is None then.
    """

    partition: int
    offset: int
    source: Coordinates
    first_failed_at: datetime
    key: bytes | None
    value: bytes | None
    headers: Headers
    omitted_sha256: str | None

    @classmethod
    def from_message(cls, message: Message, source_topic: str) -> Self | None:
        """Take a record of the dead-letter topic apart; None if it is none of this source topic.

        An original record may carry `dlq-` headers of its own: only the block that begins at the last
        `dlq-source-topic` was appended.
        """
        everything = headers_of(message)
        names = [name for name, _ in everything]
        if headers.DLQ_SOURCE_TOPIC not in names:
            return None
        begin = len(names) - 1 - names[::-1].index(headers.DLQ_SOURCE_TOPIC)
        reason = {name: (value or b"").decode(errors="replace") for name, value in everything[begin:]}
        if reason[headers.DLQ_SOURCE_TOPIC] != source_topic:
            return None
        try:
            source = Coordinates(
                int(reason[headers.DLQ_SOURCE_PARTITION]),
                int(reason[headers.DLQ_SOURCE_OFFSET]),
            )
            first_failed_at = datetime.fromisoformat(reason[headers.DLQ_FIRST_FAILED_AT])
        except (KeyError, ValueError):
            return None  # not written by a consumer of this project
        return cls(
            partition=message.partition() or 0,
            offset=message.offset() or 0,
            source=source,
            first_failed_at=first_failed_at,
            key=message.key(),
            value=message.value(),
            headers=everything[:begin],
            omitted_sha256=reason.get(headers.DLQ_VALUE_OMITTED_SHA256),
        )

    @property
    def replays(self) -> int:
        """How often the record was replayed already; a publisher's own nonsense in that header counts as never."""
        last = next((value for name, value in reversed(self.headers) if name == headers.REPLAY_ATTEMPT), None) or b""
        return int(last) if last.isdigit() and len(last) <= _MAX_ATTEMPT_DIGITS else 0

    def with_value(self, value: bytes) -> Self | None:
        """The letter with its omitted value, if it is that value."""
        if hashlib.sha256(value).hexdigest() != self.omitted_sha256:
            return None
        return replace(self, value=value, omitted_sha256=None)

    def to_replay(self, topic: str) -> OutboundRecord:
        """The original record for `topic`, its attempt counted in a header that takes the place of an earlier one."""
        kept = tuple((name, value) for name, value in self.headers if name != headers.REPLAY_ATTEMPT)
        attempt = (headers.REPLAY_ATTEMPT, str(self.replays + 1).encode())
        return OutboundRecord(topic, self.key, self.value, (*kept, attempt))

    def __repr__(self) -> str:
        return f"DeadLetter({self.source.partition}:{self.source.offset})"
