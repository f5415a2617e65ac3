"""Where a reader stands in each partition: what it handed out, what is settled, what is committed."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(slots=True)
class _Partition:
    """Offsets are next offsets: one after the last record they speak of."""

    examined: int
    settled: int
    committed: int
    handed_out: int = 0


class Positions:
    """Positions of the partitions that are assigned now.

    A record is settled when the caller says that it is processed, or when the filter left it out and nothing that was
    handed out before it is still open: only what is settled is ever committed.
    """

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}

    def __contains__(self, partition: int) -> bool:
        return partition in self._partitions

    @property
    def examined(self) -> dict[int, int]:
        """For each partition, the next offset after what was handed out or left out."""
        return {number: partition.examined for number, partition in sorted(self._partitions.items())}

    @property
    def uncommitted(self) -> dict[int, int]:
        """The next offsets to commit, for partitions where they moved on since the last commit."""
        return {
            number: partition.settled
            for number, partition in sorted(self._partitions.items())
            if partition.settled > partition.committed
        }

    def add(self, number: int, next_offset: int) -> None:
        """A partition is read from here on."""
        self._partitions[number] = _Partition(next_offset, next_offset, next_offset)

    def remove(self, numbers: Collection[int]) -> None:
        """Partitions went away."""
        for number in numbers:
            self._partitions.pop(number, None)

    def hand_out(self, number: int, offset: int) -> None:
        """A record goes to the caller."""
        partition = self._partitions[number]
        partition.examined = partition.handed_out = offset + 1

    def leave_out(self, number: int, offset: int) -> None:
        """A record is not wanted."""
        partition = self._partitions[number]
        partition.examined = offset + 1
        if partition.settled >= partition.handed_out:
            partition.settled = partition.examined

    def settle(self, number: int, next_offset: int) -> None:
        """The caller has processed everything before `next_offset`. Partitions that went away are passed over."""
        partition = self._partitions.get(number)
        if partition is None:
            return
        # What was left out behind the last record that was handed out is settled with it.
        is_last = next_offset >= partition.handed_out
        partition.settled = max(partition.settled, partition.examined if is_last else next_offset)

    def settle_all(self) -> None:
        """The caller has processed everything that it was handed."""
        for partition in self._partitions.values():
            partition.settled = partition.examined

    def commit(self, next_offsets: dict[int, int]) -> None:
        """Kafka has stored these."""
        for number, next_offset in next_offsets.items():
            if number in self._partitions:
                self._partitions[number].committed = next_offset
