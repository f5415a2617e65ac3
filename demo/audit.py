"""The audit: what was published against what stands in the topics and tables. Pure arithmetic over observations."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Final
from uuid import UUID

from demo.records import Coordinates, Ending, PublishedRecord, VisibleRecord
from schemas import headers
from schemas.result import ClassifiedFeedback

_CONFLICT_CLASS: Final = "event_id_conflict"


class FaultKind(StrEnum):
    """Ways to break the promise."""

    LOST = "lost"
    DUPLICATE_OUTPUT = "duplicate_outputs"
    UNEXPECTED_DEAD_LETTER = "unexpected_dead_letters"
    UNEXPECTED_RESULT = "unexpected_results"
    DISAGREEMENT = "disagreements"
    CHANGED_DEAD_LETTER = "changed_dead_letters"
    WRONG_REASON = "wrong_reasons"
    OUT_OF_ORDER = "out_of_order"


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken promise. `where` names coordinates or an id, `detail` says what is wrong; neither holds content."""

    kind: FaultKind
    where: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind.value.replace('_', ' ')}: {self.where}: {self.detail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Everything that stands after a run.

    Attributes:
        topic_id: Kafka's id of the events topic.
        results: of the results topic, read_committed, in the order of each partition.
        dead_letters: of the dead-letter topic, likewise.
        rows: of the table `feedback`, by column name.
        outcomes: of the table `record_outcomes`, by column name.
    """

    topic_id: UUID
    results: Sequence[VisibleRecord]
    dead_letters: Sequence[VisibleRecord]
    rows: Sequence[Mapping[str, Any]]
    outcomes: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """Counts and faults; `ok` when there is no fault of any kind."""

    published: int
    rows: int
    results: int
    dead_letters: int
    duplicate_inputs: int
    by_category: dict[str, int]
    by_sentiment: dict[str, int]
    faults: list[Fault]

    @property
    def ok(self) -> bool:
        """Whether every promise was kept."""
        return not self.faults

    @property
    def fault_counts(self) -> dict[str, int]:
        """Every kind of fault and how often it was found, zeros included."""
        found = Counter(fault.kind for fault in self.faults)
        return {kind.value: found[kind] for kind in FaultKind}


def audit(published: Sequence[PublishedRecord], observation: Observation) -> AuditReport:
    """Compare what was published with what stands.

    Every published record must have ended in one of the ways that its expectation allows, with its row and result, or
    its dead letter, or as a counted copy of an id that has both; nothing else may stand anywhere.
    """
    auditor = _Auditor(published, observation)
    auditor.check_published()
    auditor.check_results()
    auditor.check_dead_letters()
    auditor.check_tables()
    auditor.check_order()
    rows = observation.rows
    return AuditReport(
        published=len(published),
        rows=len(rows),
        results=len(observation.results),
        dead_letters=len(observation.dead_letters),
        duplicate_inputs=count_duplicate_inputs(published, observation.topic_id),
        by_category=_count(row["category"] for row in rows),
        by_sentiment=_count(row["sentiment"] for row in rows),
        faults=auditor.faults,
    )


@dataclass(slots=True)
class _Result:
    """A visible result, parsed."""

    record: VisibleRecord
    content: ClassifiedFeedback

    @property
    def coordinates(self) -> Coordinates:
        return Coordinates(self.content.source.partition, self.content.source.offset)


@dataclass
class _Auditor:
    published: Sequence[PublishedRecord]
    observation: Observation
    faults: list[Fault] = field(default_factory=list)

    def fault(self, kind: FaultKind, where: object, detail: str) -> None:
        self.faults.append(Fault(kind, str(where), detail))

    @cached_property
    def by_coordinates(self) -> dict[Coordinates, PublishedRecord]:
        return {record.coordinates: record for record in self.published}

    @cached_property
    def results_by_id(self) -> dict[UUID, list[_Result]]:
        grouped: dict[UUID, list[_Result]] = defaultdict(list)
        for record in self.observation.results:
            try:
                content = ClassifiedFeedback.model_validate_json(record.value or b"")
            except ValueError:
                where = f"{record.topic} {record.partition}@{record.offset}"
                self.fault(FaultKind.UNEXPECTED_RESULT, where, "is no result of the contract")
            else:
                grouped[content.event.event_id].append(_Result(record, content))
        return grouped

    @cached_property
    def dead_letters_by_coordinates(self) -> dict[Coordinates, list[VisibleRecord]]:
        grouped: dict[Coordinates, list[VisibleRecord]] = defaultdict(list)
        for record in self.observation.dead_letters:
            try:
                partition = int(record.header(headers.DLQ_SOURCE_PARTITION) or "")
                offset = int(record.header(headers.DLQ_SOURCE_OFFSET) or "")
            except ValueError:
                where = f"{record.topic} {record.partition}@{record.offset}"
                self.fault(FaultKind.UNEXPECTED_DEAD_LETTER, where, "does not name its source")
            else:
                grouped[Coordinates(partition, offset)].append(record)
        return grouped

    @cached_property
    def rows_by_id(self) -> dict[UUID, Mapping[str, Any]]:
        return {row["event_id"]: row for row in self.observation.rows}

    @cached_property
    def outcomes_by_coordinates(self) -> dict[Coordinates, Mapping[str, Any]]:
        return {
            Coordinates(outcome["source_partition"], outcome["source_offset"]): outcome
            for outcome in self.observation.outcomes
            if outcome["source_topic_id"] == self.observation.topic_id
        }

    def check_published(self) -> None:
        """Each published record ended, once, and as it should."""
        for record in self.published:
            ending = self._ending(record)
            outcome = self.outcomes_by_coordinates.get(record.coordinates)
            if ending is None:
                standing = "nothing" if outcome is None else outcome["outcome"]
                detail = f"no row with result, dead letter or counted copy; the ledger has {standing}"
                self.fault(FaultKind.LOST, record.coordinates, detail)
                continue
            if outcome is None or outcome["outcome"] != ending.value:
                standing = "nothing" if outcome is None else outcome["outcome"]
                self.fault(FaultKind.DISAGREEMENT, record.coordinates, f"ended as {ending}, the ledger has {standing}")
            self._check_ending(record, ending)

    def _ending(self, record: PublishedRecord) -> Ending | None:
        dead_letters = self.dead_letters_by_coordinates.get(record.coordinates)
        if dead_letters:
            is_conflict = dead_letters[0].header(headers.DLQ_ERROR_CLASS) == _CONFLICT_CLASS
            return Ending.CONFLICT if is_conflict else Ending.DEAD_LETTER
        event_id = record.event_id(self.observation.topic_id)
        results = self.results_by_id.get(event_id)
        if not results or event_id not in self.rows_by_id:
            return None
        if any(result.coordinates == record.coordinates for result in results):
            return Ending.CLASSIFIED
        outcome = self.outcomes_by_coordinates.get(record.coordinates)
        return Ending.DUPLICATE if outcome is not None and outcome["outcome"] == Ending.DUPLICATE else None

    def _check_ending(self, record: PublishedRecord, ending: Ending) -> None:
        expectation = record.expectation
        if ending not in expectation.endings:
            is_dead = ending in {Ending.DEAD_LETTER, Ending.CONFLICT}
            kind = FaultKind.UNEXPECTED_DEAD_LETTER if is_dead else FaultKind.UNEXPECTED_RESULT
            wanted = " or ".join(sorted(expectation.endings))
            self.fault(kind, record.coordinates, f"ended as {ending}, expected {wanted}")
        elif ending in {Ending.DEAD_LETTER, Ending.CONFLICT} and expectation.error_class is not None:
            found = self.dead_letters_by_coordinates[record.coordinates][0].header(headers.DLQ_ERROR_CLASS)
            if found != expectation.error_class:
                detail = f"dead letter says {found}, expected {expectation.error_class}"
                self.fault(FaultKind.WRONG_REASON, record.coordinates, detail)
        elif ending is Ending.CLASSIFIED:
            result = self.results_by_id[record.event_id(self.observation.topic_id)][0]
            missing = expectation.flags - set(result.content.event.flags)
            if missing:
                self.fault(FaultKind.WRONG_REASON, record.coordinates, f"not flagged {', '.join(sorted(missing))}")

    def check_results(self) -> None:
        """One visible result for each id, it was asked for, and it says what its row says."""
        known = {record.event_id(self.observation.topic_id) for record in self.published}
        for event_id, results in self.results_by_id.items():
            if event_id not in known:
                self.fault(FaultKind.UNEXPECTED_RESULT, event_id, "nothing was published under this id")
                continue
            for extra in results[1:]:
                where = f"{extra.record.topic} {extra.record.partition}@{extra.record.offset}"
                self.fault(FaultKind.DUPLICATE_OUTPUT, where, "a further visible result of its event_id")
            row = self.rows_by_id.get(event_id)
            if row is None:
                self.fault(FaultKind.DISAGREEMENT, event_id, "has a result and no row")
                continue
            differing = differing_columns(results[0].record, results[0].content, row)
            if differing:
                self.fault(FaultKind.DISAGREEMENT, event_id, f"row and result differ in {', '.join(differing)}")

    def check_dead_letters(self) -> None:
        """One dead letter for each record that has any, it was published, and its bytes are those that were sent."""
        for coordinates, dead_letters in self.dead_letters_by_coordinates.items():
            record = self.by_coordinates.get(coordinates)
            if record is None:
                self.fault(FaultKind.UNEXPECTED_DEAD_LETTER, coordinates, "nothing was published there")
                continue
            for _ in dead_letters[1:]:
                self.fault(FaultKind.UNEXPECTED_DEAD_LETTER, coordinates, "a further dead letter of the same record")
            for dead_letter in dead_letters:
                changed = _changed_parts(record, dead_letter)
                if changed:
                    self.fault(
                        FaultKind.CHANGED_DEAD_LETTER, coordinates, f"{', '.join(changed)} differ from what was sent"
                    )

    def check_tables(self) -> None:
        """No row and no ledger entry stands for something that was never published."""
        known = {record.event_id(self.observation.topic_id) for record in self.published}
        for event_id in self.rows_by_id.keys() - known:
            self.fault(FaultKind.DISAGREEMENT, event_id, "has a row, and nothing was published under this id")
        for coordinates in self.outcomes_by_coordinates.keys() - self.by_coordinates.keys():
            self.fault(FaultKind.DISAGREEMENT, coordinates, "is in the ledger, and nothing was published there")

    def check_order(self) -> None:
        """Results of one key and source partition stand in the order in which their records were published."""
        first = (results[0] for results in self.results_by_id.values())
        in_order = sorted(first, key=lambda result: (result.record.partition, result.record.offset))
        last: dict[tuple[int, int, bytes], int] = {}
        for result in in_order:
            key = result.record.key
            if key is None:
                continue
            source = result.coordinates
            previous = last.setdefault((result.record.partition, source.partition, key), source.offset)
            if source.offset < previous:
                self.fault(FaultKind.OUT_OF_ORDER, source, f"its result stands after that of offset {previous}")
            last[result.record.partition, source.partition, key] = max(previous, source.offset)


def differing_columns(record: VisibleRecord, result: ClassifiedFeedback, row: Mapping[str, Any]) -> list[str]:
    """Names of the columns of a `feedback` row that its visible result contradicts."""
    event, model, source = result.event, result.model, result.source
    said: dict[str, Any] = {
        "record_key": record.key,
        "source_topic": source.topic,
        "source_topic_id": source.topic_id,
        "source_partition": source.partition,
        "source_offset": source.offset,
        **{name: getattr(event, name) for name in type(event).model_fields},
        **{
            column: value
            for head in ("sentiment", "category", "constructive")
            for column, value in ((head, getattr(result, head).label), (f"{head}_scores", getattr(result, head).scores))
        },
        "needs_review": result.needs_review,
        **{name: getattr(result.routing, name) for name in type(result.routing).model_fields},
        **{f"model_{name}": getattr(model, name) for name in type(model).model_fields},
        **{name: getattr(result, name) for name in ("revision", "classified_at", "latency_ms", "traceparent")},
    }
    return sorted(column for column, value in said.items() if row[column] != value)


def _changed_parts(record: PublishedRecord, dead_letter: VisibleRecord) -> list[str]:
    own_headers = dead_letter.headers[: len(record.headers)]
    only_added = all(name.startswith(headers.DLQ_PREFIX) for name, _ in dead_letter.headers[len(record.headers) :])
    return [
        part
        for part, same in (
            ("key", dead_letter.key == record.key),
            ("value", dead_letter.value == record.value),
            (
                "headers",
                own_headers == record.headers and only_added,
            ),
        )
        if not same
    ]


def count_duplicate_inputs(published: Iterable[PublishedRecord], topic_id: UUID) -> int:
    """How many of the records are further copies of an event, so that nothing must come out for them."""
    copies = Counter(
        record.event_id(topic_id)
        for record in published
        if record.expectation.endings <= {Ending.CLASSIFIED, Ending.DUPLICATE}
    )
    return sum(count - 1 for count in copies.values())


def _count(labels: Iterable[str]) -> dict[str, int]:
    return dict(Counter(labels).most_common())
