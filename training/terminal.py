"""What the commands of `python -m training` share: options, the console, and one clear line for each expected error."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from consumer.inference.manifest import BundleError
from model_export.checkpoint import CheckpointError
from model_export.export import ExportError
from model_export.rows import RowError
from model_export.terminal import fail
from training.base import BaseError
from training.config import ConfigError
from training.evaluate import EvaluationError
from training.run_state import FitError
from training.soft_targets import SoftTargetError

REFUSED_EXIT_CODE: Final = 3

DataOption: TypeAlias = Annotated[Path, typer.Option(help="Labelled rows, JSONL; `split` says which are trained on.")]
SplitOption: TypeAlias = Annotated[str, typer.Option(help="Which rows count: dev, validation or train.")]
ConfigOption: TypeAlias = Annotated[Path, typer.Option(help="Hyper-parameters, TOML.")]
EpochsOption: TypeAlias = Annotated[int | None, typer.Option(min=1, help="Replaces the configuration's.")]
SeedOption: TypeAlias = Annotated[int | None, typer.Option(min=0, help="Replaces the configuration's.")]

_EXPECTED: Final = (
    BaseError,
    BundleError,
    CheckpointError,
    ConfigError,
    EvaluationError,
    ExportError,
    FitError,
    RowError,
    SoftTargetError,
)


@contextmanager
def expected_errors() -> Iterator[None]:
    """End the program with exit code 1 and one line on an error that its user can mend."""
    try:
        yield
    except _EXPECTED as error:
        fail(str(error))
