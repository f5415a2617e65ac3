"""`python -m model_export`: a trained checkpoint into an ONNX bundle that has passed every gate."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.status import Status
from rich.table import Table

from model_export.bundle import Quantisation, Request, build_bundle
from model_export.checkpoint import CheckpointError
from model_export.clean_run import CleanRunError
from model_export.export import DEFAULT_OPSET, ExportError
from model_export.gates import Gate, GateError
from model_export.rows import RowError

app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_show_locals=False)
_console = Console(stderr=True)


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="The folder that `python -m training fit --out` wrote.")],
    *,
    out: Annotated[Path, typer.Option(help="Where the bundle goes; a bundle that stands there is replaced.")],
    name: Annotated[str, typer.Option(help="The model's name, part of every result.")] = "feedback-distilbert",
    version: Annotated[str, typer.Option(help="The model's version, part of every result.")] = "0.1.0",
    quantise: Annotated[Quantisation, typer.Option(help="int8, or none for the fp32 graph.")] = "int8",
    opset: Annotated[int, typer.Option(min=14, max=20)] = DEFAULT_OPSET,
    data: Annotated[Path | None, typer.Option(help="Labelled rows, JSONL, that calibrate and gate the bundle.")] = None,
    unverified: Annotated[bool, typer.Option("--unverified", help="Do without --data; the manifest says so.")] = False,
) -> None:
    """Export, optimise, quantise, calibrate and prove a checkpoint. Exits 1, with nothing written, if a gate fails."""
    if (data is None) != unverified:
        _console.print("[red]error:[/] give either --data FILE, or --unverified to ship without measuring accuracy")
        raise typer.Exit(2)
    request = Request(checkpoint, out, name, version, quantise, opset, data)
    try:
        with _console.status("start") as status:
            manifest, gates = build_bundle(request, lambda step: _announce(status, step))
    except GateError as error:
        _console.print(_table(error.gates))
        _fail(error)
    except (CheckpointError, CleanRunError, ExportError, RowError, FileExistsError) as error:
        _fail(error)
    _console.print(_table(gates))
    _console.print(f"{out}: {manifest.name} {manifest.version}, sha256 {manifest.sha256[:12]}")


def _announce(status: Status, step: str) -> None:
    _console.print(f"[dim]·[/] {step}")
    status.update(step)


def _table(gates: Iterable[Gate]) -> Table:
    table = Table("gate", "figure", "limit", "", "detail")
    for gate in gates:
        table.add_row(gate.name, f"{gate.figure:.4g}", f"{gate.limit:g}", "ok" if gate.passed else "FAIL", gate.detail)
    return table


def _fail(error: Exception) -> NoReturn:
    _console.print(f"[red]error:[/] {error}", soft_wrap=True)
    raise typer.Exit(1) from error
