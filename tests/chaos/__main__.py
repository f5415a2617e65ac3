"""`python -m tests.chaos`: faults under load on a private Kafka and PostgreSQL, then an audit of everything."""

import json
import signal
import sys
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer
from confluent_kafka import KafkaException
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from devstack.errors import DevstackError
from tests.chaos.profiles import PROFILES
from tests.chaos.report import as_json, print_report
from tests.chaos.run import RATE_PER_S, Plan, run

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
errors = Console(stderr=True)
_REPORT_COLUMNS = 180

ProfileName = StrEnum("ProfileName", {name: name for name in PROFILES})  # type: ignore[misc]


@app.command()
def main(
    *,
    profile: Annotated[ProfileName, typer.Option(help="Which faults.")],
    seed: Annotated[int, typer.Option(help="Decides which faults come in which order.")] = 1,
    minutes: Annotated[float, typer.Option(help="How long faults are injected.", min=0.1)] = 15,
    only: Annotated[list[str] | None, typer.Option(help="Only faults whose name holds these words.")] = None,
    rate: Annotated[float, typer.Option(help="Events a second.", min=1)] = RATE_PER_S,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report as JSON to this file.")] = None,
) -> None:
    """Inject faults under load, then compare topics and tables with what was sent.

    Exit status: 0 when every promise was kept, 1 when one was broken, 2 when the run could not take place.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    chosen = PROFILES[profile.value]
    faults = [fault for fault in chosen.faults() if only is None or any(words in fault.name for words in only)]
    if not faults:
        names = "\n".join(f"  {fault.name}" for fault in chosen.faults())
        _fail(f"no fault of this profile holds these words; there are:\n{names}")
    plan = Plan(faults=faults, seed=seed, minutes=minutes, rate_per_s=rate, command=chosen.command)
    try:
        with chosen.stage(f"chaos-{profile.value}-{seed}") as stage:
            outcome = run(stage, plan, lambda line: errors.print(line, markup=False, highlight=False))
    except DevstackError as error:
        _fail(str(error))
    except KafkaException as error:
        _fail(f"Kafka: {error.args[0].str()}")
    except SQLAlchemyError as error:
        _fail(f"PostgreSQL: {str(error.__cause__ or error).strip().splitlines()[0]}")
    # In a pipe, rich would squeeze the table into 80 columns.
    print_report(Console() if sys.stdout.isatty() else Console(width=_REPORT_COLUMNS), outcome)
    if json_file is not None:
        json_file.write_text(json.dumps(as_json(outcome), indent=1) + "\n", "utf-8")
    raise typer.Exit(0 if outcome.ok else 1)


def _stop(number: int, _: FrameType | None) -> NoReturn:
    # Once: a second one must not cut the stopping of the servers short.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _fail(message: str) -> NoReturn:
    errors.print(message, style="red", markup=False, highlight=False)
    sys.exit(2)


if __name__ == "__main__":
    app()
