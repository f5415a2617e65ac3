"""What became of each event of a run, in a few bytes each."""

import math
import time
from array import array
from collections.abc import Sequence
from uuid import UUID

from producer.delivery import Receipt
from producer.errors import RefusedError
from producer.load.schedule import RunIds, Schedule


class Tally:
    """Counts and times by event index. Each part is written by one thread: sender, publisher or reader.

    Attributes:
        started_s: when the first event was due, on the monotonic clock.
        lateness_s: from due to queued, NaN where not sent; likewise the following two.
        acknowledged_s: from due to Kafka's acknowledgement.
        visible_s: from due to the moment when a read_committed reader got the result.
        sent: events queued.
        acknowledged: events that Kafka stored.
        refused: events that it did not store.
        unknown: events whose outcome nobody knows.
        first_failure: why the first of those two failed.
        results: events with a result.
        dead_letters: events with a dead letter.
        duplicates: results and dead letters beyond the first of an event.
    """

    def __init__(self, schedule: Schedule, ids: RunIds) -> None:
        self._schedule = schedule
        self._ids = ids
        self.started_s = 0.0
        nothing = array("d", [math.nan])
        self.lateness_s = nothing * schedule.events
        self.acknowledged_s = nothing * schedule.events
        self.visible_s = nothing * schedule.events
        self._came_back = bytearray(schedule.events)
        self.sent = 0
        self.acknowledged = 0
        self.refused = 0
        self.unknown = 0
        self.first_failure: str | None = None
        self.results = 0
        self.dead_letters = 0
        self.duplicates = 0

    @property
    def without_outcome(self) -> int:
        """Events sent of which the publisher has not heard."""
        return self.sent - self.acknowledged - self.refused - self.unknown

    @property
    def missing(self) -> int:
        """Events acknowledged that have neither a result nor a dead letter yet."""
        return self.acknowledged - self.results - self.dead_letters

    def add_sent(self, index: int) -> None:
        """The event has just been queued."""
        self.lateness_s[index] = self._since_due(index)
        self.sent += 1

    def add_settled(self, receipts: Sequence[Receipt]) -> None:
        """These have just got their outcome."""
        for receipt in receipts:
            index = self._ids.index_of(receipt.event_id)
            failure = receipt.exception(0)
            if failure is None and index is not None:
                self.acknowledged_s[index] = self._since_due(index)
                self.acknowledged += 1
                continue
            self.first_failure = self.first_failure or str(failure)
            if isinstance(failure, RefusedError):
                self.refused += 1
            else:
                self.unknown += 1

    def add_returned(self, event_id: UUID, dead_letter: bool) -> None:
        """A result or a dead letter has just become visible; those of other runs are passed over."""
        index = self._ids.index_of(event_id)
        if index is None or index >= len(self._came_back):
            return
        if self._came_back[index]:
            self.duplicates += 1
            return
        self._came_back[index] = 1
        if dead_letter:
            self.dead_letters += 1
        else:
            self.visible_s[index] = self._since_due(index)
            self.results += 1

    def _since_due(self, index: int) -> float:
        return time.monotonic() - self.started_s - self._schedule.due_s(index)
