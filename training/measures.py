"""Figures of one head with their uncertainty: intervals, calibration, coverage, confusion, and each source's share."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from consumer.inference.manifest import HeadSpec
from model_export.metrics import debiased_calibration_error, head_metrics
from model_export.rows import UNLABELLED, Row, label_columns
from schemas.labels import HEADS, Head

_RESAMPLES: Final = 2_000
_SEED: Final = 0
_TAIL: Final = 0.025
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


def measure_review(
    probabilities: Mapping[str, NDArray[np.float64]], rows: list[Row], heads: Mapping[str, HeadSpec]
) -> dict[str, Any]:
    """What the review thresholds of a bundle leave to the model alone, and how often that is right.

    Args:
        probabilities: per head [rows, labels], as the bundle gives them.
        rows: what was judged.
        heads: of the bundle's manifest.

    Returns:
        `decided_by`: the heads that decide; `coverage`: the share of rows that goes without review; per deciding head
        `accuracy` on those of them that it has a label for; each with its 95 % bootstrap interval.
    """
    deciding = [head for head, spec in heads.items() if spec.decides_review]
    alone = np.ones(len(rows), dtype=np.bool_)
    for head in deciding:
        alone &= probabilities[head].max(axis=1) >= heads[head].review_threshold
    draws = np.random.default_rng(_SEED).integers(0, len(rows), (_RESAMPLES, len(rows)))
    figures: dict[str, Any] = {
        "decided_by": {head: heads[head].review_threshold for head in deciding},
        "rows": len(rows),
        "coverage": round(float(alone.mean()), 4),
        "coverage_interval": _interval(alone[draws].mean(axis=1)),
        "accuracy": {},
    }
    for head in deciding:
        columns = label_columns(rows, head)
        counted = alone & (columns != UNLABELLED)
        right = counted & (probabilities[head].argmax(axis=1) == columns)
        shares = right[draws].sum(axis=1) / np.maximum(counted[draws].sum(axis=1), 1)
        figures["accuracy"][head] = {
            "rows": int(counted.sum()),
            "accuracy": round(float(right.sum() / max(counted.sum(), 1)), 4),
            "accuracy_interval": _interval(shares),
        }
    return figures


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
