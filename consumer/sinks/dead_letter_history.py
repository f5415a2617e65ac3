"""What the ledger says about recent dead letters, and whether an operator accepted them."""

from uuid import UUID

from sqlalchemy import Engine, func, insert, select, text

from consumer.sinks.database import connected
from schemas.tables import dead_letter_acceptances, record_outcomes


class DeadLetterHistory:
    """Recent outcomes of one topic's partitions, and acceptances."""

    def __init__(self, database: Engine, topic_id: UUID) -> None:
        self._database = database
        self._topic_id = topic_id

    def recent(self, partition: int, before_offset: int, limit_records: int) -> list[bool]:
        """Whether each of the last records below `before_offset` was a dead letter, newest first.

        Records recorded before the last acceptance ended are not counted: they were accepted.

        Raises:
            TransientError, FatalError: the database is away, or refuses.
        """
        accepted_until = (
            select(func.max(dead_letter_acceptances.c.expires_at))
            .where(dead_letter_acceptances.c.source_topic_id == self._topic_id)
            .scalar_subquery()
        )
        newest = (
            select(record_outcomes.c.outcome, record_outcomes.c.recorded_at)
            .where(
                record_outcomes.c.source_topic_id == self._topic_id,
                record_outcomes.c.source_partition == partition,
                record_outcomes.c.source_offset < before_offset,
            )
            .order_by(record_outcomes.c.source_offset.desc())
            .limit(limit_records)
            .subquery()
        )
        counted = select(newest.c.outcome).where(
            newest.c.recorded_at > func.coalesce(accepted_until, text("'-infinity'::timestamptz"))
        )
        with connected(self._database) as connection:
            return [outcome == "dead_letter" for outcome in connection.scalars(counted)]

    def is_accepted(self) -> bool:
        """Whether an acceptance is in force now, by the database's clock.

        Raises:
            TransientError, FatalError: the database is away, or refuses.
        """
        in_force = select(dead_letter_acceptances.c.id).where(
            dead_letter_acceptances.c.source_topic_id == self._topic_id,
            dead_letter_acceptances.c.expires_at > func.now(),
        )
        with connected(self._database) as connection:
            return connection.execute(in_force.limit(1)).first() is not None

    def accept(self, reason: str, duration_s: float) -> None:
        """Let the limits rest for `duration_s` from now.

        Raises:
            TransientError, FatalError: the database is away, or refuses.
        """
        expires_at = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, duration_s)
        with connected(self._database) as connection:
            connection.execute(
                insert(dead_letter_acceptances).values(
                    source_topic_id=self._topic_id, reason=reason, expires_at=expires_at
                )
            )
