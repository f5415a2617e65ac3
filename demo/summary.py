"""The summary: for people as tables, for programs as one JSON object."""

import math
from collections.abc import Mapping
from typing import Any, Final

from rich.bar import Bar
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from demo.scenario import Outcome
from schemas.labels import CATEGORIES, SENTIMENTS
from schemas.result import ClassifiedFeedback

_BAR_COLUMNS: Final = 30
_SHOWN_FAULTS: Final = 10
_EXAMPLES: Final = 3
_EXAMPLE_CHARS: Final = range(40, 160)
_NEXT_STEPS: Final = """\
make up                        leave the same stack running, with its addresses
make help                      everything else
python -m producer send TEXT   publish a message of your own to it"""


def as_json(outcome: Outcome, seconds: float) -> dict[str, Any]:
    """The summary as a JSON object; a figure that nothing was measured for is null."""
    report, figures = outcome.report, outcome.figures
    return {
        "ok": report.ok,
        "published": report.published,
        "rows": report.rows,
        "results": report.results,
        "dead_letters": report.dead_letters,
        "duplicate_inputs": report.duplicate_inputs,
        **report.fault_counts,
        "hostile_kinds": outcome.hostile_kinds,
        "events_per_s": _rounded(figures.events_per_s),
        "steady_rate_per_s": _rounded(figures.steady_rate_per_s),
        "latency_p50_ms": _rounded(figures.latency_p50_ms),
        "latency_p99_ms": _rounded(figures.latency_p99_ms),
        "by_category": _complete(CATEGORIES, report.by_category),
        "by_sentiment": _complete(SENTIMENTS, report.by_sentiment),
        "seconds": round(seconds, 1),
        "faults": [str(fault) for fault in report.faults],
    }


def print_summary(console: Console, outcome: Outcome, seconds: float) -> None:
    """Print counts, verdicts, speed, examples and what to try next."""
    report, figures = outcome.report, outcome.figures
    counts = Table("counted in topics and tables", _count_column(), title="What became of every record")
    for name, count in (
        ("published", report.published),
        ("rows in PostgreSQL", report.rows),
        ("visible results", report.results),
        ("dead letters", report.dead_letters),
        ("duplicate inputs (counted, nothing emitted)", report.duplicate_inputs),
    ):
        counts.add_row(name, f"{count:,}")
    counts.add_section()
    for name, count in report.fault_counts.items():
        counts.add_row(name.replace("_", " "), Text(f"{count:,}", style="red" if count else "green"))
    console.print(counts)
    console.print(_bars("Category", _complete(CATEGORIES, report.by_category)))
    console.print(_bars("Sentiment", _complete(SENTIMENTS, report.by_sentiment)))
    console.print(
        f"Burst: [bold]{figures.events_per_s:,.0f} events/s[/bold] in {figures.burst_s:.1f} s, "
        f"{outcome.hostile_kinds} kinds of hostile records included.\n"
        f"Steady {figures.steady_rate_per_s:,.0f} events/s, from due to visible: "
        f"p50 [bold]{figures.latency_p50_ms:,.0f} ms[/bold], p99 [bold]{figures.latency_p99_ms:,.0f} ms[/bold].",
        highlight=False,
    )
    if report.ok:
        console.print(Panel(Group(*_examples(outcome)), title="Three of the results", title_align="left"))
    for fault in report.faults[:_SHOWN_FAULTS]:
        console.print(f"✗ {fault}", style="red", markup=False, highlight=False)
    if len(report.faults) > _SHOWN_FAULTS:
        console.print(f"... and {len(report.faults) - _SHOWN_FAULTS:,} more faults", style="red", highlight=False)
    verdict = "[green]Every promise kept[/green]" if report.ok else "[red]Promises were broken[/red]"
    console.print(f"{verdict} in {seconds:.0f} s, everything stopped. Next:", highlight=False)
    console.print(_NEXT_STEPS, markup=False, highlight=False)


def _count_column() -> Column:
    # A column keeps its cells: each table needs one of its own.
    return Column("records", justify="right")


def _bars(title: str, counts: Mapping[str, int]) -> Table:
    table = Table(title, _count_column(), "")
    most = max(counts.values(), default=0)
    for label, count in sorted(counts.items(), key=lambda item: -item[1]):
        table.add_row(label, f"{count:,}", Bar(max(most, 1), 0, count, width=_BAR_COLUMNS, color="cyan"))
    return table


def _examples(outcome: Outcome) -> list[Text]:
    """Three results of different categories, the surest of each; the texts are the public ones that ship."""
    surest: dict[str, ClassifiedFeedback] = {}
    for record in outcome.results:
        result = ClassifiedFeedback.model_validate_json(record.value or b"")
        label = result.category.label
        is_readable = len(result.event.text) in _EXAMPLE_CHARS and not result.event.flags
        if is_readable and (label not in surest or result.category.score > surest[label].category.score):
            surest[label] = result
    wanted = ("bug", "feature_request", "question", *surest)
    chosen = list(dict.fromkeys(label for label in wanted if label in surest))[:_EXAMPLES]
    return [_example(surest[label]) for label in chosen]


def _example(result: ClassifiedFeedback) -> Text:
    routing = result.routing
    return Text.assemble(
        (f"“{result.event.text}”", "italic"),
        f"\n  {result.category.label} ({result.category.score:.2f}), {result.sentiment.label} "
        f"({result.sentiment.score:.2f}), constructive: {result.constructive.label} "
        f"-> queue {routing.queue}, priority {routing.priority}",
    )


def _complete(labels: tuple[str, ...], counts: Mapping[str, int]) -> dict[str, int]:
    return {label: counts.get(label, 0) for label in labels}


def _rounded(figure: float) -> float | None:
    return None if math.isnan(figure) else round(figure, 1)
