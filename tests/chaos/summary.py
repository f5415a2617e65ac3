"""`python -m tests.chaos.summary REPORT...`: reports as one Markdown table."""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Final

import typer

_JUDGED: Final = ("lost", "duplicated", "out_of_order", "disagreements", "row_and_dead_letter")
_ACCUSATIONS: Final = (*_JUDGED, "changed_dead_letters", "wrong_endings", "invented", "broken_publishes")
_ALWAYS: Final = ("several at once", "none")


def summarise(reports: list[dict[str, Any]]) -> str:
    """One line for each fault, sums over the runs and the longest stall of any of them; then the totals."""
    lines = [
        "| fault | alone | with others | events alone | lost | twice | out of order | row ≠ result | row and dead letter | longest stall alone, s | with others, s |",  # noqa: E501
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name in reports[0]["faults"]:
        entries = [report["faults"][name] for report in reports]
        total: Counter[str] = Counter()
        for entry in entries:
            total.update({key: entry[key] for key in ("alone", "combined", "events", *_JUDGED)})
        if name in _ALWAYS and not any(total.values()):
            continue
        stalls = (max(entry[f"longest_stall_{kind}_s"] for entry in entries) for kind in ("alone", "combined"))
        counts = " | ".join(f"{total[key]:,}" for key in ("alone", "combined", "events", *_JUDGED))
        shown = " | ".join(
            f"{stall:.1f}" if total[kind] else "-" for stall, kind in zip(stalls, ("alone", "combined"), strict=True)
        )
        lines.append(f"| {name} | {counts} | {shown} |")
    whole = {key: sum(report[key] for report in reports) for key in (*_JUDGED, "events", "rows", "results", "restarts")}
    lines += [
        "",
        f"Seeds {', '.join(str(report['seed']) for report in reports)}, {reports[0]['minutes']:g} minutes each: "
        f"{whole['events']:,} events, {whole['rows']:,} rows, {whole['results']:,} results, "
        f"{whole['restarts']} restarts; "
        + ", ".join(f"{key.replace('_', ' ')} {whole[key]}" for key in _JUDGED)
        + f"; findings {sum(len(report['findings']) for report in reports)}.",
    ]
    return "\n".join(lines)


def summarise_mutations(reports: dict[str, dict[str, Any]]) -> str:
    """One line for each variant: under which faults it ran, what the oracle counted, and what it said first."""
    lines = [
        "| variant | faults | seconds | counted | the first that it named |",
        "|---|---|---:|---|---|",
    ]
    for name, report in reports.items():
        faults = ", ".join(
            fault
            for fault, entry in report["faults"].items()
            if fault not in _ALWAYS and entry["alone"] + entry["combined"]
        )
        counted = ", ".join(f"{key.replace('_', ' ')} {report[key]}" for key in _ACCUSATIONS if report[key])
        lines.append(f"| {name} | {faults} | {report['seconds']:.0f} | {counted} | {report['violations'][0]} |")
    return "\n".join(lines)


app = typer.Typer(add_completion=False)


@app.command()
def main(
    reports: Annotated[list[Path], typer.Argument(help="What `--json` wrote: one file a seed, or that of mutations.")],
) -> None:
    """Print the runs of one profile, or those of the mutations, as one table."""
    read = [json.loads(path.read_text("utf-8")) for path in reports]
    typer.echo(summarise(read) if "seed" in read[0] else summarise_mutations(read[0]))


if __name__ == "__main__":
    app()
