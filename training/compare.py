"""Whether one checkpoint or bundle may replace another."""

from pathlib import Path
from typing import Any

from model_export.comparison import compare_predictions
from training.evaluate import rows_of_split
from training.predictions import predict


def compare_models(old: Path, new: Path, data: Path, split: str) -> dict[str, Any]:
    """Compare two checkpoints or bundles on the rows of one split.

    Returns:
        What `model_export.comparison.compare_predictions` returns.

    Raises:
        EvaluationError: no row of the file has that split.
        CheckpointError, BundleError: a model cannot be loaded.
        RowError: the file cannot be read.
    """
    rows = rows_of_split(data, split)
    texts = [row.text for row in rows]
    return compare_predictions(predict(old, texts), predict(new, texts), rows)
