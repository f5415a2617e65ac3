"""Publishes a file line by line: the same ids at every attempt, from the line after the last acknowledged one."""

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import dropwhile
from typing import Any, BinaryIO, Final, Self

from producer.client import FeedbackPublisher
from producer.delivery import Receipt
from producer.errors import EventTooLargeError, InvalidEventError, PublishError, UndeliveredError
from producer.files.progress import ImportProgress, ImportState
from producer.files.reading import Line, UnusableFileError, read_lines
from schemas.ids import file_line_id

_HASH_CHUNK_BYTES: Final = 1024 * 1024
_PAUSE_S: Final = 0.25
_CATCH_UP_S: Final = 0.1
_CLOSE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What was hashed. Size and modification time tell whether the file changed since."""

    sha256: str
    size_bytes: int
    modified_ns: int

    @classmethod
    def of(cls, file: BinaryIO, on_bytes: Callable[[int], None]) -> Self:
        """Hash `file`; `on_bytes` hears of every chunk's size.

        Raises:
            UnusableFileError: somebody is still writing it.
        """
        before = os.fstat(file.fileno())
        digest = hashlib.sha256()
        file.seek(0)
        while chunk := file.read(_HASH_CHUNK_BYTES):
            digest.update(chunk)
            on_bytes(len(chunk))
        identity = cls(digest.hexdigest(), before.st_size, before.st_mtime_ns)
        identity.check(file)
        return identity

    def check(self, file: BinaryIO) -> None:
        """Raise `UnusableFileError` if `file` is not what was hashed."""
        now = os.fstat(file.fileno())
        if (now.st_size, now.st_mtime_ns) != (self.size_bytes, self.modified_ns):
            raise UnusableFileError("the file changed while it was read: import it again when it is complete")

    @property
    def modified_at(self) -> datetime:
        """The modification time in whole seconds."""
        return datetime.fromtimestamp(self.modified_ns // 10**9, UTC)


@dataclass(frozen=True, slots=True)
class ImportResult:
    """How one attempt at a file ended.

    Attributes:
        state: as it stands on disk, over all attempts.
        resumed_after_line: the line acknowledged before this attempt, 0 for none.
        sent_events: acknowledged in this attempt.
        stopped: why it ended before the last line, or None.
        elapsed_s: how long this attempt took.
    """

    state: ImportState
    resumed_after_line: int
    sent_events: int
    stopped: str | None
    elapsed_s: float


class FileImport:
    """One attempt to publish one file.

    Args:
        publisher: closed at the end of `run`.
        file: the open file.
        identity: what it held when it was hashed.
        progress: where the last attempt ended.
        events_per_s: send no faster, None for as fast as Kafka takes them.
        on_problem: hears the number of each bad line and what is wrong with it.
        on_progress: called as lines are sent.
    """

    def __init__(
        self,
        publisher: FeedbackPublisher,
        file: BinaryIO,
        identity: FileIdentity,
        progress: ImportProgress,
        *,
        events_per_s: float | None,
        on_problem: Callable[[int, str], None],
        on_progress: Callable[[ImportProgress], None],
    ) -> None:
        self._publisher = publisher
        self._file = file
        self._identity = identity
        self._progress = progress
        self._events_per_s = events_per_s
        self._on_problem = on_problem
        self._on_progress = on_progress

    def run(self) -> ImportResult:
        """Publish what is left of the file.

        Raises:
            UnusableFileError: the file changed meanwhile, or is a CSV file without a usable header.
        """
        started_s = time.monotonic()
        before = self._progress.state
        stopped = None
        try:
            self._send(before.acknowledged_line)
            self._identity.check(self._file)
        except PublishError as error:
            stopped = str(error)
        finally:
            # What closing gives up is not acknowledged, so the next attempt sends it again.
            with suppress(UndeliveredError):
                self._publisher.close(_CLOSE_S)
            self._progress.advance()
        if stopped is None and self._progress.failure is not None:
            line_number, reason = self._progress.failure
            stopped = f"line {line_number}: {reason}"
        state = self._progress.state
        return ImportResult(
            state=state,
            resumed_after_line=before.acknowledged_line,
            sent_events=state.sent_events - before.sent_events,
            stopped=stopped,
            elapsed_s=time.monotonic() - started_s,
        )

    def _send(self, resumed_after_line: int) -> None:
        due_s = 0.0
        lines = read_lines(self._file, self._progress.state.format)
        # Before the first event: an attempt killed at once must be repeated with the same defaults.
        self._progress.save()
        for line in dropwhile(lambda line: line.number <= resumed_after_line, lines):
            if self._progress.failure is not None:
                return
            if self._events_per_s is not None:
                # After a stall the rate still holds: only a moment's delay is caught up with.
                due_s = max(due_s, time.monotonic() - _CATCH_UP_S) + 1 / self._events_per_s
                self._wait_until(due_s)
            receipt = self._publish(line)
            if self._progress.add(line, receipt):
                self._on_progress(self._progress)
        self._progress.drain()
        self._on_progress(self._progress)

    def _publish(self, line: Line) -> Receipt | None:
        try:
            if line.row is not None:
                return self._publisher.publish(self._to_event(line.number, line.row))
            self._on_problem(line.number, str(line.problem))
        except (InvalidEventError, EventTooLargeError) as error:
            self._on_problem(line.number, str(error))
        return None

    def _to_event(self, line_number: int, row: dict[str, Any]) -> dict[str, Any]:
        state = self._progress.state
        defaults = {
            "event_id": file_line_id(state.file_sha256, line_number),
            "occurred_at": state.occurred_at,
            "source": state.source,
        }
        return {**row, **{name: value for name, value in defaults.items() if row.get(name) is None}}

    def _wait_until(self, at_s: float) -> None:
        while (left_s := at_s - time.monotonic()) > 0:
            time.sleep(min(left_s, _PAUSE_S))
            self._progress.advance()
            self._on_progress(self._progress)
