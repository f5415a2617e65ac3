"""The oracle: what was sent against what stands in topics and tables. It knows the promise, not the consumer.

Records are matched by the sequence number in their headers and by coordinates. Contents are parsed for one question
only: whether a result says what its row says.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Final
from uuid import UUID

from demo.audit import Observation, differing_columns
from demo.records import Coordinates, Ending, VisibleRecord
from schemas import headers
from schemas.ids import coordinates_id
from schemas.result import ClassifiedFeedback
from tests.chaos.journal import Sent
from tests.chaos.load import SEQUENCE, sequence_of_result

_CONFLICT_CLASS: Final = "event_id_conflict"
_DEAD: Final = frozenset({Ending.DEAD_LETTER, Ending.CONFLICT})


class ViolationKind(StrEnum):
    """Ways to break the promise."""

    LOST = "lost"
    DUPLICATED = "duplicated"
    OUT_OF_ORDER = "out_of_order"
    DISAGREEMENT = "disagreements"
    ROW_AND_DEAD_LETTER = "row_and_dead_letter"
    CHANGED_DEAD_LETTER = "changed_dead_letters"
    WRONG_ENDING = "wrong_endings"
    INVENTED = "invented"
    PUBLISH_BROKEN = "broken_publishes"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise. `sequence` is that of the record that it befell, if any; `detail` holds no content."""

    kind: ViolationKind
    sequence: int | None
    detail: str

    def __str__(self) -> str:
        record = "" if self.sequence is None else f"record {self.sequence}: "
        return f"{self.kind.value.replace('_', ' ')}: {record}{self.detail}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the oracle found. Counts are of records in the topics and the tables."""

    events: int
    results: int
    dead_letters: int
    rows: int
    outcomes: dict[str, int]
    unanswered_publishes: int
    violations: list[Violation]

    @property
    def counts(self) -> dict[str, int]:
        """Every kind of violation and how often it was found, zeros included."""
        found = Counter(violation.kind for violation in self.violations)
        return {kind.value: found[kind] for kind in ViolationKind}


def judge(sent: Sequence[Sent], events: Sequence[VisibleRecord], observation: Observation) -> Verdict:
    """Compare what was sent with what stands.

    Args:
        sent: every record that was handed to the producer, with what Kafka said of it.
        events: the events topic from beginning to end.
        observation: output topics and tables, after the last event was answered.
    """
    court = _Court({each.sequence: each for each in sent}, events, observation)
    court.check_publishes()
    court.check_matches()
    for event in court.events.values():
        court.check_ending(event)
    for family in court.families():
        court.check_family(family)
    court.check_order()
    outcomes = Counter(str(entry["outcome"]) for entry in court.ledger.values())
    return Verdict(
        events=len(events),
        results=len(observation.results),
        dead_letters=len(observation.dead_letters),
        rows=len(observation.rows),
        outcomes=dict(sorted(outcomes.items())),
        unanswered_publishes=sum(each.publication != "acknowledged" for each in sent),
        violations=court.violations,
    )


@dataclass(frozen=True, slots=True)
class _Event:
    """A record of the events topic and what it was meant to be."""

    record: VisibleRecord
    sent: Sent

    @property
    def coordinates(self) -> Coordinates:
        return Coordinates(self.record.partition, self.record.offset)

    def event_id(self, topic_id: UUID) -> UUID:
        return self.sent.expectation.event_id or coordinates_id(topic_id, *self.coordinates)


@dataclass
class _Court:
    sent: Mapping[int, Sent]
    published: Sequence[VisibleRecord]
    observation: Observation
    violations: list[Violation] = field(default_factory=list)

    def accuse(self, kind: ViolationKind, sequence: int | None, detail: str) -> None:
        self.violations.append(Violation(kind, sequence, detail))

    @cached_property
    def events(self) -> dict[int, _Event]:
        """The first copy of each sequence number in the events topic."""
        found: dict[int, _Event] = {}
        for record in self.published:
            sequence = _number(record.header(SEQUENCE))
            sent = self.sent.get(sequence or 0)
            if sequence is None or sent is None:
                self.accuse(ViolationKind.INVENTED, None, f"nobody sent {_place(record)}")
            elif sequence in found:
                self.accuse(ViolationKind.PUBLISH_BROKEN, sequence, f"is in the topic again at {_place(record)}")
            else:
                found[sequence] = _Event(record, sent)
        return found

    @cached_property
    def results(self) -> dict[int, list[VisibleRecord]]:
        return self._by_sequence(
            self.observation.results, lambda record: sequence_of_result(record.header(headers.TRACEPARENT))
        )

    @cached_property
    def dead_letters(self) -> dict[int, list[VisibleRecord]]:
        return self._by_sequence(self.observation.dead_letters, lambda record: _number(record.header(SEQUENCE)))

    @cached_property
    def rows(self) -> dict[Coordinates, Mapping[str, Any]]:
        return {
            Coordinates(row["source_partition"], row["source_offset"]): row
            for row in self.observation.rows
            if row["source_topic_id"] == self.observation.topic_id
        }

    @cached_property
    def ledger(self) -> dict[Coordinates, Mapping[str, Any]]:
        return {
            Coordinates(entry["source_partition"], entry["source_offset"]): entry
            for entry in self.observation.outcomes
            if entry["source_topic_id"] == self.observation.topic_id
        }

    def _by_sequence(self, records: Iterable[VisibleRecord], number: Any) -> dict[int, list[VisibleRecord]]:
        found: dict[int, list[VisibleRecord]] = defaultdict(list)
        for record in records:
            sequence = number(record)
            if sequence is None or sequence not in self.events:
                self.accuse(ViolationKind.INVENTED, sequence, f"{_place(record)} answers nothing that was published")
            else:
                found[sequence].append(record)
        return found

    def check_publishes(self) -> None:
        """What Kafka acknowledged is there, where it said, with the bytes that were sent."""
        for sequence, sent in self.sent.items():
            event = self.events.get(sequence)
            if event is None:
                if sent.publication == "acknowledged":
                    self.accuse(ViolationKind.PUBLISH_BROKEN, sequence, "was acknowledged and is not in the topic")
                continue
            if sent.coordinates is not None and sent.coordinates != event.coordinates:
                self.accuse(ViolationKind.PUBLISH_BROKEN, sequence, f"was acknowledged at {sent.coordinates}")
            if (sent.key, sent.value, sent.headers) != (event.record.key, event.record.value, event.record.headers):
                self.accuse(ViolationKind.PUBLISH_BROKEN, sequence, "differs from what was sent")

    def check_matches(self) -> None:
        """No row and no ledger entry stands for what was never published."""
        known = {event.coordinates for event in self.events.values()}
        for coordinates in self.rows.keys() - known:
            self.accuse(ViolationKind.INVENTED, None, f"a row of {coordinates}, where nothing was published")
        for coordinates in self.ledger.keys() - known:
            self.accuse(ViolationKind.INVENTED, None, f"a ledger entry of {coordinates}, where nothing was published")
        foreign = len(self.observation.rows) - len(self.rows)
        if foreign:
            self.accuse(ViolationKind.INVENTED, None, f"{foreign} rows name another topic")

    def check_ending(self, event: _Event) -> None:
        """One record: its outputs are those that its ledger entry stands for, once, and it may end so."""
        sequence = event.sent.sequence
        results, letters = self.results.get(sequence, []), self.dead_letters.get(sequence, [])
        row, entry = self.rows.get(event.coordinates), self.ledger.get(event.coordinates)
        for copies, what in ((results, "result"), (letters, "dead letter")):
            for extra in copies[1:]:
                self.accuse(ViolationKind.DUPLICATED, sequence, f"a further {what} at {_place(extra)}")
        if letters and (row is not None or results):
            other = "row" if row is not None else "result"
            self.accuse(ViolationKind.ROW_AND_DEAD_LETTER, sequence, f"has a {other} and a dead letter")
        for letter in letters:
            self._check_letter(event, letter)
        if entry is None:
            kind = ViolationKind.DISAGREEMENT if results or letters or row is not None else ViolationKind.LOST
            self.accuse(kind, sequence, f"{event.coordinates} is not in the ledger")
            return
        ending = Ending(entry["outcome"])
        if ending not in event.sent.expectation.endings:
            detail = f"{event.sent.kind} ended as {ending} ({entry['error_class'] or 'no class'})"
            self.accuse(ViolationKind.WRONG_ENDING, sequence, detail)
        self._check_outputs(event, ending, results, letters, row)

    def _check_outputs(
        self,
        event: _Event,
        ending: Ending,
        results: Sequence[VisibleRecord],
        letters: Sequence[VisibleRecord],
        row: Mapping[str, Any] | None,
    ) -> None:
        sequence = event.sent.sequence
        if ending is Ending.CLASSIFIED:
            if not results:
                self.accuse(ViolationKind.LOST, sequence, "is classified and has no visible result")
            if row is None:
                self.accuse(ViolationKind.DISAGREEMENT, sequence, "is classified and has no row")
            if results and row is not None:
                self._check_result(event, results[0], row)
            return
        if row is not None:
            self.accuse(ViolationKind.DISAGREEMENT, sequence, f"is {ending} in the ledger and has a row")
        if results:
            self.accuse(ViolationKind.DUPLICATED, sequence, f"is {ending} in the ledger and has a result")
        if ending in _DEAD:
            if not letters:
                self.accuse(ViolationKind.LOST, sequence, f"is {ending} and has no dead letter")
                return
            told = letters[0].header(headers.DLQ_ERROR_CLASS)
            expected = _CONFLICT_CLASS if ending is Ending.CONFLICT else event.sent.expectation.error_class
            if expected is not None and told != expected:
                self.accuse(ViolationKind.WRONG_ENDING, sequence, f"dead letter says {told}, expected {expected}")

    def _check_letter(self, event: _Event, letter: VisibleRecord) -> None:
        sequence, record = event.sent.sequence, event.record
        told = (letter.header(headers.DLQ_SOURCE_PARTITION), letter.header(headers.DLQ_SOURCE_OFFSET))
        if told != (str(record.partition), str(record.offset)):
            self.accuse(ViolationKind.DISAGREEMENT, sequence, f"its dead letter names {told[0]}@{told[1]}")
        own, added = letter.headers[: len(record.headers)], letter.headers[len(record.headers) :]
        same = (letter.key, letter.value, own) == (record.key, record.value, record.headers)
        if not same or not all(name.startswith(headers.DLQ_PREFIX) for name, _ in added):
            self.accuse(ViolationKind.CHANGED_DEAD_LETTER, sequence, "key, value or headers differ from the record's")

    def _check_result(self, event: _Event, result: VisibleRecord, row: Mapping[str, Any]) -> None:
        sequence = event.sent.sequence
        try:
            content = ClassifiedFeedback.model_validate_json(result.value or b"")
        except ValueError:
            self.accuse(ViolationKind.DISAGREEMENT, sequence, "its result does not follow the contract")
            return
        differing = differing_columns(result, content, row)
        if differing:
            self.accuse(ViolationKind.DISAGREEMENT, sequence, f"row and result differ in {', '.join(differing)}")
        missing = event.sent.expectation.flags - set(content.event.flags)
        if missing:
            self.accuse(ViolationKind.WRONG_ENDING, sequence, f"is not flagged {', '.join(sorted(missing))}")

    def families(self) -> Iterable[list[_Event]]:
        """Records of one event id that an undisturbed model could classify."""
        families: dict[UUID, list[_Event]] = defaultdict(list)
        for event in self.events.values():
            if Ending.CLASSIFIED in event.sent.expectation.endings:
                families[event.event_id(self.observation.topic_id)].append(event)
        return families.values()

    def check_family(self, family: Sequence[_Event]) -> None:
        """One owns the id, and none of its partition comes before it; the others are what their content makes them."""
        owners = [event for event in family if self._ending(event) is Ending.CLASSIFIED]
        for extra in owners[1:]:
            self.accuse(ViolationKind.DUPLICATED, extra.sent.sequence, "its event_id is classified already")
        if not owners:
            recorded = [event for event in family if self._ending(event) is not None]
            if recorded and not any(self._ending(event) is Ending.DEAD_LETTER for event in recorded):
                self.accuse(ViolationKind.LOST, family[0].sent.sequence, "no copy of its event_id is classified")
            return
        owner = owners[0]
        for event in family:
            ending = self._ending(event)
            if event is owner or ending not in {Ending.DUPLICATE, Ending.CONFLICT}:
                continue
            is_copy = event.sent.value == owner.sent.value
            if (ending is Ending.DUPLICATE) != is_copy:
                detail = f"is {ending}, and {'repeats' if is_copy else 'contradicts'} the owner of its event_id"
                self.accuse(ViolationKind.WRONG_ENDING, event.sent.sequence, detail)
            same_partition = event.coordinates.partition == owner.coordinates.partition
            if same_partition and event.coordinates.offset < owner.coordinates.offset:
                self.accuse(
                    ViolationKind.OUT_OF_ORDER, event.sent.sequence, "a later record of its partition owns its id"
                )

    def _ending(self, event: _Event) -> Ending | None:
        entry = self.ledger.get(event.coordinates)
        return None if entry is None else Ending(entry["outcome"])

    def check_order(self) -> None:
        """Results of one key stand in the order of their records, for each partition of the events topic."""
        highest: dict[tuple[int, int, bytes], int] = {}
        first = [(records[0], sequence) for sequence, records in self.results.items()]
        first.sort(key=lambda each: (each[0].partition, each[0].offset))
        for result, sequence in first:
            source = self.events[sequence].coordinates
            if result.key is None:
                continue
            place = (result.partition, source.partition, result.key)
            before = highest.get(place, -1)
            if source.offset < before:
                self.accuse(ViolationKind.OUT_OF_ORDER, sequence, f"its result stands after that of offset {before}")
            highest[place] = max(before, source.offset)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _place(record: VisibleRecord) -> str:
    return f"{record.topic} {record.partition}@{record.offset}"
