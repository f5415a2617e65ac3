"""What topics hold of a customer: how many records, where, and how old."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from consumer.operations.erasure.matching import Match
from consumer.outcomes import Coordinates

_MAX_NAMED: Final = 100


@dataclass(slots=True)
class PartitionHolding:
    """Records of a customer in one partition: from `first_offset` to `last_offset`, not all between are theirs."""

    records: int
    first_offset: int
    last_offset: int
    oldest: datetime
    newest: datetime

    def add(self, offset: int, at: datetime) -> None:
        """One more."""
        self.records += 1
        self.first_offset, self.last_offset = min(self.first_offset, offset), max(self.last_offset, offset)
        self.oldest, self.newest = min(self.oldest, at), max(self.newest, at)


@dataclass(slots=True)
class Holding:
    """A customer's records in one topic, matched in one way. `named` are the coordinates of the first ones."""

    partitions: dict[int, PartitionHolding] = field(default_factory=dict)
    named: list[Coordinates] = field(default_factory=list)

    def add(self, at: Coordinates, timestamp_ms: int) -> None:
        """Take note of a record."""
        moment = datetime.fromtimestamp(max(0, timestamp_ms) / 1000, UTC)
        found = self.partitions.get(at.partition)
        if found is None:
            self.partitions[at.partition] = PartitionHolding(1, at.offset, at.offset, moment, moment)
        else:
            found.add(at.offset, moment)
        if len(self.named) < _MAX_NAMED:
            self.named.append(at)

    @property
    def records(self) -> int:
        """How many."""
        return sum(partition.records for partition in self.partitions.values())

    @property
    def newest(self) -> datetime:
        """The time of the newest one."""
        return max(partition.newest for partition in self.partitions.values())

    @property
    def oldest(self) -> datetime:
        """The time of the oldest one."""
        return min(partition.oldest for partition in self.partitions.values())


@dataclass(slots=True)
class Holdings:
    """A customer's records in all topics."""

    _by_topic: dict[tuple[str, Match], Holding] = field(default_factory=dict)

    def add(self, topic: str, match: Match, at: Coordinates, timestamp_ms: int) -> None:
        """Take note of a record."""
        self._by_topic.setdefault((topic, match), Holding()).add(at, timestamp_ms)

    def matched(self, *matches: Match) -> Mapping[tuple[str, Match], Holding]:
        """Those that were matched in one of these ways, by topic."""
        return {place: holding for place, holding in self._by_topic.items() if place[1] in matches}
