"""Temperature and review threshold of each head, fitted on rows that trained nothing."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from consumer.inference.manifest import HeadSpec
from model_export.checkpoint import OUTPUT_SUFFIX
from model_export.metrics import softmax
from model_export.rows import UNLABELLED
from model_export.scoring import Logits

REVIEWED_ACCURACY: Final = 0.95
REVIEW_RULE: Final = (
    "the surest tenth of the validation rows, and then 2 % more at a time, for as long as the lower end of a one-sided "
    f"90 % Wilson interval of their accuracy is at least {REVIEWED_ACCURACY}"
)
DECIDES_REVIEW: Final = "category"
_LOG_TEMPERATURES: Final = (math.log(0.05), math.log(20.0))
_GOLDEN: Final = (math.sqrt(5) - 1) / 2
_SEARCH_STEPS: Final = 40
_FIRST_SHARE: Final = 0.1
_STEP_SHARE: Final = 0.02
_FEWEST_ROWS: Final = 50
# The normal distribution's 0.9 quantile.
_Z: Final = 1.2816


def calibrate(logits: Logits, columns: Mapping[str, NDArray[np.int64]]) -> dict[str, HeadSpec]:
    """Fit each head's temperature, and its review threshold by `REVIEW_RULE`.

    Of three heads only the category decides on review: it is the one that people disagree about, and what a verdict is
    routed by. A head that is alone decides.

    Args:
        logits: of the graph that ships.
        columns: per head the right columns, as `label_columns` gives them.
    """
    specs: dict[str, HeadSpec] = {}
    for head in logits:
        temperature = fit_temperature(logits[head], columns[head])
        probabilities = softmax(logits[head], temperature)
        specs[head] = HeadSpec(
            output=head + OUTPUT_SUFFIX,
            temperature=round(temperature, 4),
            review_threshold=fit_review_threshold(probabilities, columns[head]),
            decides_review=head == DECIDES_REVIEW or len(logits) == 1,
        )
    return specs


def fit_review_threshold(probabilities: NDArray[Any], columns: NDArray[np.int64]) -> float:
    """The threshold of `REVIEW_RULE`: what scores at least as high is right often enough to go without review.

    Stopping at the first step that fails keeps the promise on rows that chose nothing in nine of ten fits
    (fixed-sequence testing; Angelopoulos et al. 2021, "Learn then Test"). Taking the lowest of all thresholds that pass
    would not: among many, some pass by luck.

    Args:
        probabilities: [rows, labels].
        columns: the right label's column per row, `UNLABELLED` where there is none.

    Returns:
        Between 0 and 1, rounded up to four decimals; 1 when no threshold is good enough, 0 when no row is labelled.
    """
    known = columns != UNLABELLED
    if not known.any():
        return 0.0
    top = probabilities[known].max(axis=1)
    right = probabilities[known].argmax(axis=1) == columns[known]
    order = np.argsort(-top, kind="stable")
    top, right = top[order], right[order]
    rows = len(top)
    step_rows = max(1, math.ceil(rows * _STEP_SHARE))
    threshold = 1.0
    for count in range(max(_FEWEST_ROWS, math.ceil(rows * _FIRST_SHARE)), rows + step_rows, step_rows):
        # Rows of one score go together.
        lowest = float(top[min(count, rows) - 1])
        together = int(np.searchsorted(-top, -lowest, side="right"))
        if _lower_end(int(right[:together].sum()), together) < REVIEWED_ACCURACY:
            break
        threshold = lowest
    return math.ceil(threshold * 10_000) / 10_000


def _lower_end(successes: int, trials: int) -> float:
    """The lower end of Wilson's one-sided 90 % interval of a share (Wilson 1927)."""
    share = successes / trials
    margin = _Z * math.sqrt(share * (1 - share) / trials + _Z**2 / (4 * trials**2))
    return (share + _Z**2 / (2 * trials) - margin) / (1 + _Z**2 / trials)


def uncalibrated(heads: Iterable[str]) -> dict[str, HeadSpec]:
    """Heads as they come from the model: temperature 1, and no verdict is flagged."""
    return {head: HeadSpec(output=head + OUTPUT_SUFFIX) for head in heads}


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
