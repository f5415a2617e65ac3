"""A reconciliation in words, and as one JSON document. Coordinates only: no text, key or id of a customer."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from consumer.operations.reconciliation.comparison import Comparison
from consumer.operations.reconciliation.findings import EXPLANATIONS, Finding
from consumer.operations.reconciliation.positions import PartitionPosition
from consumer.operations.reconciliation.repair import Repaired
from consumer.operations.reconciliation.run import Reconciliation
from consumer.outcomes import Coordinates

_NOT_JUDGED = {
    "rows_deleted_by_retention": "records whose rows were deleted by retention",
    "results_deleted_by_retention": "records whose results may have been deleted by retention",
    "dead_letters_deleted_by_retention": "records whose dead letters may have been deleted by retention",
    "erased": "erased records, left alone",
    "results_of_other_topics": "results of another topic, or of an earlier one of the same name",
    "dead_letters_of_other_topics": "dead letters of another topic, or of an earlier one of the same name",
    "verdicts_deleted_by_retention": "offsets whose verdicts were deleted by retention",
    "events_deleted_by_retention": "offsets that the events topic does not hold any more: whether each had a verdict",
}
_REPAIRED = {
    "rows": "rows rebuilt from their results",
    "verdicts_from_results": "verdicts recorded with them",
    "verdicts_from_rows": "verdicts recorded for rows that had none",
    "verdicts_from_dead_letters": "verdicts rebuilt from dead letters",
    "erased": "records found to be of an erased customer; nothing was rebuilt from them",
    "duplicates": "records found to repeat an event that has its row",
    "unreadable_results": "results that no row of this version gives; nothing was made of them",
}


def to_lines(found: Reconciliation, topic: str) -> Iterator[str]:
    """What a person reads."""
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in found.before.outcomes.items())
    yield (
        f"{topic}: {_number(found.before.records, 'record')} of {_number(len(found.spans), 'partition')} compared "
        f"({outcomes}) with {_number(found.visible_results, 'result')} and "
        f"{_number(found.visible_dead_letters, 'dead letter')} in {found.elapsed_s:.1f} s"
    )
    if found.repaired is not None:
        yield from _repair_lines(found.before, found.repaired)
    for finding in found.after.findings:
        explanation = EXPLANATIONS[finding.kind]
        yield ""
        yield f"{finding.kind} {finding.count:,}: {explanation.meaning}"
        if finding.first:
            more = ", ..." if finding.count > len(finding.first) else ""
            yield f"  {finding.topic} {', '.join(_address(at) for at in finding.first)}{more}"
        yield f"  to do: {explanation.remedy}"
    for partition, offset in found.resume_offsets.items():
        yield f"  partition {partition}: set its committed offset to {offset}"
    if found.after.not_judged:
        yield ""
        yield "not judged:"
        yield from (f"  {count:,} {_NOT_JUDGED[reason]}" for reason, count in found.after.not_judged.items())
    yield ""
    total = sum(finding.count for finding in found.after.findings)
    yield "in agreement" if total == 0 else _number(total, "disagreement")


def to_document(found: Reconciliation, *, topic: str, topic_id: str, group_id: str) -> dict[str, Any]:
    """What a program reads."""
    return {
        "topic": topic,
        "topic_id": topic_id,
        "group_id": group_id,
        "agrees": not found.after.findings,
        "records": found.before.records,
        "outcomes": dict(found.before.outcomes),
        "results": found.visible_results,
        "dead_letters": found.visible_dead_letters,
        "partitions": [_partition(position, found) for position in found.positions],
        "disagreements": [_finding(finding) for finding in found.after.findings],
        "not_judged": dict(found.after.not_judged),
        "before_repair": None if found.repaired is None else _counts(found.before),
        "repaired": None if found.repaired is None else asdict(found.repaired),
        "elapsed_s": round(found.elapsed_s, 3),
    }


def _repair_lines(before: Comparison, repaired: Repaired) -> Iterator[str]:
    yield ""
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in _counts(before).items())
    yield f"before the repair: {kinds or 'in agreement'}"
    yield from (f"  {count:,} {_REPAIRED[name]}" for name, count in asdict(repaired).items() if count)


def _counts(comparison: Comparison) -> Mapping[str, int]:
    return {finding.kind.value: finding.count for finding in comparison.findings}


def _partition(position: PartitionPosition, found: Reconciliation) -> dict[str, int | None]:
    span = found.spans.get(position.partition)
    return {
        "partition": position.partition,
        "from_offset": None if span is None else span.first,
        "to_offset": None if span is None else span.next_offset,
        "committed_next_offset": position.committed,
        "recorded_next_offset": position.recorded,
        "resume_next_offset": found.resume_offsets.get(position.partition),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    explanation = EXPLANATIONS[finding.kind]
    return {
        "kind": finding.kind.value,
        "count": finding.count,
        "meaning": explanation.meaning,
        "to_do": explanation.remedy,
        "topic": finding.topic,
        "first": [{"partition": at.partition, "offset": at.offset} for at in finding.first],
    }


def _number(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _address(at: Coordinates) -> str:
    return f"{at.partition}:{at.offset}"
