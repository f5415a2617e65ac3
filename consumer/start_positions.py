"""Where a partition starts, and whether the committed offset and the ledger tell the same story about it."""

from collections.abc import Callable, Mapping, Sequence

from consumer.errors import FatalError

# A crash leaves the ledger ahead by the windows in flight; more than this many records is no crash.
_FAR_BEHIND_RECORDS = 20_000


class StartPositions:
    """Compares the committed offset of each new partition with the ledger before its first record is prepared.

    A commit always follows its ledger entries. So a committed offset beyond the ledger means that the database lost
    rows, and one far behind it, or none at all, that somebody reset the group.
    """

    def __init__(self, next_recorded: Callable[[Sequence[int]], Mapping[int, int]], *, accept_mismatch: bool) -> None:
        self._next_recorded = next_recorded
        self._accept_mismatch = accept_mismatch
        self._unchecked: dict[int, int | None] = {}

    def add(self, committed: Mapping[int, int | None]) -> None:
        """Partitions were assigned, with these committed next offsets."""
        self._unchecked.update(committed)

    def remove(self, partitions: Sequence[int]) -> None:
        """Partitions went away."""
        for partition in partitions:
            self._unchecked.pop(partition, None)

    def check(self) -> list[int]:
        """Check what was added since the last call, and return it.

        Raises:
            TransientError: the ledger cannot be read; call again.
            FatalError: offsets and ledger disagree, and no flag said to go on.
        """
        if not self._unchecked:
            return []
        recorded = self._next_recorded(list(self._unchecked))
        if not self._accept_mismatch:
            for partition, committed in sorted(self._unchecked.items()):
                _compare(partition, committed, recorded.get(partition, 0))
        checked = sorted(self._unchecked)
        self._unchecked.clear()
        return checked


def _compare(partition: int, committed: int | None, recorded: int) -> None:
    go_on = "if that is what you want, start once with --accept-offset-mismatch"
    if committed is None:
        if recorded > 0:
            raise FatalError(
                f"partition {partition}: the group has no committed offset, but the ledger holds records up to "
                f"{recorded}: the group's offsets were deleted or it was renamed; {go_on}"
            )
    elif committed > recorded:
        raise FatalError(
            f"partition {partition}: the committed offset {committed} lies beyond the ledger's {recorded}: the "
            f"database lost rows (a restored backup, another DATABASE_URL?); {go_on}"
        )
    elif committed < recorded - _FAR_BEHIND_RECORDS:
        raise FatalError(
            f"partition {partition}: the committed offset {committed} lies far behind the ledger's {recorded}: "
            f"somebody reset the group's offsets; {go_on}"
        )
