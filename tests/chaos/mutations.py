"""`python -m tests.chaos.mutations`: the harness is run against broken consumers, and must find every one of them."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from devstack.errors import DevstackError
from tests.chaos.mutants import MUTANTS
from tests.chaos.orders import MUTATION_VARIABLE
from tests.chaos.process_faults import process_faults
from tests.chaos.report import as_json
from tests.chaos.run import Outcome, Plan, run
from tests.chaos.stage import private_stage

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
errors = Console(stderr=True)

_COLUMNS: Final = 160
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Hunt:
    """The faults that expose a mutant, and for how long to try."""

    faults: tuple[str, ...]
    minutes: float = 0.5


HUNTS: Final = {
    "offsets before rows": Hunt(("kill -9 after classify", "kill -9 after commit")),
    "results outside the transaction": Hunt(("kill -9 in the transaction before the offsets",)),
    "position() as offsets": Hunt(("kill -9 after commit", "kill -9 after the rows")),
    "a fresh classification instead of the stored verdict": Hunt(("kill -9 after the rows",)),
    "no epoch check": Hunt(("rebalance while a window computes", "partitions lost, their window ready late"), 1.0),
    "no on_lost": Hunt(("partitions lost, their window ready late",), 1.0),
    "ledger without dead letters": Hunt(("kill -9 at random",)),
}
assert HUNTS.keys() == MUTANTS.keys()


@app.command()
def main(
    only: Annotated[list[str] | None, typer.Option(help="Only mutants whose name holds these words.")] = None,
    seed: Annotated[int, typer.Option(help="Decides which faults come in which order.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the reports as JSON to this file.")] = None,
) -> None:
    """Run the harness against each broken variant of the consumer.

    Exit status: 0 when every variant was found out, 1 when one was not, 2 when the runs
    could not take place.
    """
    names = [name for name in MUTANTS if only is None or any(words in name for words in only)]
    if not names:
        errors.print("no variant's name holds these words", style="red")
        sys.exit(2)
    table = Table("variant", "faults", "found out after, s", "what the oracle said")
    outcomes: dict[str, Outcome] = {}
    try:
        for name in names:
            errors.print(f"variant: {name}", highlight=False)
            started_s = time.monotonic()
            outcomes[name] = hunt(name, seed)
            seconds = time.monotonic() - started_s
            table.add_row(name, "\n".join(HUNTS[name].faults), f"{seconds:.0f}", _said(outcomes[name]))
    except DevstackError as error:
        errors.print(str(error), style="red", markup=False)
        sys.exit(2)
    (Console() if sys.stdout.isatty() else Console(width=_COLUMNS)).print(table)
    if json_file is not None:
        json_file.write_text(json.dumps({name: as_json(each) for name, each in outcomes.items()}, indent=1) + "\n")
    escaped = [name for name, outcome in outcomes.items() if outcome.ok]
    for name in escaped:
        errors.print(f"✗ not found out: {name}", style="red", highlight=False)
    raise typer.Exit(1 if escaped else 0)


def hunt(name: str, seed: int) -> Outcome:
    """Run the harness against one variant."""
    plan = Plan(
        faults=[fault for fault in process_faults() if fault.name in HUNTS[name].faults],
        seed=seed,
        minutes=HUNTS[name].minutes,
        recovery_s=30.0,
        settle_s=20.0,
        variables={MUTATION_VARIABLE: name},
    )
    with private_stage(f"chaos-mutant-{seed}") as stage:
        return run(stage, plan)


def _said(outcome: Outcome) -> str:
    if outcome.ok:
        return "[red]nothing[/red]"
    counts = [f"{kind.replace('_', ' ')} {count}" for kind, count in outcome.verdict.counts.items() if count]
    troubles = [*map(str, outcome.verdict.violations), *outcome.findings]
    return "\n".join([", ".join(counts) or "no violation", *troubles[:_SHOWN]])


if __name__ == "__main__":
    app()
