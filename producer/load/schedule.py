"""When each event of a run is due, and ids that tell their place in the schedule."""

from dataclasses import dataclass
from typing import Final, Self
from uuid import UUID

from schemas.ids import uuid7

MAX_EVENTS: Final = 10_000_000
"""Three numbers of eight bytes are kept for each event: 240 MB at most, 700 MB while they are sorted at the end."""

_INDEX_BITS: Final = 32
_INDEX_MASK: Final = (1 << _INDEX_BITS) - 1


@dataclass(frozen=True, slots=True)
class Schedule:
    """Event `index` is due `index / rate_per_s` seconds after the start, whatever became of those before.

    A generator that waits for slow answers sends less just when the system is slow, and leaves out what users would
    have met: coordinated omission (Gil Tene; his wrk2 is the model here). So latency counts from the due time.
    """

    rate_per_s: float
    duration_s: float

    @property
    def events(self) -> int:
        """How many events the run has; at least one."""
        return max(1, round(self.rate_per_s * self.duration_s))

    def due_s(self, index: int) -> float:
        """Seconds from the start of the run."""
        return index / self.rate_per_s


class RunIds:
    """UUIDv7 ids of one run: 42 random bits tell runs apart, the last 32 bits hold the event's index.

    So a result finds its due time without a table of millions of ids (RFC 9562, section 6.2, allows a counter there).
    """

    def __init__(self, base: int) -> None:
        self._base = base & ~_INDEX_MASK

    @classmethod
    def fresh(cls) -> Self:
        """Ids that no other run has."""
        return cls(uuid7().int)

    def make(self, index: int) -> UUID:
        """The id of event `index`."""
        return UUID(int=self._base | index)

    def index_of(self, event_id: UUID) -> int | None:
        """The index of one of this run's ids, None for any other."""
        index = event_id.int ^ self._base
        return index if index <= _INDEX_MASK else None

    @property
    def run_id(self) -> str:
        """The name of the run, in the metadata of each of its events."""
        return UUID(int=self._base).hex[:24]
