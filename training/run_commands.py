"""The commands that make models: students, teachers, what teachers say, averages, and all of it by a recipe."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from model_export.terminal import JsonOption, console
from training.config import DEFAULT_CONFIG, TEACHER_CONFIG, read_config
from training.display import print_report, print_summary
from training.terminal import REFUSED_EXIT_CODE, ConfigOption, DataOption, EpochsOption, SeedOption, expected_errors

_OutOption = Annotated[Path, typer.Option(help="Folder for the checkpoint; an interrupted run goes on in it.")]


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command()(fit)
    app.command()(teacher)
    app.command()(soft_labels)
    app.command()(average)
    app.command()(recipe)


def fit(
    *,
    data: DataOption,
    out: _OutOption,
    config: ConfigOption = DEFAULT_CONFIG,
    base: Annotated[str | None, typer.Option(help="`minilm` or a DistilBERT checkpoint folder.")] = None,
    epochs: EpochsOption = None,
    seed: SeedOption = None,
    soft: Annotated[list[Path] | None, typer.Option(help="What teachers said (soft-labels); repeatable.")] = None,
) -> None:
    """Fine-tune a student: three heads and a DistilBERT; write a Hugging Face checkpoint with its report."""
    from training.fit import fit as run_fit  # noqa: PLC0415 (torch and MLflow take seconds to load)

    with expected_errors():
        settings = read_config(config, base=base, epochs=epochs, seed=seed)
        report = run_fit(data, out, settings, console, soft or ())
    _print_end(report, out)


def teacher(
    *,
    data: DataOption,
    out: _OutOption,
    config: ConfigOption = TEACHER_CONFIG,
    base: Annotated[str | None, typer.Option(help="`mpnet`, or the folder of any Hugging Face encoder.")] = None,
    epochs: EpochsOption = None,
    seed: SeedOption = None,
) -> None:
    """Fine-tune a teacher: a larger encoder with the same heads, for students to learn from. It never serves."""
    from training.teacher import train_teacher  # noqa: PLC0415 (torch and MLflow take seconds to load)

    with expected_errors():
        report = train_teacher(data, out, read_config(config, base=base, epochs=epochs, seed=seed), console)
    _print_end(report, out)


def soft_labels(
    *,
    teacher: Annotated[list[Path], typer.Option(help="Folder of a teacher, or of a student; repeatable: the mean.")],
    texts: Annotated[list[Path], typer.Option(help="Texts to ask about, JSONL; labels do not matter; repeatable.")],
    out: Annotated[Path, typer.Option(help="The file to write (.npz); an interrupted run goes on.")],
) -> None:
    """Ask teachers about texts and write their mean probabilities; `dev` and unshippable rows are passed over."""
    from training.soft_labels import make_soft_labels  # noqa: PLC0415 (torch takes seconds to load)
    from training.texts import read_texts  # noqa: PLC0415

    with expected_errors():
        targets = make_soft_labels(teacher, read_texts(texts), out, console)
    console.print(f"{len(targets.keys)} texts in {out}")


def average(
    *,
    checkpoints: Annotated[list[Path], typer.Argument(help="Students of one base and one head_seed.")],
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint.")],
) -> None:
    """Average the weights of several students; validation decides between that and the best of them."""
    from training.average import average_checkpoints  # noqa: PLC0415 (torch takes seconds to load)

    with expected_errors():
        report = average_checkpoints(checkpoints, data, out, console)
    _print_end(report, out)


def recipe(
    *,
    recipe: Annotated[Path, typer.Option(help="The recipe, TOML.")],
    out: Annotated[Path, typer.Option(help="Folder for all stages; what stands in it is not made again.")],
    data: Annotated[Path | None, typer.Option(help="The folder that {data} stands for in the recipe.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Go the whole way: data, teachers, students, bundle, evaluation. An interrupted run goes on.

    Exit codes: 0 the bundle may ship, 3 it beats not all baselines or is worse than the one before, 1 an error.
    """
    from training.pipeline import run_recipe  # noqa: PLC0415 (torch takes seconds to load)
    from training.recipe import RecipeFile  # noqa: PLC0415

    with expected_errors():
        summary = run_recipe(RecipeFile(recipe, data), out, console)
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        print_summary(summary, console)
    if summary["not_beaten"] or summary["worse_than_before"]:
        raise typer.Exit(REFUSED_EXIT_CODE)


def _print_end(report: dict[str, Any], out: Path) -> None:
    if report["dev"]:
        print_report(report["dev"], console)
    console.print(f"checkpoint in {out}, kept: {report['kept']}, {report['training_s']:.0f} s", highlight=False)
