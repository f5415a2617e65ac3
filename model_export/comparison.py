"""Whether one model may replace another: both judge the same rows, and chance is told from change."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import comb
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_export.rows import UNLABELLED, Row, label_columns
from schemas.labels import HEADS

_RESAMPLES: Final = 5_000
_SEED: Final = 0
_MAX_ACCURACY_LOSS: Final = 0.005
_SIGNIFICANCE: Final = 0.05
# Thirteen labels are looked at together: a wider interval keeps chance from refusing every fifth model.
_LABEL_INTERVAL: Final = 0.99
_ACCURACY_INTERVAL: Final = 0.95
_EXAMPLES: Final = 3
RULE: Final = (
    "the new model may replace the old one unless, on some head, it loses more than half a point of accuracy or is "
    "worse beyond chance (McNemar, p < 0.05), or some label's F1 is worse beyond chance (99 % interval)"
)


@dataclass(frozen=True, slots=True)
class _Judged:
    """One head's labelled rows: the right column and both models' columns, int64 [rows]."""

    right: NDArray[np.int64]
    old: NDArray[np.int64]
    new: NDArray[np.int64]


def compare_predictions(
    before: Mapping[str, NDArray[Any]], after: Mapping[str, NDArray[Any]], rows: list[Row]
) -> dict[str, Any]:
    """Compare what two models say of the same rows.

    Args:
        before: per head the old model's scores, [rows, labels].
        after: the new model's.
        rows: what was judged; a head's unlabelled rows do not count for it.

    Returns:
        `may_replace`, `reasons` against it, `rule`, and per head: rows, both accuracies, their difference with its
        95 % interval (paired bootstrap, Efron & Tibshirani 1993), rows that only one got right, McNemar's exact
        p (McNemar 1947), and per label both F1, their difference with its 99 % interval, and texts won and lost.
        A head that no row labels is left out.
    """
    heads = {}
    for head, labels in HEADS.items():
        columns = label_columns(rows, head)
        known = np.flatnonzero(columns != UNLABELLED)
        if not len(known):
            continue
        judged = _Judged(columns[known], before[head][known].argmax(axis=1), after[head][known].argmax(axis=1))
        heads[head] = _compare_head(judged, labels, [rows[index] for index in known])
    reasons = [reason for head, figures in heads.items() for reason in _reasons(head, figures)]
    return {"may_replace": not reasons, "reasons": reasons, "rule": RULE, "heads": heads}


def _compare_head(judged: _Judged, labels: tuple[str, ...], rows: list[Row]) -> dict[str, Any]:
    was_right, is_right = judged.old == judged.right, judged.new == judged.right
    won, lost = is_right & ~was_right, was_right & ~is_right
    draws = np.random.default_rng(_SEED).integers(0, len(rows), (_RESAMPLES, len(rows)))
    differences = is_right.astype(np.float64) - was_right
    return {
        "rows": len(rows),
        "old_accuracy": round(float(was_right.mean()), 4),
        "new_accuracy": round(float(is_right.mean()), 4),
        "difference": round(float(differences.mean()), 4),
        "difference_interval": _interval(differences[draws].mean(axis=1), _ACCURACY_INTERVAL),
        "only_new_right": int(won.sum()),
        "only_old_right": int(lost.sum()),
        "mcnemar_p": round(_mcnemar_p(int(won.sum()), int(lost.sum())), 4),
        "per_label": {
            label: _compare_label(judged, column, draws)
            | {
                "won": _examples(rows, won, judged.right == column),
                "lost": _examples(rows, lost, judged.right == column),
            }
            for column, label in enumerate(labels)
        },
    }


def _mcnemar_p(won: int, lost: int) -> float:
    """Two-sided and exact: how likely a fair coin is to part the changed rows at least so unevenly."""
    changed = won + lost
    tail: float = sum(comb(changed, rows) for rows in range(min(won, lost) + 1)) / 2**changed
    return min(1.0, 2 * tail)


def _compare_label(judged: _Judged, column: int, draws: NDArray[np.int64]) -> dict[str, Any]:
    old = _f1_parts(judged.right, judged.old, column)
    new = _f1_parts(judged.right, judged.new, column)
    differences = _f1(*(part[draws].sum(axis=1) for part in new)) - _f1(*(part[draws].sum(axis=1) for part in old))
    old_f1, new_f1 = (float(_f1(*(part.sum(keepdims=True) for part in parts))[0]) for parts in (old, new))
    return {
        "rows": int((judged.right == column).sum()),
        "old_f1": round(old_f1, 4),
        "new_f1": round(new_f1, 4),
        "difference": round(new_f1 - old_f1, 4),
        "difference_interval": _interval(differences, _LABEL_INTERVAL),
    }


def _f1_parts(
    right: NDArray[np.int64], said: NDArray[np.int64], column: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Per row: whether it is a hit of the label, and how often it counts below the fraction of F1."""
    is_right, is_said = right == column, said == column
    return (is_right & is_said).astype(np.int64), is_right.astype(np.int64) + is_said


def _f1(hits: NDArray[np.int64], counted: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(2 * hits / np.maximum(counted, 1), dtype=np.float64)


def _interval(values: NDArray[np.float64], coverage: float) -> list[float]:
    tail = (1 - coverage) / 2
    return [round(float(edge), 4) for edge in np.quantile(values, (tail, 1 - tail))]


def _examples(rows: list[Row], changed: NDArray[np.bool_], of_label: NDArray[np.bool_]) -> dict[str, Any]:
    indexes = np.flatnonzero(changed & of_label)
    return {"rows": len(indexes), "examples": [rows[index].text for index in indexes[:_EXAMPLES]]}


def _reasons(head: str, figures: dict[str, Any]) -> list[str]:
    reasons = []
    if figures["difference"] < -_MAX_ACCURACY_LOSS:
        reasons.append(f"{head}: accuracy falls from {figures['old_accuracy']} to {figures['new_accuracy']}")
    elif figures["difference"] < 0 and figures["mcnemar_p"] < _SIGNIFICANCE:
        reasons.append(f"{head}: accuracy falls beyond chance (p = {figures['mcnemar_p']})")
    reasons += [
        f"{head}: F1 of {label} falls from {each['old_f1']} to {each['new_f1']}, beyond chance"
        for label, each in figures["per_label"].items()
        if each["difference_interval"][1] < 0
    ]
    return reasons
