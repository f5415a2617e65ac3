"""Records on their way into a window: bounded, in source order, let go when a window is due."""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

from consumer.records import SourceRecord


class WindowBuffer:
    """Collects polled records until a window of them is due.

    A window closes when it is full, or when its oldest record has waited `max_wait_s` and the classifier is free. So
    it adapts: with no lag it holds what arrived in a few milliseconds; under lag it fills while the window before it
    computes, up to where sorting by length pays. The clock is monotonic seconds.
    """

    def __init__(
        self,
        *,
        max_records: int,
        max_bytes: int,
        max_wait_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._max_wait_s = max_wait_s
        self._clock = clock
        self._records: deque[SourceRecord] = deque()
        self._size_bytes = 0
        self._waiting_since = 0.0

    def __len__(self) -> int:
        return len(self._records)

    @property
    def room_records(self) -> int:
        """How many more records the next window can take; 0 when it is full by count or by bytes."""
        if self._size_bytes >= self._max_bytes:
            return 0
        return max(0, self._max_records - len(self._records))

    @property
    def due_in_s(self) -> float:
        """Seconds until a window is due; 0 when one is, infinity when the buffer is empty."""
        if not self._records:
            return float("inf")
        if self.room_records == 0:
            return 0.0
        return max(0.0, self._waiting_since + self._max_wait_s - self._clock())

    def add(self, records: Iterable[SourceRecord]) -> None:
        """Append polled records."""
        for record in records:
            if not self._records:
                self._waiting_since = self._clock()
            self._records.append(record)
            self._size_bytes += record.size_bytes

    def take(self, must_be_alone: Callable[[SourceRecord], bool]) -> list[SourceRecord]:
        """Remove and return the next window: the oldest records up to the limits, always at least one.

        A record that must be alone makes a window by itself.
        """
        window: list[SourceRecord] = []
        size_bytes = 0
        while self._records and len(window) < self._max_records:
            record = self._records[0]
            if window and size_bytes + record.size_bytes > self._max_bytes:
                break
            alone = must_be_alone(record)
            if window and alone:
                break
            window.append(self._records.popleft())
            size_bytes += record.size_bytes
            if alone:
                break
        self._size_bytes -= size_bytes
        return window

    def put_back(self, window: Sequence[SourceRecord]) -> None:
        """Return a window that could not be begun to the front, in its order."""
        self._records.extendleft(reversed(window))
        self._size_bytes += sum(record.size_bytes for record in window)

    def drop(self, partitions: Collection[int]) -> None:
        """Forget the records of partitions that went away."""
        kept = [record for record in self._records if record.partition not in partitions]
        self.clear()
        self._records.extend(kept)
        self._size_bytes = sum(record.size_bytes for record in kept)

    def clear(self) -> None:
        """Forget everything."""
        self._records.clear()
        self._size_bytes = 0
