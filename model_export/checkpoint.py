"""The trained model as PyTorch holds it: one DistilBERT encoder under one linear head per verdict."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import DistilBertConfig, DistilBertModel, DistilBertPreTrainedModel

from consumer.inference.encoding import TextEncoder
from consumer.inference.manifest import TOKENIZER_FILE

OUTPUT_SUFFIX: Final = "_logits"
_CONFIG_FILE: Final = "config.json"
_WEIGHTS_FILE: Final = "model.safetensors"


class CheckpointError(Exception):
    """A checkpoint cannot be used; the message names the file and what to do."""


class FeedbackConfig(DistilBertConfig):  # type: ignore[misc]
    """A DistilBERT configuration with the heads on top of the encoder.

    Args:
        heads: for each head its labels, in the order of its output columns.
        max_length_tokens: where texts are cut, the two special tokens included.
        **kwargs: what `DistilBertConfig` takes.
    """

    def __init__(self, heads: dict[str, list[str]] | None = None, max_length_tokens: int = 256, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(**kwargs)
        self.heads = heads or {}
        self.max_length_tokens = max_length_tokens


class DistilBertForFeedback(DistilBertPreTrainedModel):  # type: ignore[misc]
    """DistilBERT, the mean of its last hidden states, and one linear layer per head of `config.heads`."""

    config_class = FeedbackConfig

    def __init__(self, config: FeedbackConfig) -> None:
        super().__init__(config)
        self.distilbert = DistilBertModel(config)
        self.dropout = nn.Dropout(config.seq_classif_dropout)
        self.classifiers = nn.ModuleDict({name: nn.Linear(config.dim, len(ls)) for name, ls in config.heads.items()})
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Score a padded batch.

        Args:
            input_ids: int64 [batch, length].
            attention_mask: int64 [batch, length], 0 where padded.

        Returns:
            For each head `<head>_logits`: float32 [batch, labels].
        """
        hidden = self.distilbert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        # Every text holds at least the two special tokens, so the sum is never zero.
        pooled = self.dropout((hidden * mask).sum(dim=1) / mask.sum(dim=1))
        return {name + OUTPUT_SUFFIX: head(pooled) for name, head in self.classifiers.items()}


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint: the model in evaluation mode, and the consumer's encoder over its tokenizer."""

    path: Path
    model: DistilBertForFeedback
    encoder: TextEncoder

    @property
    def heads(self) -> dict[str, tuple[str, ...]]:
        """For each head its labels, in the order of its output columns."""
        return {name: tuple(labels) for name, labels in self.model.config.heads.items()}

    @property
    def max_length_tokens(self) -> int:
        """Where texts are cut, the two special tokens included."""
        return int(self.model.config.max_length_tokens)


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint folder as `python -m training fit` writes it.

    Raises:
        CheckpointError: a file is missing or unreadable, or heads, weights and tokenizer do not fit each other.
    """
    for name in (_CONFIG_FILE, _WEIGHTS_FILE, TOKENIZER_FILE):
        if not (path / name).is_file():
            raise CheckpointError(f"{path / name}: missing; a checkpoint is the folder that `training fit --out` wrote")
    config = _load_config(path)
    model = _load_model(path, config)
    try:
        encoder = TextEncoder(path / TOKENIZER_FILE, max_length_tokens=config.max_length_tokens)
    except Exception as error:  # tokenizers raises bare Exception
        raise CheckpointError(f"{path / TOKENIZER_FILE}: {error}") from error
    if encoder.largest_id >= config.vocab_size:
        raise CheckpointError(
            f"{path / TOKENIZER_FILE}: id {encoder.largest_id} lies beyond the model's {config.vocab_size} embeddings"
        )
    return Checkpoint(path=path, model=model.eval(), encoder=encoder)


def _load_config(path: Path) -> FeedbackConfig:
    try:
        config: FeedbackConfig = FeedbackConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path / _CONFIG_FILE}: {error}") from error
    if not config.heads:
        raise CheckpointError(f"{path / _CONFIG_FILE}: `heads` is empty; it must list the labels of each head")
    for head, labels in config.heads.items():
        if len(set(labels)) != len(labels) or len(labels) < 2:  # noqa: PLR2004
            raise CheckpointError(f"{path / _CONFIG_FILE}: heads.{head} needs at least two labels, each once")
    return config


def _load_model(path: Path, config: FeedbackConfig) -> DistilBertForFeedback:
    try:
        # The optimiser of onnxruntime 1.31 fuses the attention of sdpa; it no longer matches the mask of the eager one.
        loaded: tuple[DistilBertForFeedback, dict[str, list[str]]] = DistilBertForFeedback.from_pretrained(
            path, config=config, attn_implementation="sdpa", output_loading_info=True, dtype=torch.float32
        )
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{path / _WEIGHTS_FILE}: {error}") from error
    model, report = loaded
    wrong = sorted({*report["missing_keys"], *report["unexpected_keys"]})
    if wrong:
        raise CheckpointError(f"{path / _WEIGHTS_FILE}: the weights do not fit the configuration, first at {wrong[0]}")
    return model


def save_tokenizer(source: Path, target: Path) -> None:
    """Copy a `tokenizer.json` with truncation and padding off: whoever encodes decides on both."""
    tokenizer = Tokenizer.from_file(str(source))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.save(str(target))
