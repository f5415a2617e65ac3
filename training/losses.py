"""The loss of a batch: labels where there are any, and a teacher's probabilities where it spoke."""

import torch
from torch import Tensor
from torch.nn import functional

from model_export.checkpoint import OUTPUT_SUFFIX
from model_export.rows import UNLABELLED
from schemas.labels import Head
from training.batches import Batch
from training.config import TrainingConfig


def batch_loss(outputs: dict[str, Tensor], batch: Batch, config: TrainingConfig) -> Tensor:
    """The weighted sum of the heads' losses, each a mean over the rows that say something of the head.

    Args:
        outputs: per head `<head>_logits`, [batch, labels].
        batch: what they were computed from.
        config: weights, smoothing and temperature.
    """
    losses = [
        weight * _head_loss(head, outputs[head + OUTPUT_SUFFIX].float(), batch, config)
        for head, weight in config.head_weights.items()
    ]
    return torch.stack(losses).sum()


def _head_loss(head: Head, logits: Tensor, batch: Batch, config: TrainingConfig) -> Tensor:
    targets = batch.targets[head]
    is_labelled = targets != UNLABELLED
    each = functional.cross_entropy(
        logits, targets, ignore_index=UNLABELLED, reduction="none", label_smoothing=config.label_smoothing
    )
    if head == "category":
        # Low confidence says that two categories fit about equally; it says nothing of the other heads.
        each = each * torch.where(batch.low_confidence, config.low_confidence_weight, 1.0)
    if not batch.soft:
        return each.sum() / is_labelled.sum().clamp(min=1)
    soft = _soft_loss(logits, batch.soft[head], config.soft_temperature)
    # A row of one kind counts as much as a row of both.
    soft_share = torch.where(batch.has_soft, torch.where(is_labelled, config.soft_weight, 1.0), 0.0)
    each = (1 - soft_share) * each + soft_share * soft
    return each.sum() / (is_labelled | batch.has_soft).sum().clamp(min=1)


def _soft_loss(logits: Tensor, probabilities: Tensor, temperature: float) -> Tensor:
    """Cross-entropy against softened probabilities, [batch]; times T squared, so that its gradients keep their size.

    Hinton, Vinyals & Dean (2015), "Distilling the Knowledge in a Neural Network", section 2.
    """
    softened = probabilities ** (1 / temperature)
    softened = softened / softened.sum(dim=1, keepdim=True)
    return -(softened * functional.log_softmax(logits / temperature, dim=1)).sum(dim=1) * temperature**2
