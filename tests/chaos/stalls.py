"""How long readers waited: the time in which no outcome became visible while records of a partition were waiting."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from tests.chaos.journal import Sent


@dataclass(frozen=True, slots=True)
class Stall:
    """A wait of one partition's readers, in monotonic seconds."""

    partition: int
    began_s: float
    ended_s: float

    @property
    def seconds(self) -> float:
        return self.ended_s - self.began_s


def stalls(records: Iterable[Sent]) -> list[Stall]:
    """Every wait: from the last visible outcome of a partition, or from when the oldest of those that came after it
    was acknowledged, whichever is later, to the next visible outcome of that partition."""
    by_partition: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for sent in records:
        if sent.coordinates is not None and sent.visible_s is not None and sent.acknowledged_s is not None:
            by_partition[sent.coordinates.partition].append((sent.visible_s, sent.acknowledged_s))
    found = []
    for partition, seen in by_partition.items():
        seen.sort()
        oldest_waiting_s = float("inf")
        for index in range(len(seen) - 1, -1, -1):
            visible_s, acknowledged_s = seen[index]
            oldest_waiting_s = min(oldest_waiting_s, acknowledged_s)
            last_visible_s = seen[index - 1][0] if index else 0.0
            found.append(Stall(partition, max(last_visible_s, oldest_waiting_s), visible_s))
    return found


def longest_s(found: Iterable[Stall], began_s: float, ended_s: float) -> float:
    """The longest wait of those whose middle lies within a time span; 0 where there is none.

    One that a fault causes may begin a moment before it, with the last outcome, and end when the next fault is at work.
    """
    return max((each.seconds for each in found if began_s <= (each.began_s + each.ended_s) / 2 < ended_s), default=0.0)
