"""What a checkpoint or a bundle is worth on labelled rows."""

from pathlib import Path
from typing import Any

from consumer.inference.bundle_files import read_manifest
from consumer.inference.manifest import MANIFEST_FILE
from model_export.rows import Row, read_rows
from schemas.labels import HEADS
from training.measures import measure_head, measure_review
from training.predictions import predict


class EvaluationError(Exception):
    """There is nothing to evaluate, or nothing to evaluate on; the message says what to do."""


def rows_of_split(data: Path, split: str) -> list[Row]:
    """The rows of one split of a file.

    Raises:
        EvaluationError: no row has it.
        RowError: the file cannot be read.
    """
    rows = [row for row in read_rows(data) if row.split == split]
    if not rows:
        raise EvaluationError(f"{data}: no row has split {split!r}")
    return rows


def evaluate_model(model: Path, data: Path, split: str) -> dict[str, Any]:
    """Measure a checkpoint, or a bundle through the consumer's own classifier, on one split of a file.

    Returns:
        Per head the figures of `training.measures.measure_head`, and of a bundle under `review` those of
        `measure_review`.

    Raises:
        EvaluationError: no row of the file has that split.
        CheckpointError, BundleError: the model cannot be loaded.
        RowError: the file cannot be read.
    """
    rows = rows_of_split(data, split)
    probabilities = predict(model, [row.text for row in rows])
    figures: dict[str, Any] = {head: measure_head(probabilities[head], rows, head) for head in HEADS}
    if (model / MANIFEST_FILE).exists():
        figures["review"] = measure_review(probabilities, rows, read_manifest(model).heads)
    return figures
