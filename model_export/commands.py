"""Trained checkpoints into proven ONNX bundles, and bundles into running consumers.

`python -m model_export CHECKPOINT --out DIR ...` exports; the other commands look at bundles, and publish them.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer
from pydantic import TypeAdapter, ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from typer.core import TyperGroup

from consumer.inference.bundle import check_bundle
from consumer.inference.manifest import Manifest, ModelName, ModelVersion
from model_export import bundle_commands, publish_commands
from model_export.gate import Gate, GateError
from model_export.request import DEFAULT_OPSET, STEPS, Quantisation, Request
from model_export.rows import RowError
from model_export.terminal import JsonOption, console, fail, print_json, require_extra

_EXPORT: Final = "export"
_SENSITIVE_NODES: Final = 8
_BuildBundle: TypeAlias = Callable[[Request, Callable[[str], None]], tuple[Manifest, list[Gate]]]


class _ExportByDefault(TyperGroup):
    """What does not begin with a command's name is an export."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 (typer's click is private)
        """Put the command's name before arguments that go without it."""
        first = args[0] if args else ""
        is_option = first.startswith("-") and first not in self.get_help_option_names(ctx)
        is_checkpoint = "://" in first or Path(first).is_dir() or "--out" in args
        if first and first not in self.commands and (is_option or is_checkpoint):
            args = [_EXPORT, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ExportByDefault,
    add_completion=False,
    no_args_is_help=True,
    help=__doc__,
    epilog="All exit 0 when done, 1 when a check fails or something is refused, 2 on bad arguments. "
    "Most begin with: python -m model_export CHECKPOINT --out bundle --data labelled.jsonl",
    pretty_exceptions_show_locals=False,
)


@app.command(
    _EXPORT, epilog="Exits 0 when the bundle stands, 1 when a gate fails or a file is bad, 2 on bad arguments."
)
def export(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help="Folder or URL of a checkpoint: of `python -m training fit`, or any DistilBERT sequence classifier."
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(help="Where the bundle goes; a bundle that stands there is replaced.")],
    name: Annotated[str, typer.Option(help="The model's name, part of every result.")] = "feedback-distilbert",
    version: Annotated[str, typer.Option(help="The model's version, part of every result.")] = "0.1.0",
    quantise: Annotated[Quantisation, typer.Option(help="int8, or none for the fp32 graph.")] = "int8",
    opset: Annotated[int, typer.Option(min=14, max=20, help="Version of the graph's operators.")] = DEFAULT_OPSET,
    data: Annotated[Path | None, typer.Option(help="Labelled rows, JSONL, that calibrate and gate the bundle.")] = None,
    unverified: Annotated[bool, typer.Option("--unverified", help="Do without --data; the manifest says so.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Export, optimise, quantise, calibrate and prove a checkpoint. Nothing is written if a gate fails."""
    _require_name(ModelName, name, "--name")
    _require_name(ModelVersion, version, "--version")
    if (data is None) != unverified:
        fail("give either --data FILE, or --unverified to ship without measuring accuracy", 2)
    build_bundle, refusals = _load_exporter()
    request = Request(checkpoint, out, name, version, quantise, opset, data)
    try:
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        ) as progress:
            task = progress.add_task("start", total=len(STEPS))

            def announce(step: str) -> None:
                progress.console.print(f"[dim]·[/] {step}")
                progress.update(task, description=step, completed=STEPS.index(step))

            manifest, gates = build_bundle(request, announce)
            progress.update(task, description="done", completed=len(STEPS))
    except GateError as error:
        console.print(_table(error.gates))
        if as_json:
            print_json({"bundle": None, "gates": [_shown(gate) for gate in error.gates]})
        fail(str(error))
    except refusals as error:
        fail(str(error))
    console.print(_table(gates))
    _print_speed(manifest)
    console.print(f"{out}: {manifest.name} {manifest.version}, sha256 {manifest.sha256[:12]}", soft_wrap=True)
    if as_json:
        print_json(
            {
                "bundle": str(out),
                "name": manifest.name,
                "version": manifest.version,
                "model_sha256": manifest.sha256,
                "manifest_sha256": check_bundle(out).manifest_sha256,
                "gates": [_shown(gate) for gate in gates],
                "measurements": manifest.measurements,
            }
        )


bundle_commands.register(app)
publish_commands.register(app)


def _load_exporter() -> tuple[_BuildBundle, tuple[type[Exception], ...]]:
    """What exports, with the errors that it refuses by; the other commands do without PyTorch."""
    with require_extra("export"):
        from model_export.bundle import build_bundle  # noqa: PLC0415
        from model_export.checkpoint import CheckpointError  # noqa: PLC0415
        from model_export.clean_run import CleanRunError  # noqa: PLC0415
        from model_export.export import ExportError  # noqa: PLC0415
    return build_bundle, (CheckpointError, CleanRunError, ExportError, RowError, OSError)


def _require_name(kind: Any, value: str, option: str) -> None:  # noqa: ANN401 (an annotated type)
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        fail(f"{option} {value!r}: use up to 100 letters, digits, dots, dashes and underscores", 2)


def _table(gates: Iterable[Gate]) -> Table:
    table = Table(Column("gate", overflow="fold"), "figure", "limit", "", "detail")
    for gate in gates:
        verdict = "[green]ok[/]" if gate.passed else "[red]FAIL[/]"
        table.add_row(gate.name, f"{gate.figure:.4g}", f"{gate.limit:g}", verdict, gate.detail)
    return table


def _print_speed(manifest: Manifest) -> None:
    speed = manifest.measurements.get("int8_speed_over_fp32")
    if speed is not None:
        low, high = speed["quartiles"]
        console.print(f"int8 against fp32: {speed['median']:.2f} times as fast (quartiles {low:.2f} to {high:.2f})")
    sensitivity = manifest.measurements.get("sensitivity", {}).get("logit_mse_when_quantised_alone")
    if sensitivity:
        table = Table(Column("node quantised alone", overflow="fold"), "logit error (mean square)", "")
        kept = manifest.measurements["sensitivity"]["kept_fp32"]
        for node, distance in sorted(sensitivity.items(), key=lambda entry: -entry[1])[:_SENSITIVE_NODES]:
            table.add_row(node, f"{distance:.2e}", "kept fp32" if node in kept else "")
        console.print(table)


def _shown(gate: Gate) -> dict[str, Any]:
    return {"name": gate.name, "passed": gate.passed} | gate.as_parity()
