"""The report of a run: a table for people, one object for programs."""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.chaos.journal import Sent
from tests.chaos.oracle import ViolationKind
from tests.chaos.run import COMBINED, Outcome, Wave, longest_stall_s

WANTED_INJECTIONS: Final = 3
_SHOWN: Final = 12
_HEADINGS: Final = {
    ViolationKind.LOST: "lost",
    ViolationKind.DUPLICATED: "twice",
    ViolationKind.OUT_OF_ORDER: "out of order",
    ViolationKind.DISAGREEMENT: "row ≠ result",
    ViolationKind.ROW_AND_DEAD_LETTER: "row and dead letter",
}


@dataclass
class Line:
    """What is known of one fault. Events and violations are those of the waves in which it came alone.

    A violation belongs to the wave in which its record was sent; what falls between two belongs to the earlier.
    """

    times_alone: int = 0
    times_combined: int = 0
    missed: int = 0
    events: int = 0
    stall_alone_s: float = 0.0
    stall_combined_s: float = 0.0
    violations: Counter[ViolationKind] = field(default_factory=Counter)


def lines(outcome: Outcome) -> dict[str, Line]:
    """One line for each fault of the plan, one for what came in combination, one for the time without faults."""
    found: dict[str, Line] = {fault.name: Line() for fault in outcome.plan.faults}
    found |= {COMBINED: Line(), "none": Line()}
    for wave in outcome.waves:
        stall_s = longest_stall_s(outcome, wave)
        for name in wave.injected:
            if len(wave.faults) == 1:
                found[name].times_alone += 1
                found[name].stall_alone_s = max(found[name].stall_alone_s, stall_s)
            else:
                found[name].times_combined += 1
                found[name].stall_combined_s = max(found[name].stall_combined_s, stall_s)
        for name in wave.missed:
            found[name].missed += 1
        if len(wave.faults) > 1:
            found[COMBINED].times_combined += 1
            found[COMBINED].stall_combined_s = max(found[COMBINED].stall_combined_s, stall_s)
    line_of = _line_of(outcome.waves)
    by_sequence: dict[int, str] = {}
    for sent in outcome.sent:
        name = by_sequence[sent.sequence] = line_of(sent)
        found[name].events += 1
    for violation in outcome.verdict.violations:
        found[by_sequence.get(violation.sequence or 0, "none")].violations[violation.kind] += 1
    return found


def _line_of(waves: list[Wave]) -> Callable[[Sent], str]:
    def line_of(sent: Sent) -> str:
        current = "none"
        for wave in waves:
            if wave.began_s > sent.sent_s:
                break
            current = wave.faults[0] if len(wave.faults) == 1 else COMBINED
        return current

    return line_of


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The report as a JSON object. Times are in seconds."""
    verdict, plan = outcome.verdict, outcome.plan
    reasons: dict[str, int] = defaultdict(int)
    for end in outcome.exits:
        reasons[end.reason] += 1
    return {
        "ok": outcome.ok,
        "seed": plan.seed,
        "minutes": plan.minutes,
        "rate_per_s": plan.rate_per_s,
        "replicas": plan.replicas,
        "seconds": round(outcome.seconds, 1),
        "events": verdict.events,
        "unanswered_publishes": verdict.unanswered_publishes,
        "results": verdict.results,
        "dead_letters": verdict.dead_letters,
        "rows": verdict.rows,
        "outcomes": verdict.outcomes,
        **verdict.counts,
        "restarts": outcome.restarts,
        "exits": dict(reasons),
        "findings": outcome.findings,
        "replaced_readers": outcome.replaced_readers,
        "longest_stall_s": round(max((stall.seconds for stall in outcome.stalls), default=0.0), 2),
        "faults": {
            name: {
                "alone": line.times_alone,
                "combined": line.times_combined,
                "missed": line.missed,
                "events": line.events,
                "longest_stall_alone_s": round(line.stall_alone_s, 2),
                "longest_stall_combined_s": round(line.stall_combined_s, 2),
                **{kind.value: line.violations[kind] for kind in ViolationKind},
            }
            for name, line in lines(outcome).items()
        },
        "schedule": [list(wave.faults) for wave in outcome.waves],
        "violations": [str(violation) for violation in verdict.violations],
    }


def print_report(console: Console, outcome: Outcome) -> None:
    """Print the table, the totals, and the first of what is wrong."""
    verdict = outcome.verdict
    table = Table("fault", title=f"Seed {outcome.plan.seed}, {outcome.plan.minutes:g} minutes")
    for heading in ("alone", "combined", "events", *_HEADINGS.values(), "stall alone, s", "stall combined, s"):
        table.add_column(heading, justify="right")
    for name, line in lines(outcome).items():
        if not (_times(line) or line.events or line.violations):
            continue
        counts = (Text(str(line.violations[kind]), style="red" if line.violations[kind] else "") for kind in _HEADINGS)
        table.add_row(
            name,
            str(line.times_alone),
            str(line.times_combined),
            f"{line.events:,}",
            *counts,
            f"{line.stall_alone_s:.1f}" if line.times_alone else "-",
            f"{line.stall_combined_s:.1f}" if line.times_combined else "-",
        )
    console.print(table)
    console.print(
        f"{verdict.events:,} events in the topic, {verdict.unanswered_publishes:,} publishes without an answer; "
        f"{verdict.rows:,} rows, {verdict.results:,} results, {verdict.dead_letters:,} dead letters; outcomes: "
        + ", ".join(f"{name} {count:,}" for name, count in verdict.outcomes.items())
        + f". {outcome.restarts} restarts. {outcome.seconds:.0f} s in all.",
        highlight=False,
    )
    for reason, count in Counter(end.reason for end in outcome.exits).most_common():
        console.print(f"ended by itself, {count} times: {reason}", style="dim", markup=False, highlight=False)
    summary = ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in verdict.counts.items())
    console.print(summary, style="green" if outcome.ok else "red", highlight=False)
    for trouble in [*outcome.findings, *map(str, verdict.violations)][:_SHOWN]:
        console.print(f"✗ {trouble}", style="red", markup=False, highlight=False)
    rare = [name for name, line in lines(outcome).items() if 0 < _times(line) < WANTED_INJECTIONS]
    never = [fault.name for fault in outcome.plan.faults if not _times(lines(outcome)[fault.name])]
    if rare or never:
        console.print(
            f"injected less than {WANTED_INJECTIONS} times: {len(rare)} faults; never: {len(never)}; give it more "
            "minutes",
            style="yellow",
            highlight=False,
        )


def _times(line: Line) -> int:
    return line.times_alone + line.times_combined
