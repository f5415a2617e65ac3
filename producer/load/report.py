"""The outcome of a run, for people and for programs."""

from dataclasses import dataclass
from typing import Final

from producer.load.latency import PERCENTILES, Latency

# Beyond these the figures are those of the generator as much as of the system: on-time events leave within a
# millisecond or two, and results take tens of them.
MAX_LATENESS_P99_MS: Final = 10.0
MIN_RATE_SHARE: Final = 0.99

_BAR_CHARS: Final = 40


@dataclass(frozen=True, slots=True)
class LoadReport:
    """One run.

    Attributes:
        run_id: in the metadata of each event, as `load_run`.
        planned: events in the schedule.
        offered_per_s: the rate asked for.
        sent_per_s: the rate kept, from the start to the last event queued.
        sent: events queued; `refused`, `unknown` and `acknowledged` (or none of them yet) is what became of them.
        waited_for_room: events that met a full queue: Kafka was slower than the load.
        results: None where results were not read, as for the next three.
        missing: acknowledged, and neither result nor dead letter within the grace period.
        lateness: from due to queued, of what was sent.
        acknowledgement: from due to acknowledged, of what was sent.
        visibility: from due to the visible result, of what was acknowledged and is no dead letter; None likewise.
        stopped: why Kafka stopped taking events, or did not take some; None if it took all.
        reading_fault: what the connection of the reader complained about, where something is missing.
    """

    run_id: str
    topic: str
    planned: int
    offered_per_s: float
    duration_s: float
    grace_s: float
    elapsed_s: float
    sent_per_s: float
    sent: int
    acknowledged: int
    refused: int
    unknown: int
    waited_for_room: int
    results: int | None
    dead_letters: int | None
    missing: int | None
    duplicates: int | None
    lateness: Latency
    acknowledgement: Latency
    visibility: Latency | None
    interrupted: bool
    stopped: str | None
    reading_fault: str | None

    @property
    def schedule_held(self) -> bool:
        """Whether the generator did what the figures assume: each event sent when it was due."""
        p99_ms = self.lateness.percentiles_ms[99.0]
        on_time = p99_ms is not None and p99_ms <= MAX_LATENESS_P99_MS
        return on_time and self.sent_per_s >= MIN_RATE_SHARE * self.offered_per_s

    def as_json(self) -> dict[str, object]:
        """All figures; times in the unit that their name ends with."""
        return {
            "run_id": self.run_id,
            "topic": self.topic,
            "offered_per_s": self.offered_per_s,
            "sent_per_s": round(self.sent_per_s, 3),
            "duration_s": self.duration_s,
            "grace_s": self.grace_s,
            "elapsed_s": round(self.elapsed_s, 3),
            "planned": self.planned,
            "sent": self.sent,
            "acknowledged": self.acknowledged,
            "refused": self.refused,
            "unknown": self.unknown,
            "waited_for_room": self.waited_for_room,
            "results": self.results,
            "dead_letters": self.dead_letters,
            "missing": self.missing,
            "duplicates": self.duplicates,
            "schedule_held": self.schedule_held,
            "interrupted": self.interrupted,
            "stopped": self.stopped,
            "reading_fault": self.reading_fault,
            "send_lateness": self.lateness.as_json(),
            "due_to_acknowledged": self.acknowledgement.as_json(),
            "due_to_visible": None if self.visibility is None else self.visibility.as_json(),
        }

    def as_text(self) -> str:
        """Lines for a terminal; the warnings are apart."""
        lines = [
            f"{self.offered_per_s:g} events/s for {self.duration_s:g} s to {self.topic}, run {self.run_id}",
            f"  {'sent':<14}{self.sent:>10,}  of {self.planned:,}, {self.sent_per_s:,.1f}/s",
            f"  {'acknowledged':<14}{self.acknowledged:>10,}",
        ]
        counts = {
            "refused": self.refused or None,
            "unknown": self.unknown or None,
            "results": self.results,
            "dead letters": self.dead_letters,
            "missing": self.missing,
            "duplicates": self.duplicates,
        }
        lines += [f"  {name:<14}{count:>10,}" for name, count in counts.items() if count is not None]
        heads = "".join(f"{f'p{percentile:g}':>10}" for percentile in PERCENTILES)
        lines += ["", f"{'ms from the time each was due':<32}{heads}{'max':>10}"]
        rows = {"  sent": self.lateness, "  acknowledged": self.acknowledgement}
        if self.visibility is not None:
            rows["  visible result"] = self.visibility
        lines += [f"{name:<32}{_row(latency)}" for name, latency in rows.items()]
        last = self.visibility or self.acknowledgement
        lines += ["", f"from due to {'visible result' if self.visibility else 'acknowledged'}", *_histogram(last)]
        return "\n".join(lines)

    def warnings(self) -> list[str]:
        """What a reader of the figures must know, worst first; empty after a clean run."""
        found = []
        if self.stopped is not None:
            found.append(f"Kafka did not take everything: {self.stopped}")
        if self.interrupted:
            found.append("interrupted: the figures so far; what was on its way counts as missing")
        if not self.schedule_held:
            found.append(self._why_late())
        if self.missing:
            fault = f" (reading them: {self.reading_fault})" if self.reading_fault else ""
            found.append(
                f"{self.missing:,} events did not come back within {self.grace_s:g} s of the last one: "
                f"percentiles that fall among them are shown as -{fault}"
            )
        if self.duplicates:
            found.append(f"{self.duplicates:,} results or dead letters came more than once")
        return found

    def _why_late(self) -> str:
        p99_ms = self.lateness.percentiles_ms[99.0]
        late = "nothing was sent" if p99_ms is None else f"p99 {p99_ms:,.1f} ms late, {self.sent_per_s:,.1f} events/s"
        cause = (
            f"Kafka took less than was offered, {self.waited_for_room:,} events met a full queue"
            if self.waited_for_room
            else "this machine is too slow or too busy for it, and so much of each latency is the generator's own"
        )
        return f"the schedule of {self.offered_per_s:g} events/s was not held ({late}): {cause}"


def _row(latency: Latency) -> str:
    values = [*latency.percentiles_ms.values(), latency.max_ms]
    return "".join(f"{'-' if value is None else f'{value:,.1f}':>10}" for value in values)


def _histogram(latency: Latency) -> list[str]:
    buckets = latency.buckets()
    fullest = max((count for _, count, _ in buckets), default=0)
    return [
        f"  {'more' if limit is None else f'<= {limit:,g}':>10} ms {count:>10,}  "
        f"{cumulative / latency.events:>7.2%}  {'█' * -(-count * _BAR_CHARS // fullest)}"
        for limit, count, cumulative in buckets
    ]
