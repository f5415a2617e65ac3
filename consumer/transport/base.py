"""What the engine asks of a transport. `tests/transport` holds every implementation to this contract."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from consumer.errors import TransientError
from consumer.records import OutboundRecord, SourceRecord


class TransactionAbortedError(TransientError):
    """The open transaction is over: as a rule aborted, or, where a commit's answer was lost, settled by `rewind`.

    The caller drops every record that it holds and calls `Transport.rewind`, which reads from what is committed.
    """


class AssignmentListener(Protocol):
    """Told of partitions as they come and go, inside `Transport.poll` and `Transport.close`."""

    def on_assigned(self, committed: Mapping[int, int | None]) -> Mapping[int, int | None]:
        """Partitions are about to be read.

        Args:
            committed: each new partition with the group's committed next offset; None where there is none.

        Returns:
            Where to start each of them; None for its beginning.

        Raises:
            FatalError: an operator must decide first.
        """
        ...

    def on_revoked(self, partitions: Sequence[int]) -> None:
        """Partitions will be somebody else's when this returns: last chance to commit what was read from them."""
        ...

    def on_lost(self, partitions: Sequence[int]) -> None:
        """Partitions are somebody else's already: what was read from them must not be committed."""
        ...


class Transport(Protocol):
    """One consumer-group member with a transactional producer. All calls come from one thread."""

    @property
    def assignment(self) -> Mapping[int, int]:
        """The partitions assigned now, each with its epoch: a number that no other assignment of it had."""
        ...

    @property
    def is_joined(self) -> bool:
        """Whether the group ever gave this member an assignment, be it of no partitions."""
        ...

    def start(self, listener: AssignmentListener) -> None:
        """Resolve what an earlier process of this identity left open, and join the group.

        Raises:
            FatalError: the cluster refuses, or stayed away for longer than the outage budget.
        """
        ...

    def poll(self, max_records: int, timeout_s: float) -> list[SourceRecord]:
        """Records of partitions assigned now, in offset order for each; waits for the first at most `timeout_s`.

        Raises:
            TransientError: the cluster is away; poll again.
            FatalError: going on would lose records, or the outage budget is spent.
        """
        ...

    def pause(self) -> None:
        """Deliver no records until `resume`, also of partitions assigned meanwhile. Polling must go on."""
        ...

    def resume(self) -> None:
        """Undo `pause`. Does nothing where nothing is paused."""
        ...

    def begin(self) -> None:
        """Begin a transaction, and the deadline under which it must commit."""
        ...

    def produce(self, record: OutboundRecord) -> None:
        """Add a record to the open transaction.

        Raises:
            TransactionAbortedError: the transaction failed and was aborted.
            FatalError: this process was fenced or must restart.
        """
        ...

    def send_offsets(self, next_offsets: Mapping[int, int]) -> None:
        """Add the group's new committed offsets to the open transaction. Raises as `produce` does."""
        ...

    def commit(self) -> None:
        """Make the open transaction visible. Raises as `produce` does."""
        ...

    def rewind(self) -> None:
        """Read every assigned partition again from the group's committed offset.

        Raises:
            TransientError: the cluster is away; call again.
        """
        ...

    def beginnings(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """The offset of the oldest record that each partition still holds, or would hold next if it is empty.

        Raises:
            TransientError: the cluster is away; call again.
        """
        ...

    def lag(self) -> Mapping[int, int]:
        """Records between what was read and the end, for each assigned partition whose end is known."""
        ...

    def close(self) -> None:
        """Leave the group in good order; `on_revoked` is told of what was still assigned."""
        ...
