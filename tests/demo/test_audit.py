"""The audit is the judge of every other test of the promise: each way to break it must be noticed, and only that."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID

import pytest

from demo.audit import AuditReport, FaultKind, Observation, audit
from demo.records import Coordinates, Ending, PublishedRecord
from tests.demo.fabricated import (
    FIRST,
    SECOND,
    dead_letter,
    kept_promise,
    outcome,
    published_record,
    result,
    row,
)

Breaking = Callable[[Sequence[PublishedRecord], Observation], Observation]


def found(report: AuditReport) -> dict[str, int]:
    return {kind: count for kind, count in report.fault_counts.items() if count}


def test_a_kept_promise_has_no_fault_and_is_counted() -> None:
    report = audit(*kept_promise())
    assert report.ok, report.faults
    assert (report.published, report.rows, report.results, report.dead_letters) == (5, 2, 2, 2)
    assert report.duplicate_inputs == 1
    assert report.by_category == {"praise": 1, "bug": 1}
    assert report.by_sentiment == {"positive": 1, "negative": 1}


def test_which_of_two_copies_owns_the_id_may_be_left_open() -> None:
    published, observation = kept_promise()
    either = replace(published[0].expectation, endings=frozenset({Ending.CLASSIFIED, Ending.DUPLICATE}))
    published = [replace(published[0], expectation=either), published[1], *published[3:]]
    published.append(replace(published[0], coordinates=Coordinates(1, 0)))
    owned = row(FIRST, Coordinates(1, 0))
    outcomes = [o for o in observation.outcomes if o["source_offset"] not in {0, 2}]
    outcomes += [outcome(Coordinates(0, 0), Ending.DUPLICATE), outcome(Coordinates(1, 0), Ending.CLASSIFIED)]
    observation = replace(
        observation,
        rows=[owned, observation.rows[1]],
        results=[result(owned, 0), observation.results[1]],
        outcomes=outcomes,
    )
    report = audit(published, observation)
    assert report.ok, report.faults
    assert report.duplicate_inputs == 1


def without_a_result(_: Sequence[PublishedRecord], seen: Observation) -> Observation:
    return replace(seen, results=seen.results[:1])


def without_a_row(_: Sequence[PublishedRecord], seen: Observation) -> Observation:
    return replace(seen, rows=seen.rows[:1])


def without_a_dead_letter(_: Sequence[PublishedRecord], seen: Observation) -> Observation:
    return replace(seen, dead_letters=seen.dead_letters[:1])


def without_the_counted_copy(_: Sequence[PublishedRecord], seen: Observation) -> Observation:
    return replace(seen, outcomes=[o for o in seen.outcomes if o["outcome"] != "duplicate"])


def with_a_doubled_result(_: Sequence[PublishedRecord], seen: Observation) -> Observation:
    return replace(seen, results=[*seen.results, replace(seen.results[0], offset=9)])


def with_another_verdict_in_the_result(_: Sequence[PublishedRecord], seen: Observation) -> Observation:
    other = result(row(SECOND, Coordinates(0, 1), sentiment="neutral", category="bug"), 1)
    return replace(seen, results=[seen.results[0], other])


def with_another_outcome_in_the_ledger(_: Sequence[PublishedRecord], seen: Observation) -> Observation:
    return replace(seen, outcomes=[*seen.outcomes[:-1], outcome(Coordinates(0, 4), Ending.CLASSIFIED)])


def with_a_ledger_entry_of_nothing(_: Sequence[PublishedRecord], seen: Observation) -> Observation:
    return replace(seen, outcomes=[*seen.outcomes, outcome(Coordinates(3, 0), Ending.DEAD_LETTER)])


def with_a_row_of_nothing(_: Sequence[PublishedRecord], seen: Observation) -> Observation:
    return replace(seen, rows=[*seen.rows, {**seen.rows[0], "event_id": UUID(int=999)}])


def with_a_result_of_nothing(_: Sequence[PublishedRecord], seen: Observation) -> Observation:
    foreign = json.loads(seen.results[0].value or b"")
    foreign["event"]["event_id"] = "00000000-0000-0000-0000-0000000000ff"
    stranger = replace(seen.results[0], offset=9, key=b"stranger", value=json.dumps(foreign).encode())
    return replace(seen, results=[*seen.results, stranger])


def with_an_unreadable_result(_: Sequence[PublishedRecord], seen: Observation) -> Observation:
    return replace(seen, results=[*seen.results, replace(seen.results[0], offset=9, value=b"{}")])


def with_a_dead_letter_of_a_good_record(published: Sequence[PublishedRecord], seen: Observation) -> Observation:
    return replace(
        seen,
        rows=seen.rows[:1],
        results=seen.results[:1],
        dead_letters=[*seen.dead_letters, dead_letter(published[1], "invalid_text")],
        outcomes=[outcome(Coordinates(0, 1), Ending.DEAD_LETTER), *(seen.outcomes[i] for i in (0, 2, 3, 4))],
    )


def with_a_doubled_dead_letter(_: Sequence[PublishedRecord], seen: Observation) -> Observation:
    return replace(seen, dead_letters=[*seen.dead_letters, seen.dead_letters[1]])


def with_a_dead_letter_of_nothing(published: Sequence[PublishedRecord], seen: Observation) -> Observation:
    stranger = dead_letter(replace(published[4], coordinates=Coordinates(5, 5)), "not_json")
    return replace(seen, dead_letters=[*seen.dead_letters, stranger])


def with_changed_bytes(_: Sequence[PublishedRecord], seen: Observation) -> Observation:
    return replace(seen, dead_letters=[seen.dead_letters[0], replace(seen.dead_letters[1], value=b"sent")])


def with_a_changed_header(_: Sequence[PublishedRecord], seen: Observation) -> Observation:
    kept = seen.dead_letters[1].headers
    changed = (kept[0], ("origin", b""), *kept[2:])
    return replace(seen, dead_letters=[seen.dead_letters[0], replace(seen.dead_letters[1], headers=changed)])


def with_another_reason(published: Sequence[PublishedRecord], seen: Observation) -> Observation:
    return replace(seen, dead_letters=[seen.dead_letters[0], dead_letter(published[4], "not_utf8", 1)])


def without_a_flag(_: Sequence[PublishedRecord], seen: Observation) -> Observation:
    unflagged = row(FIRST, Coordinates(0, 0), flags=[])
    return replace(seen, rows=[unflagged, seen.rows[1]], results=[result(unflagged, 0), seen.results[1]])


def in_the_wrong_order(_: Sequence[PublishedRecord], seen: Observation) -> Observation:
    return replace(seen, results=[replace(seen.results[1], offset=0), replace(seen.results[0], offset=1)])


@pytest.mark.parametrize(
    ("breaking", "faults"),
    [
        (without_a_result, {FaultKind.LOST: 1}),
        (without_a_row, {FaultKind.LOST: 1, FaultKind.DISAGREEMENT: 1}),
        (without_a_dead_letter, {FaultKind.LOST: 1}),
        (without_the_counted_copy, {FaultKind.LOST: 1}),
        (with_a_doubled_result, {FaultKind.DUPLICATE_OUTPUT: 1}),
        (with_another_verdict_in_the_result, {FaultKind.DISAGREEMENT: 1}),
        (with_another_outcome_in_the_ledger, {FaultKind.DISAGREEMENT: 1}),
        (with_a_ledger_entry_of_nothing, {FaultKind.DISAGREEMENT: 1}),
        (with_a_row_of_nothing, {FaultKind.DISAGREEMENT: 1}),
        (with_a_result_of_nothing, {FaultKind.UNEXPECTED_RESULT: 1}),
        (with_an_unreadable_result, {FaultKind.UNEXPECTED_RESULT: 1}),
        (with_a_dead_letter_of_a_good_record, {FaultKind.UNEXPECTED_DEAD_LETTER: 1}),
        (with_a_doubled_dead_letter, {FaultKind.UNEXPECTED_DEAD_LETTER: 1}),
        (with_a_dead_letter_of_nothing, {FaultKind.UNEXPECTED_DEAD_LETTER: 1}),
        (with_changed_bytes, {FaultKind.CHANGED_DEAD_LETTER: 1}),
        (with_a_changed_header, {FaultKind.CHANGED_DEAD_LETTER: 1}),
        (with_another_reason, {FaultKind.WRONG_REASON: 1}),
        (without_a_flag, {FaultKind.WRONG_REASON: 1}),
        (in_the_wrong_order, {FaultKind.OUT_OF_ORDER: 1}),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_broken_promise_is_noticed(breaking: Breaking, faults: dict[FaultKind, int]) -> None:
    published, observation = kept_promise()
    report = audit(published, breaking(published, observation))
    assert not report.ok
    assert found(report) == {kind.value: count for kind, count in faults.items()}, report.faults


@pytest.mark.parametrize("column", sorted(kept_promise()[1].rows[0].keys() - {"event_id"}))
def test_every_column_that_a_result_repeats_is_compared(column: str) -> None:
    published, observation = kept_promise()
    altered = {**observation.rows[0], column: "altered"}
    report = audit(published, replace(observation, rows=[altered, observation.rows[1]]))
    assert found(report) == {"disagreements": 1}


def test_a_record_that_came_without_an_id_is_found_by_its_coordinates() -> None:
    record = published_record(Coordinates(2, 8), Ending.CLASSIFIED)
    _, observation = kept_promise()
    owned = row(record.event_id(observation.topic_id), record.coordinates)
    observation = replace(
        observation,
        rows=[owned],
        results=[result(owned, 0)],
        dead_letters=[],
        outcomes=[outcome(record.coordinates, Ending.CLASSIFIED)],
    )
    assert audit([record], observation).ok
