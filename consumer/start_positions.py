"""Where a partition starts, and whether the committed offset and the ledger tell the same story about it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from consumer.errors import FatalError

_GO_ON = "if that is what you want, start once with --accept-offset-mismatch"


class RecordedOffsets(Protocol):
    """What the ledger holds of a partition; see `consumer.sinks.ledger.Ledger`."""

    def next_offsets(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """The offset after the highest recorded one, for each partition that has any."""
        ...

    def count_from(self, partition: int, offset: int, limit_records: int) -> int:
        """How many records at or above `offset` are recorded, counted up to `limit_records`."""
        ...


class StartPositions:
    """Compares the committed offset of each new partition with the ledger before its first record is prepared.

    A commit always follows its ledger entries, and a partition's very first offset is committed before anything is
    recorded of it. So a committed offset beyond the ledger means that the database lost rows; none at all, while the
    ledger has entries, that the group's offsets were deleted or the group renamed; and one that lies further behind
    than a crash can leave it (the windows in flight), that somebody reset the group.
    """

    def __init__(self, recorded: RecordedOffsets, *, in_flight_records: int, accept_mismatch: bool) -> None:
        self._recorded = recorded
        self._in_flight_records = in_flight_records
        self._accept_mismatch = accept_mismatch
        self._unchecked: dict[int, int | None] = {}
        self._recorded_up_to: dict[int, int] = {}
        self._in_doubt = False

    def add(self, committed: Mapping[int, int | None]) -> None:
        """Partitions were assigned, with these committed next offsets."""
        self._unchecked.update(committed)

    def remove(self, partitions: Sequence[int]) -> None:
        """Partitions went away."""
        for partition in partitions:
            self._unchecked.pop(partition, None)
            self._recorded_up_to.pop(partition, None)

    @property
    def unchecked(self) -> list[int]:
        """The partitions that were assigned and not checked yet."""
        return sorted(self._unchecked)

    def check(self, beginnings: Mapping[int, int]) -> dict[int, int]:
        """Check the unchecked partitions, whose first offsets still in the topic are `beginnings`.

        Returns:
            The partitions that have no committed offset yet, with the one to commit before anything else.

        Raises:
            TransientError: the ledger cannot be read; call again.
            FatalError: offsets and ledger disagree, and no flag said to go on.
        """
        if not self._accept_mismatch:
            recorded = self._recorded.next_offsets(self.unchecked)
            for partition, committed in sorted(self._unchecked.items()):
                self._compare(partition, committed, recorded.get(partition), beginnings[partition])
        return {
            partition: beginnings[partition] for partition, committed in self._unchecked.items() if committed is None
        }

    def accepted(self) -> None:
        """What was checked is taken up."""
        self._unchecked.clear()

    def advanced(self, next_offsets: Mapping[int, int]) -> None:
        """These offsets were committed, after the ledger held everything before them."""
        self._recorded_up_to.update(next_offsets)

    def doubt(self) -> None:
        """Something failed: the database that answers next may be another one."""
        self._in_doubt = True

    def recheck(self) -> None:
        """After a doubt, before anything is recorded: does the ledger still hold what was committed last?

        Later entries would hide the gap, from the next start too.

        Raises:
            TransientError: the ledger cannot be read; call again.
            FatalError: it lost entries, and no flag said to go on.
        """
        if not self._in_doubt:
            return
        if not self._accept_mismatch:
            for partition, next_offset in sorted(self._recorded_up_to.items()):
                if not self._recorded.count_from(partition, next_offset - 1, 1):
                    raise FatalError(
                        f"partition {partition}: the ledger no longer holds the record before offset {next_offset}: "
                        f"the database lost rows (a failover to a copy that was behind?); {_GO_ON}"
                    )
        self._in_doubt = False

    def _compare(self, partition: int, committed: int | None, recorded: int | None, beginning: int) -> None:
        if committed is None:
            if recorded is not None:
                raise FatalError(
                    f"partition {partition}: the group has no committed offset, but the ledger holds records up to "
                    f"{recorded}: the group's offsets were deleted, or it was renamed; {_GO_ON}"
                )
        elif committed > (beginning if recorded is None else recorded):
            raise FatalError(
                f"partition {partition}: the committed offset {committed} lies beyond the ledger's {recorded or 0}: "
                f"the database lost rows (a restored backup, another DATABASE_URL?); {_GO_ON}"
            )
        elif recorded is not None and recorded > committed:
            ahead = self._recorded.count_from(partition, committed, self._in_flight_records + 1)
            if ahead > self._in_flight_records:
                raise FatalError(
                    f"partition {partition}: the committed offset {committed} lies behind the ledger's {recorded}: "
                    f"somebody reset the group's offsets, and their results would go out again; {_GO_ON}"
                )
