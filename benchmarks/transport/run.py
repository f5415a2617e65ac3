"""The transport contest: all contestants with several sizes of transactions, in interleaved rounds."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from benchmarks.machine import machine_facts
from benchmarks.rounds import ContestError, Outcome, run_rounds
from benchmarks.servers import Servers, own_servers
from benchmarks.transport.contest import Run, fill, measure
from benchmarks.transport.contestants import CONTESTANTS, RECORDS_PER_TRANSACTION, REFERENCE, RIVALS_PYTHON

_LOGS: Final = Path(".devstack/benchmarks-logs")
_EVENTS: Final = 250_000
_QUICK_EVENTS: Final = 60_000
_WARM_UP_S: Final = 2.0
_MEASURED_S: Final = 8.0
_QUICK_S: Final = 2.0
_QUICK_RECORDS: Final = (100,)

Entry = tuple[str, int]
"""A contestant's name, and the records in a transaction or between two commits."""


def run_transport(only: Sequence[str], rounds: int, quick: bool, console: Console) -> dict[str, Any]:
    """Measure and show.

    Args:
        only: words of contestants' names; all when empty.
        rounds: how often each contestant runs with each size; one when `quick`.
        quick: shows that it works, in a few minutes.
        console: for progress and the table.

    Returns:
        `results`: by contestant and records, results a second and the ratio to the reference, round by round;
        `failed`: who could not be measured, and why; `machine`: on what.

    Raises:
        ContestError: no contestant has such a name, or the rivals are not installed.
        DevstackError: the servers do not start.
    """
    names = _chosen(only)
    facts = machine_facts(["feedback-stream", "confluent-kafka", "psycopg2-binary", "sqlalchemy"])
    _LOGS.mkdir(parents=True, exist_ok=True)
    with own_servers() as servers, servers.topic("events") as events:
        console.print("publishing the events ...")
        fill(servers, events, _QUICK_EVENTS if quick else _EVENTS)
        times = (_QUICK_S, _QUICK_S) if quick else (_WARM_UP_S, _MEASURED_S)
        runs = [Run(events, records, *times) for records in (_QUICK_RECORDS if quick else RECORDS_PER_TRANSACTION)]
        entries: dict[Entry, Callable[[], float]] = {
            (name, run.records): partial(_measure, servers, name, run) for name in names for run in runs
        }
        outcome = _run(entries, 1 if quick else rounds, console)
    console.print(_table(names, [run.records for run in runs], outcome))
    return _report(facts, outcome)


def _chosen(only: Sequence[str]) -> list[str]:
    names = [name for name in CONTESTANTS if not only or any(word.lower() in name.lower() for word in only)]
    if not names:
        raise ContestError(f"no contestant is called that; there are: {'; '.join(CONTESTANTS)}")
    if not RIVALS_PYTHON.exists() and not all(CONTESTANTS[name].is_ours for name in names):
        raise ContestError(f"{RIVALS_PYTHON}: missing; `make bench` installs the other frameworks")
    return names


def _measure(servers: Servers, name: str, run: Run) -> float:
    log = _LOGS / f"{name.replace(' ', '-').replace(',', '')}-{run.records}.log"
    return measure(servers, CONTESTANTS[name], run, log)


def _run(entries: Mapping[Entry, Callable[[], float]], rounds: int, console: Console) -> Outcome[Entry]:
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("measuring", total=rounds * len(entries))

        def on_turn(number: int, entry: Entry, value: float | None) -> None:
            name, records = entry
            figure = "failed" if value is None else f"{value:,.0f}/s"
            bar.console.print(f"round {number + 1}: {name}, {records:,} records: {figure}", highlight=False)
            bar.advance(task)

        return run_rounds(entries, rounds, on_turn)


def _table(names: Sequence[str], sizes: Sequence[int], outcome: Outcome[Entry]) -> Table:
    table = Table("results a second (median)", *(f"{size:,} records" for size in sizes))
    for name in names:
        spreads = [outcome.spreads.get((name, size)) for size in sizes]
        table.add_row(name, *(f"{spread.median:,.0f}" if spread else "failed" for spread in spreads))
    for (name, size), why in outcome.failed.items():
        table.caption = f"{table.caption or ''}{name}, {size:,} records: {why}\n"
    return table


def _report(facts: dict[str, Any], outcome: Outcome[Entry]) -> dict[str, Any]:
    results: dict[str, dict[str, Any]] = {}
    for (name, size), spread in outcome.spreads.items():
        reference = outcome.spreads.get((REFERENCE, size))
        results.setdefault(name, {})[str(size)] = {
            "results_per_s": spread.as_json(),
            "over_reference": spread.over(reference).as_json() if reference else None,
            "exactly_once": CONTESTANTS[name].exactly_once,
        }
    failed = {f"{name}, {size} records": why for (name, size), why in outcome.failed.items()}
    return {"machine": facts, "reference": REFERENCE, "results": results, "failed": failed}
