"""The kinds of disagreement, what each one means, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from consumer.outcomes import Coordinates


class Kind(StrEnum):
    """One way in which topics, tables and offsets can tell different stories."""

    UNRECORDED = "unrecorded"
    ROW_MISSING = "row_missing"
    ROW_WITHOUT_VERDICT = "row_without_verdict"
    RESULT_MISSING = "result_missing"
    RESULT_TWICE = "result_twice"
    RESULT_DIFFERS = "result_differs"
    RESULT_WITHOUT_ROW = "result_without_row"
    DEAD_LETTER_MISSING = "dead_letter_missing"
    DEAD_LETTER_TWICE = "dead_letter_twice"
    DEAD_LETTER_WITHOUT_VERDICT = "dead_letter_without_verdict"
    ROW_AND_DEAD_LETTER = "row_and_dead_letter"
    RESULT_AND_DEAD_LETTER = "result_and_dead_letter"
    FOREIGN_RESULT = "foreign_result"
    FOREIGN_DEAD_LETTER = "foreign_dead_letter"
    OFFSET_MISSING = "offset_missing"
    OFFSET_BEHIND = "offset_behind"
    OFFSET_BEYOND = "offset_beyond"


class Explanation(NamedTuple):
    """`meaning` completes "records that ..."; `remedy` says what a person can do where a repair does not help."""

    meaning: str
    remedy: str


_EMIT_AGAIN: Final = (
    "stop the consumers, set the partition back to the first of these offsets and start once with "
    "--accept-offset-mismatch: what is stored goes out again, and so does everything after it"
)
_READERS: Final = "what readers saw cannot be taken back; they can tell by the source coordinates"

EXPLANATIONS: Final = {
    Kind.UNRECORDED: Explanation(
        "a record below the committed offset has no verdict",
        "--repair rebuilds it from its result or dead letter, or finds that it repeats another; what stays was never "
        "processed: publish those records again, with their own event_id",
    ),
    Kind.ROW_MISSING: Explanation(
        "the ledger says classified, and there is no row",
        "--repair rebuilds it from its result; without a result it is lost: publish the record again under a new "
        "event_id",
    ),
    Kind.ROW_WITHOUT_VERDICT: Explanation(
        "a row whose record the ledger does not hold as classified",
        "--repair records it where the ledger has no entry; else somebody changed the ledger: the row is what readers "
        "of the table see, decide which of the two is right",
    ),
    Kind.RESULT_MISSING: Explanation("a classified record has no visible result", _EMIT_AGAIN),
    Kind.RESULT_TWICE: Explanation("a record has more than one visible result", _READERS),
    Kind.RESULT_DIFFERS: Explanation(
        "the visible result is not what the row stands for",
        "somebody changed the row, or it was classified again: to go back to what readers saw, delete the row and "
        "run --repair",
    ),
    Kind.RESULT_WITHOUT_ROW: Explanation(
        "a visible result whose record owns no row and no such verdict",
        "its record has another verdict, or is no longer in the topic, so that the row cannot be rebuilt; " + _READERS,
    ),
    Kind.DEAD_LETTER_MISSING: Explanation("a refused record has no visible dead letter", _EMIT_AGAIN),
    Kind.DEAD_LETTER_TWICE: Explanation("a record has more than one visible dead letter", "replay one of them only"),
    Kind.DEAD_LETTER_WITHOUT_VERDICT: Explanation(
        "a dead letter whose record the ledger does not hold as refused",
        "it may have been written by hand, or its record is no longer in the topic; do not replay it",
    ),
    Kind.ROW_AND_DEAD_LETTER: Explanation(
        "a record has a row and was refused",
        "somebody changed a table or wrote to the dead-letter topic: do not replay it",
    ),
    Kind.RESULT_AND_DEAD_LETTER: Explanation(
        "a record has a visible result and was refused",
        "somebody changed a table or wrote to a topic: do not replay it",
    ),
    Kind.FOREIGN_RESULT: Explanation(
        "a record of the results topic is no result",
        "somebody else writes to it: find out by its ACLs who may",
    ),
    Kind.FOREIGN_DEAD_LETTER: Explanation(
        "a record of the dead-letter topic is no dead letter",
        "somebody else writes to it: find out by its ACLs who may",
    ),
    Kind.OFFSET_MISSING: Explanation(
        "the group has no committed offset, and the ledger has entries",
        "see docs/reliability.md, Offsets reset",
    ),
    Kind.OFFSET_BEHIND: Explanation(
        "the committed offset lies further behind the ledger than a crash leaves it",
        "see docs/reliability.md, Offsets reset",
    ),
    Kind.OFFSET_BEYOND: Explanation(
        "the committed offset lies beyond the ledger or the topic",
        "see docs/reliability.md, Database restored",
    ),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """How many disagreements of one kind there are, and where the first ones are.

    `topic` is where the coordinates lie: the events topic, but for records that do not belong.
    """

    kind: Kind
    topic: str
    count: int
    first: tuple[Coordinates, ...]
