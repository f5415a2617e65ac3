"""An operator's word that dead letters are done with. Nothing is deleted: the bytes go with the topic's retention."""

from typing import Final
from uuid import UUID

from sqlalchemy import Engine, func, literal, select, text
from sqlalchemy.dialects.postgresql import insert

from consumer.sinks.database import connected
from consumer.sinks.dead_letter_selection import DeadLetterSelection, ledger_with_decisions
from schemas.tables import dead_letter_decisions, record_outcomes

# One statement decides about all of them, or about none.
_STATEMENT_TIMEOUT_S: Final = 600


def drop(database: Engine, topic_id: UUID, selection: DeadLetterSelection, reason: str) -> dict[tuple[str, str], int]:
    """Record the decision for each selected dead letter without one; where somebody decided first, theirs stands.

    Returns:
        How many were dropped now, by stage and class.

    Raises:
        TransientError, FatalError: the database is away, or refuses; nothing was recorded, or all of it.
    """
    decisions, ledger = dead_letter_decisions.c, record_outcomes.c
    key = (ledger.source_topic_id, ledger.source_partition, ledger.source_offset)
    # In the key's order, as a replay claims too: two writers never deadlock.
    selected = (
        select(*key, literal("drop"), literal(reason))
        .select_from(ledger_with_decisions())
        .where(selection.where(topic_id))
        .order_by(*key)
    )
    dropped = (
        insert(dead_letter_decisions)
        .from_select(
            [
                decisions.source_topic_id,
                decisions.source_partition,
                decisions.source_offset,
                decisions.decision,
                decisions.reason,
            ],
            selected,
        )
        .on_conflict_do_nothing()
        .returning(decisions.source_topic_id, decisions.source_partition, decisions.source_offset)
        .cte("dropped")
    )
    counted = (
        select(func.coalesce(ledger.stage, ""), func.coalesce(ledger.error_class, ""), func.count())
        .select_from(
            dropped.join(
                record_outcomes,
                (dropped.c.source_topic_id == ledger.source_topic_id)
                & (dropped.c.source_partition == ledger.source_partition)
                & (dropped.c.source_offset == ledger.source_offset),
            )
        )
        .group_by(ledger.stage, ledger.error_class)
    )
    with connected(database) as connection:
        connection.execute(text(f"SET LOCAL statement_timeout = '{_STATEMENT_TIMEOUT_S}s'"))
        return {(stage, error_class): records for stage, error_class, records in connection.execute(counted)}
