"""Deletes what is older than its limit, a few thousand rows at a time, so that nobody waits for it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Column, ColumnElement, Connection, Delete, Table, and_, delete, func, select, true

from consumer.operations.retention.horizons import advance_horizon
from consumer.operations.retention.limits import LEDGER, TableLimit
from schemas.tables import dead_letter_decisions, erased_events, feedback, labels, record_outcomes, shadow_comparisons

CHUNK_ROWS: Final = 2_000
# Small rows of a table that nobody waits for, without an index by time: fewer looks through all of it.
_UNINDEXED_CHUNK_ROWS: Final = 50_000
_MAX_PAUSE_S: Final = 1.0

_TIMES: Final[dict[str, tuple[Table, Column[datetime], int]]] = {
    "feedback": (feedback, feedback.c.stored_at, CHUNK_ROWS),
    "labels": (labels, labels.c.labelled_at, CHUNK_ROWS),
    "shadow_comparisons": (shadow_comparisons, shadow_comparisons.c.hour, _UNINDEXED_CHUNK_ROWS),
    "erased_events": (erased_events, erased_events.c.erased_at, _UNINDEXED_CHUNK_ROWS),
}


@dataclass(frozen=True, slots=True)
class Expired:
    """What is older than its table's limit. `oldest` is of the whole table; None where it is empty."""

    rows: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class Retention:
    """Counts and deletes. Each chunk is a transaction of its own, and what was interrupted is simply run again.

    Attributes:
        topic_id: of the events topic: verdicts on records of other topics are left alone, whose ends nobody knows here.
        beginnings: the first offset that each of its partitions still holds.
    """

    connection: Connection
    topic_id: UUID
    beginnings: Mapping[int, int]

    def count(self, limit: TableLimit) -> Expired:
        """What `apply` would delete."""
        if limit.table == LEDGER:
            return self._count_verdicts(limit.cutoff)
        table, at, _ = _TIMES[limit.table]
        with self.connection.begin():
            oldest = self.connection.scalar(select(func.min(at)))
            expired = 0
            if limit.cutoff is not None:
                older = select(func.count()).select_from(table).where(at < limit.cutoff)
                expired = self.connection.scalar(older) or 0
        return Expired(expired, oldest)

    def apply(self, limit: TableLimit, on_progress: Callable[[int], None]) -> int:
        """Delete what is older than a limit, and say how many rows went."""
        if limit.cutoff is None:
            return 0
        if limit.table == LEDGER:
            return self._delete_verdicts(limit.cutoff, on_progress)
        return self._delete_rows(limit.table, limit.cutoff, on_progress)

    def _delete_rows(self, name: str, cutoff: datetime, on_progress: Callable[[int], None]) -> int:
        table, at, chunk_rows = _TIMES[name]
        # From where the last chunk ended: entries of deleted rows stay in the index until it is vacuumed.
        reached: ColumnElement[bool] = true()
        deleted = 0
        while True:
            began_s = time.monotonic()
            page = select(*table.primary_key).where(at < cutoff, reached).order_by(at).limit(chunk_rows).subquery()
            is_expired = and_(*(column == page.c[column.name] for column in table.primary_key))
            gone = delete(table).where(is_expired).returning(at, *table.primary_key)
            with self.connection.begin():
                expired = self.connection.execute(gone).all()
                if not expired:
                    return deleted
                advance_horizon(self.connection, name, cutoff)
                if table is feedback:
                    ids = [row.event_id for row in expired]
                    self.connection.execute(delete(labels).where(labels.c.event_id.in_(ids)))
            deleted += len(expired)
            reached = at >= max(row[0] for row in expired)
            on_progress(len(expired))
            _rest(began_s)

    def _count_verdicts(self, cutoff: datetime | None) -> Expired:
        entry = record_outcomes.c
        expired = 0
        oldest: list[datetime] = []
        for partition in self.beginnings:
            mine = (entry.source_topic_id == self.topic_id, entry.source_partition == partition)
            first = select(entry.recorded_at).where(*mine).order_by(entry.source_offset).limit(1)
            with self.connection.begin():
                if (at := self.connection.scalar(first)) is not None:
                    oldest.append(at)
                if cutoff is not None:
                    before = entry.source_offset < self._end_of_expired(partition, cutoff)
                    expired += (
                        self.connection.scalar(select(func.count()).select_from(record_outcomes).where(*mine, before))
                        or 0
                    )
        return Expired(expired, min(oldest, default=None))

    def _end_of_expired(self, partition: int, cutoff: datetime) -> int:
        """The first offset whose verdict stays, within the transaction that is open.

        A verdict goes only once its record has left the topic, whatever the clocks say; and the newest one of a
        partition stays: by it a consumer sees that the database lost nothing.
        """
        entry = record_outcomes.c
        mine = (entry.source_topic_id == self.topic_id, entry.source_partition == partition)
        newest = self.connection.scalar(select(func.max(entry.source_offset)).where(*mine))
        young = select(entry.source_offset).where(*mine, entry.recorded_at >= cutoff)
        first_young = self.connection.scalar(young.order_by(entry.source_offset).limit(1))
        ends = [end for end in (self.beginnings[partition], newest, first_young) if end is not None]
        return 0 if newest is None else min(ends)

    def _delete_verdicts(self, cutoff: datetime, on_progress: Callable[[int], None]) -> int:
        deleted = 0
        for partition in self.beginnings:
            with self.connection.begin():
                end = self._end_of_expired(partition, cutoff)
            while True:
                began_s = time.monotonic()
                with self.connection.begin():
                    done = self._delete_verdict_chunk(partition, end, cutoff)
                deleted += done
                if not done:
                    break
                on_progress(done)
                _rest(began_s)
        return deleted

    def _delete_verdict_chunk(self, partition: int, end: int, cutoff: datetime) -> int:
        entry = record_outcomes.c
        expired = (
            select(entry.source_offset)
            .where(
                entry.source_topic_id == self.topic_id, entry.source_partition == partition, entry.source_offset < end
            )
            .order_by(entry.source_offset)
            .limit(CHUNK_ROWS)
        )
        offsets = self.connection.scalars(expired).all()
        if not offsets:
            return 0
        advance_horizon(self.connection, LEDGER, cutoff)

        def expired_of(table: Table) -> Delete:
            return delete(table).where(
                table.c.source_topic_id == self.topic_id,
                table.c.source_partition == partition,
                table.c.source_offset.between(offsets[0], offsets[-1]),
            )

        self.connection.execute(expired_of(dead_letter_decisions))
        return self.connection.execute(expired_of(record_outcomes)).rowcount


def _rest(began_s: float) -> None:
    """As long as the chunk took: half of the disk's time stays for consumers, and for autovacuum."""
    time.sleep(min(_MAX_PAUSE_S, time.monotonic() - began_s))
