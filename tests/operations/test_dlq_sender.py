"""A transaction of a replay that fails is tried again, and one whose answer was lost is not."""

from collections.abc import Mapping, Sequence

import pytest

from consumer.operations.dead_letters.replay import Sender
from consumer.records import OutboundRecord
from consumer.transport.base import TransactionAbortedError
from consumer.transport.kafka_errors import Availability

RECORDS = [OutboundRecord("events", b"k", f"{number}".encode(), ()) for number in range(3)]


class Cluster:
    """A producer and a reader of one cluster, which loses what `faults` name: a transaction, or a commit's answer."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        self.visible: list[OutboundRecord] = []
        self.position: dict[int, int] = {}
        self.initialised = 0

    def initialise(self) -> None:
        self.initialised += 1

    def begin(self) -> None:
        self.pending: list[OutboundRecord] = []

    def produce(self, record: OutboundRecord) -> None:
        self.pending.append(record)

    def send_offsets(self, _topic: str, next_offsets: Mapping[int, int], _metadata: object) -> None:
        self.pending_position = dict(next_offsets)

    def commit(self) -> None:
        fault = self.faults.pop(0) if self.faults else None
        if fault != "transaction":
            self.visible += self.pending
            self.position |= self.pending_position
        if fault is not None:
            raise TransactionAbortedError(fault)

    def committed(self, _numbers: Mapping[int, int]) -> dict[int, int]:
        return self.position

    def group_metadata(self) -> object:
        return None


@pytest.mark.parametrize("faults", [[], ["transaction"], ["answer"], ["transaction", "transaction", "answer"]])
def test_records_go_out_once(faults: list[str]) -> None:
    cluster = Cluster(faults)
    sender = Sender(cluster, cluster, "dead letters", Availability(1, lambda: None))  # type: ignore[arg-type]
    sender.send(RECORDS, {0: 7, 1: 9})
    assert cluster.visible == RECORDS
    assert cluster.position == {0: 7, 1: 9}
    assert cluster.initialised == len(faults)


def test_a_cluster_that_aborts_for_ever_ends_the_command() -> None:
    cluster = Cluster(["transaction"] * 99)
    sender = Sender(cluster, cluster, "dead letters", Availability(1, lambda: None))  # type: ignore[arg-type]
    with pytest.raises(TransactionAbortedError):
        sender.send(RECORDS, {0: 7})
    assert cluster.visible == []
