"""Whether a dead letter can be published again, and why not."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from confluent_kafka import Message

from consumer.operations.dead_letters.letter import DeadLetter
from consumer.outcomes import Coordinates
from consumer.records import OutboundRecord

MAX_REPLAYS: Final = 3
"""A record that failed again so often will fail once more: a person must look first."""

Refusal = Literal["replayed_too_often", "value_gone", "value_differs", "too_large"]

EXPLANATIONS: Final[dict[Refusal, str]] = {
    "replayed_too_often": f"replayed {MAX_REPLAYS} times already: name them with --beyond-guard",
    "value_gone": "too large for the dead-letter topic, and the events topic holds them no longer",
    "value_differs": "too large for the dead-letter topic, and what stands in the events topic is not the same value",
    "too_large": "larger than the events topic takes now, compressed too: compare max.message.bytes",
}

# Room for the lengths, timestamps and checksums of a record batch (Kafka's message format v2: 61 bytes and a few more).
_BATCH_OVERHEAD_BYTES: Final = 256


@dataclass(frozen=True, slots=True)
class Screening:
    """What replaying depends on beside the letter itself.

    Attributes:
        topic: the events topic.
        max_record_bytes: its max.message.bytes, which Kafka applies after compression.
        source_record: reads the events topic.
        beyond_guard: replay also what was replayed `MAX_REPLAYS` times.
    """

    topic: str
    max_record_bytes: int
    source_record: Callable[[Coordinates], Message | None]
    beyond_guard: bool

    def judge(self, letter: DeadLetter) -> OutboundRecord | Refusal:
        """The record to publish, or why not. Raises what `source_record` raises."""
        if letter.replays >= MAX_REPLAYS and not self.beyond_guard:
            return "replayed_too_often"
        if letter.omitted_sha256 is not None:
            message = self.source_record(letter.source)
            value = None if message is None else message.value()
            if value is None:
                return "value_gone"
            whole = letter.with_value(value)
            if whole is None:
                return "value_differs"
            letter = whole
        record = letter.to_replay(self.topic)
        return record if self._fits(record) else "too_large"

    def _fits(self, record: OutboundRecord) -> bool:
        if record.size_bytes + _BATCH_OVERHEAD_BYTES <= self.max_record_bytes:
            return True
        # What its publisher compressed may fit when it is compressed again; the replay's producer uses gzip too.
        parts = (
            record.key or b"",
            record.value or b"",
            *(name.encode() + (value or b"") for name, value in record.headers),
        )
        return len(gzip.compress(b"".join(parts), 6)) + _BATCH_OVERHEAD_BYTES <= self.max_record_bytes
