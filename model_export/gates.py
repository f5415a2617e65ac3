"""What a bundle must pass before it exists. Each gate gives its figure, so that a report can show how near it was."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from model_export.checkpoint import Checkpoint
from model_export.metrics import softmax
from model_export.rows import UNLABELLED, Row, label_columns
from model_export.scoring import Forward, Logits, score_texts, torch_forward
from model_export.texts import HOSTILE
from schemas.labels import HEADS

LARGEST_LOGIT_DIFFERENCE: Final = 1e-4
LEAST_AGREEMENT: Final = 0.99
LARGEST_ACCURACY_LOSS: Final = 0.005
_SHAPES: Final = ((1, 1), (1, 17), (3, 8), (8, 64), (1, 512), (64, 128), (64, 512))


@dataclass(frozen=True)
class Gate:
    """One gate's figure against its limit."""

    name: str
    figure: float
    limit: float
    passed: bool
    detail: str = ""

    def as_parity(self) -> dict[str, Any]:
        """How the manifest records it."""
        return {"figure": self.figure, "limit": self.limit} | ({"detail": self.detail} if self.detail else {})


class GateError(Exception):
    """At least one gate failed; there is no bundle."""

    def __init__(self, gates: Iterable[Gate]) -> None:
        self.gates = tuple(gates)
        failed = ", ".join(
            f"{gate.name} {gate.figure:.4g} against {gate.limit:g}" for gate in self.gates if not gate.passed
        )
        super().__init__(f"no bundle was written, it fails: {failed}")


def same_logits(checkpoint: Checkpoint, fp32: Forward) -> Gate:
    """PyTorch and fp32 ONNX agree over a grid of batches and lengths, padded ones among them."""
    reference = torch_forward(checkpoint.model)
    random = np.random.default_rng(0)
    largest = 0.0
    for batch, length in _SHAPES:
        if length > checkpoint.model.config.max_position_embeddings:
            continue
        input_ids = random.integers(0, checkpoint.model.config.vocab_size, (batch, length))
        lengths = random.integers(1, length + 1, batch)
        lengths[0] = length
        attention_mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
        theirs, ours = reference(input_ids, attention_mask), fp32(input_ids, attention_mask)
        largest = max(largest, largest_difference(theirs, ours))
    return Gate("torch_fp32_logit_difference", largest, LARGEST_LOGIT_DIFFERENCE, largest <= LARGEST_LOGIT_DIFFERENCE)


def same_labels(fp32: Logits, shipped: Logits) -> list[Gate]:
    """The shipped graph gives the labels of fp32, per head."""
    return [
        Gate(f"{head}_label_agreement", share, LEAST_AGREEMENT, share >= LEAST_AGREEMENT)
        for head, share in label_agreement(fp32, shipped).items()
    ]


def label_agreement(left: Logits, right: Logits) -> dict[str, float]:
    """Per head the share of texts that two models give the same label."""
    return {head: round(float((left[head].argmax(axis=1) == right[head].argmax(axis=1)).mean()), 5) for head in HEADS}


def same_accuracy(fp32: Logits, shipped: Logits, rows: list[Row]) -> list[Gate]:
    """The shipped graph is as often right as fp32, per head."""
    gates = []
    for head in HEADS:
        columns = label_columns(rows, head)
        known = columns != UNLABELLED
        if known.any():
            before, after = (float((each[head].argmax(axis=1) == columns)[known].mean()) for each in (fp32, shipped))
            loss = before - after
            passed = loss <= LARGEST_ACCURACY_LOSS
            gates.append(
                Gate(f"{head}_accuracy_loss", round(loss, 5), LARGEST_ACCURACY_LOSS, passed, f"fp32 {before:.4f}")
            )
    return gates


def finite_scores(checkpoint: Checkpoint, shipped: Forward) -> Gate:
    """Hostile texts give finite scores that sum to one."""
    logits = score_texts(shipped, checkpoint.encoder, HOSTILE)
    broken = sum(int((~np.isfinite(softmax(values)).all(axis=1)).sum()) for values in logits.values())
    return Gate("hostile_texts_without_finite_scores", broken, 0, broken == 0, f"{len(HOSTILE)} texts")


def largest_difference(left: Logits, right: Logits) -> float:
    """The largest difference of two models' logits over all heads; infinite where one is not finite."""
    largest = max(float(np.abs(left[head] - right[head]).max()) for head in left)
    return largest if np.isfinite(largest) else float("inf")
