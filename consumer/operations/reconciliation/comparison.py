"""Joins what was staged with the tables, and names every disagreement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    DateTime,
    Select,
    Text,
    and_,
    case,
    cast,
    delete,
    exists,
    false,
    func,
    insert,
    literal,
    not_,
    null,
    select,
    text,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import array

from consumer.operations.reconciliation import staging
from consumer.operations.reconciliation.evidence import digest
from consumer.operations.reconciliation.findings import Finding, Kind
from consumer.operations.reconciliation.positions import PartitionPosition
from consumer.operations.reconciliation.reading import Span
from consumer.outcomes import Coordinates
from consumer.results import to_result
from schemas.tables import feedback, record_outcomes

_ROWS_AT_ONCE: Final = 1_000
NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Horizons:
    """What was written to an output topic before these times may be deleted by now; None where nothing was deleted.

    `rows` is the same for the table of rows: retention deletes what was stored before.
    """

    results: datetime | None
    dead_letters: datetime | None
    rows: datetime | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison has found. Counts are records of the events topic."""

    records: int
    outcomes: Mapping[str, int]
    findings: tuple[Finding, ...]
    not_judged: Mapping[str, int]


def compare(
    connection: Connection, *, topic: str, topic_id: UUID, outputs: Mapping[str, str], horizons: Horizons, show: int
) -> Comparison:
    """Compare everything staged with the tables, in one snapshot of the database.

    Args:
        connection: of the session that owns the staged tables.
        topic: the events topic.
        topic_id: its id.
        outputs: the topic in which the coordinates of a kind lie, where it is not the events topic.
        horizons: how far back the output topics go.
        show: how many coordinates of each kind to return.
    """
    with connection.begin():
        # An erasure between two of our statements would look like a disagreement.
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        connection.execute(delete(staging.records))
        connection.execute(insert(staging.records).from_select(staging.records.columns.keys(), _records(topic_id)))
        connection.execute(text(f"ANALYZE {staging.records.name}"))
        connection.execute(
            insert(staging.findings).from_select(["kind", "at_partition", "at_offset"], _findings(horizons))
        )
        _find_differing_results(connection, topic_id, topic)
        outcomes = _counts(connection, staging.records.c.outcome)
        return Comparison(
            records=sum(outcomes.values()),
            outcomes={outcome or "none": count for outcome, count in sorted(outcomes.items(), key=str)},
            findings=_collect(connection, topic, outputs, show),
            not_judged=_not_judged(connection, horizons),
        )


def _records(topic_id: UUID) -> Select[Any]:
    """One row for each record of the judged ranges, with all that is known of it."""
    ranges = staging.ranges.c
    in_range = (
        record_outcomes.c.source_topic_id == topic_id,
        record_outcomes.c.source_partition == ranges.source_partition,
        record_outcomes.c.source_offset >= ranges.from_offset,
        record_outcomes.c.source_offset < ranges.to_offset,
    )
    row_in_range = (
        feedback.c.source_topic_id == topic_id,
        feedback.c.source_partition == ranges.source_partition,
        feedback.c.source_offset >= ranges.from_offset,
        feedback.c.source_offset < ranges.to_offset,
    )
    known = union_all(
        _fact(staging.events.c, in_topic=true()),
        _fact(record_outcomes.c, outcome=record_outcomes.c.outcome, recorded_at=record_outcomes.c.recorded_at).where(
            *in_range
        ),
        _fact(feedback.c, has_row=true()).where(*row_in_range),
        _fact(staging.results.c, results=literal(1)),
        _fact(staging.dead_letters.c, dead_letters=literal(1)),
    ).subquery()
    by_record = (known.c.source_partition, known.c.source_offset)
    return select(
        *by_record,
        func.bool_or(known.c.in_topic),
        func.bool_or(known.c.has_row),
        func.max(known.c.outcome),
        func.max(known.c.recorded_at),
        func.sum(known.c.results),
        func.sum(known.c.dead_letters),
    ).group_by(*by_record)


def _fact(source: Any, **facts: ColumnElement[Any]) -> Select[Any]:  # noqa: ANN401 (columns of a table)
    unknown: dict[str, ColumnElement[Any]] = {
        "in_topic": false(),
        "has_row": false(),
        "outcome": cast(null(), Text),
        "recorded_at": cast(null(), DateTime(timezone=True)),
        "results": literal(0, BigInteger),
        "dead_letters": literal(0, BigInteger),
    }
    return select(
        source.source_partition,
        source.source_offset,
        *(facts.get(name, otherwise).label(name) for name, otherwise in unknown.items()),
    )


_record: Final = staging.records.c
_outcome: Final = func.coalesce(_record.outcome, "none")
_classified: Final = _outcome == "classified"
_refused: Final = _outcome.in_(("dead_letter", "conflict"))
# Its row is gone on purpose; what was emitted before may still be there.
_erased: Final = _outcome == "erased"
_has_result: Final = _record.results > 0
_has_dead_letter: Final = _record.dead_letters > 0
_unrecorded: Final = and_(_record.in_topic, _outcome == "none", not_(_record.has_row))


def _kinds(horizons: Horizons) -> dict[Kind, ColumnElement[bool]]:
    """What must hold of a record for each kind. One cause gives one kind, as far as that can be told."""
    return {
        Kind.UNRECORDED: _unrecorded,
        Kind.ROW_MISSING: and_(_classified, not_(_record.has_row), _is_row_held(horizons.rows)),
        Kind.ROW_WITHOUT_VERDICT: and_(_record.has_row, not_(_classified), not_(_has_dead_letter)),
        Kind.RESULT_MISSING: and_(_classified, not_(_has_result), _is_held(horizons.results)),
        Kind.RESULT_TWICE: and_(_record.results > 1, not_(_erased)),
        Kind.RESULT_WITHOUT_ROW: and_(
            _has_result,
            not_(_record.has_row),
            not_(_classified),
            not_(_erased),
            not_(_unrecorded),
            not_(_has_dead_letter),
        ),
        Kind.DEAD_LETTER_MISSING: and_(_refused, not_(_has_dead_letter), _is_held(horizons.dead_letters)),
        Kind.DEAD_LETTER_TWICE: and_(_record.dead_letters > 1, not_(_erased)),
        Kind.DEAD_LETTER_WITHOUT_VERDICT: and_(
            _has_dead_letter,
            not_(_refused),
            not_(_erased),
            not_(_unrecorded),
            not_(_record.has_row),
            not_(_has_result),
        ),
        Kind.ROW_AND_DEAD_LETTER: and_(_record.has_row, _has_dead_letter, not_(_has_result)),
        Kind.RESULT_AND_DEAD_LETTER: and_(_has_result, _has_dead_letter, not_(_erased)),
    }


def _is_held(horizon: datetime | None) -> ColumnElement[bool]:
    """Whether an output that followed the verdict must still be in its topic."""
    return true() if horizon is None else _record.recorded_at > horizon


def _is_row_held(horizon: datetime | None) -> ColumnElement[bool]:
    """Whether the row of a verdict must still be there: the two bear the same time."""
    return true() if horizon is None else _record.recorded_at >= horizon


def _findings(horizons: Horizons) -> Select[Any]:
    kinds = array(
        [case((condition, literal(kind.value)), else_=null()) for kind, condition in _kinds(horizons).items()]
    )
    found = func.unnest(func.array_remove(kinds, null()))
    return select(found, _record.source_partition, _record.source_offset)


def _find_differing_results(connection: Connection, topic_id: UUID, topic: str) -> None:
    """A result is compared by its bytes, with those that the row would give: `to_result` is the only builder."""
    seen = staging.results.c
    joined = select(seen.digest, feedback).where(
        feedback.c.event_id == seen.event_id,
        feedback.c.source_topic_id == topic_id,
        feedback.c.source_partition == seen.source_partition,
        feedback.c.source_offset == seen.source_offset,
    )
    streamed = connection.execute(joined, execution_options={"yield_per": _ROWS_AT_ONCE})
    for rows in streamed.mappings().partitions():
        differing = [
            {
                "kind": Kind.RESULT_DIFFERS.value,
                "at_partition": row["source_partition"],
                "at_offset": row["source_offset"],
            }
            for row in rows
            if digest(to_result(dict(row), topic)) != bytes(row["digest"])
        ]
        staging.stage(connection, staging.findings, differing)


def _collect(connection: Connection, topic: str, outputs: Mapping[str, str], show: int) -> tuple[Finding, ...]:
    distinct = select(staging.findings).distinct().subquery()
    place = (distinct.c.at_partition, distinct.c.at_offset)
    ranked = select(
        distinct,
        func.row_number().over(partition_by=distinct.c.kind, order_by=place).label("place"),
        func.count().over(partition_by=distinct.c.kind).label("found"),
    ).subquery()
    first: dict[Kind, list[Coordinates]] = {}
    counts: dict[Kind, int] = {}
    for row in connection.execute(select(ranked).where(ranked.c.place <= max(show, 1)).order_by(ranked.c.place)):
        kind = Kind(row.kind)
        counts[kind] = row.found
        first.setdefault(kind, []).append(Coordinates(row.at_partition, row.at_offset))
    return tuple(
        Finding(kind, outputs.get(kind, topic), counts[kind], tuple(first[kind][:show]))
        for kind in Kind
        if kind in counts
    )


def _not_judged(connection: Connection, horizons: Horizons) -> dict[str, int]:
    reasons = {
        "rows_deleted_by_retention": and_(_classified, not_(_record.has_row), not_(_is_row_held(horizons.rows))),
        "results_deleted_by_retention": and_(_classified, not_(_has_result), not_(_is_held(horizons.results))),
        "dead_letters_deleted_by_retention": and_(
            _refused, not_(_has_dead_letter), not_(_is_held(horizons.dead_letters))
        ),
        "erased": _erased,
    }
    counted = select(*(func.count().filter(condition).label(name) for name, condition in reasons.items()))
    found = connection.execute(counted.select_from(staging.records)).one()
    return {name: count for name, count in found._mapping.items() if count}  # noqa: SLF001 (SQLAlchemy's own name)


def _counts(connection: Connection, column: ColumnElement[Any]) -> dict[str | None, int]:
    return {row[0]: row[1] for row in connection.execute(select(column, func.count()).group_by(column))}


def forget_other_topic_ids(connection: Connection, topic_id: UUID) -> int:
    """Leave out dead letters of an earlier topic of the same name, and count them.

    A dead letter names its topic, not the topic's id. But it repeats the time of its verdict, which the ledger holds to
    the microsecond: one that fits no verdict of this topic, and fits one of another topic id, is that one's.
    """
    letter = staging.dead_letters.c
    same_record = and_(
        record_outcomes.c.source_partition == letter.source_partition,
        record_outcomes.c.source_offset == letter.source_offset,
        record_outcomes.c.recorded_at == letter.first_failed_at,
    )
    with connection.begin():
        others = _other_topic_ids(connection, topic_id)
        ours = exists().where(same_record, record_outcomes.c.source_topic_id == topic_id)
        theirs = exists().where(same_record, record_outcomes.c.source_topic_id.in_(others))
        return connection.execute(delete(staging.dead_letters).where(not_(ours), theirs)).rowcount if others else 0


def _other_topic_ids(connection: Connection, topic_id: UUID) -> list[UUID]:
    """Found by leaps along the primary key: a ledger of any size holds few of them."""
    found: list[UUID] = []
    column = record_outcomes.c.source_topic_id
    following = select(column).order_by(column).limit(1)
    at = connection.scalar(following)
    while at is not None:
        found.append(at)
        at = connection.scalar(following.where(column > at))
    return [each for each in found if each != topic_id]


def find_resume_offsets(
    connection: Connection,
    topic_id: UUID,
    positions: Sequence[PartitionPosition],
    spans: Mapping[int, Span],
    in_flight_records: int,
) -> dict[int, int]:
    """Where to set the committed offsets that are missing or lie behind, so that nothing is emitted twice or never.

    That is where the ledger ends; or, where a process died between ledger and Kafka, the first of the last
    `in_flight_records` whose output is missing. A partition that was not judged to its end is left out.
    """
    offsets = {}
    found = staging.findings.c
    missing = (Kind.RESULT_MISSING.value, Kind.DEAD_LETTER_MISSING.value)
    ledger = record_outcomes.c
    with connection.begin():
        for position in positions:
            span = spans.get(position.partition)
            if position.kind not in {Kind.OFFSET_MISSING, Kind.OFFSET_BEHIND} or position.recorded is None:
                continue
            if span is None or span.next_offset != position.judged_until:
                continue
            tail = (
                select(ledger.source_offset)
                .where(ledger.source_topic_id == topic_id, ledger.source_partition == position.partition)
                .order_by(ledger.source_offset.desc())
                .limit(in_flight_records)
                .subquery()
            )
            first_missing = select(func.min(found.at_offset)).where(
                found.kind.in_(missing),
                found.at_partition == position.partition,
                found.at_offset >= select(func.min(tail.c.source_offset)).scalar_subquery(),
            )
            offsets[position.partition] = connection.scalar(first_missing) or position.recorded
    return offsets
