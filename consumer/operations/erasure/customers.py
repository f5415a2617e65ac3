"""Whom to erase: ids as they are typed or piped in, and the fingerprint that may stay of each."""

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from consumer.normalise import clean_text
from schemas.event import MAX_REFERENCE_CHARS

_MIN_KEY_BYTES: Final = 16


class UnusableInputError(ValueError):
    """An id or a key that makes no sense. The message says where it stands, and never what it is."""


def read_ids(lines: Iterable[bytes], source: str) -> tuple[str, ...]:
    """Customers' ids, one a line, each once and in their order; blank lines are passed over.

    Raises:
        UnusableInputError: a line is no id, or there is none.
    """
    ids: dict[str, None] = {}
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise UnusableInputError(f"{source}, line {number}: an id is UTF-8 text") from None
        if not text.strip():
            continue
        if len(text) > MAX_REFERENCE_CHARS:
            raise UnusableInputError(f"{source}, line {number}: an id has at most {MAX_REFERENCE_CHARS} characters")
        # As the consumer stores it.
        ids[clean_text(text)] = None
    if not ids:
        raise UnusableInputError(f"{source} holds no customer's id: write one a line")
    return tuple(ids)


def read_key(path: Path) -> bytes:
    """The key of fingerprints: the bytes of a file, white space around them left out.

    Raises:
        UnusableInputError: it cannot be read, or is too short to keep anything secret.
    """
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise UnusableInputError(f"{path}: {error.strerror}") from None
    if len(key) < _MIN_KEY_BYTES:
        raise UnusableInputError(f"{path}: a key has at least {_MIN_KEY_BYTES} bytes, such as `openssl rand -hex 32`")
    return key


def fingerprint(customer_id: str, key: bytes) -> bytes:
    """HMAC-SHA256 of an id (RFC 2104). Customers' ids can be enumerated: without a key, a hash would hide nothing."""
    return hmac.new(key, customer_id.encode(), hashlib.sha256).digest()
