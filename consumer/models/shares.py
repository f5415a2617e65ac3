"""Shares of events and keys, chosen by a hash that is the same in every process, today and next year."""

import hashlib
from typing import Final

from consumer.records import SourceRecord

_2_TO_64: Final = 2**64


def is_in_share(identity: bytes, share: float, *, purpose: bytes) -> bool:
    """Whether an identity belongs to a share, from 0 to 1; who belongs to a share belongs to every larger one.

    Args:
        identity: what must always be decided the same way.
        share: the part of all identities that belongs.
        purpose: shares of different purposes, up to 16 bytes, are independent of each other.
    """
    digest = hashlib.blake2b(identity, digest_size=8, person=purpose).digest()
    return int.from_bytes(digest, "big") < share * _2_TO_64


def key_of(record: SourceRecord) -> bytes:
    """A record's key; its coordinates where it has none, which a replay finds again."""
    return record.key if record.key is not None else f"{record.partition}@{record.offset}".encode()
