"""The commands that study models and files: what disturbs a model, and what a leaked test file hides."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from model_export.terminal import JsonOption
from training.display import print_leakage, print_robustness
from training.terminal import SplitOption, expected_errors


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command()(robustness)
    app.command()(leakage)


def robustness(
    *,
    bundle: Annotated[Path, typer.Option(help="A bundle folder, asked as the consumer asks it.")],
    data: Annotated[Path, typer.Option(help="Labelled rows, JSONL.")],
    split: SplitOption = "dev",
    seed: Annotated[int, typer.Option(min=0, help="Of the disturbances.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Disturb texts without changing their meaning and measure what it costs: typos, case, emoji, length and more."""
    from training.robustness import measure_robustness  # noqa: PLC0415

    with expected_errors():
        figures = measure_robustness(bundle, data, split, seed)
    if as_json:
        typer.echo(json.dumps(figures))
    else:
        print_robustness(figures, Console())


def leakage(
    *,
    train: Annotated[Path, typer.Option(help="Rows of the train file, JSONL with `text` and `label`.")],
    test: Annotated[Path, typer.Option(help="Rows of the test file, of the same shape.")],
    as_json: JsonOption = False,
) -> None:
    """Count test rows that stand in a train file, and measure what that hides, by logistic regression."""
    from training.leakage import measure_leakage  # noqa: PLC0415 (scikit-learn takes two seconds to load)

    with expected_errors():
        figures = measure_leakage(train, test)
    if as_json:
        typer.echo(json.dumps(figures))
    else:
        print_leakage(figures, Console())
