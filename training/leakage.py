"""What a test file hides when its rows stand in the train file too."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GroupKFold

from consumer.inference.text import prepare
from model_export.rows import RowError
from training.baselines import BASELINES
from training.near_duplicates import group_near_duplicates

_FOLDS: Final = 5
_SEED: Final = 0
_MODEL: Final = "logistic regression"
# Of a template only a word or two differ.
_TEMPLATE_SIMILARITY: Final = 0.5


@dataclass(frozen=True)
class _Labelled:
    text: str
    label: str


def measure_leakage(train: Path, test: Path) -> dict[str, Any]:
    """Count test rows that a train file holds, and measure logistic regression on the given and on an honest split.

    The honest split takes both files together, each text once, and tests each fifth of the near-duplicate groups on a
    model that was trained on the others.

    Returns:
        `verbatim` and `near_duplicates`: test rows that stand in train, exactly (but for case and spaces) or nearly;
        `given_accuracy`, `unseen_accuracy` (on the test rows that train does not hold), `honest_accuracy` and
        `template_accuracy` (groups by a similarity of 0.5 instead of 0.8).

    Raises:
        RowError: a file cannot be read or a line does not fit.
    """
    known, asked = _read(train), _read(test)
    groups = group_near_duplicates([row.text for row in [*known, *asked]])
    keys, of_train = {row.text.casefold() for row in known}, set(groups[: len(known)])
    verbatim = [row.text.casefold() in keys for row in asked]
    near = [group in of_train for group in groups[len(known) :]]
    said = _fit_and_ask(known, [row.text for row in asked])
    right = np.array([found == row.label for found, row in zip(said, asked, strict=True)])
    unseen = ~np.array(near)
    everything = list({row.text.casefold(): row for row in [*known, *asked]}.values())
    return {
        "train_rows": len(known),
        "test_rows": len(asked),
        "verbatim": sum(verbatim),
        "near_duplicates": sum(near),
        "different_texts": len(everything),
        "model": _MODEL,
        "given_accuracy": round(float(right.mean()), 4),
        "unseen_rows": int(unseen.sum()),
        "unseen_accuracy": round(float(right[unseen].mean()), 4) if unseen.any() else None,
        "honest_accuracy": _cross_validated(everything, group_near_duplicates([row.text for row in everything])),
        "template_accuracy": _cross_validated(
            everything, group_near_duplicates([row.text for row in everything], _TEMPLATE_SIMILARITY)
        ),
    }


def _cross_validated(rows: list[_Labelled], groups: list[int]) -> float:
    labels = np.array([row.label for row in rows])
    said = labels.copy()
    for train, test in GroupKFold(_FOLDS, shuffle=True, random_state=_SEED).split(rows, labels, groups):
        said[test] = _fit_and_ask([rows[index] for index in train], [rows[index].text for index in test])
    return round(float(accuracy_score(labels, said)), 4)


def _fit_and_ask(train: list[_Labelled], texts: list[str]) -> list[str]:
    pipeline = next(baseline for baseline in BASELINES if baseline.name == _MODEL).make()
    pipeline.fit([row.text for row in train], [row.label for row in train])
    return [str(label) for label in pipeline.predict(texts)]


def _read(path: Path) -> list[_Labelled]:
    rows = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    found = json.loads(line)
                    rows.append(_Labelled(prepare(found["text"]), str(found["label"])))
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise RowError(f'{path}, line {number}: expected {{"text": ..., "label": ...}}') from error
    except (OSError, UnicodeDecodeError) as error:
        raise RowError(f"{path}: cannot be read ({error})") from error
    if len(rows) < _FOLDS:
        raise RowError(f"{path}: holds {len(rows)} rows; at least {_FOLDS} are needed")
    return rows
