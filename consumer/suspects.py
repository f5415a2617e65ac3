"""Records that a process was classifying when it died are tried singly, and given up after a few attempts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

import structlog

from consumer.errors import PoisonEvent, TransientError
from consumer.preparation import PreparedWindow
from consumer.records import SourceRecord
from consumer.sinks.window_marks import Mark

log = structlog.get_logger(__name__)

MAX_ATTEMPTS: Final = 3


class MarkStore(Protocol):
    """Marks that outlive the process; see `consumer.sinks.window_marks.WindowMarks`."""

    def load(self, partitions: list[int]) -> dict[int, Mark]:
        """The marks that a predecessor left."""
        ...

    def set(self, marks: Mapping[int, Mark]) -> None:
        """Write marks."""
        ...

    def clear(self, partitions: list[int]) -> None:
        """Remove marks."""
        ...


class Suspects:
    """Which records of the assigned partitions are suspect, and the marks of what is in flight now.

    An innocent window whose process was killed makes suspects too: they cost one slow pass and nothing else.
    """

    def __init__(self, store: MarkStore) -> None:
        self._store = store
        self._left: dict[int, Mark] = {}
        self._marked: set[int] = set()

    def load(self, partitions: Sequence[int]) -> None:
        """Read what the partitions' former owner left.

        Raises:
            TransientError, FatalError: as the store.
        """
        self._left.update(self._store.load(list(partitions)))

    def is_suspect(self, record: SourceRecord) -> bool:
        """Whether the record was being classified when a process died."""
        mark = self._left.get(record.partition)
        return mark is not None and mark.holds(record.offset)

    def mark(self, prepared: PreparedWindow, unfinished: Sequence[SourceRecord]) -> PreparedWindow:
        """Mark a window before it is classified, together with what is `unfinished` before it.

        Returns:
            The window; a single suspect that was tried `MAX_ATTEMPTS` times is refused in it.

        Raises:
            TransientError, FatalError: as the store.
        """
        self._forget_passed(prepared.records)
        if not prepared.to_classify:
            return prepared
        marks = _spans([*unfinished, *prepared.records])
        first = prepared.records[0]
        if len(prepared.records) > 1 or not self.is_suspect(first):
            self._set(marks)
            return prepared
        left = self._left[first.partition]
        tried = left.attempts if left.next_offset - left.first_offset == 1 else 0
        if tried >= MAX_ATTEMPTS:
            log.error("suspect_given_up", partition=first.partition, offset=first.offset, attempts=tried)
            return prepared.refused(
                PoisonEvent(
                    "classify", "repeated_crash", f"the process ended {tried} times while it classified this record"
                ),
                attempts=tried,
            )
        alone = Mark(first.offset, first.offset + 1, tried + 1)
        self._set({**marks, first.partition: alone})
        return replace(prepared, attempts=tried + 1)

    def clear(self, partitions: Sequence[int]) -> None:
        """Partitions are given up in good order: nothing of them is in flight.

        What a predecessor left, and this process has not tried to the end, stays for the next owner: or a record that
        hangs its process would never be counted, where each crash moves its partition for a moment.
        """
        done = [partition for partition in partitions if partition in self._marked and partition not in self._left]
        self.forget(partitions)
        if not done:
            return
        try:
            self._store.clear(done)
        except TransientError as error:
            # The next owner tries a few innocent records singly.
            log.warning("marks_left_behind", reason=str(error))

    def forget(self, partitions: Sequence[int]) -> None:
        """Partitions were lost: their marks belong to the next owner now."""
        for partition in partitions:
            self._left.pop(partition, None)
            self._marked.discard(partition)

    def _set(self, marks: Mapping[int, Mark]) -> None:
        self._store.set(marks)
        self._marked.update(marks)

    def _forget_passed(self, records: Sequence[SourceRecord]) -> None:
        for record in records:
            mark = self._left.get(record.partition)
            if mark is not None and record.offset >= mark.next_offset:
                del self._left[record.partition]


def _spans(records: Sequence[SourceRecord]) -> dict[int, Mark]:
    spans: dict[int, Mark] = {}
    for record in records:
        span = spans.get(record.partition, Mark(record.offset, record.offset + 1, 1))
        spans[record.partition] = Mark(
            min(span.first_offset, record.offset), max(span.next_offset, record.offset + 1), 1
        )
    return spans
