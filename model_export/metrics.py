"""Figures of merit of logits against labels."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_export.rows import UNLABELLED, Row, label_columns
from schemas.labels import HEADS

_ECE_BINS: Final = 10


def softmax(logits: NDArray[Any], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities [rows, labels] of logits divided by a temperature (Guo et al. 2017)."""
    scaled = logits.astype(np.float64) / temperature
    exponents = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def head_metrics(probabilities: NDArray[Any], columns: NDArray[np.int64], labels: tuple[str, ...]) -> dict[str, Any]:
    """Accuracy, macro F1, expected calibration error and each label's figures on the labelled rows of one head.

    Args:
        probabilities: [rows, labels].
        columns: the right label's column per row, `UNLABELLED` where there is none.
        labels: their names, by column.
    """
    known = columns != UNLABELLED
    probabilities, columns = probabilities[known], columns[known]
    predicted = probabilities.argmax(axis=1)
    per_label = {}
    for column, label in enumerate(labels):
        right = int(((predicted == column) & (columns == column)).sum())
        said, there = int((predicted == column).sum()), int((columns == column).sum())
        per_label[label] = {
            "precision": _ratio(right, said),
            "recall": _ratio(right, there),
            "f1": _ratio(2 * right, said + there),
            "rows": there,
        }
    present = [figures["f1"] for figures in per_label.values() if figures["rows"]]
    return {
        "rows": len(columns),
        "accuracy": _ratio(int((predicted == columns).sum()), len(columns)),
        "macro_f1": round(float(np.mean(present)), 4) if present else 0.0,
        "ece": round(expected_calibration_error(probabilities, columns), 4),
        "per_label": per_label,
    }


def expected_calibration_error(probabilities: NDArray[Any], columns: NDArray[np.int64]) -> float:
    """Mean gap between top score and accuracy over ten bins of equal mass (Nguyen & O'Connor 2015)."""
    if not len(columns):
        return 0.0
    top = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == columns
    bins = np.array_split(np.argsort(top, kind="stable"), _ECE_BINS)
    gaps = [len(rows) * abs(float(top[rows].mean()) - float(right[rows].mean())) for rows in bins if len(rows)]
    return float(sum(gaps) / len(columns))


def debiased_calibration_error(probabilities: NDArray[np.float64], columns: NDArray[np.int64]) -> float:
    """Root mean squared gap between top score and accuracy over ten bins of equal mass, less what chance adds.

    The plain estimate grows as bins get small even for a perfect model; the correction is Kumar, Liang & Ma (2019),
    "Verified Uncertainty Calibration", equation 5.
    """
    return debiased_gap(probabilities.max(axis=1), probabilities.argmax(axis=1) == columns)


def debiased_gap(top: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """`debiased_calibration_error` from the top score of each row and whether its label is right."""
    squared = 0.0
    for chosen in np.array_split(np.argsort(top, kind="stable"), _ECE_BINS):
        if len(chosen) > 1:
            accuracy = float(right[chosen].mean())
            noise = accuracy * (1 - accuracy) / (len(chosen) - 1)
            squared += len(chosen) / len(top) * ((float(top[chosen].mean()) - accuracy) ** 2 - noise)
    return float(np.sqrt(max(0.0, squared)))


def evaluate_rows(
    probabilities: Mapping[str, NDArray[Any]], rows: list[Row], heads: Mapping[str, tuple[str, ...]] | None = None
) -> dict[str, Any]:
    """The figures of every head that the probabilities hold, on all rows and on the confidently labelled ones.

    Args:
        probabilities: per head [rows, labels].
        rows: what was judged.
        heads: each head's labels in the order of its columns; those of `schemas.labels` when None.
    """
    confident = np.array([row.confidence == "high" for row in rows])
    figures: dict[str, Any] = {}
    for head, labels in (heads or {str(head): labels for head, labels in HEADS.items()}).items():
        if head not in probabilities:
            continue
        columns = label_columns(rows, head, labels)
        figures[head] = head_metrics(probabilities[head], columns, labels)
        sure = head_metrics(probabilities[head][confident], columns[confident], labels)
        figures[head]["confident_rows"] = sure["rows"]
        figures[head]["confident_accuracy"] = sure["accuracy"]
    return figures


def _ratio(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
