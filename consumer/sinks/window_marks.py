"""Durable marks of what is being classified, so that a record that kills or hangs the process is found out."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Engine, delete, select, text
from sqlalchemy.dialects.postgresql import insert

from consumer.sinks.database import connected
from schemas.tables import window_marks


@dataclass(frozen=True, slots=True)
class Mark:
    """Offsets from `first_offset` up to, not including, `next_offset`; `attempts` counts how often they began."""

    first_offset: int
    next_offset: int
    attempts: int

    def holds(self, offset: int) -> bool:
        """Whether the offset is one of the marked."""
        return self.first_offset <= offset < self.next_offset


class WindowMarks:
    """One mark for each partition of a consumer group. They belong to the partition: the next owner reads them."""

    def __init__(self, database: Engine, topic_id: UUID, consumer_group: str) -> None:
        self._database = database
        self._key = {"consumer_group": consumer_group, "source_topic_id": topic_id}
        self._mine = (window_marks.c.consumer_group == consumer_group) & (window_marks.c.source_topic_id == topic_id)

    def load(self, partitions: list[int]) -> dict[int, Mark]:
        """The marks that a predecessor left on these partitions.

        Raises:
            TransientError, FatalError: the database is away, or refuses.
        """
        statement = select(window_marks).where(self._mine, window_marks.c.source_partition.in_(partitions))
        with connected(self._database) as connection:
            return {
                row.source_partition: Mark(row.first_offset, row.next_offset, row.attempts)
                for row in connection.execute(statement)
            }

    def set(self, marks: Mapping[int, Mark]) -> None:
        """Write the marks before their records are classified.

        The commit does not wait for the disk: a mark must outlive this process, not the database server.

        Raises:
            TransientError, FatalError: the database is away, or refuses.
        """
        rows = [
            {
                **self._key,
                "source_partition": partition,
                "first_offset": mark.first_offset,
                "next_offset": mark.next_offset,
                "attempts": mark.attempts,
            }
            for partition, mark in sorted(marks.items())
        ]
        statement = insert(window_marks)
        upsert = statement.on_conflict_do_update(
            constraint=window_marks.primary_key,
            set_={name: statement.excluded[name] for name in ("first_offset", "next_offset", "attempts")},
        )
        with connected(self._database) as connection:
            connection.execute(text("SET LOCAL synchronous_commit = off"))
            connection.execute(upsert, rows)

    def clear(self, partitions: list[int]) -> None:
        """Remove the marks of partitions that are given up in good order.

        Raises:
            TransientError, FatalError: the database is away, or refuses.
        """
        with connected(self._database) as connection:
            connection.execute(delete(window_marks).where(self._mine, window_marks.c.source_partition.in_(partitions)))
