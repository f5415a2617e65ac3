"""What a model says of rows: a checkpoint through PyTorch, a bundle through the consumer's own classifier."""

from pathlib import Path

from consumer.inference.bundle import load_bundle
from consumer.inference.manifest import MANIFEST_FILE
from model_export.metrics import softmax
from model_export.predictions import Probabilities, predict_texts


def predict(model: Path, texts: list[str]) -> Probabilities:
    """The probabilities that a checkpoint folder or a bundle folder gives to texts, in their order.

    Raises:
        CheckpointError, BundleError: the model cannot be loaded.
    """
    if (model / MANIFEST_FILE).exists():
        return predict_texts(load_bundle(model), texts)
    # A bundle is measured where there is no torch.
    from model_export.checkpoint import load_checkpoint  # noqa: PLC0415
    from model_export.scoring import score_texts, torch_forward  # noqa: PLC0415

    checkpoint = load_checkpoint(model)
    logits = score_texts(torch_forward(checkpoint.model), checkpoint.encoder, texts)
    return {head: softmax(values) for head, values in logits.items()}
