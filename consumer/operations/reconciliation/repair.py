"""Rebuilds what PostgreSQL lost from what the topics still show. Adds rows and verdicts, and never changes one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from confluent_kafka import Message
from sqlalchemy import (
    ColumnElement,
    Connection,
    LargeBinary,
    Row,
    Select,
    Uuid,
    and_,
    exists,
    func,
    literal,
    not_,
    null,
    select,
    tuple_,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import insert

from consumer.app import APP_VERSION
from consumer.decode import decode
from consumer.errors import PoisonEvent, TransientError
from consumer.operations.reconciliation import staging
from consumer.operations.reconciliation.evidence import dead_letter_evidence, outbound, refused_entry
from consumer.operations.reconciliation.findings import Kind
from consumer.operations.reconciliation.loading import Display
from consumer.operations.reconciliation.reading import SpanReader
from consumer.operations.reconciliation.rebuild import row_from_result
from consumer.outcomes import Coordinates
from consumer.records import SourceRecord
from consumer.redaction.redactor import Redactor
from consumer.results import FeedbackRow
from schemas.tables import erased_events, feedback, record_outcomes

_PAGE_RECORDS: Final = 1_000
_VERDICT_COLUMNS: Final = (
    "source_topic_id",
    "source_partition",
    "source_offset",
    "outcome",
    "event_id",
    "payload_sha256",
    "app_version",
    "recorded_at",
)


@dataclass(slots=True)
class Repaired:
    """What a repair has added.

    Attributes:
        rows: rebuilt from results.
        verdicts_from_results: recorded beside those rows, where the ledger had none either.
        verdicts_from_rows: recorded for rows that had none.
        verdicts_from_dead_letters: recorded as their headers tell.
        erased: verdicts on records of events that were erased; nothing is rebuilt from their results.
        duplicates: verdicts on records that repeat an event which has its row.
        unreadable_results: results that no row gives; nothing was rebuilt from them.
    """

    rows: int = 0
    verdicts_from_results: int = 0
    verdicts_from_rows: int = 0
    verdicts_from_dead_letters: int = 0
    erased: int = 0
    duplicates: int = 0
    unreadable_results: int = 0


@dataclass(frozen=True, slots=True)
class Repair:
    """One repair of what a comparison found, in the session that owns the staged tables.

    Each page is one short transaction, and an insert leaves alone what stands: a repair that was interrupted, or that
    runs beside a consumer or another repair, is run again.
    """

    connection: Connection
    reader: SpanReader
    display: Display
    topic_id: UUID
    events_topic: str
    results_topic: str
    dead_letter_topic: str
    redactor: Redactor | None

    def run(self) -> Repaired:
        """Repair what can be repaired.

        Raises:
            TransientError: a server is away, or the tables changed meanwhile; what was written stands.
        """
        repaired = Repaired()
        staging.analyze(self.connection, staging.findings, staging.results, staging.dead_letters)
        repaired.verdicts_from_rows = self._record_rows()
        self._decode_unrecorded()
        # First: a record that has a verdict by then is left alone.
        repaired.erased = self._record_erased()
        self._rebuild_rows(repaired)
        self._rebuild_refusals(repaired)
        # Last, because only now the rows that a record may repeat are there again.
        repaired.duplicates = self._record_duplicates()
        return repaired

    def _record_rows(self) -> int:
        """A row without any verdict says itself what its verdict was."""
        found = staging.findings.c
        return self._insert_verdicts(
            select(
                feedback.c.source_topic_id,
                feedback.c.source_partition,
                feedback.c.source_offset,
                literal("classified"),
                feedback.c.event_id,
                feedback.c.payload_sha256,
                literal(APP_VERSION),
                feedback.c.classified_at,
            )
            .where(
                found.kind == Kind.ROW_WITHOUT_VERDICT.value,
                feedback.c.source_topic_id == self.topic_id,
                feedback.c.source_partition == found.at_partition,
                feedback.c.source_offset == found.at_offset,
            )
            .order_by(feedback.c.source_partition, feedback.c.source_offset)
        )

    def _decode_unrecorded(self) -> None:
        """What the events themselves tell of records without a verdict: their ids, and the hash of their content."""
        found = staging.findings.c
        unrecorded = select(found.at_partition, found.at_offset, _no_hash).where(found.kind == Kind.UNRECORDED.value)
        for messages, _ in self._walk("decoding events", self.events_topic, unrecorded):
            decoded = [row for message in messages if (row := self._decode(message)) is not None]
            with self.connection.begin():
                staging.stage(self.connection, staging.decoded_events, decoded)
        staging.analyze(self.connection, staging.decoded_events)

    def _record_erased(self) -> int:
        """An erasure that the restored ledger does not know of was made again: what it named must not come back."""
        decoded = staging.decoded_events.c
        return self._insert_verdicts(
            select(
                literal(self.topic_id, Uuid),
                decoded.source_partition,
                decoded.source_offset,
                literal("erased"),
                decoded.event_id,
                _no_hash,
                literal(APP_VERSION),
                erased_events.c.erased_at,
            )
            .where(erased_events.c.event_id == decoded.event_id)
            .order_by(decoded.source_partition, decoded.source_offset)
        )

    def _rebuild_rows(self, repaired: Repaired) -> None:
        """Rows from results: of classified records without a row, and of records that lost their verdict as well."""
        seen, decoded, ledger = staging.results.c, staging.decoded_events.c, record_outcomes.c
        recorded = and_(
            ledger.source_topic_id == self.topic_id,
            ledger.source_partition == seen.source_partition,
            ledger.source_offset == seen.source_offset,
        )
        at_source = and_(decoded.source_partition == seen.source_partition, decoded.source_offset == seen.source_offset)
        rebuildable = (
            select(
                seen.output_partition,
                seen.output_offset,
                func.coalesce(ledger.payload_sha256, decoded.payload_sha256).label("payload_sha256"),
                _rank(seen),
            )
            .select_from(
                staging.results.outerjoin(record_outcomes, recorded).outerjoin(staging.decoded_events, at_source)
            )
            .where(
                _is_found(seen, Kind.ROW_MISSING, Kind.UNRECORDED),
                not_(_is_found(seen, Kind.RESULT_AND_DEAD_LETTER)),
                seen.event_id == func.coalesce(ledger.event_id, decoded.event_id),
            )
        )
        for messages, page in self._walk("rebuilding rows", self.results_topic, _first_of_each(rebuildable)):
            hashes = {(row.at_partition, row.at_offset): bytes(row.payload_sha256) for row in page}
            results = [
                row_from_result(outbound(message), hashes[message.partition(), message.offset()])
                for message in messages
            ]
            rebuilt = [row for row in results if row is not None]
            repaired.unreadable_results += len(results) - len(rebuilt)
            rows, verdicts = self._insert_rows(rebuilt)
            repaired.rows += rows
            repaired.verdicts_from_results += verdicts

    def _insert_rows(self, rebuilt: Sequence[FeedbackRow]) -> tuple[int, int]:
        """Insert rows, with their verdicts where there are none, in key order.

        Returns:
            How many rows and how many verdicts were added. A row is left out where its id has one by now, or where its
            record has another verdict.
        """
        with self.connection.begin():
            ids = [row["event_id"] for row in rebuilt]
            taken = set(self.connection.scalars(select(feedback.c.event_id).where(feedback.c.event_id.in_(ids))))
            # Of two records that both have a result for one event, the first gets the row: the other one is reported.
            first_of_event = {row["event_id"]: row for row in reversed(rebuilt)}
            rows = [row for event_id, row in first_of_event.items() if event_id not in taken]
            verdicts = self._insert_entries([_classified_entry(row) for row in rows])
            at = (record_outcomes.c.source_partition, record_outcomes.c.source_offset)
            # Locked, because an erasure that comes in between must not be undone.
            standing = self.connection.execute(
                select(*at, record_outcomes.c.recorded_at)
                .where(
                    record_outcomes.c.source_topic_id == self.topic_id,
                    record_outcomes.c.outcome == "classified",
                    tuple_(*at).in_([_position(row) for row in rows]),
                )
                .order_by(*at)
                .with_for_update()
            )
            recorded_at = {(partition, offset): moment for partition, offset, moment in standing}
            # The time of storing is the verdict's, as it was: retention goes by it.
            rows = [{**row, "stored_at": recorded_at[_position(row)]} for row in rows if _position(row) in recorded_at]
            rows.sort(key=lambda row: row["event_id"].bytes)
            inserted = 0
            if rows:
                statement = insert(feedback).on_conflict_do_nothing().returning(feedback.c.event_id)
                inserted = len(self.connection.execute(statement, rows).all())
            if inserted != len(rows):
                # A verdict must not be committed without its row.
                raise TransientError("the tables changed during the repair: run it again")
        return inserted, verdicts

    def _rebuild_refusals(self, repaired: Repaired) -> None:
        """Verdicts from dead letters: all that the ledger held of them is in their headers."""
        letter = staging.dead_letters.c
        rebuildable = select(letter.output_partition, letter.output_offset, _no_hash, _rank(letter)).where(
            _is_found(letter, Kind.UNRECORDED), not_(_is_found(letter, Kind.RESULT_AND_DEAD_LETTER))
        )
        decoded = staging.decoded_events.c
        for messages, _ in self._walk("rebuilding verdicts", self.dead_letter_topic, _first_of_each(rebuildable)):
            refused = [dead_letter_evidence(outbound(message).headers) for message in messages]
            entries = {
                evidence.at: {"event_id": None, "payload_sha256": None} | refused_entry(evidence, self.topic_id)
                for evidence in refused
                if evidence is not None
            }
            positions = [at.sort_key for at in entries]
            with self.connection.begin():
                readable = self.connection.execute(
                    select(staging.decoded_events).where(
                        tuple_(decoded.source_partition, decoded.source_offset).in_(positions)
                    )
                )
                for row in readable:
                    entries[Coordinates(row.source_partition, row.source_offset)] |= {
                        "event_id": row.event_id,
                        "payload_sha256": row.payload_sha256,
                    }
                repaired.verdicts_from_dead_letters += self._insert_entries(list(entries.values()))

    def _record_duplicates(self) -> int:
        """A record that emitted nothing, and repeats an event that has its row, was counted and nothing else."""
        decoded = staging.decoded_events.c
        emitted = [
            exists().where(
                output.c.source_partition == decoded.source_partition, output.c.source_offset == decoded.source_offset
            )
            for output in (staging.results, staging.dead_letters)
        ]
        return self._insert_verdicts(
            select(
                literal(self.topic_id, Uuid),
                decoded.source_partition,
                decoded.source_offset,
                literal("duplicate"),
                decoded.event_id,
                decoded.payload_sha256,
                literal(APP_VERSION),
                feedback.c.classified_at,
            )
            .where(
                feedback.c.event_id == decoded.event_id,
                feedback.c.payload_sha256.in_([decoded.payload_sha256, decoded.other_sha256]),
                *(not_(output) for output in emitted),
            )
            .order_by(decoded.source_partition, decoded.source_offset)
        )

    def _decode(self, message: Message) -> dict[str, object] | None:
        record = SourceRecord(
            partition=message.partition() or 0,
            offset=message.offset() or 0,
            timestamp_ms=message.timestamp()[1],
            key=message.key(),
            value=message.value(),
            headers=outbound(message).headers,
            epoch=0,
        )
        try:
            decoded = decode(record, self.topic_id, self.redactor)
        except PoisonEvent:
            return None
        return {
            "source_partition": record.partition,
            "source_offset": record.offset,
            "event_id": decoded.event.event_id,
            "payload_sha256": decoded.payload_sha256,
            "other_sha256": decoded.other_sha256,
        }

    def _insert_verdicts(self, verdicts: Select[Any]) -> int:
        statement = insert(record_outcomes).from_select(_VERDICT_COLUMNS, verdicts, include_defaults=False)
        with self.connection.begin():
            return self.connection.execute(statement.on_conflict_do_nothing()).rowcount

    def _insert_entries(self, entries: Sequence[dict[str, Any]]) -> int:
        """Insert ledger entries in key order, in the transaction that is open; how many of them were new."""
        if not entries:
            return 0
        statement = insert(record_outcomes).on_conflict_do_nothing().returning(record_outcomes.c.source_offset)
        return len(self.connection.execute(statement, sorted(entries, key=_position)).all())

    def _walk(self, what: str, topic: str, wanted: Select[Any]) -> Iterator[tuple[list[Message], Sequence[Row[Any]]]]:
        """The records of a topic that a selection of (partition, offset, payload_sha256) names, page by page."""
        with self.connection.begin():
            total = self.connection.scalar(select(func.count()).select_from(wanted.subquery())) or 0
        advance = self.display.begin(what, total)
        for page in staging.pages(self.connection, wanted, _PAGE_RECORDS):
            chosen = [Coordinates(row.at_partition, row.at_offset) for row in page]
            yield list(self.reader.read_exactly(topic, chosen)), page
            advance(len(page))


_no_hash: Final = sql_cast(null(), LargeBinary).label("payload_sha256")


def _rank(output: Any) -> ColumnElement[int]:  # noqa: ANN401 (the columns of a staged table)
    """Of several outputs of one record, readers saw the first one first."""
    of_record = (output.source_partition, output.source_offset)
    return func.row_number().over(partition_by=of_record, order_by=(output.output_partition, output.output_offset))


def _first_of_each(outputs: Select[Any]) -> Select[Any]:
    partition, offset, payload_sha256, rank = outputs.subquery().columns
    return select(partition, offset, payload_sha256).where(rank == 1)


def _is_found(at: Any, *kinds: Kind) -> ColumnElement[bool]:  # noqa: ANN401 (the columns of a staged table)
    found = staging.findings.c
    return exists().where(
        found.at_partition == at.source_partition,
        found.at_offset == at.source_offset,
        found.kind.in_([kind.value for kind in kinds]),
    )


def _classified_entry(row: FeedbackRow) -> dict[str, Any]:
    return {
        **{
            name: row[name]
            for name in ("source_topic_id", "source_partition", "source_offset", "event_id", "payload_sha256")
        },
        "outcome": "classified",
        "app_version": APP_VERSION,
        # When it was recorded is lost; a moment before, it was classified.
        "recorded_at": row["classified_at"],
    }


def _position(row: FeedbackRow) -> tuple[int, int]:
    return row["source_partition"], row["source_offset"]
