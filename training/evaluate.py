"""What a checkpoint or a bundle is worth on labelled rows."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from consumer.inference.bundle import load_bundle, require_feedback_heads
from consumer.inference.classifier import Classifier
from consumer.inference.manifest import MANIFEST_FILE
from model_export.checkpoint import load_checkpoint
from model_export.metrics import evaluate_rows, softmax
from model_export.rows import read_rows
from model_export.scoring import score_texts, torch_forward


class EvaluationError(Exception):
    """There is nothing to evaluate, or nothing to evaluate on; the message says what to do."""


def evaluate_model(model: Path, data: Path, split: str) -> dict[str, Any]:
    """Measure a checkpoint, or a bundle through the consumer's own classifier, on one split of a file.

    Returns:
        Per head: rows, accuracy, macro_f1, ece, accuracy on confidently labelled rows, figures per label.

    Raises:
        EvaluationError: no row of the file has that split.
        CheckpointError, BundleError: the model cannot be loaded.
        RowError: the file cannot be read.
    """
    rows = [row for row in read_rows(data) if row.split == split]
    if not rows:
        raise EvaluationError(f"{data}: no row has split {split!r}")
    texts = [row.text for row in rows]
    if (model / MANIFEST_FILE).exists():
        return evaluate_rows(_classify(model, texts), rows)
    checkpoint = load_checkpoint(model)
    logits = score_texts(torch_forward(checkpoint.model), checkpoint.encoder, texts)
    return evaluate_rows({head: softmax(values) for head, values in logits.items()}, rows)


def _classify(bundle: Path, texts: list[str]) -> dict[str, NDArray[np.float64]]:
    """The probabilities of a bundle as the consumer computes them, per head [texts, labels]."""
    loaded = load_bundle(bundle)
    require_feedback_heads(loaded)
    classifier = Classifier(loaded)
    try:
        verdicts = classifier.classify(texts)
    finally:
        classifier.close()
    return {
        head: np.array([list(verdict.heads[head].scores.values()) for verdict in verdicts])
        for head in loaded.labels.heads
    }


def print_report(figures: dict[str, Any], console: Console) -> None:
    """Print the heads and the labels of each as two tables."""
    heads = Table("head", "rows", "accuracy", "confident rows", "macro F1", "ECE")
    labels = Table("head", "label", "rows", "precision", "recall", "F1")
    for head, values in figures.items():
        shown = [values[column] for column in ("accuracy", "confident_accuracy", "macro_f1", "ece")]
        heads.add_row(head, str(values["rows"]), *(f"{value:.3f}" for value in shown))
        for label, each in values["per_label"].items():
            shown = [each[column] for column in ("precision", "recall", "f1")]
            labels.add_row(head, label, str(each["rows"]), *(f"{value:.3f}" for value in shown))
    console.print(heads, labels)
