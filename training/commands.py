"""`python -m training`: fine-tune, measure and compare feedback classifiers."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from consumer.inference.manifest import BundleError
from model_export.checkpoint import CheckpointError
from model_export.rows import Row, RowError, read_rows
from schemas.connection import DatabaseConnection
from training.base import BaseError
from training.config import DEFAULT_CONFIG, ConfigError, read_config
from training.dataset import build_dataset, write_dataset
from training.display import print_baselines, print_comparison, print_dataset, print_report
from training.evaluate import EvaluationError, evaluate_model
from training.fit import FitError
from training.fit import fit as run_fit

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_show_locals=False)
_console = Console(stderr=True)

REFUSED_EXIT_CODE = 3

DataOption = Annotated[Path, typer.Option(help="Labelled rows, JSONL; `split` says which are trained on.")]
SplitOption = Annotated[str, typer.Option(help="Which rows count: dev, validation or train.")]
ConfigOption = Annotated[Path, typer.Option(help="Hyper-parameters, TOML.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.command()
def fit(
    *,
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint; an interrupted run goes on in it.")],
    config: ConfigOption = DEFAULT_CONFIG,
    base: Annotated[str | None, typer.Option(help="`minilm` or a DistilBERT checkpoint folder.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
) -> None:
    """Fine-tune the three heads and the encoder, and write a Hugging Face checkpoint with its report."""
    with _expected_errors():
        report = run_fit(data, out, read_config(config, base=base, epochs=epochs, seed=seed), _console)
    if report["dev"]:
        print_report(report["dev"], _console)
    _console.print(f"checkpoint in {out}, best epoch {report['best_epoch']}, {report['training_s']:.0f} s")


@app.command()
def evaluate(
    *,
    data: DataOption,
    checkpoint: Annotated[Path | None, typer.Option(help="A checkpoint folder, measured through PyTorch.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="A bundle folder, measured as the consumer runs it.")] = None,
    split: SplitOption = "dev",
    report: Annotated[Path | None, typer.Option(help="Folder for report.md, report.json and pictures.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a checkpoint or a bundle, with intervals, per label and per source."""
    if (checkpoint is None) == (bundle is None):
        _fail("give one of --checkpoint and --bundle", 2)
    model = checkpoint or bundle
    assert model is not None  # noqa: S101 (for mypy: one of the two is given)
    with _expected_errors():
        figures = evaluate_model(model, data, split)
    if report is not None:
        from training.report import write_report  # noqa: PLC0415 (matplotlib takes a second to load)

        write_report(figures, f"{model.name} on the {split} rows of {data.name}", report)
    if as_json:
        typer.echo(json.dumps(figures))
    else:
        print_report(figures, Console())


@app.command()
def compare(
    old: Annotated[Path, typer.Argument(help="The model that serves now: a checkpoint or a bundle folder.")],
    new: Annotated[Path, typer.Argument(help="The one that would replace it.")],
    *,
    data: DataOption,
    split: SplitOption = "dev",
    as_json: JsonOption = False,
) -> None:
    """Tell whether one model may replace another. Exit codes: 0 it may, 3 it may not, 1 an error."""
    from training.compare import compare_models  # noqa: PLC0415 (scipy takes a second to load)

    with _expected_errors():
        comparison = compare_models(old, new, data, split)
    if as_json:
        typer.echo(json.dumps(comparison))
    else:
        print_comparison(comparison, Console())
    if not comparison["may_replace"]:
        raise typer.Exit(REFUSED_EXIT_CODE)


@app.command()
def baselines(
    *,
    data: DataOption,
    checkpoint: Annotated[Path | None, typer.Option(help="A checkpoint that must beat them.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="A bundle that must beat them.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Measure naive Bayes, logistic regression and a small neural network on the same split.

    Exit codes: 0, 3 a given model does not beat them all on category and sentiment, 1 an error.
    """
    from training.baselines import run_baselines, unbeaten  # noqa: PLC0415 (scikit-learn takes two seconds to load)

    model = checkpoint or bundle
    with _expected_errors(), _console.status("fitting") as status:
        share = read_config(config).validation_share
        figures = run_baselines(data, share, lambda name: status.update(f"{name} done, fitting the next"))
        measured = evaluate_model(model, data, "dev") if model is not None else None
    reasons = unbeaten(measured, figures) if measured is not None else []
    if as_json:
        typer.echo(json.dumps({"baselines": figures, "model": measured, "unbeaten": reasons}))
    else:
        print_baselines({**figures, **({"the model": measured} if measured else {})}, Console())
    for reason in reasons:
        _console.print(f"not beaten: {reason}", style="red", markup=False)
    if reasons:
        raise typer.Exit(REFUSED_EXIT_CODE)


@app.command(name="data")
def make_data(
    *,
    out: Annotated[Path, typer.Option(help="The training file to write, JSONL.")],
    file: Annotated[list[Path] | None, typer.Option(help="Labelled rows, JSONL; repeatable.")] = None,
    database: Annotated[bool, typer.Option("--database", help="Add what people labelled in DATABASE_URL.")] = False,
    since: Annotated[datetime | None, typer.Option(help="Only labels made since then (UTC).")] = None,
    min_samples: Annotated[int, typer.Option(min=1, help="Fewest rows to train on.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Build a training file: cleaned, each text once, nothing of `dev` in what is trained on; later inputs win."""
    if not file and not database:
        _fail("give at least one --file, or --database", 2)
    inputs: dict[str, Iterable[Row]] = {}
    with _expected_errors():
        for path in file or ():
            inputs[str(path)] = read_rows(path)
        if database:
            from training.feedback_rows import read_feedback_rows  # noqa: PLC0415 (needs sqlalchemy)

            moment = since.replace(tzinfo=UTC) if since is not None else None
            inputs["database"] = read_feedback_rows(_database(), moment)
        dataset = build_dataset(inputs, min_samples)
        write_dataset(dataset, out)
    if as_json:
        typer.echo(json.dumps(dataset.report()))
    else:
        print_dataset(dataset.report(), Console())
        _console.print(f"{len(dataset.rows)} rows in {out}")


def _database() -> DatabaseConnection:
    try:
        return DatabaseConnection()
    except ValidationError as invalid:
        _fail(f"DATABASE_URL: {invalid.errors(include_url=False, include_input=False)[0]['msg']}", 2)


@contextmanager
def _expected_errors() -> Iterator[None]:
    try:
        yield
    except (BaseError, BundleError, CheckpointError, ConfigError, EvaluationError, FitError, RowError) as error:
        _fail(str(error), 1)


def _fail(message: str, code: int) -> NoReturn:
    _console.print(f"error: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)
