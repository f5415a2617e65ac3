"""What a model scores on rows: the accuracies that runs choose by, and the figures that reports hold."""

from typing import Any

from torch import nn

from consumer.inference.encoding import TextEncoder
from model_export.metrics import evaluate_rows, softmax
from model_export.predictions import Probabilities
from model_export.rows import Row
from model_export.scoring import score_texts, torch_forward
from schemas.labels import HEADS, Head
from training.measures import measure_head


def score_rows(
    model: nn.Module, encoder: TextEncoder, rows: list[Row], head_weights: dict[Head, float]
) -> tuple[dict[str, float], float]:
    """Each head's accuracy on rows, and their mean by the weights of the heads: what decides between weights."""
    measured = evaluate_rows(_predict(model, encoder, rows), rows)
    figures: dict[str, float] = {head: measured[head]["accuracy"] for head in head_weights}
    return figures, sum(weight * figures[head] for head, weight in head_weights.items()) / sum(head_weights.values())


def measure_rows(model: nn.Module, encoder: TextEncoder, rows: list[Row]) -> dict[str, Any] | None:
    """All figures of each head on rows, as `measure_head` gives them; None where there is no row."""
    if not rows:
        return None
    probabilities = _predict(model, encoder, rows)
    return {head: measure_head(probabilities[head], rows, head) for head in HEADS}


def _predict(model: nn.Module, encoder: TextEncoder, rows: list[Row]) -> Probabilities:
    logits = score_texts(torch_forward(model), encoder, [row.text for row in rows])
    return {head: softmax(values) for head, values in logits.items()}
