"""The ledger: the first verdict on a record stands, whoever wrote it and whatever came after."""

from collections.abc import Iterator, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Engine,
    Uuid,
    and_,
    any_,
    bindparam,
    cast,
    false,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from consumer.errors import PoisonEvent
from consumer.outcomes import (
    CONFLICT_CLASS,
    CONFLICT_MESSAGE,
    CONFLICT_STAGE,
    Coordinates,
    KnownRecords,
    Proposal,
    StandingOutcome,
)
from consumer.results import FeedbackRow
from consumer.sinks.database import connected
from consumer.sinks.sqlstate import describe, meaning_of, to_consumer_error
from schemas.tables import erased_events, feedback, record_outcomes

# Nothing of the event stays: neither the hash of its content, nor what was wrong with it.
_ERASED: Final = {
    "outcome": "erased",
    "payload_sha256": None,
    "stage": None,
    "error_class": None,
    "error_message": None,
}


class UnstorableRecordsError(Exception):
    """PostgreSQL refuses the values of these records; the others of the window are not to blame.

    Attributes:
        failures: the reason for each refused record.
    """

    def __init__(self, failures: dict[Coordinates, PoisonEvent]) -> None:
        super().__init__(f"{len(failures)} records cannot be stored")
        self.failures = failures


class Ledger:
    """Verdicts and rows of one events topic in one database. Not thread-safe: the engine's thread owns it."""

    def __init__(self, database: Engine, topic_id: UUID, app_version: str) -> None:
        self._database = database
        self._topic_id = topic_id
        self._app_version = app_version

    def look_up(self, coordinates: Sequence[Coordinates], event_ids: Sequence[UUID]) -> KnownRecords:
        """What is known already. It saves work and decides nothing: `persist` does.

        Raises:
            TransientError, FatalError: the database is away, or refuses.
        """
        with connected(self._database) as connection:
            recorded = connection.execute(
                select(record_outcomes.c.source_partition, record_outcomes.c.source_offset).where(
                    self._within(coordinates)
                )
            )
            owners = connection.execute(
                select(feedback.c.event_id, feedback.c.payload_sha256).where(feedback.c.event_id.in_(event_ids))
            )
            return KnownRecords(
                recorded=frozenset(Coordinates(*row) for row in recorded),
                owners={event_id: bytes(payload) for event_id, payload in owners},
                erased=_erased_among(connection, event_ids),
            )

    def persist(self, proposals: Sequence[Proposal]) -> None:
        """Record the proposals in one transaction; where somebody was first, theirs stands.

        The ledger row is claimed before the feedback row is written: whoever loses the claim writes no row, so that
        no record ever has both a row and a dead letter. All inserts go in key order, which rules deadlocks out.

        Raises:
            UnstorableRecordsError: some values cannot be stored; nothing was written.
            TransientError, FatalError: the database is away, or refuses; nothing was written, or all of it and the
                confirmation was lost. Doing it again is safe either way.
        """
        in_order = sorted(proposals, key=lambda proposal: proposal.coordinates.sort_key)
        try:
            with self._database.begin() as connection:
                self._insert(connection, in_order)
        except DBAPIError as error:
            if meaning_of(error) != "data":
                raise to_consumer_error(error) from None
            failures = self._find_unstorable(in_order, describe(error))
            if not failures:
                raise to_consumer_error(error) from None
            raise UnstorableRecordsError(failures) from None

    def read_back(self, coordinates: Sequence[Coordinates]) -> dict[Coordinates, StandingOutcome]:
        """The verdicts that stand, in a statement of its own, after `persist`.

        Raises:
            TransientError, FatalError: the database is away, or refuses.
        """
        with connected(self._database) as connection:
            recorded = connection.execute(select(record_outcomes).where(self._within(coordinates))).all()
            classified = [entry.event_id for entry in recorded if entry.outcome == "classified"]
            rows = connection.execute(select(feedback).where(feedback.c.event_id.in_(classified))).mappings()
            owners: dict[Coordinates, FeedbackRow] = {
                Coordinates(row["source_partition"], row["source_offset"]): dict(row)
                for row in rows
                if row["source_topic_id"] == self._topic_id
            }
        return {
            (at := Coordinates(entry.source_partition, entry.source_offset)): StandingOutcome(
                outcome=entry.outcome,
                row=owners.get(at),
                stage=entry.stage,
                error_class=entry.error_class,
                error_message=entry.error_message,
                attempts=entry.attempts,
                app_version=entry.app_version,
                recorded_at=entry.recorded_at,
            )
            for entry in recorded
        }

    def next_offsets(self, partitions: Sequence[int]) -> dict[int, int]:
        """The offset after the highest recorded one, for each partition that has any.

        Raises:
            TransientError, FatalError: the database is away, or refuses.
        """
        highest = select(func.max(record_outcomes.c.source_offset)).where(
            record_outcomes.c.source_topic_id == self._topic_id,
            record_outcomes.c.source_partition == bindparam("partition"),
        )
        with connected(self._database) as connection:
            # One by one, each is a look at the end of the index; grouped, PostgreSQL would read all of it.
            found = {number: connection.scalar(highest, {"partition": number}) for number in partitions}
        return {number: offset + 1 for number, offset in found.items() if offset is not None}

    def count_from(self, partition: int, offset: int, limit_records: int) -> int:
        """How many records at or above `offset` are recorded, counted up to `limit_records`.

        Raises:
            TransientError, FatalError: the database is away, or refuses.
        """
        recorded = (
            select(record_outcomes.c.source_offset)
            .where(
                record_outcomes.c.source_topic_id == self._topic_id,
                record_outcomes.c.source_partition == partition,
                record_outcomes.c.source_offset >= offset,
            )
            .limit(limit_records)
        )
        with connected(self._database) as connection:
            return connection.scalar(select(func.count()).select_from(recorded.subquery())) or 0

    def _insert(self, connection: Connection, proposals: Sequence[Proposal]) -> None:
        claimed = self._claim(connection, proposals)
        mine = [proposal for proposal in proposals if proposal.coordinates in claimed]
        # Asked with the claims in hand: an erasure announces its events, and then waits for whoever holds a claim.
        erased = _erased_among(connection, [proposal.event_id for proposal in mine if proposal.event_id is not None])
        for proposal in mine:
            if proposal.event_id in erased:
                self._settle(connection, proposal, _ERASED)
        kept = [proposal for proposal in mine if proposal.event_id not in erased]
        _insert_rows(connection, kept)
        # A row of this id by another record, seen or not when the window was classified, makes ours a repetition.
        unsure = [proposal for proposal in kept if proposal.failure is None]
        if unsure:
            self._settle_repetitions(connection, unsure)

    def _claim(self, connection: Connection, proposals: Sequence[Proposal]) -> set[Coordinates]:
        statement = (
            insert(record_outcomes)
            .on_conflict_do_nothing()
            .returning(record_outcomes.c.source_partition, record_outcomes.c.source_offset)
        )
        claimed = connection.execute(statement, [self._ledger_row(proposal) for proposal in proposals])
        return {Coordinates(*row) for row in claimed}

    def _settle_repetitions(self, connection: Connection, proposals: Sequence[Proposal]) -> None:
        found = connection.execute(
            select(
                feedback.c.event_id,
                feedback.c.payload_sha256,
                feedback.c.source_topic_id,
                feedback.c.source_partition,
                feedback.c.source_offset,
            ).where(feedback.c.event_id.in_({proposal.event_id for proposal in proposals}))
        )
        owners = {row.event_id: row for row in found}
        for proposal in proposals:
            owner = owners.get(proposal.event_id)
            if owner is not None and self._is_owned_by(owner, proposal.coordinates):
                continue
            settled: dict[str, Any] = {"outcome": "duplicate"}
            # Without an owner the row was removed since it was looked up: its copies stay away with it.
            same = (proposal.payload_sha256, proposal.other_sha256)
            if owner is not None and bytes(owner.payload_sha256) not in same:
                settled = {
                    "outcome": "conflict",
                    "stage": CONFLICT_STAGE,
                    "error_class": CONFLICT_CLASS,
                    "error_message": CONFLICT_MESSAGE,
                }
            self._settle(connection, proposal, settled)

    def _settle(self, connection: Connection, proposal: Proposal, settled: dict[str, Any]) -> None:
        connection.execute(
            update(record_outcomes)
            .where(
                record_outcomes.c.source_topic_id == self._topic_id,
                record_outcomes.c.source_partition == proposal.coordinates.partition,
                record_outcomes.c.source_offset == proposal.coordinates.offset,
            )
            .values(settled)
        )

    def _is_owned_by(self, row: Any, coordinates: Coordinates) -> bool:  # noqa: ANN401 (a Row of the five columns)
        owner = (row.source_topic_id, row.source_partition, row.source_offset)
        return owner == (self._topic_id, coordinates.partition, coordinates.offset)

    def _within(self, coordinates: Sequence[Coordinates]) -> ColumnElement[bool]:
        """Ledger rows between the lowest and highest offset of each partition: one index range for each."""
        offsets: dict[int, list[int]] = {}
        for at in coordinates:
            offsets.setdefault(at.partition, []).append(at.offset)
        ranges = (
            and_(
                record_outcomes.c.source_partition == partition,
                record_outcomes.c.source_offset.between(min(present), max(present)),
            )
            for partition, present in offsets.items()
        )
        return and_(record_outcomes.c.source_topic_id == self._topic_id, or_(false(), *ranges))

    def _ledger_row(self, proposal: Proposal) -> dict[str, Any]:
        failure = proposal.failure
        return {
            "source_topic_id": self._topic_id,
            "source_partition": proposal.coordinates.partition,
            "source_offset": proposal.coordinates.offset,
            "outcome": "classified" if failure is None else "dead_letter",
            "event_id": proposal.event_id,
            "payload_sha256": proposal.payload_sha256,
            "stage": failure.stage if failure else None,
            "error_class": failure.error_class if failure else None,
            "error_message": failure.message if failure else None,
            "attempts": proposal.attempts,
            "app_version": self._app_version,
        }

    def _find_unstorable(self, proposals: Sequence[Proposal], reason: str) -> dict[Coordinates, PoisonEvent]:
        """Bisect in transactions that are rolled back: which records are refused on their own?"""

        def refused(part: Sequence[Proposal]) -> Iterator[Proposal]:
            if not part or self._would_store(part):
                return
            if len(part) == 1:
                yield part[0]
                return
            middle = len(part) // 2
            yield from refused(part[:middle])
            yield from refused(part[middle:])

        return {
            proposal.coordinates: PoisonEvent("persist", "unstorable", f"PostgreSQL refuses a value: {reason}")
            for proposal in refused(proposals)
        }

    def _would_store(self, proposals: Sequence[Proposal]) -> bool:
        try:
            with self._database.connect() as connection, connection.begin() as transaction:
                _insert_rows(connection, proposals)
                transaction.rollback()
        except DBAPIError as error:
            if meaning_of(error) == "data":
                return False
            raise to_consumer_error(error) from None
        return True


def _erased_among(connection: Connection, event_ids: Sequence[UUID]) -> frozenset[UUID]:
    # One parameter, however many ids: a list of hundreds takes longer to plan than to look up.
    asked = cast(list(event_ids), ARRAY(Uuid))
    return frozenset(
        connection.scalars(select(erased_events.c.event_id).where(erased_events.c.event_id == any_(asked)))
    )


def _insert_rows(connection: Connection, proposals: Sequence[Proposal]) -> None:
    """Insert the proposals' rows in the order of the primary key; of two with one id the earlier record's wins."""
    rows = [proposal.row for proposal in proposals if proposal.row is not None]
    if rows:
        rows.sort(key=lambda row: (row["event_id"].bytes, row["source_partition"], row["source_offset"]))
        # RETURNING makes SQLAlchemy send one statement for all rows; without it psycopg2 sends one for each.
        connection.execute(insert(feedback).on_conflict_do_nothing().returning(feedback.c.event_id), rows)
