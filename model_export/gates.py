"""What a bundle must pass before it exists. Each gate gives its figure, so that a report can show how near it was."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from consumer.inference.manifest import HeadSpec
from model_export.calibration import fit_temperature
from model_export.checkpoint import Checkpoint
from model_export.clean_run import CleanRun
from model_export.gate import Gate
from model_export.metrics import debiased_calibration_error, debiased_gap, softmax
from model_export.rows import UNLABELLED
from model_export.scoring import Forward, Logits, score_texts, torch_forward
from model_export.texts import HOSTILE

LARGEST_LOGIT_DIFFERENCE: Final = 1e-4
LEAST_AGREEMENT: Final = 0.99
LARGEST_ACCURACY_LOSS: Final = 0.005
# A top score that is off by three points misleads whoever sets a threshold by it; a third of that is quantisation's.
LARGEST_CALIBRATION_ERROR: Final = 0.03
LARGEST_CALIBRATION_LOSS: Final = 0.01
# What the libraries take, and the graph as a file, as it is read and as it is packed for the CPU.
_LIBRARIES_MB: Final = 150
_GRAPH_COPIES: Final = 3
_RESAMPLES: Final = 2_000
_SEED: Final = 0
_TAIL: Final = 0.025
_SHAPES: Final = ((1, 1), (1, 17), (3, 8), (8, 64), (1, 512), (64, 128), (64, 512))


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
    return {head: round(float((left[head].argmax(axis=1) == right[head].argmax(axis=1)).mean()), 5) for head in left}


def same_accuracy(fp32: Logits, shipped: Logits, columns: Mapping[str, NDArray[np.int64]]) -> list[Gate]:
    """The shipped graph is as often right as fp32, per head."""
    gates = []
    for head, right in columns.items():
        known = right != UNLABELLED
        before, after = (float((each[head].argmax(axis=1) == right)[known].mean()) for each in (fp32, shipped))
        loss = before - after
        passed = loss <= LARGEST_ACCURACY_LOSS
        gates.append(Gate(f"{head}_accuracy_loss", round(loss, 5), LARGEST_ACCURACY_LOSS, passed, f"fp32 {before:.4f}"))
    return gates


def calibrated(
    fp32: Logits, shipped: Logits, heads: Mapping[str, HeadSpec], columns: Mapping[str, NDArray[np.int64]]
) -> list[Gate]:
    """The shipped scores still mean what they say, per head, and quantisation did not cost it.

    The figures are lower ends of 95 % intervals (bootstrap by rows, 2,000 resamples) of the debiased calibration error
    (Kumar, Liang & Ma 2019), and of its increase over fp32 with a temperature of its own: few rows measure this error
    badly, and a gate is there to stop what is beyond chance.
    """
    gates = []
    for head, right in columns.items():
        known = right != UNLABELLED
        reference = softmax(fp32[head][known], fit_temperature(fp32[head], right))
        found = softmax(shipped[head][known], heads[head].temperature)
        draws = np.random.default_rng(_SEED).integers(0, known.sum(), (_RESAMPLES, known.sum()))
        before, after = (
            np.array([debiased_gap(top[rows], hits[rows]) for rows in draws])
            for each in (reference, found)
            for top, hits in [(each.max(axis=1), each.argmax(axis=1) == right[known])]
        )
        measured = debiased_calibration_error(found, right[known])
        # A bootstrap of few rows lies above what it resamples: it cannot tell a small error from none, this can.
        error = 0.0 if measured <= _gap_by_chance(found.max(axis=1)) else float(np.quantile(after, _TAIL))
        loss = float(np.quantile(after - before, _TAIL))
        gates += [
            _at_most(f"{head}_calibration_error", error, LARGEST_CALIBRATION_ERROR, f"measured {measured:.4f}"),
            _at_most(f"{head}_calibration_loss", loss, LARGEST_CALIBRATION_LOSS, "against fp32"),
        ]
    return gates


def _gap_by_chance(top: NDArray[np.float64]) -> float:
    """The debiased error that perfectly calibrated scores like these pass in one of forty draws.

    Consistency resampling (Bröcker & Smith 2007): each row is right with the probability that it claims.
    """
    draws = np.random.default_rng(_SEED).random((_RESAMPLES, len(top))) < top
    return float(np.quantile([debiased_gap(top, right) for right in draws], 1 - _TAIL))


def _at_most(name: str, figure: float, limit: float, detail: str) -> Gate:
    figure = round(figure, 5)
    return Gate(name, figure, limit, figure <= limit, detail)


def finite_scores(checkpoint: Checkpoint, shipped: Forward) -> Gate:
    """Hostile texts give finite scores that sum to one."""
    logits = score_texts(shipped, checkpoint.encoder, HOSTILE)
    broken = sum(int((~np.isfinite(softmax(values)).all(axis=1)).sum()) for values in logits.values())
    return Gate("hostile_texts_without_finite_scores", broken, 0, broken == 0, f"{len(HOSTILE)} texts")


def runs_alone(run: CleanRun, probe_tolerance: float, graph_bytes: int) -> list[Gate]:
    """What the bundle does in a process that has the consumer's libraries only."""
    peak_mb, limit_mb = round(run.peak_rss_bytes / 1e6, 1), round(_LIBRARIES_MB + _GRAPH_COPIES * graph_bytes / 1e6, 1)
    return [
        Gate(
            "probe_deviation_without_torch",
            round(run.probe_deviation, 6),
            probe_tolerance,
            run.probe_deviation <= probe_tolerance,
        ),
        Gate("peak_memory_mb", peak_mb, limit_mb, peak_mb <= limit_mb, f"a graph of {graph_bytes / 1e6:.1f} MB"),
    ]


def largest_difference(left: Logits, right: Logits) -> float:
    """The largest difference of two models' logits over all heads; infinite where one is not finite."""
    largest = max(float(np.abs(left[head] - right[head]).max()) for head in left)
    return largest if np.isfinite(largest) else float("inf")
