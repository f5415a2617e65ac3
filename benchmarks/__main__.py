"""`python -m benchmarks`: who is how fast, in one run, on the same bytes."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from devstack.errors import DevstackError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)
console = Console(stderr=True)

JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the figures as JSON to this file.")]
Rounds = Annotated[int, typer.Option(min=1, help="Interleaved rounds; medians of fewer than 5 say little.")]
Quick = Annotated[bool, typer.Option("--quick", help="One short round: shows that it works, not who is how fast.")]


@app.callback()
def main() -> None:
    """Exit status: 0 when every contestant was measured, 1 when one could not be, 2 when nothing could run."""


@app.command()
def transport(
    only: Annotated[list[str] | None, typer.Option(help="Words of contestants' names; all if absent.")] = None,
    rounds: Rounds = 5,
    quick: Quick = False,
    json_file: JsonFile = None,
) -> None:
    """Our engine with a model that costs nothing, beside Quix Streams, Faust, FastStream and a bare loop."""
    from benchmarks.rounds import ContestError  # noqa: PLC0415 (the consumer takes a second to load)
    from benchmarks.transport.run import run_transport  # noqa: PLC0415

    try:
        report = run_transport(only or [], rounds, quick, console)
    except (ContestError, DevstackError) as error:
        _fail(str(error))
    _give(report, json_file)


def _give(report: dict[str, Any], json_file: Path | None) -> None:
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    raise typer.Exit(1 if report["failed"] else 0)


def _fail(message: str) -> NoReturn:
    console.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(2)


if __name__ == "__main__":
    app()
