"""`python -m training`: fine-tune, measure and compare feedback classifiers."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from model_export.comparison_table import print_comparison
from model_export.terminal import JsonOption, console, fail
from schemas.connection import DatabaseConnection
from training import run_commands, study_commands
from training.compare import compare_models
from training.config import DEFAULT_CONFIG, read_config
from training.display import print_baselines, print_dataset, print_report
from training.evaluate import evaluate_model
from training.inputs import TrainingInputs, make_dataset
from training.terminal import REFUSED_EXIT_CODE, ConfigOption, DataOption, SplitOption, expected_errors

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_show_locals=False)
run_commands.register(app)


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
        fail("give one of --checkpoint and --bundle", 2)
    model = checkpoint or bundle
    assert model is not None  # noqa: S101 (for mypy: one of the two is given)
    with expected_errors():
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
    with expected_errors():
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
    with expected_errors(), console.status("fitting") as status:
        share = read_config(config).validation_share
        figures = run_baselines(data, share, lambda name: status.update(f"{name} done, fitting the next"))
        measured = evaluate_model(model, data, "dev") if model is not None else None
    reasons = unbeaten(measured, figures) if measured is not None else []
    if as_json:
        typer.echo(json.dumps({"baselines": figures, "model": measured, "unbeaten": reasons}))
    else:
        print_baselines({**figures, **({"the model": measured} if measured else {})}, Console())
    for reason in reasons:
        console.print(f"not beaten: {reason}", style="red", markup=False)
    if reasons:
        raise typer.Exit(REFUSED_EXIT_CODE)


@app.command(name="data")
def make_data(
    *,
    out: Annotated[Path, typer.Option(help="The training file to write, JSONL.")],
    file: Annotated[list[Path] | None, typer.Option(help="Labelled rows, JSONL; repeatable.")] = None,
    labels: Annotated[
        list[Path] | None, typer.Option(help="Labels by the sha256 of their texts (SOURCE, SHA256, CODE); repeatable.")
    ] = None,
    texts: Annotated[list[Path] | None, typer.Option(help="Where those texts are found, JSONL; repeatable.")] = None,
    keep_unlabelled: Annotated[
        bool, typer.Option("--keep-unlabelled", help="Keep the other texts of --texts, for teachers to speak of.")
    ] = False,
    database: Annotated[bool, typer.Option("--database", help="Add what people labelled in DATABASE_URL.")] = False,
    since: Annotated[datetime | None, typer.Option(help="Only labels made since then (UTC).")] = None,
    min_samples: Annotated[int, typer.Option(min=1, help="Fewest labelled rows to train on.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Build a training file: cleaned, each text once, nothing of `dev` in what is trained on.

    Where a text has several labels, --labels win over --file, later files over earlier ones, the database over all.
    """
    if not file and not labels and not database:
        fail("give at least one --file, --labels or --database", 2)
    if labels and not texts:
        fail("--labels needs --texts: the files that hold the texts", 2)
    rows = None
    if database:
        from training.feedback_rows import read_feedback_rows  # noqa: PLC0415 (needs sqlalchemy)

        rows = read_feedback_rows(_database(), since.replace(tzinfo=UTC) if since is not None else None)
    inputs = TrainingInputs(
        files=file or [],
        labels=labels or [],
        texts=texts or [],
        keep_unlabelled=keep_unlabelled,
        database_rows=rows,
        min_samples=min_samples,
    )
    with expected_errors():
        report = make_dataset(inputs, out)
    if as_json:
        typer.echo(json.dumps(report))
    else:
        print_dataset(report, Console())
        console.print(f"{sum(report['rows'].values())} rows in {out}")


def _database() -> DatabaseConnection:
    try:
        return DatabaseConnection()
    except ValidationError as invalid:
        fail(f"DATABASE_URL: {invalid.errors(include_url=False, include_input=False)[0]['msg']}", 2)


study_commands.register(app)
