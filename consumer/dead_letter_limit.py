"""Fail closed: too many dead letters mean that something is misconfigured, not that the world went mad."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from consumer.errors import TransientError
from consumer.outcomes import Proposal

# Below this many records a share says nothing.
_MIN_RECORDS = 200
_HISTORY_RECORDS = 1_000


class DeadLetterLimitError(TransientError):
    """A window would break the limits. Nothing of it was written; it waits for an operator."""


class History(Protocol):
    """Recent outcomes, as the ledger has them: they survive a restart and follow the partition."""

    def recent(self, partition: int, before_offset: int, limit_records: int) -> list[bool]:
        """Whether each of the last records below `before_offset` was a dead letter, newest first."""
        ...

    def is_accepted(self) -> bool:
        """Whether an operator said that the dead letters are expected."""
        ...


@dataclass(frozen=True, slots=True)
class DeadLetterLimit:
    """At most `max_run` dead letters in a row, and at most `max_share` of the last thousand, in one partition.

    After Arroyo's `DlqLimit`. Conflicts and duplicates do not count: they say nothing about this consumer's health.
    """

    max_share: float
    max_run: int
    history: History

    def judge(self, proposals: Sequence[Proposal]) -> None:
        """Judge a whole window before anything of it is written: an acknowledged dead letter cannot be taken back.

        Raises:
            DeadLetterLimitError: the limits are broken and no acceptance is in force.
            TransientError, FatalError: the history cannot be read.
        """
        by_partition: dict[int, list[Proposal]] = {}
        for proposal in proposals:
            by_partition.setdefault(proposal.coordinates.partition, []).append(proposal)
        for partition, members in by_partition.items():
            if any(proposal.failure is not None for proposal in members) and self._is_broken(partition, members):
                if self.history.is_accepted():
                    return
                raise DeadLetterLimitError(
                    f"partition {partition}: more than {self.max_run} dead letters in a row or "
                    f"{self.max_share:.0%} of them; look at the events, then `python -m consumer dlq accept`"
                )

    def _is_broken(self, partition: int, members: Sequence[Proposal]) -> bool:
        members = sorted(members, key=lambda proposal: proposal.coordinates.offset)
        newest_first = self.history.recent(partition, members[0].coordinates.offset, _HISTORY_RECORDS)
        outcomes = [*reversed(newest_first), *(proposal.failure is not None for proposal in members)]
        outcomes = outcomes[-_HISTORY_RECORDS:]
        run = longest = 0
        for is_dead_letter in outcomes:
            run = run + 1 if is_dead_letter else 0
            longest = max(longest, run)
        share = sum(outcomes) / len(outcomes)
        return longest > self.max_run or (len(outcomes) >= _MIN_RECORDS and share > self.max_share)
