"""What was sent, what Kafka said of it, and when its outcome became visible. Threads share it. Times are monotonic."""

import threading
import time
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from demo.records import Coordinates, Expectation, Headers

Publication = Literal["unknown", "acknowledged", "failed"]
"""`acknowledged` records must be in the topic once; the others may be, once or not at all."""


@dataclass(slots=True, kw_only=True)
class Sent:
    """One record that was handed to the producer.

    Attributes:
        sequence: its number, from 1; it travels in headers.
        kind: `event`, or what is hostile about it.
        expectation: how it may end; endings of an event say nothing about its copies.
        publication: what the producer said so far, with `coordinates` if it was told them.
        must_come_out: whether an output that names it is sure, whatever came before.
        visible_s: when a read_committed reader saw the first output that names it.
    """

    sequence: int
    kind: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    expectation: Expectation
    sent_s: float
    must_come_out: bool = False
    publication: Publication = "unknown"
    coordinates: Coordinates | None = None
    acknowledged_s: float | None = None
    visible_s: float | None = None


@dataclass
class Journal:
    """Every record of a run, by its sequence number."""

    sent: dict[int, Sent] = field(default_factory=dict)
    # By event id: where a copy in another partition is read first, it is the copy that has the result.
    _waiting: dict[UUID, Sent] = field(default_factory=dict)
    _answered: set[UUID] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, sent: Sent) -> None:
        with self._lock:
            self.sent[sent.sequence] = sent

    def acknowledged(self, sequence: int, coordinates: Coordinates | None) -> None:
        """Kafka has it. A retry may hide where."""
        now_s = time.monotonic()
        with self._lock:
            sent = self.sent[sequence]
            sent.publication, sent.coordinates, sent.acknowledged_s = "acknowledged", coordinates, now_s
            event_id = sent.expectation.event_id
            if sent.must_come_out and event_id is not None and event_id not in self._answered:
                self._waiting[event_id] = sent

    def is_acknowledged(self, sequence: int) -> bool:
        """Whether Kafka said that it has this record."""
        with self._lock:
            return self.sent[sequence].publication == "acknowledged"

    def failed(self, sequence: int) -> None:
        with self._lock:
            self.sent[sequence].publication = "failed"

    def visible(self, sequence: int) -> None:
        now_s = time.monotonic()
        with self._lock:
            sent = self.sent.get(sequence)
            if sent is None or sent.visible_s is not None:
                return
            sent.visible_s = now_s
            if (event_id := sent.expectation.event_id) is not None:
                self._answered.add(event_id)
                self._waiting.pop(event_id, None)

    def count_waiting(self, acknowledged_before_s: float) -> int:
        """Events that Kafka acknowledged before a time and whose outcome nobody has seen yet."""
        with self._lock:
            return sum((sent.acknowledged_s or 0.0) <= acknowledged_before_s for sent in self._waiting.values())

    def describe_waiting(self, acknowledged_before_s: float) -> str:
        """The same for each partition, with the first and the last offset that waits there."""
        with self._lock:
            waiting = [sent for sent in self._waiting.values() if (sent.acknowledged_s or 0.0) <= acknowledged_before_s]
        offsets: dict[int, list[int]] = {}
        for sent in waiting:
            if sent.coordinates is not None:
                offsets.setdefault(sent.coordinates.partition, []).append(sent.coordinates.offset)
        places = (f"{len(at)} in {number}@{min(at)}..{max(at)}" for number, at in sorted(offsets.items()))
        return ", ".join(places) or "none"

    def give_up_waiting(self) -> None:
        """Do not wait for what has not come by now. The audit will say what became of it."""
        with self._lock:
            self._waiting.clear()

    def snapshot(self) -> list[Sent]:
        """All records so far, in the order in which they were sent."""
        with self._lock:
            return [self.sent[sequence] for sequence in sorted(self.sent)]
