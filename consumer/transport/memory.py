"""Kafka's behaviour as far as the engine sees it, in memory: partitions, a group, transactions, fencing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from consumer.errors import FatalError
from consumer.records import Headers, OutboundRecord, SourceRecord
from consumer.transport.base import AssignmentListener, TransactionAbortedError


@dataclass
class InMemoryBroker:
    """The logs, the committed offsets and the members of one group on one events topic."""

    partitions: int = 1
    committed: dict[int, int] = field(default_factory=dict)
    produced: list[OutboundRecord] = field(default_factory=list)
    _log: dict[int, list[SourceRecord]] = field(default_factory=dict)
    _members: "list[InMemoryTransport]" = field(default_factory=list)
    _epoch: int = 0

    def append(
        self, value: bytes | None, *, partition: int = 0, key: bytes | None = None, headers: Headers = ()
    ) -> int:
        """Publish a record; returns its offset. Its timestamp is a constant: one minute into 2026."""
        log = self._log.setdefault(partition, [])
        log.append(SourceRecord(partition, len(log), 1_767_225_660_000, key, value, headers, epoch=0))
        return len(log) - 1

    def read(self, partition: int, start: int) -> list[SourceRecord]:
        """The records of a partition from an offset on."""
        return self._log.get(partition, [])[start:]

    def join(self, member: "InMemoryTransport") -> None:
        """Add a member; the partitions are dealt anew at each member's next poll."""
        self._members.append(member)

    def leave(self, member: "InMemoryTransport") -> None:
        """Remove a member; its partitions go to the others at their next poll."""
        self._members = [other for other in self._members if other is not member]

    def share_of(self, member: "InMemoryTransport") -> set[int]:
        """The partitions that the group means this member to have."""
        if member not in self._members:
            return set()
        position = self._members.index(member)
        return {number for number in range(self.partitions) if number % len(self._members) == position}

    def is_held_by_another(self, partition: int, member: "InMemoryTransport") -> bool:
        """Whether another member has not given the partition up yet."""
        return any(partition in other.assignment for other in self._members if other is not member)

    def fence(self, transactional_id: str, newcomer: "InMemoryTransport") -> None:
        """A newcomer with the same identity ends the transactions of those before it for good."""
        for member in self._members:
            if member.transactional_id == transactional_id and member is not newcomer:
                member.is_fenced = True

    def next_epoch(self) -> int:
        """A number that no assignment had before."""
        self._epoch += 1
        return self._epoch


class InMemoryTransport:
    """One member of an `InMemoryBroker`'s group."""

    def __init__(self, broker: InMemoryBroker, transactional_id: str = "0") -> None:
        self.transactional_id = transactional_id
        self.is_fenced = False
        self._broker = broker
        self._listener: AssignmentListener | None = None
        self._assignment: dict[int, int] = {}
        self._position: dict[int, int] = {}
        self._paused = False
        self._joined = False
        self._outputs: list[OutboundRecord] | None = None
        self._offsets: dict[int, int] = {}

    @property
    def assignment(self) -> Mapping[int, int]:
        """See `Transport`."""
        return self._assignment

    @property
    def is_joined(self) -> bool:
        """See `Transport`."""
        return self._joined

    def start(self, listener: AssignmentListener) -> None:
        """See `Transport`."""
        self._listener = listener
        self._broker.fence(self.transactional_id, self)
        self._broker.join(self)

    def poll(self, max_records: int, timeout_s: float) -> list[SourceRecord]:  # noqa: ARG002 (nothing to wait for)
        """See `Transport`. Never waits."""
        self._rebalance()
        if self._paused:
            return []
        polled: list[SourceRecord] = []
        for partition, epoch in sorted(self._assignment.items()):
            records = self._broker.read(partition, self._position[partition])[: max_records - len(polled)]
            self._position[partition] += len(records)
            polled += (_stamped(record, epoch) for record in records)
        return polled

    def pause(self) -> None:
        """See `Transport`."""
        self._paused = True

    def resume(self) -> None:
        """See `Transport`."""
        self._paused = False

    def begin(self) -> None:
        """See `Transport`."""
        self._outputs = []
        self._offsets = {}

    def produce(self, record: OutboundRecord) -> None:
        """See `Transport`."""
        self._open_transaction().append(record)

    def send_offsets(self, next_offsets: Mapping[int, int]) -> None:
        """See `Transport`."""
        self._open_transaction()
        self._offsets.update(next_offsets)

    def commit(self) -> None:
        """See `Transport`."""
        outputs = self._open_transaction()
        if self not in self._broker._members:  # noqa: SLF001 (the broker's other half)
            self._outputs = None
            raise TransactionAbortedError("this member left the group")
        self._broker.produced += outputs
        self._broker.committed.update(self._offsets)
        self._outputs = None

    def rewind(self) -> None:
        """See `Transport`."""
        for partition in self._assignment:
            self._position[partition] = self._broker.committed.get(partition, 0)

    def beginnings(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """See `Transport`."""
        return dict.fromkeys(partitions, 0)

    def lag(self) -> Mapping[int, int]:
        """See `Transport`."""
        return {number: len(self._broker.read(number, self._position[number])) for number in self._assignment}

    def close(self) -> None:
        """See `Transport`."""
        if self._assignment and self._listener is not None:
            self._listener.on_revoked(sorted(self._assignment))
        self._assignment.clear()
        self._broker.leave(self)

    def lose_everything(self) -> None:
        """What happens to a member that stopped polling for too long: its partitions are gone without a word."""
        lost = sorted(self._assignment)
        self._assignment.clear()
        if self._listener is not None:
            self._listener.on_lost(lost)

    def _open_transaction(self) -> list[OutboundRecord]:
        if self.is_fenced:
            raise FatalError("another process took over this transactional.id; give each replica its own replica_id")
        if self._outputs is None:
            raise RuntimeError("no transaction is open")
        return self._outputs

    def _rebalance(self) -> None:
        if self._listener is None:
            raise RuntimeError("not started")
        self._joined = True
        share = self._broker.share_of(self)
        revoked = sorted(set(self._assignment) - share)
        if revoked:
            self._listener.on_revoked(revoked)
            self._drop(revoked)
        added = sorted(
            number for number in share - set(self._assignment) if not self._broker.is_held_by_another(number, self)
        )
        if added:
            starts = self._listener.on_assigned({number: self._broker.committed.get(number) for number in added})
            for number in added:
                self._assignment[number] = self._broker.next_epoch()
                self._position[number] = starts[number] or 0

    def _drop(self, partitions: Sequence[int]) -> None:
        for number in partitions:
            del self._assignment[number]


def _stamped(record: SourceRecord, epoch: int) -> SourceRecord:
    return SourceRecord(
        record.partition, record.offset, record.timestamp_ms, record.key, record.value, record.headers, epoch
    )
