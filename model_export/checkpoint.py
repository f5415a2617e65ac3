"""Trained models as PyTorch holds them: one DistilBERT encoder, under a head for each verdict or under one."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final, cast

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import (
    DistilBertConfig,
    DistilBertForSequenceClassification,
    DistilBertModel,
    DistilBertPreTrainedModel,
    DistilBertTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from consumer.inference.encoding import TextEncoder
from consumer.inference.manifest import TOKENIZER_FILE
from model_export.stock import ConfigError, stock_head
from schemas.labels import HEADS

OUTPUT_SUFFIX: Final = "_logits"
CONFIG_FILE: Final = "config.json"
WEIGHT_FILES: Final = ("model.safetensors", "pytorch_model.bin")
VOCABULARY_FILE: Final = "vocab.txt"
# What a manifest allows.
_LONGEST_TOKENS: Final = 512


class CheckpointError(Exception):
    """A checkpoint cannot be used; the message names the file and what to do."""


class FeedbackConfig(DistilBertConfig):  # type: ignore[misc]
    """A DistilBERT configuration with the heads on top of the encoder.

    Args:
        heads: for each head its labels, in the order of its output columns.
        max_length_tokens: where texts are cut, the two special tokens included.
        pooling: what the heads read of the last hidden states: their `mean`, or the `first` token's.
        **kwargs: what `DistilBertConfig` takes.
    """

    def __init__(
        self,
        heads: dict[str, list[str]] | None = None,
        max_length_tokens: int = 256,
        pooling: str = "mean",
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**kwargs)
        self.heads = heads or {}
        self.max_length_tokens = max_length_tokens
        self.pooling = pooling


def mean_pooled(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """The mean of the hidden states that are no padding.

    Args:
        hidden: float32 [batch, length, width].
        attention_mask: int64 [batch, length], 0 where padded.

    Returns:
        float32 [batch, width].
    """
    mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
    # Every text holds at least the two special tokens, so the sum is never zero.
    return (hidden * mask).sum(dim=1) / mask.sum(dim=1)


class DistilBertForFeedback(DistilBertPreTrainedModel):  # type: ignore[misc]
    """DistilBERT, `config.pooling` of its last hidden states, and one linear layer per head of `config.heads`."""

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
        pooled = hidden[:, 0] if self.config.pooling == "first" else mean_pooled(hidden, attention_mask)
        pooled = self.dropout(pooled)
        return {name + OUTPUT_SUFFIX: head(pooled) for name, head in self.classifiers.items()}


class DistilBertForOneHead(DistilBertForSequenceClassification):  # type: ignore[misc]
    """Hugging Face's sequence classifier, with its logits under the name of its head in `config.heads`."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Score a padded batch: arguments and result as of `DistilBertForFeedback.forward`, with one head."""
        [head] = self.config.heads
        return {head + OUTPUT_SUFFIX: super().forward(input_ids=input_ids, attention_mask=attention_mask).logits}


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint: the model in evaluation mode, the consumer's encoder, and the tokenizer behind it."""

    path: Path
    model: DistilBertForFeedback | DistilBertForOneHead
    encoder: TextEncoder
    tokenizer: Tokenizer

    @property
    def heads(self) -> dict[str, tuple[str, ...]]:
        """For each head its labels, in the order of its output columns; known heads in the order of results."""
        heads = self.model.config.heads
        return {name: tuple(heads[name]) for name in (*HEADS, *heads) if name in heads}

    @property
    def max_length_tokens(self) -> int:
        """Where texts are cut, the two special tokens included."""
        return int(self.model.config.max_length_tokens)


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint folder: of `python -m training fit`, or of Hugging Face's DistilBERT sequence classifier.

    Raises:
        CheckpointError: a file is missing or unreadable, or heads, weights and tokenizer do not fit each other.
    """
    content = _read_config(path / CONFIG_FILE)
    if not any((path / name).is_file() for name in WEIGHT_FILES):
        raise CheckpointError(f"{path / WEIGHT_FILES[0]}: missing; copy the whole folder of the checkpoint")
    kind: type[DistilBertForFeedback | DistilBertForOneHead]
    if "heads" in content:
        kind, config = DistilBertForFeedback, _our_config(path)
    else:
        kind, config = DistilBertForOneHead, _stock_config(path, content)
    model = _load_model(path, kind, config)
    tokenizer = _load_tokenizer(path)
    with tempfile.TemporaryDirectory() as scratch:
        save_tokenizer(tokenizer, Path(scratch) / TOKENIZER_FILE)
        encoder = TextEncoder(Path(scratch) / TOKENIZER_FILE, max_length_tokens=config.max_length_tokens)
    if encoder.largest_id >= config.vocab_size:
        raise CheckpointError(
            f"{path / TOKENIZER_FILE}: id {encoder.largest_id} lies beyond the model's {config.vocab_size} embeddings; "
            "it belongs to another checkpoint"
        )
    return Checkpoint(path=path, model=model.eval(), encoder=encoder, tokenizer=tokenizer)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror}); a checkpoint is the folder that `training fit --out` or "
            "Hugging Face's save_pretrained wrote"
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{path}: no JSON ({error}); copy it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: no JSON object; copy it again")
    return content


def _our_config(path: Path) -> FeedbackConfig:
    try:
        config: FeedbackConfig = FeedbackConfig.from_pretrained(path)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path / CONFIG_FILE}: {error}") from error
    if not config.heads:
        raise CheckpointError(f"{path / CONFIG_FILE}: `heads` is empty; it must list the labels of each head")
    for head, labels in config.heads.items():
        if len(set(labels)) != len(labels) or len(labels) < 2:  # noqa: PLR2004
            raise CheckpointError(f"{path / CONFIG_FILE}: heads.{head} needs at least two labels, each once")
    return config


def _stock_config(path: Path, content: dict[str, Any]) -> DistilBertConfig:
    """The configuration with what ours would hold: the head, and where texts are cut."""
    try:
        head, labels = stock_head(content)
        config = DistilBertConfig.from_pretrained(path)
    except (ConfigError, OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path / CONFIG_FILE}: {error}") from error
    config.heads = {head: list(labels)}
    config.max_length_tokens = min(config.max_position_embeddings, _LONGEST_TOKENS)
    return config


def _load_model(
    path: Path, kind: type[DistilBertForFeedback | DistilBertForOneHead], config: DistilBertConfig
) -> DistilBertForFeedback | DistilBertForOneHead:
    weights = next(path / name for name in WEIGHT_FILES if (path / name).is_file())
    verbosity = transformers_logging.get_verbosity()
    # What it warns of, that weights do not fit, is an error below.
    transformers_logging.set_verbosity_error()
    try:
        # The optimiser of onnxruntime 1.31 fuses the attention of sdpa; it no longer matches the mask of the eager one.
        model, report = kind.from_pretrained(
            path,
            config=config,
            attn_implementation="sdpa",
            output_loading_info=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            local_files_only=True,
        )
    except (OSError, RuntimeError, ValueError, SafetensorError, UnpicklingError) as error:
        raise CheckpointError(f"{weights}: cannot be loaded ({error}); copy it again") from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    if mismatched := sorted(report["mismatched_keys"]):
        wanted = list(model.state_dict()[mismatched[0]].shape)
        raise CheckpointError(
            f"{weights}: {mismatched[0]} is not {wanted}, as {CONFIG_FILE} asks; its labels or sizes are those of "
            "another checkpoint"
        )
    if wrong := sorted({*report["missing_keys"], *report["unexpected_keys"]}):
        raise CheckpointError(
            f"{weights}: the weights do not fit {CONFIG_FILE}, first at {wrong[0]}; one of the files is from another "
            "checkpoint"
        )
    return cast("DistilBertForFeedback | DistilBertForOneHead", model)


def _load_tokenizer(path: Path) -> Tokenizer:
    """Read `tokenizer.json`, or make its like from the vocabulary where an old checkpoint has nothing else."""
    file = path / TOKENIZER_FILE if (path / TOKENIZER_FILE).is_file() else path / VOCABULARY_FILE
    if not file.is_file():
        raise CheckpointError(f"{path / TOKENIZER_FILE}: missing, and so is {VOCABULARY_FILE}; copy either beside it")
    try:
        if file.name == TOKENIZER_FILE:
            tokenizer = Tokenizer.from_file(str(file))
        else:
            tokenizer = DistilBertTokenizerFast.from_pretrained(path, local_files_only=True).backend_tokenizer
    except Exception as error:  # tokenizers raises bare Exception
        raise CheckpointError(f"{file}: tokenizers cannot load it ({error}); copy it again") from error
    return tokenizer


def save_tokenizer(source: Path | Tokenizer, target: Path) -> None:
    """Save a tokenizer with truncation and padding off: whoever encodes decides on both."""
    tokenizer = source if isinstance(source, Tokenizer) else Tokenizer.from_file(str(source))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.save(str(target))
