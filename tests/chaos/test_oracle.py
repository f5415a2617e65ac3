"""The oracle is the judge of every run: each way to break the promise must be noticed, and only that."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from demo.audit import Observation
from demo.records import Coordinates, Ending, Expectation, PublishedRecord, VisibleRecord
from schemas import headers
from tests.chaos.journal import Sent
from tests.chaos.load import sequence_headers
from tests.chaos.oracle import Verdict, ViolationKind, judge
from tests.demo.fabricated import FIRST, SECOND, TOPIC_ID, dead_letter, outcome, result, row

CLASSIFIABLE = frozenset({Ending.CLASSIFIED, Ending.DUPLICATE, Ending.CONFLICT})
DEAD = frozenset({Ending.DEAD_LETTER})


@dataclass(frozen=True)
class Run:
    sent: list[Sent]
    events: list[VisibleRecord]
    seen: Observation

    def judge(self) -> Verdict:
        return judge(self.sent, self.events, self.seen)

    def with_seen(self, **changes: Any) -> "Run":
        return replace(self, seen=replace(self.seen, **changes))


def sent_record(sequence: int, expectation: Expectation, value: bytes | None) -> Sent:
    return Sent(
        sequence=sequence,
        kind="event",
        key=b"customer",
        value=value,
        headers=sequence_headers(sequence),
        expectation=expectation,
        sent_s=0.0,
        publication="acknowledged",
        coordinates=Coordinates(0, sequence - 1),
    )


def in_topic(sent: Sent) -> VisibleRecord:
    assert sent.coordinates is not None
    return VisibleRecord(
        topic="feedback.events",
        partition=sent.coordinates.partition,
        offset=sent.coordinates.offset,
        key=sent.key,
        value=sent.value,
        headers=sent.headers,
        observed_s=0.0,
    )


def letter_of(sent: Sent, error_class: str, offset: int) -> VisibleRecord:
    assert sent.coordinates is not None
    published = PublishedRecord(
        coordinates=sent.coordinates, key=sent.key, value=sent.value, headers=sent.headers, expectation=sent.expectation
    )
    return dead_letter(published, error_class, offset)


def result_of(of: Mapping[str, Any], sequence: int, offset: int) -> VisibleRecord:
    trace = sequence_headers(sequence)[1][1]
    made = result(dict(of), offset)
    return replace(made, headers=(*made.headers, (headers.TRACEPARENT, trace)))


@pytest.fixture
def kept() -> Run:
    """Two events, a copy of the first, a conflict with it, a record that is no event, and one that Kafka refused."""
    sent = [
        sent_record(1, Expectation(endings=CLASSIFIABLE, event_id=FIRST, flags=frozenset({"text_cleaned"})), b"one"),
        sent_record(2, Expectation(endings=CLASSIFIABLE, event_id=SECOND), b"two"),
        sent_record(3, Expectation(endings=CLASSIFIABLE, event_id=FIRST), b"one"),
        sent_record(4, Expectation(endings=CLASSIFIABLE, event_id=FIRST), b"not one"),
        sent_record(5, Expectation(endings=DEAD, error_class="not_json"), b"words"),
    ]
    refused = replace(sent_record(6, sent[0].expectation, b"one"), publication="failed", coordinates=None)
    rows = [row(FIRST, Coordinates(0, 0)), row(SECOND, Coordinates(0, 1), sentiment="negative", category="bug")]
    endings = (Ending.CLASSIFIED, Ending.CLASSIFIED, Ending.DUPLICATE, Ending.CONFLICT, Ending.DEAD_LETTER)
    seen = Observation(
        topic_id=TOPIC_ID,
        results=[result_of(rows[0], 1, 0), result_of(rows[1], 2, 1)],
        dead_letters=[letter_of(sent[3], "event_id_conflict", 0), letter_of(sent[4], "not_json", 1)],
        rows=rows,
        outcomes=[
            {**outcome(Coordinates(0, offset), ending), "error_class": None} for offset, ending in enumerate(endings)
        ],
    )
    return Run([*sent, refused], [in_topic(each) for each in sent], seen)


def test_a_kept_promise_is_not_accused(kept: Run) -> None:
    verdict = kept.judge()
    assert verdict.violations == []
    assert (verdict.events, verdict.results, verdict.dead_letters, verdict.rows) == (5, 2, 2, 2)
    assert verdict.unanswered_publishes == 1
    assert verdict.outcomes == {"classified": 2, "conflict": 1, "dead_letter": 1, "duplicate": 1}


def test_a_publish_without_an_answer_may_be_there_once(kept: Run) -> None:
    sent = [replace(each, publication="unknown", coordinates=None) for each in kept.sent]
    assert replace(kept, sent=sent).judge().violations == []


def test_an_acknowledged_publish_that_is_away_or_twice_there_is_noticed(kept: Run) -> None:
    away = replace(kept, events=kept.events[:-1]).judge().counts
    assert away["broken_publishes"] == 1
    twice = replace(kept, events=[*kept.events, replace(kept.events[1], offset=5)]).judge().counts
    assert twice["broken_publishes"] == 1


def without_a_result(run: Run) -> Run:
    return run.with_seen(results=run.seen.results[:1])


def without_a_dead_letter(run: Run) -> Run:
    return run.with_seen(dead_letters=run.seen.dead_letters[:1])


def never_consumed(run: Run) -> Run:
    return run.with_seen(
        results=run.seen.results[:1],
        rows=run.seen.rows[:1],
        outcomes=[each for each in run.seen.outcomes if each["source_offset"] != 1],
    )


def with_a_second_result(run: Run) -> Run:
    return run.with_seen(results=[*run.seen.results, replace(run.seen.results[0], offset=9)])


def with_a_second_dead_letter(run: Run) -> Run:
    return run.with_seen(dead_letters=[*run.seen.dead_letters, replace(run.seen.dead_letters[1], offset=9)])


def with_a_result_for_the_copy(run: Run) -> Run:
    copy = result_of({**run.seen.rows[0], "source_offset": 2}, 3, 9)
    return run.with_seen(results=[*run.seen.results, copy])


def with_the_copy_classified_too(run: Run) -> Run:
    own = row(FIRST, Coordinates(0, 2))
    outcomes = [{**each, "outcome": "classified"} if each["source_offset"] == 2 else each for each in run.seen.outcomes]
    return run.with_seen(
        rows=[*run.seen.rows, own], results=[*run.seen.results, result_of(own, 3, 9)], outcomes=outcomes
    )


def with_swapped_results(run: Run) -> Run:
    first, second = run.seen.results
    return run.with_seen(results=[replace(first, offset=1), replace(second, offset=0)])


def owned_by_the_later_record(run: Run) -> Run:
    own = row(FIRST, Coordinates(0, 2))
    endings = {0: "duplicate", 2: "classified"}
    return run.with_seen(
        rows=[own, run.seen.rows[1]],
        results=[result_of(own, 3, 2), run.seen.results[1]],
        outcomes=[
            {**each, "outcome": endings.get(each["source_offset"], each["outcome"])} for each in run.seen.outcomes
        ],
    )


def with_another_verdict_in_the_result(run: Run) -> Run:
    other = result_of({**run.seen.rows[0], "sentiment": "negative"}, 1, 0)
    return run.with_seen(results=[other, run.seen.results[1]])


def without_a_row(run: Run) -> Run:
    return run.with_seen(rows=run.seen.rows[:1])


def without_a_ledger_entry(run: Run) -> Run:
    return run.with_seen(outcomes=run.seen.outcomes[:-1])


def with_row_and_dead_letter(run: Run) -> Run:
    return run.with_seen(dead_letters=[*run.seen.dead_letters, letter_of(run.sent[1], "RuntimeError", 9)])


def with_other_bytes(run: Run) -> Run:
    first, second = run.seen.dead_letters
    return run.with_seen(dead_letters=[first, replace(second, value=b"Words")])


def without_an_own_header(run: Run) -> Run:
    first, second = run.seen.dead_letters
    return run.with_seen(dead_letters=[first, replace(second, headers=(second.headers[0], *second.headers[2:]))])


def with_a_healthy_event_dead(run: Run) -> Run:
    outcomes = [
        {**each, "outcome": "dead_letter", "error_class": "RuntimeError"} if each["source_offset"] == 1 else each
        for each in run.seen.outcomes
    ]
    letters = [*run.seen.dead_letters, letter_of(run.sent[1], "RuntimeError", 9)]
    return run.with_seen(outcomes=outcomes, dead_letters=letters, rows=run.seen.rows[:1], results=run.seen.results[:1])


def with_another_reason(run: Run) -> Run:
    return run.with_seen(dead_letters=[run.seen.dead_letters[0], letter_of(run.sent[4], "not_utf8", 1)])


def with_the_conflict_counted_as_a_copy(run: Run) -> Run:
    outcomes = [{**each, "outcome": "duplicate"} if each["source_offset"] == 3 else each for each in run.seen.outcomes]
    return run.with_seen(outcomes=outcomes, dead_letters=run.seen.dead_letters[1:])


def with_a_result_of_nothing(run: Run) -> Run:
    return run.with_seen(results=[*run.seen.results, result_of(run.seen.rows[0], 99, 9)])


def with_a_row_of_nothing(run: Run) -> Run:
    return run.with_seen(rows=[*run.seen.rows, row(FIRST, Coordinates(3, 7))])


@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        (without_a_result, ViolationKind.LOST),
        (without_a_dead_letter, ViolationKind.LOST),
        (never_consumed, ViolationKind.LOST),
        (with_a_second_result, ViolationKind.DUPLICATED),
        (with_a_second_dead_letter, ViolationKind.DUPLICATED),
        (with_a_result_for_the_copy, ViolationKind.DUPLICATED),
        (with_the_copy_classified_too, ViolationKind.DUPLICATED),
        (with_swapped_results, ViolationKind.OUT_OF_ORDER),
        (owned_by_the_later_record, ViolationKind.OUT_OF_ORDER),
        (with_another_verdict_in_the_result, ViolationKind.DISAGREEMENT),
        (without_a_row, ViolationKind.DISAGREEMENT),
        (without_a_ledger_entry, ViolationKind.DISAGREEMENT),
        (with_row_and_dead_letter, ViolationKind.ROW_AND_DEAD_LETTER),
        (with_other_bytes, ViolationKind.CHANGED_DEAD_LETTER),
        (without_an_own_header, ViolationKind.CHANGED_DEAD_LETTER),
        (with_a_healthy_event_dead, ViolationKind.WRONG_ENDING),
        (with_another_reason, ViolationKind.WRONG_ENDING),
        (with_the_conflict_counted_as_a_copy, ViolationKind.WRONG_ENDING),
        (with_a_result_of_nothing, ViolationKind.INVENTED),
        (with_a_row_of_nothing, ViolationKind.INVENTED),
    ],
)
def test_a_broken_promise_is_noticed(kept: Run, broken: Callable[[Run], Run], kind: ViolationKind) -> None:
    found = {violation.kind for violation in broken(kept).judge().violations}
    assert found == {kind}


def test_it_never_imports_the_consumer() -> None:
    import ast  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    folder = Path(__file__).parent
    for name in ("oracle", "journal", "load", "watch", "stalls"):
        imported = [
            node.module if isinstance(node, ast.ImportFrom) else alias.name
            for node in ast.walk(ast.parse((folder / f"{name}.py").read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        ]
        assert not [module for module in imported if (module or "").split(".")[0] == "consumer"], name
