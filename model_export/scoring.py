"""Logits of many texts, from a PyTorch model or an ONNX graph, tokenised and padded the same way."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from consumer.inference.batching import DEFAULT_MAX_BATCH_TOKENS
from consumer.inference.encoding import TextEncoder
from model_export.batches import padded_batches
from model_export.checkpoint import OUTPUT_SUFFIX, DistilBertForFeedback, DistilBertForOneHead

Logits: TypeAlias = dict[str, NDArray[np.float32]]
"""Per head float32 [texts, labels]."""
Forward: TypeAlias = Callable[[NDArray[np.int64], NDArray[np.int64]], Logits]
"""From ids and mask, int64 [batch, length] each, to the logits of the batch."""


def torch_forward(model: DistilBertForFeedback | DistilBertForOneHead) -> Forward:
    """The forward pass of a PyTorch model, in evaluation mode."""

    def forward(input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> Logits:
        with torch.inference_mode():
            outputs = model.eval()(torch.from_numpy(input_ids), torch.from_numpy(attention_mask))
        return {name.removesuffix(OUTPUT_SUFFIX): logits.numpy() for name, logits in outputs.items()}

    return forward


def onnx_forward(model: Path) -> Forward:
    """The forward pass of an ONNX file on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def forward(input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> Logits:
        outputs = session.run(names, {"input_ids": input_ids, "attention_mask": attention_mask})
        return {name.removesuffix(OUTPUT_SUFFIX): logits for name, logits in zip(names, outputs, strict=True)}

    return forward


def score_texts(
    forward: Forward, encoder: TextEncoder, texts: Sequence[str], max_batch_tokens: int = DEFAULT_MAX_BATCH_TOKENS
) -> Logits:
    """Score texts in the batches that the consumer would make of them.

    Returns:
        The logits, in the order of the texts.
    """
    batches: list[list[int]] = []
    parts: list[Logits] = []
    for batch, input_ids, attention_mask in padded_batches(encoder, texts, max_batch_tokens):
        batches.append(batch)
        parts.append(forward(input_ids, attention_mask))
    back = np.argsort(np.concatenate(batches))
    return {head: np.concatenate([part[head] for part in parts])[back] for head in parts[0]}
