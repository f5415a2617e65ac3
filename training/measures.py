"""Figures of one head with their uncertainty: intervals, calibration, coverage, confusion, and each source's share."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_export.metrics import head_metrics
from model_export.rows import UNLABELLED, Row, label_columns
from schemas.labels import HEADS, Head

_RESAMPLES: Final = 2_000
_SEED: Final = 0
_TAIL: Final = 0.025
_BINS: Final = 10
_COVERAGES: Final = tuple(round(0.05 * step, 2) for step in range(1, 21))


def measure_head(probabilities: NDArray[np.float64], rows: list[Row], head: Head) -> dict[str, Any]:
    """All figures of one head on its labelled rows.

    Args:
        probabilities: [rows, labels].
        rows: what was judged.
        head: which head.

    Returns:
        `head_metrics`, with 95 % bootstrap intervals (percentile, 2,000 resamples) of accuracy, macro F1 and the
        debiased calibration error; accuracy on confident rows; `confusion` [right label][predicted label];
        `coverage`: accuracy on the surest share; `per_source`.
    """
    columns = label_columns(rows, head)
    known = np.flatnonzero(columns != UNLABELLED)
    probabilities, columns = probabilities[known], columns[known]
    labelled = [rows[index] for index in known]
    labels = HEADS[head]
    figures = head_metrics(probabilities, columns, labels)
    predicted = probabilities.argmax(axis=1)
    right = (predicted == columns).astype(np.float64)
    sure = np.array([row.confidence == "high" for row in labelled])
    draws = np.random.default_rng(_SEED).integers(0, len(columns), (_RESAMPLES, len(columns)))
    figures["accuracy_interval"] = _interval(right[draws].mean(axis=1))
    figures["macro_f1_interval"] = _interval(_macro_f1(predicted, columns, draws, len(labels)))
    figures["debiased_ece"] = round(debiased_calibration_error(probabilities, columns), 4)
    figures["debiased_ece_interval"] = _interval(
        _resampled(draws, lambda chosen: debiased_calibration_error(probabilities[chosen], columns[chosen]))
    )
    figures["confident_rows"] = int(sure.sum())
    figures["confident_accuracy"] = round(float(right[sure].mean()), 4) if sure.any() else 0.0
    figures["confusion"] = _confusion(columns, predicted, labels)
    figures["coverage"] = _coverage(probabilities.max(axis=1), right)
    figures["per_source"] = _per_source(labelled, right)
    return figures


def debiased_calibration_error(probabilities: NDArray[np.float64], columns: NDArray[np.int64]) -> float:
    """Root mean squared gap between top score and accuracy over ten bins of equal mass, less what chance adds.

    The plain estimate grows as bins get small even for a perfect model; the correction is Kumar, Liang & Ma (2019),
    "Verified Uncertainty Calibration", equation 5.
    """
    top = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == columns
    squared = 0.0
    for chosen in np.array_split(np.argsort(top, kind="stable"), _BINS):
        if len(chosen) > 1:
            accuracy = float(right[chosen].mean())
            noise = accuracy * (1 - accuracy) / (len(chosen) - 1)
            squared += len(chosen) / len(columns) * ((float(top[chosen].mean()) - accuracy) ** 2 - noise)
    return float(np.sqrt(max(0.0, squared)))


def _interval(values: NDArray[np.float64]) -> list[float]:
    return [round(float(edge), 4) for edge in np.quantile(values, (_TAIL, 1 - _TAIL))]


def _resampled(draws: NDArray[np.int64], figure: Callable[[NDArray[np.int64]], float]) -> NDArray[np.float64]:
    return np.array([figure(chosen) for chosen in draws])


def _macro_f1(
    predicted: NDArray[np.int64], columns: NDArray[np.int64], draws: NDArray[np.int64], label_count: int
) -> NDArray[np.float64]:
    """Macro F1 of each resample, over the labels that occur in all rows."""
    per_label = []
    for label in range(label_count):
        is_right, is_said = columns == label, predicted == label
        if not is_right.any():
            continue
        hits = (is_right & is_said)[draws].sum(axis=1)
        counted = is_right[draws].sum(axis=1) + is_said[draws].sum(axis=1)
        per_label.append(2 * hits / np.maximum(counted, 1))
    return np.asarray(np.mean(per_label, axis=0), dtype=np.float64)


def _confusion(
    columns: NDArray[np.int64], predicted: NDArray[np.int64], labels: tuple[str, ...]
) -> dict[str, dict[str, int]]:
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(counts, (columns, predicted), 1)
    return {
        right: {said: int(counts[row, column]) for column, said in enumerate(labels)}
        for row, right in enumerate(labels)
    }


def _coverage(top: NDArray[np.float64], right: NDArray[np.float64]) -> list[dict[str, float]]:
    order = np.argsort(-top, kind="stable")
    curve = []
    for coverage in _COVERAGES:
        chosen = order[: max(1, round(coverage * len(order)))]
        accuracy, threshold = float(right[chosen].mean()), float(top[chosen].min())
        curve.append({"coverage": coverage, "threshold": round(threshold, 4), "accuracy": round(accuracy, 4)})
    return curve


def _per_source(rows: list[Row], right: NDArray[np.float64]) -> dict[str, dict[str, float]]:
    sources = np.array([row.source for row in rows])
    return {
        str(source): {
            "rows": int((sources == source).sum()),
            "accuracy": round(float(right[sources == source].mean()), 4),
        }
        for source in sorted(set(sources))
    }
