"""Erases one customer from the tables: counted first, then in short transactions that are each complete."""

import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    Text,
    Uuid,
    and_,
    cast,
    delete,
    exists,
    false,
    func,
    literal,
    not_,
    null,
    or_,
    select,
    true,
    union,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from consumer.app import APP_VERSION
from consumer.operations.erasure import work
from schemas.tables import erased_events, erasures, feedback, labels, record_outcomes

# A consumer that meets one of these rows waits for all of them: so many take a fraction of a second.
CHUNK_ROWS: Final = 2_000
_REFUSED: Final = ("dead_letter", "conflict")


@dataclass(frozen=True, slots=True)
class Counts:
    """What was erased of a customer, or would be.

    Attributes:
        feedback_rows: with text and verdicts.
        labels: people's corrections of them.
        ledger_entries: verdicts that say `erased` from now on.
        event_ids: events that are kept away from now on: copies, and those that no consumer has read yet.
    """

    feedback_rows: int = 0
    labels: int = 0
    ledger_entries: int = 0
    event_ids: int = 0

    def __bool__(self) -> bool:
        return any(asdict(self).values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What the row in `erasures` says, its counts apart."""

    id: uuid.UUID
    reason: str | None
    customer_hmac: bytes | None


@dataclass(frozen=True, slots=True)
class Eraser:
    """One customer, whose records `work.records` holds under `number`.

    Attributes:
        names: the id, and what redaction makes of it, if that is another one.
    """

    connection: Connection
    number: int
    names: tuple[str, ...]

    def collect(self) -> Counts:
        """List what has to change in `work.verdicts` and `work.event_ids`, and count it."""
        with self.connection.begin():
            for listed in (work.verdicts, work.event_ids):
                self.connection.execute(delete(listed))
            found = union(self._owners(), self._recorded()).subquery()
            place = (found.c.source_topic_id, found.c.source_partition, found.c.source_offset)
            numbered = select(
                func.row_number().over(order_by=place), *place, _any_of(found.c.event_id), func.bool_or(found.c.has_row)
            ).group_by(*place)
            self.connection.execute(insert(work.verdicts).from_select(work.verdicts.columns.keys(), numbered))
            work.analyze(self.connection, work.verdicts)
            new = self._new_event_ids().subquery()
            numbered = select(func.row_number().over(order_by=new.c.event_id), new.c.event_id)
            self.connection.execute(insert(work.event_ids).from_select(work.event_ids.columns.keys(), numbered))
            return Counts(
                feedback_rows=self._count(select(work.verdicts).where(work.verdicts.c.has_row)),
                labels=self._count(select(labels.c.id).where(or_(_labels_of_rows(), self._is_orphan_label()))),
                ledger_entries=self._count(self._verdicts_to_change()),
                event_ids=self._count(select(work.event_ids)),
            )

    def count_unread_undecodable(self) -> int:
        """Records of theirs without a verdict yet, which nothing keeps from becoming dead letters."""
        unread = select(work.records).where(
            work.records.c.customer == self.number,
            work.records.c.event_id.is_(None),
            work.records.c.recorded_at.is_(None),
            not_(exists().where(_is_verdict_on(work.records.c))),
        )
        with self.connection.begin():
            return self._count(unread)

    def announce(self, audit: Audit) -> None:
        """Keep their events away from now on, in transactions of bounded size.

        Rows and verdicts are still there; a consumer that holds a claim now may not have seen it: wait for such ones.
        """
        for first in self._chunks(work.event_ids):
            chunk = work.event_ids.c.number.between(first, first + CHUNK_ROWS - 1)
            announced = select(work.event_ids.c.event_id).where(chunk)
            with self.connection.begin():
                entries = insert(erased_events).from_select(["event_id"], announced).on_conflict_do_nothing()
                self._note(audit, Counts(event_ids=self.connection.execute(entries).rowcount))

    def erase(self, audit: Audit, on_progress: Callable[[int], None]) -> Counts:
        """Delete what `collect` has listed. Each transaction changes rows, labels, verdicts and the audit together.

        Ended in the middle, the next run goes on with what is left.

        Returns:
            All that was done under this audit, the announcement included.
        """
        for first in self._chunks(work.verdicts):
            with self.connection.begin():
                self._note(audit, self._erase_chunk(first, first + CHUNK_ROWS - 1))
            on_progress(CHUNK_ROWS)
        with self.connection.begin():
            orphans = self.connection.execute(delete(labels).where(self._is_orphan_label())).rowcount
            self._note(audit, Counts(labels=orphans))
            finished = update(erasures).where(erasures.c.id == audit.id).values(finished_at=func.now())
            done = self.connection.execute(finished.returning(*(erasures.c[name] for name in asdict(Counts())))).first()
        return Counts() if done is None else Counts(*done)

    def earlier(self, customer_hmac: bytes) -> list[datetime]:
        """When this customer was erased before, newest first, as far as their fingerprint tells."""
        known = select(erasures.c.started_at).where(erasures.c.customer_hmac == customer_hmac)
        with self.connection.begin():
            return list(self.connection.scalars(known.order_by(erasures.c.started_at.desc())))

    def _chunks(self, listed: Table) -> range:
        """The number with which each chunk of a numbered table begins."""
        with self.connection.begin():
            return range(1, self._count(select(listed)) + 1, CHUNK_ROWS)

    def _erase_chunk(self, first: int, last: int) -> Counts:
        """The order is the consumer's: verdicts in the order of their key first, rows afterwards."""
        chunk = work.verdicts.c.number.between(first, last)
        entry = insert(record_outcomes).from_select(
            ["source_topic_id", "source_partition", "source_offset", "outcome", "event_id", "app_version"],
            select(
                work.verdicts.c.source_topic_id,
                work.verdicts.c.source_partition,
                work.verdicts.c.source_offset,
                literal("erased"),
                work.verdicts.c.event_id,
                literal(APP_VERSION),
            )
            .where(chunk)
            .order_by(work.verdicts.c.number),
            include_defaults=False,
        )
        # Coordinates, id, time and version stay. What is null tells nothing of the event any more.
        erased = dict.fromkeys(("payload_sha256", "stage", "error_class", "error_message"), null())
        verdicts = self.connection.execute(
            entry.on_conflict_do_update(
                constraint=record_outcomes.primary_key,
                set_={"outcome": "erased", **erased},
                where=record_outcomes.c.outcome != "erased",
            )
        )
        owned = and_(chunk, work.verdicts.c.has_row)
        corrected = delete(labels).where(labels.c.event_id == work.verdicts.c.event_id, owned)
        deleted_labels = self.connection.execute(corrected).rowcount
        self.connection.execute(
            insert(erased_events)
            .from_select(["event_id"], select(work.verdicts.c.event_id).where(owned))
            .on_conflict_do_nothing()
        )
        rows = delete(feedback).where(_owns(work.verdicts.c), owned)
        return Counts(
            feedback_rows=self.connection.execute(rows).rowcount,
            labels=deleted_labels,
            ledger_entries=verdicts.rowcount,
        )

    def _owners(self) -> Any:  # noqa: ANN401 (a Select of five columns)
        """The records that own rows of the customer: by the row's own words, or by those of the record."""
        column = feedback.c
        owner = (column.source_topic_id, column.source_partition, column.source_offset, column.event_id)
        by_record = and_(
            work.records.c.customer == self.number,
            work.records.c.event_id == column.event_id,
            work.records.c.source_partition == column.source_partition,
            work.records.c.source_offset == column.source_offset,
            work.records.c.source_topic_id == column.source_topic_id,
        )
        return union(
            select(*owner, true().label("has_row")).where(self._is_theirs()),
            select(*owner, true()).where(by_record),
        )

    def _recorded(self) -> Any:  # noqa: ANN401
        """Verdicts on their records that own no row, and would publish or rebuild something of theirs all the same."""
        ledger, record = record_outcomes.c, work.records.c
        is_that_refusal = and_(ledger.recorded_at == record.recorded_at, ledger.outcome.in_(_REFUSED))
        return select(
            ledger.source_topic_id, ledger.source_partition, ledger.source_offset, ledger.event_id, false()
        ).where(
            record.customer == self.number,
            _is_verdict_on(record),
            ledger.outcome != "erased",
            or_(record.recorded_at.is_(None), is_that_refusal),
            # Of a row that is somebody else's by now.
            not_(exists(literal(1)).where(_owns(ledger))),
        )

    def _new_event_ids(self) -> Any:  # noqa: ANN401
        """Their events that are not kept away yet.

        Without ids that somebody else's row has: of two events with one id, the first one owns it.
        """
        seen = work.records.c
        taken = exists(literal(1)).where(
            feedback.c.event_id == seen.event_id,
            not_(func.coalesce(self._is_theirs(), false())),
            not_(exists().where(_owns(work.verdicts.c), work.verdicts.c.has_row)),
        )
        theirs = union(
            select(seen.event_id).where(seen.customer == self.number, seen.event_id.is_not(None), not_(taken)),
            select(work.verdicts.c.event_id).where(work.verdicts.c.has_row),
        ).subquery()
        return select(theirs.c.event_id).where(not_(exists().where(erased_events.c.event_id == theirs.c.event_id)))

    def _verdicts_to_change(self) -> Any:  # noqa: ANN401
        known = select(work.verdicts.c.number).outerjoin(record_outcomes, _is_verdict_on(work.verdicts.c))
        return known.where(func.coalesce(record_outcomes.c.outcome, "") != "erased")

    def _is_theirs(self) -> ColumnElement[bool]:
        return feedback.c.customer_id.in_(self.names)

    def _is_orphan_label(self) -> ColumnElement[bool]:
        """A label of an event of theirs that has no row: it was made while the row was being erased."""
        theirs = select(work.records.c.event_id).where(
            work.records.c.customer == self.number, work.records.c.event_id.is_not(None)
        )
        return and_(
            labels.c.event_id.in_(theirs), not_(exists(literal(1)).where(feedback.c.event_id == labels.c.event_id))
        )

    def _note(self, audit: Audit, done: Counts) -> None:
        """Add to the audit, in the transaction that did it."""
        if not done:
            return
        entry = insert(erasures).values(**asdict(audit), **asdict(done), app_version=APP_VERSION)
        added = {name: erasures.c[name] + entry.excluded[name] for name in asdict(done)}
        self.connection.execute(entry.on_conflict_do_update(constraint=erasures.primary_key, set_=added))

    def _count(self, rows: Any) -> int:  # noqa: ANN401 (any Select)
        return self.connection.scalar(select(func.count()).select_from(rows.subquery())) or 0


def _owns(record: Any) -> ColumnElement[bool]:  # noqa: ANN401 (the columns of a table)
    """Whether a row belongs to the record at these coordinates."""
    return and_(
        feedback.c.event_id == record.event_id,
        feedback.c.source_topic_id == record.source_topic_id,
        feedback.c.source_partition == record.source_partition,
        feedback.c.source_offset == record.source_offset,
    )


def _is_verdict_on(record: Any) -> ColumnElement[bool]:  # noqa: ANN401 (the columns of a table)
    """Whether a verdict is the one on the record at these coordinates."""
    return and_(
        record_outcomes.c.source_topic_id == record.source_topic_id,
        record_outcomes.c.source_partition == record.source_partition,
        record_outcomes.c.source_offset == record.source_offset,
    )


def _labels_of_rows() -> ColumnElement[bool]:
    return labels.c.event_id.in_(select(work.verdicts.c.event_id).where(work.verdicts.c.has_row))


def _any_of(event_id: Any) -> Any:  # noqa: ANN401
    # Before version 18 PostgreSQL has no min(uuid).
    return cast(func.min(cast(event_id, Text)), Uuid)
