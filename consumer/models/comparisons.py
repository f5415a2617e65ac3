"""How a shadow's verdicts differ from those that went out: sums by hour and labels, no text and no id."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from typing import Any

from consumer.inference.classifier import Verdict


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two bundles and their labels for one head; fields are columns of `schemas.tables.shadow_comparisons`."""

    hour: datetime
    live_version: str
    live_sha256: str
    shadow_version: str
    shadow_sha256: str
    head: str
    live_label: str
    shadow_label: str


class ComparisonSums:
    """What was compared since the last time that it was stored. Bounded: hours, bundles and labels are few."""

    def __init__(self) -> None:
        self._sums: dict[_Pair, tuple[int, float]] = {}

    def add(self, head: str, live: Verdict, shadow: Verdict) -> None:
        """Count one head of one event."""
        pair = _Pair(
            hour=datetime.now(UTC).replace(minute=0, second=0, microsecond=0),
            live_version=live.model.version,
            live_sha256=live.model.sha256,
            shadow_version=shadow.model.version,
            shadow_sha256=shadow.model.sha256,
            head=head,
            live_label=live.heads[head].label,
            shadow_label=shadow.heads[head].label,
        )
        events, total = self._sums.get(pair, (0, 0.0))
        self._sums[pair] = (events + 1, total + score_difference(head, live, shadow))

    def rows(self) -> list[Mapping[str, Any]]:
        """Rows of the table but for the consumer group, in the order of its primary key."""
        return [
            {
                **{name: getattr(pair, name) for name in pair.__slots__},
                "events": events,
                "score_difference_sum": total,
            }
            for pair, (events, total) in sorted(self._sums.items(), key=lambda entry: astuple(entry[0]))
        ]


def score_difference(head: str, live: Verdict, shadow: Verdict) -> float:
    """The shadow's probability of the label that went out, less the probability that it went out with."""
    return shadow.heads[head].scores[live.heads[head].label] - live.heads[head].score
