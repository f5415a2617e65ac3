"""Event ids: made by our publisher, or derived so that a second attempt arrives at the same id."""

import secrets
import time
import uuid
from typing import Final

# The root of the ids that files and coordinates give. Changing it would turn every resumed import into duplicates.
NAMESPACE: Final = uuid.UUID("5f1d7a52-6a5e-5c0e-9d3b-1c4f6f0f7e21")


def uuid7() -> uuid.UUID:
    """A time-ordered random id (RFC 9562, section 5.7), so that new rows land at the end of the primary key."""
    unix_ms = time.time_ns() // 1_000_000
    value = (unix_ms & (1 << 48) - 1) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=value)


def file_line_id(file_sha256: str, line_number: int) -> uuid.UUID:
    """The id of line `line_number` (from 1) of the file with this sha256: a resumed import repeats nothing."""
    return uuid.uuid5(NAMESPACE, f"file:{file_sha256}:{line_number}")


def coordinates_id(topic_id: uuid.UUID, partition: int, offset: int) -> uuid.UUID:
    """The id of a record that came without one: the same at every attempt to process it."""
    return uuid.uuid5(NAMESPACE, f"record:{topic_id}:{partition}:{offset}")


def cloudevent_id(source: str, ce_id: str) -> uuid.UUID:
    """The id of a CloudEvent, which its attributes `source` and `id` identify together (CloudEvents 1.0, "id").

    UUIDv5 of `id` in a namespace that is itself the UUIDv5 of `source` as a URL, so that every language computes it
    with its standard library.
    """
    return uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, source), ce_id)
