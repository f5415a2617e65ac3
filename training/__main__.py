"""`python -m training`: fine-tune and evaluate the feedback classifier."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from consumer.inference.manifest import BundleError
from model_export.checkpoint import CheckpointError
from model_export.rows import RowError
from training.base import BaseError
from training.config import DEFAULT_CONFIG, ConfigError, read_config
from training.evaluate import EvaluationError, evaluate_model, print_report
from training.fit import FitError
from training.fit import fit as run_fit

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_show_locals=False)
_console = Console(stderr=True)


@app.command()
def fit(
    *,
    data: Annotated[Path, typer.Option(help="Labelled rows, JSONL; `split` says which are trained on.")],
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint; an interrupted run goes on in it.")],
    config: Annotated[Path, typer.Option(help="Hyper-parameters, TOML.")] = DEFAULT_CONFIG,
    base: Annotated[str | None, typer.Option(help="`minilm` or a DistilBERT checkpoint folder.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
) -> None:
    """Fine-tune the three heads and the encoder, and write a Hugging Face checkpoint with its report."""
    try:
        report = run_fit(data, out, read_config(config, base=base, epochs=epochs, seed=seed), _console)
    except (BaseError, ConfigError, FitError, RowError) as error:
        _console.print(f"[red]error:[/] {error}", soft_wrap=True)
        raise typer.Exit(1) from error
    if report["dev"]:
        print_report(report["dev"], _console)
    _console.print(f"checkpoint in {out}, best epoch {report['best_epoch']}, {report['training_s']:.0f} s")


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A checkpoint or a bundle folder.")],
    data: Annotated[Path, typer.Option(help="Labelled rows, JSONL.")],
    split: Annotated[str, typer.Option(help="Which rows count: dev, validation or train.")] = "dev",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Measure a checkpoint, or a bundle as the consumer runs it."""
    try:
        figures = evaluate_model(model, data, split)
    except (BundleError, CheckpointError, EvaluationError, RowError) as error:
        _console.print(f"[red]error:[/] {error}", soft_wrap=True)
        raise typer.Exit(1) from error
    if as_json:
        typer.echo(json.dumps(figures))
    else:
        print_report(figures, Console())


if __name__ == "__main__":
    app(prog_name="python -m training")
