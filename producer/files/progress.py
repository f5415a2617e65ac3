"""How far a file has come: the contiguous acknowledged line, kept on disk so that a killed import goes on there."""

import hashlib
import os
import time
from collections import deque
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from producer.delivery import Receipt
from producer.files.reading import FileFormat, Line, UnusableFileError
from schemas.event import UtcDatetime

MAX_PENDING_LINES: Final = 5_000
"""How far sending may run ahead of the oldest line without an acknowledgement.

Less than the publisher's queue holds: while the brokers are away an import waits here, for as long as a delivery may
take, and not for room in the queue.
"""

_ADVANCE_INTERVAL_S: Final = 0.25


class ImportState(BaseModel):
    """What stands on disk about one file, topic and cluster.

    `source` and `occurred_at` are the defaults for rows without their own. They are part of the events' content, so
    that a line sent again after an interruption is the same event, byte for byte, even when the file was touched or
    copied in between.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    file_sha256: str
    topic: str
    cluster_id: str
    format: FileFormat
    source: str
    occurred_at: UtcDatetime
    acknowledged_line: int = 0
    sent_events: int = 0
    bad_lines: int = 0


def default_state_dir() -> Path:
    """`$XDG_STATE_HOME/feedback-stream/imports`, below `~/.local/state` by default (XDG Base Directory 0.8)."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "feedback-stream" / "imports"


def resume(
    state_dir: Path,
    fresh: ImportState,
    *,
    source: str | None = None,
    occurred_at: datetime | None = None,
    from_start: bool = False,
) -> "ImportProgress":
    """Go on where the last attempt at the same file, topic and cluster ended.

    Args:
        state_dir: where states are kept.
        fresh: the state of a first attempt.
        source: what the user named this time, or None.
        occurred_at: likewise.
        from_start: send every line again, with the ids and defaults of the first attempt.

    Raises:
        UnusableFileError: the saved state cannot be read; or the first attempt read or filled in the same lines
            differently: the same ids would then stand for other events, which the consumer refuses as conflicts.
    """
    key = hashlib.sha256(f"{fresh.file_sha256}\n{fresh.topic}\n{fresh.cluster_id}".encode()).hexdigest()
    path = state_dir / f"{key[:32]}.json"
    saved = _load(path)
    if saved is None:
        return ImportProgress(path, fresh)
    for option, wanted, before in (
        ("format", fresh.format, saved.format),
        ("source", source or saved.source, saved.source),
        ("occurred-at", occurred_at or saved.occurred_at, saved.occurred_at),
    ):
        if wanted != before:
            raise UnusableFileError(
                f"this file was imported before with --{option} {before}, and its ids stand for that: use it again, "
                f"or remove {path}"
            )
    if from_start:
        saved = saved.model_copy(update={"acknowledged_line": 0, "sent_events": 0, "bad_lines": 0})
    return ImportProgress(path, saved)


class _PendingLine(NamedTuple):
    line: Line
    receipt: Receipt | None


class ImportProgress:
    """Follows the lines of one import in order, and keeps `state` on disk up to date.

    The file on disk lags by up to a quarter of a second; what was acknowledged in between is sent again after a kill,
    with the same ids, like the records in flight.

    Attributes:
        state: up to the last line before which every line was acknowledged or found bad.
        acknowledged_bytes: where that line ends.
        failure: the first line that was not delivered, with the reason; nothing after it is acknowledged.
    """

    def __init__(self, path: Path, state: ImportState) -> None:
        self.state = state
        self.acknowledged_bytes = 0
        self.failure: tuple[int, str] | None = None
        self._path = path
        self._pending: deque[_PendingLine] = deque()
        self._advanced_at_s = 0.0

    def add(self, line: Line, receipt: Receipt | None) -> bool:
        """Follow a line that was sent, or with None one that is bad. Waits while too many are pending.

        Returns:
            Whether outcomes were taken in.
        """
        self._pending.append(_PendingLine(line, receipt))
        if len(self._pending) > MAX_PENDING_LINES:
            self._wait_for_oldest()
        elif time.monotonic() - self._advanced_at_s < _ADVANCE_INTERVAL_S:
            return False
        self.advance()
        return True

    def drain(self) -> None:
        """Wait until every line has its outcome, or one has failed."""
        while self._pending and self.failure is None:
            self._wait_for_oldest()
            self.advance()

    def advance(self) -> None:
        """Take in the outcomes that are there, in the lines' order, and save the state."""
        line_number, sent_events, bad_lines = 0, 0, 0
        while self._pending and self.failure is None:
            line, receipt = self._pending[0]
            if receipt is None:
                bad_lines += 1
            elif not receipt.done():
                break
            elif (error := receipt.exception()) is not None:
                self.failure = (line.number, str(error))
                break
            else:
                sent_events += 1
            line_number = line.number
            self.acknowledged_bytes = line.end_bytes
            self._pending.popleft()
        if line_number:
            self.state = self.state.model_copy(
                update={
                    "acknowledged_line": line_number,
                    "sent_events": self.state.sent_events + sent_events,
                    "bad_lines": self.state.bad_lines + bad_lines,
                }
            )
            self.save()
        self._advanced_at_s = time.monotonic()

    def save(self) -> None:
        """Write the state in one step: a restart finds the old one or the new one.

        Raises:
            UnusableFileError: the folder cannot be written to.
        """
        fresh = self._path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with fresh.open("w", encoding="utf-8") as file:
                file.write(self.state.model_dump_json())
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError as error:
            raise UnusableFileError(
                f"the state cannot be written to {self._path.parent} ({error.strerror}): name a folder with --state-dir"
            ) from None

    def _wait_for_oldest(self) -> None:
        receipt = self._pending[0].receipt
        if receipt is not None:
            receipt.exception()


def _load(path: Path) -> ImportState | None:
    try:
        return ImportState.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, OSError):
        raise UnusableFileError(
            f"the state file {path} cannot be read: remove it to import from the first line"
        ) from None
