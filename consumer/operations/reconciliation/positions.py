"""Where each partition stands: what the group committed, what the ledger recorded, and which records can be judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, func, select

from consumer.operations.reconciliation.cluster import Cluster
from consumer.operations.reconciliation.findings import Kind
from consumer.operations.reconciliation.reading import Span
from schemas.tables import record_outcomes

CLOCK_SKEW: Final = timedelta(minutes=10)
"""How far the clocks of consumers and database may lie apart: the ledger's times bound where outputs can be."""


class UnusableRangeError(ValueError):
    """The range that was asked for makes no sense for this topic; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedRange:
    """What an operator asked for; None stands for everything. `to_offset` and `until` are the first left out."""

    partitions: tuple[int, ...] | None = None
    from_offset: int | None = None
    to_offset: int | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class PartitionPosition:
    """One partition at the start of a run.

    `beginning` and `end` are the topic's, `committed` the group's next offset and `recorded` the ledger's; None where
    there is none. `kind` says how committed and recorded disagree, if they do.
    """

    partition: int
    beginning: int
    end: int
    committed: int | None
    recorded: int | None
    kind: Kind | None

    @property
    def judged_until(self) -> int:
        """Records from here on may be in flight.

        Everything below a committed offset is done: its verdicts, and its outputs, were durable before. Where the
        group's offset is not to be trusted, all that the ledger holds can be judged: no consumer starts there.
        """
        if self.kind in {Kind.OFFSET_MISSING, Kind.OFFSET_BEHIND}:
            return min(self.recorded or 0, self.end)
        return min(self.committed or 0, self.end)


def find_positions(
    cluster: Cluster,
    connection: Connection,
    *,
    topic: str,
    topic_id: UUID,
    partitions: Sequence[int] | None,
    in_flight_records: int,
) -> list[PartitionPosition]:
    """Ask the cluster and the ledger, in an order that a running consumer cannot make a disagreement of.

    The ledger runs ahead of the committed offsets and never behind them. So offsets that were committed before the
    ledger is read must not lie beyond it, and those committed after that not far behind it.

    Raises:
        UnusableRangeError: the topic has no such partition.
        TransientError: the cluster does not answer.
    """
    present = cluster.partitions(topic)
    wanted = present if partitions is None else sorted(set(partitions))
    if unknown := sorted(set(wanted) - set(present)):
        raise UnusableRangeError(f"{topic} has no partition {unknown[0]}: it has 0 to {present[-1]}")
    before = cluster.committed(topic, wanted)
    recorded = _next_offsets(connection, topic_id, wanted)
    after = cluster.committed(topic, wanted)
    beginnings, ends = cluster.beginnings(topic), cluster.ends(topic)
    found = []
    for partition in wanted:
        committed, next_recorded = before[partition], recorded.get(partition)
        kind: Kind | None = None
        if committed is not None and committed > min(next_recorded or beginnings[partition], ends[partition]):
            kind = Kind.OFFSET_BEYOND
        elif next_recorded is not None:
            latest = after[partition]
            if latest is None:
                kind = Kind.OFFSET_MISSING
            elif _count_between(connection, topic_id, partition, latest, next_recorded) > in_flight_records:
                kind = Kind.OFFSET_BEHIND
        found.append(
            PartitionPosition(partition, beginnings[partition], ends[partition], committed, next_recorded, kind)
        )
    return found


def resolve(
    requested: RequestedRange, positions: Sequence[PartitionPosition], cluster: Cluster, topic: str
) -> dict[int, Span]:
    """The offsets to judge, by partition; an empty range is left out.

    Raises:
        TransientError: the cluster does not answer.
    """
    first = {position.partition: position.beginning for position in positions}
    last = {position.partition: position.judged_until for position in positions}
    if requested.since is not None:
        first = cluster.at_time(topic, requested.since)
    if requested.until is not None:
        last = cluster.at_time(topic, requested.until)
    spans = {}
    for position in positions:
        start = first[position.partition] if requested.from_offset is None else requested.from_offset
        stop = last[position.partition] if requested.to_offset is None else requested.to_offset
        stop = min(stop, position.judged_until)
        if start < stop:
            spans[position.partition] = Span(start, stop)
    return spans


def without_deleted_verdicts(
    connection: Connection, topic_id: UUID, positions: Sequence[PartitionPosition], spans: dict[int, Span]
) -> tuple[dict[int, Span], int]:
    """The spans without the offsets whose verdicts retention has deleted, and how many offsets that are.

    It deletes from a partition's first verdict on, and only where the record is gone from the topic.
    """
    kept, left_out = {}, 0
    beginnings = {position.partition: position.beginning for position in positions}
    with connection.begin():
        for partition, span in spans.items():
            first_verdict = connection.scalar(
                select(func.min(record_outcomes.c.source_offset)).where(
                    record_outcomes.c.source_topic_id == topic_id, record_outcomes.c.source_partition == partition
                )
            )
            deleted_until = min(first_verdict or 0, beginnings[partition])
            first = min(max(span.first, deleted_until), span.next_offset)
            left_out += first - span.first
            if first < span.next_offset:
                kept[partition] = Span(first, span.next_offset)
    return kept, left_out


def outputs_not_before(connection: Connection, topic_id: UUID, spans: dict[int, Span]) -> datetime | None:
    """A time before which no output of these records can have been written; None where nothing is known.

    A partition's records are recorded in their order, and their outputs follow: nothing of the range was written
    before the record in front of it was recorded. Erased ones may have been recorded at any time.
    """
    times = []
    with connection.begin():
        for partition, span in spans.items():
            in_front = (
                select(record_outcomes.c.recorded_at)
                .where(
                    record_outcomes.c.source_topic_id == topic_id,
                    record_outcomes.c.source_partition == partition,
                    record_outcomes.c.source_offset < span.first,
                    record_outcomes.c.outcome != "erased",
                )
                .order_by(record_outcomes.c.source_offset.desc())
                .limit(1)
            )
            times.append(connection.scalar(in_front))
    known = [at for at in times if at is not None]
    return min(known) - CLOCK_SKEW if known and len(known) == len(times) else None


def _next_offsets(connection: Connection, topic_id: UUID, partitions: Sequence[int]) -> dict[int, int]:
    highest = (
        select(record_outcomes.c.source_partition, func.max(record_outcomes.c.source_offset))
        .where(record_outcomes.c.source_topic_id == topic_id, record_outcomes.c.source_partition.in_(partitions))
        .group_by(record_outcomes.c.source_partition)
    )
    with connection.begin():
        return {partition: offset + 1 for partition, offset in connection.execute(highest)}


def _count_between(connection: Connection, topic_id: UUID, partition: int, first: int, next_offset: int) -> int:
    recorded = select(func.count()).where(
        record_outcomes.c.source_topic_id == topic_id,
        record_outcomes.c.source_partition == partition,
        record_outcomes.c.source_offset >= first,
        record_outcomes.c.source_offset < next_offset,
    )
    with connection.begin():
        return connection.scalar(recorded) or 0
