"""Which dead letters an operator means, and what has been decided about each."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, and_, case, tuple_

from consumer.outcomes import Coordinates
from schemas.tables import dead_letter_decisions, record_outcomes

State = Literal["open", "replaying", "replayed", "dropped"]

# `replaying`: claimed by a replay whose transaction was not seen to commit yet.
STATE: Final[ColumnElement[str]] = case(
    (dead_letter_decisions.c.decision.is_(None), "open"),
    (dead_letter_decisions.c.decision == "drop", "dropped"),
    (dead_letter_decisions.c.sent_at.is_(None), "replaying"),
    else_="replayed",
)


def _has_state(state: State) -> ColumnElement[bool]:
    """The same as `STATE`, in words that PostgreSQL makes an anti-join and good estimates of."""
    decisions = dead_letter_decisions.c
    if state == "open":
        return decisions.source_offset.is_(None)
    if state == "dropped":
        return decisions.decision == "drop"
    is_sent = decisions.sent_at.is_not(None) if state == "replayed" else decisions.sent_at.is_(None)
    return (decisions.decision == "replay") & is_sent


def ledger_with_decisions() -> FromClause:
    """Ledger entries, each with its decision where there is one."""
    same_record = (
        (dead_letter_decisions.c.source_topic_id == record_outcomes.c.source_topic_id)
        & (dead_letter_decisions.c.source_partition == record_outcomes.c.source_partition)
        & (dead_letter_decisions.c.source_offset == record_outcomes.c.source_offset)
    )
    return record_outcomes.outerjoin(dead_letter_decisions, same_record)


@dataclass(frozen=True, slots=True)
class DeadLetterSelection:
    """A filter over dead letters; what is empty or None does not restrict.

    Attributes:
        since: recorded at this time or later.
        until: recorded before this time.
        conflicts: whether `event_id_conflict` is among them: published again unchanged, it conflicts again.
    """

    stages: tuple[str, ...] = ()
    error_classes: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    coordinates: tuple[Coordinates, ...] = ()
    state: State | None = "open"
    conflicts: bool = True

    def where(self, topic_id: UUID) -> ColumnElement[bool]:
        """The filter as a condition on `ledger_with_decisions()`."""
        ledger = record_outcomes.c
        # Worded as the partial index of dead letters is, or PostgreSQL would read the whole ledger.
        conditions = [ledger.source_topic_id == topic_id, ledger.outcome.in_(("dead_letter", "conflict"))]
        if not self.conflicts:
            conditions.append(ledger.outcome != "conflict")
        if self.stages:
            conditions.append(ledger.stage.in_(self.stages))
        if self.error_classes:
            conditions.append(ledger.error_class.in_(self.error_classes))
        if self.since is not None:
            conditions.append(ledger.recorded_at >= self.since)
        if self.until is not None:
            conditions.append(ledger.recorded_at < self.until)
        if self.coordinates:
            named = [(at.partition, at.offset) for at in self.coordinates]
            conditions.append(tuple_(ledger.source_partition, ledger.source_offset).in_(named))
        if self.state is not None:
            conditions.append(_has_state(self.state))
        return and_(*conditions)

    def as_json(self) -> dict[str, object]:
        """What restricts it, for the record of who chose what."""
        restrictions: dict[str, object] = {
            "stages": list(self.stages),
            "error_classes": list(self.error_classes),
            "since": self.since and self.since.isoformat(),
            "until": self.until and self.until.isoformat(),
            "coordinates": [f"{at.partition}:{at.offset}" for at in self.coordinates],
        }
        return {name: value for name, value in restrictions.items() if value}
