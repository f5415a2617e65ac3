"""Temperature and review threshold of each head, fitted on rows that trained nothing."""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from consumer.inference.manifest import HeadSpec
from model_export.checkpoint import OUTPUT_SUFFIX
from model_export.metrics import softmax
from model_export.rows import UNLABELLED, Row, label_columns
from model_export.scoring import Logits
from schemas.labels import HEADS, Head

REVIEW_SHARE: Final = 0.15
DECIDES_REVIEW: Final[frozenset[Head]] = frozenset({"category"})
_LOG_TEMPERATURES: Final = (math.log(0.05), math.log(20.0))
_GOLDEN: Final = (math.sqrt(5) - 1) / 2
_SEARCH_STEPS: Final = 40


def calibrate(logits: Logits, rows: list[Row]) -> dict[str, HeadSpec]:
    """Fit each head's temperature, and the threshold that flags the least certain `REVIEW_SHARE` of the rows.

    Only the category decides on review: it is the head that people disagree about, and what a verdict is routed by.
    """
    specs: dict[str, HeadSpec] = {}
    for head in HEADS:
        columns = label_columns(rows, head)
        temperature = fit_temperature(logits[head], columns)
        top = softmax(logits[head], temperature).max(axis=1)
        specs[head] = HeadSpec(
            output=head + OUTPUT_SUFFIX,
            temperature=round(temperature, 4),
            review_threshold=round(float(np.quantile(top, REVIEW_SHARE)), 4),
            decides_review=head in DECIDES_REVIEW,
        )
    return specs


def uncalibrated() -> dict[str, HeadSpec]:
    """Heads as they come from the model: temperature 1, and no verdict is flagged."""
    return {head: HeadSpec(output=head + OUTPUT_SUFFIX) for head in HEADS}


def fit_temperature(logits: NDArray[Any], columns: NDArray[np.int64]) -> float:
    """The temperature with the least cross-entropy on the labelled rows (Guo et al. 2017), by golden-section search.

    The cross-entropy has one minimum over 1 / temperature, hence over its logarithm too. 1.0 when no row is labelled.
    """
    known = columns != UNLABELLED
    if not known.any():
        return 1.0
    chosen, targets = logits[known], columns[known]

    def cross_entropy(log_temperature: float) -> float:
        right = softmax(chosen, math.exp(log_temperature))[np.arange(len(targets)), targets]
        return float(-np.log(np.maximum(right, np.finfo(np.float64).tiny)).mean())

    low, high = _LOG_TEMPERATURES
    for _ in range(_SEARCH_STEPS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if cross_entropy(left) < cross_entropy(right):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)
