"""What was published, what is expected of it, and what a reader sees."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from schemas.ids import coordinates_id

Headers = tuple[tuple[str, bytes | None], ...]


class Ending(StrEnum):
    """How a record can end; the values are those of the ledger's `outcome`."""

    CLASSIFIED = "classified"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    DEAD_LETTER = "dead_letter"


class Coordinates(NamedTuple):
    """Where a record lies in the events topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}@{self.offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """How a record may end.

    Attributes:
        endings: more than one where the contract leaves it open, such as which of two copies comes first.
        event_id: None where the record carries none; the id then follows from the coordinates.
        error_class: of its dead letter; None where any will do.
        flags: that its result must carry.
    """

    endings: frozenset[Ending]
    event_id: UUID | None = None
    error_class: str | None = None
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRecord:
    """A record that Kafka acknowledged, with the bytes that were sent."""

    coordinates: Coordinates
    key: bytes | None
    value: bytes | None
    headers: Headers
    expectation: Expectation

    def event_id(self, topic_id: UUID) -> UUID:
        """The id under which it must appear if it is classified."""
        return self.expectation.event_id or coordinates_id(topic_id, *self.coordinates)


@dataclass(frozen=True, slots=True, kw_only=True)
class VisibleRecord:
    """A record as a read_committed reader sees it. `observed_s` is the reader's monotonic clock."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    observed_s: float

    def header(self, name: str) -> str | None:
        """The last header of that name as text; None where there is none."""
        value = next((value for key, value in reversed(self.headers) if key == name), None)
        return None if value is None else value.decode("utf-8", "replace")
