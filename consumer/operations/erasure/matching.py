"""Which records of a topic are a customer's, and how that can be told."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from consumer.decode import decode
from consumer.errors import PoisonEvent
from consumer.normalise import clean_text
from consumer.payload import parse_object, without_schema_id
from consumer.records import SourceRecord

# A shorter id occurs anywhere by chance: it would report every other record.
MIN_MENTION_BYTES: Final = 4
# Beyond that, searching the bytes for all of them takes longer than decoding every record.
_MAX_NEEDLES: Final = 64


class Match(StrEnum):
    """How a record concerns a customer.

    OWN: its `customer_id` says so. KEY: it names no customer, and its key is the customer's id. MENTION: it cannot be
    decoded, and the id stands somewhere in its bytes.
    """

    OWN = "own"
    KEY = "key"
    MENTION = "mention"


@dataclass(frozen=True, slots=True, repr=False)
class Found:
    """A record that concerns customers, by their index. `event_id` is None where the record cannot be decoded."""

    customers: tuple[int, ...]
    match: Match
    event_id: UUID | None


class Matcher:
    """Finds the records of some customers. It decodes as the consumer does, and looks at bytes where that fails."""

    def __init__(self, customers: Sequence[Sequence[str]], topic_id: UUID) -> None:
        """Looks for all names of each customer."""
        self._topic_id = topic_id
        self._by_id = {name: index for index, names in enumerate(customers) for name in names}
        self._by_key = {name.encode(): index for name, index in self._by_id.items()}
        needles = sorted(self._by_key, key=len, reverse=True)
        self._anywhere = re.compile(b"|".join(map(re.escape, needles))) if len(needles) <= _MAX_NEEDLES else None

    def event(self, record: SourceRecord) -> Found | None:
        """Whom an event, or a dead letter's original record, concerns."""
        if not self._may_concern(record):
            return None
        try:
            decoded = decode(record, self._topic_id)
        except PoisonEvent:
            return self._undecodable(record)
        return self._found(decoded.event.customer_id, record.key, decoded.event.event_id)

    def result(self, value: bytes | None, key: bytes | None) -> Found | None:
        """Whom a record of the results topic concerns."""
        if not self._may_hold(value) and not self._may_hold(key):
            return None
        try:
            event = json.loads(value or b"null")["event"]
            return self._found(event["customer_id"], key, UUID(event["event_id"]))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None  # somebody else's record: `reconcile` names those

    def _found(self, customer_id: object, key: bytes | None, event_id: UUID | None) -> Found | None:
        if isinstance(customer_id, str):
            index = self._by_id.get(clean_text(customer_id))
            return None if index is None else Found((index,), Match.OWN, event_id)
        if key is not None and key in self._by_key:
            return Found((self._by_key[key],), Match.KEY, event_id)
        return None

    def _undecodable(self, record: SourceRecord) -> Found | None:
        found = self._found(_customer_named_by(record.value), record.key, None)
        if found is not None:
            return found
        parts = (record.key, record.value, *(value for _, value in record.headers))
        mentioned = {
            index
            for needle, index in self._by_key.items()
            if len(needle) >= MIN_MENTION_BYTES and any(needle in part for part in parts if part)
        }
        return Found(tuple(sorted(mentioned)), Match.MENTION, None) if mentioned else None

    def _may_concern(self, record: SourceRecord) -> bool:
        return any(map(self._may_hold, (record.key, record.value, *(value for _, value in record.headers))))

    def _may_hold(self, part: bytes | None) -> bool:
        """Whether an id may stand there: as it is, or behind an escape of JSON, or as a CloudEvent's Base64."""
        if part is None:
            return False
        return self._anywhere is None or b"\\" in part or b"base64" in part or self._anywhere.search(part) is not None


def _customer_named_by(value: bytes | None) -> object:
    """The customer of an event that is refused for another of its fields; None where there is no telling."""
    try:
        parsed: Any = parse_object(without_schema_id(value), set())
    except PoisonEvent:
        return None
    data = parsed.get("data")
    # A CloudEvent in structured mode has it there.
    named = data["customer_id"] if isinstance(data, dict) and "customer_id" in data else parsed.get("customer_id")
    # A number is one of the reasons to refuse an event.
    return str(named) if isinstance(named, int) else named
