"""What simple models reach on the same rows: one that does not beat them has no reason to ship."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline, make_union

from model_export.metrics import evaluate_rows
from model_export.rows import UNLABELLED, Row, RowError, label_columns, read_rows
from schemas.labels import HEADS
from training.data import split_rows

_SEED: Final = 0
_MUST_BEAT: Final = ("category", "sentiment")


@dataclass(frozen=True, slots=True)
class Baseline:
    """A classifier of texts, with the settings that its kind usually gets; nothing is tuned on the evaluated rows."""

    name: str
    make: Callable[[], Pipeline]


BASELINES: Final = (
    Baseline(
        "naive Bayes", lambda: make_pipeline(CountVectorizer(ngram_range=(1, 2), min_df=2), MultinomialNB(alpha=0.3))
    ),
    Baseline(
        "logistic regression", lambda: make_pipeline(_words_and_characters(), LogisticRegression(C=5, max_iter=1000))
    ),
    Baseline(
        "neural network",
        lambda: make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True),
            MLPClassifier((64,), early_stopping=True, max_iter=30, random_state=_SEED),
        ),
    ),
)


def run_baselines(data: Path, validation_share: float, on_fitted: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Fit each baseline on the rows that a model trains on and measure it on `dev`.

    Args:
        data: labelled rows.
        validation_share: as the model's; these rows are left out here too.
        on_fitted: told each baseline's name when it is done.

    Returns:
        By baseline the figures of `model_export.metrics.evaluate_rows`.

    Raises:
        RowError: the data cannot be used.
    """
    split = split_rows(read_rows(data), validation_share).labelled()
    if not split.dev:
        raise RowError(f"{data}: no row has split 'dev': there is nothing to measure on")
    figures = {}
    for baseline in BASELINES:
        figures[baseline.name] = _measure(baseline, split.train, split.dev)
        on_fitted(baseline.name)
    return figures


def unbeaten(model: dict[str, Any], baselines: dict[str, dict[str, Any]]) -> list[str]:
    """Where a model's figures do not exceed a baseline's, in words; empty when it may ship."""
    return [
        f"{head}: {name} reaches {figures[head]['accuracy']}, the model {model[head]['accuracy']}"
        for name, figures in baselines.items()
        for head in _MUST_BEAT
        if model[head]["accuracy"] <= figures[head]["accuracy"]
    ]


def _measure(baseline: Baseline, train: list[Row], dev: list[Row]) -> dict[str, Any]:
    probabilities: dict[str, NDArray[np.float64]] = {}
    for head, labels in HEADS.items():
        columns = label_columns(train, head)
        known = np.flatnonzero(columns != UNLABELLED)
        pipeline = baseline.make()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            pipeline.fit([train[index].text for index in known], columns[known])
        found = np.zeros((len(dev), len(labels)))
        found[:, pipeline.classes_] = pipeline.predict_proba([row.text for row in dev])
        probabilities[head] = found
    return evaluate_rows(probabilities, dev)


def _words_and_characters() -> Pipeline:
    return make_union(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), min_df=3, sublinear_tf=True),
    )
