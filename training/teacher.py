"""Teachers: larger encoders with the same three heads, whose probabilities students learn from. They never serve."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModel

from consumer.inference.encoding import TextEncoder
from consumer.inference.manifest import TOKENIZER_FILE
from model_export.checkpoint import OUTPUT_SUFFIX, CheckpointError, load_checkpoint, mean_pooled, save_tokenizer
from schemas.labels import HEADS
from training.base import BaseError
from training.config import TrainingConfig
from training.fit import Run, prepare_run, train, write_report
from training.run_state import STATE_FILE
from training.teacher_base import teacher_base_folder

TEACHER_FILE: Final = "teacher.json"
_HEADS_FILE: Final = "heads.safetensors"
_DROPOUT: Final = 0.1


class TeacherModel(nn.Module):  # type: ignore[misc, unused-ignore]
    """Any encoder of `transformers`, the mean of its last hidden states, and one linear layer per head."""

    def __init__(self, encoder: Any) -> None:  # noqa: ANN401 (a transformers model)
        """Put new heads on an encoder."""
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(_DROPOUT)
        width = encoder.config.hidden_size
        self.classifiers = nn.ModuleDict({head: nn.Linear(width, len(labels)) for head, labels in HEADS.items()})

    def get_input_embeddings(self) -> nn.Module:
        """The word embeddings, as `transformers` models name them."""
        embeddings: nn.Module = self.encoder.get_input_embeddings()
        return embeddings

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Score a padded batch.

        Args:
            input_ids: int64 [batch, length].
            attention_mask: int64 [batch, length], 0 where padded.

        Returns:
            For each head `<head>_logits`: float32 [batch, labels].
        """
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        pooled = self.dropout(mean_pooled(hidden, attention_mask))
        return {name + OUTPUT_SUFFIX: head(pooled) for name, head in self.classifiers.items()}


@dataclass(frozen=True)
class LoadedTeacher:
    """A teacher that can be asked."""

    model: nn.Module
    encoder: TextEncoder


def train_teacher(data: Path, out: Path, config: TrainingConfig, console: Console) -> dict[str, Any]:
    """Fine-tune an encoder on the labelled `train` rows of a file; an interrupted run goes on.

    Returns:
        The report, as `report.json` holds it.

    Raises:
        FitError, RowError: as `training.fit.fit`.
        BaseError: the base cannot be loaded.
    """
    run = prepare_run(data, out, config)
    folder = teacher_base_folder(config.base)
    torch.manual_seed(config.seed if config.head_seed is None else config.head_seed)
    try:
        model = TeacherModel(AutoModel.from_pretrained(folder, dtype=torch.float32))
    except (OSError, ValueError, AttributeError, SafetensorError) as error:
        raise BaseError(f"{folder}: is no encoder that transformers loads ({error})") from error
    report = train(run, model, _encoder(folder, model.encoder.config, config.max_length_tokens), console)
    _write(run, model, folder / TOKENIZER_FILE, report)
    (out / STATE_FILE).unlink()
    return report


def load_teacher(folder: Path) -> LoadedTeacher:
    """Load what `python -m training teacher` or `fit` wrote.

    Raises:
        CheckpointError: a file is missing, damaged, or made for other labels.
    """
    if not (folder / TEACHER_FILE).is_file():
        checkpoint = load_checkpoint(folder)
        return LoadedTeacher(checkpoint.model, checkpoint.encoder)
    about = json.loads((folder / TEACHER_FILE).read_text(encoding="utf-8"))
    if about["heads"] != {head: list(labels) for head, labels in HEADS.items()}:
        raise CheckpointError(f"{folder / TEACHER_FILE}: heads: the labels are not this version's; train it again")
    try:
        model = TeacherModel(AutoModel.from_pretrained(folder, dtype=torch.float32))
        model.classifiers.load_state_dict(load_file(folder / _HEADS_FILE))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: the teacher cannot be loaded ({error}); train it again") from error
    return LoadedTeacher(model.eval(), _encoder(folder, model.encoder.config, about["max_length_tokens"]))


def _encoder(folder: Path, config: Any, max_length_tokens: int) -> TextEncoder:  # noqa: ANN401 (a transformers config)
    encoder = TextEncoder(folder / TOKENIZER_FILE, max_length_tokens=max_length_tokens)
    # Encoders that are no BERT pad with another word than [PAD].
    encoder.pad_id = config.pad_token_id or 0
    return encoder


def _write(run: Run, model: TeacherModel, tokenizer_file: Path, report: dict[str, Any]) -> None:
    model.encoder.save_pretrained(run.out)
    save_file(model.classifiers.state_dict(), run.out / _HEADS_FILE)
    save_tokenizer(tokenizer_file, run.out / TOKENIZER_FILE)
    about = {
        "heads": {head: list(labels) for head, labels in HEADS.items()},
        "max_length_tokens": run.config.max_length_tokens,
    }
    (run.out / TEACHER_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    write_report(run.out, run.split, report)
