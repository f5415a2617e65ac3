"""A training run: epochs over length-bucketed batches, the best of them by validation, resumable after each."""

import hashlib
import json
import math
import os
import random
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor
from torch.nn import functional
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import DistilBertTokenizerFast

from consumer.inference.encoding import TextEncoder
from consumer.inference.manifest import TOKENIZER_FILE
from model_export.checkpoint import OUTPUT_SUFFIX, DistilBertForFeedback, FeedbackConfig, save_tokenizer
from model_export.metrics import evaluate_rows, softmax
from model_export.rows import UNLABELLED, VALIDATION_FILE, Row, read_rows
from model_export.scoring import score_texts, torch_forward
from schemas.labels import HEADS
from training.base import load_base
from training.config import TrainingConfig
from training.data import Batch, EncodedRows, Split, provenance, split_rows
from training.measures import measure_head
from training.predictions import Probabilities

REPORT_FILE: Final = "report.json"
_STATE_FILE: Final = "unfinished.pt"
_TOOLS: Final = ("torch", "transformers", "tokenizers", "feedback-stream")
# Where the CPU multiplies bf16 itself an epoch takes 0.6 of the time.
_CPU_COMPUTES_BF16: Final = any(torch.cpu.get_capabilities().get(unit) for unit in ("avx512_bf16", "amx_bf16"))


class FitError(Exception):
    """The run cannot start or go on; the message says what to do."""


@dataclass
class _Progress:
    """What a resumed run needs besides weights and optimiser."""

    fingerprint: str
    history: list[dict[str, Any]] = field(default_factory=list)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def best_epoch(self) -> int:
        """Counted from 1; 0 before the first epoch."""
        return max(range(len(self.history)), key=lambda index: self.history[index]["score"]) + 1 if self.history else 0


def fit(data: Path, out: Path, config: TrainingConfig, console: Console) -> dict[str, Any]:
    """Train on the `train` rows of a file and write a Hugging Face checkpoint with its report.

    A run that was interrupted goes on after its last finished epoch when called again in the same way.

    Returns:
        The report, as `report.json` holds it.

    Raises:
        FitError: `out` holds a finished checkpoint or an unfinished run of something else.
        RowError: the data cannot be used.
        BaseError: the base cannot be loaded.
    """
    if (out / REPORT_FILE).exists():
        raise FitError(f"{out}: holds a finished checkpoint; give another --out or remove it")
    split = split_rows(read_rows(data), config.validation_share)
    fingerprint = hashlib.sha256(config.model_dump_json().encode() + data.read_bytes()).hexdigest()
    torch.use_deterministic_algorithms(mode=True)
    torch.manual_seed(config.seed)
    model, tokenizer_file = _build_model(config)
    encoder = TextEncoder(tokenizer_file, max_length_tokens=config.max_length_tokens)
    out.mkdir(parents=True, exist_ok=True)
    trainer = _Trainer(
        config, split, model=model, encoder=encoder, state_file=out / _STATE_FILE, fingerprint=fingerprint
    )
    trainer.run(console)
    report = trainer.report()
    _write_checkpoint(out, model, tokenizer_file, split, report)
    (out / _STATE_FILE).unlink()
    return report


def _build_model(config: TrainingConfig) -> tuple[DistilBertForFeedback, Path]:
    encoder, tokenizer_file = load_base(config.base)
    architecture = {key: value for key, value in encoder.config.to_dict().items() if key != "model_type"}
    model = DistilBertForFeedback(
        FeedbackConfig(
            **architecture
            | {
                "heads": {head: list(labels) for head, labels in HEADS.items()},
                "max_length_tokens": config.max_length_tokens,
                "architectures": [DistilBertForFeedback.__name__],
            }
        )
    )
    model.distilbert.load_state_dict(encoder.state_dict())
    return model, tokenizer_file


class _Trainer:
    def __init__(
        self,
        config: TrainingConfig,
        split: Split,
        *,
        model: DistilBertForFeedback,
        encoder: TextEncoder,
        state_file: Path,
        fingerprint: str,
    ) -> None:
        self._config = config
        self._split = split
        self._model = model
        self._encoder = encoder
        self._state_file = state_file
        self._rows = EncodedRows.of(split.train, encoder)
        self._epoch_batches = self._rows.batches_per_epoch(config.batch_records)
        self._optimiser = AdamW(_parameter_groups(model, config), fused=True)
        self._schedule = LambdaLR(self._optimiser, self._rate)
        self._progress = self._resume(fingerprint)

    def run(self, console: Console) -> None:
        """Train to the last epoch, or until validation has not improved for `patience_epochs`."""
        done = len(self._progress.history)
        if done:
            console.print(f"going on after epoch {done} of {self._config.epochs}")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
            task = bar.add_task("training", total=self._epoch_batches * self._config.epochs)
            bar.advance(task, done * self._epoch_batches)
            for epoch in range(done, self._config.epochs):
                if len(self._progress.history) - self._progress.best_epoch >= self._config.patience_epochs:
                    bar.console.print("no better epoch in sight: stopping early")
                    break
                started = time.monotonic()
                loss = self._epoch(epoch, bar, task)
                entry = self._validate(epoch, loss)
                self._progress.seconds += time.monotonic() - started
                self._record(entry)
                bar.console.print("  ".join(f"{key} {value:.4g}" for key, value in entry.items()))
        self._model.load_state_dict(self._progress.best_weights)

    def report(self) -> dict[str, Any]:
        """Everything that people ask of a run, figures on `dev` included."""
        split = self._split
        return {
            "config": self._config.model_dump(),
            "data": {
                "train_rows": len(split.train),
                "validation_rows": len(split.validation),
                "dropped": split.dropped,
                "sources": provenance(split.train + split.validation),
            },
            "history": self._progress.history,
            "best_epoch": self._progress.best_epoch,
            "training_s": round(self._progress.seconds, 1),
            "threads": torch.get_num_threads(),
            "precision": "bf16 products, fp32 weights" if _CPU_COMPUTES_BF16 else "fp32",
            "validation": self._measure(split.validation),
            "dev": self._measure(split.dev) if split.dev else None,
            "tools": {name: version(name) for name in _TOOLS},
        }

    def _epoch(self, epoch: int, bar: Progress, task: TaskID) -> float:
        # Seeded per epoch: a resumed run shuffles and drops out as the uninterrupted one.
        torch.manual_seed(self._config.seed + epoch)
        batches = self._rows.shuffled_batches(self._config.batch_records, random.Random(self._config.seed + epoch))
        self._model.train()
        total = 0.0
        for batch in batches:
            loss = self._loss(batch)
            self._optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._config.max_gradient_norm)
            self._optimiser.step()
            self._schedule.step()
            total += loss.item()
            bar.advance(task)
        return total / self._epoch_batches

    def _loss(self, batch: Batch) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=_CPU_COMPUTES_BF16):
            outputs = self._model(batch.input_ids, batch.attention_mask)
        losses = []
        for head, head_weight in self._config.head_weights.items():
            targets = batch.targets[head]
            each = functional.cross_entropy(
                outputs[head + OUTPUT_SUFFIX].float(),
                targets,
                ignore_index=UNLABELLED,
                reduction="none",
                label_smoothing=self._config.label_smoothing,
            )
            if head == "category":
                # Low confidence says that two categories fit about equally; it says nothing of the other heads.
                each = each * torch.where(batch.low_confidence, self._config.low_confidence_weight, 1.0)
            losses.append(head_weight * each.sum() / (targets != UNLABELLED).sum().clamp(min=1))
        return torch.stack(losses).sum()

    def _validate(self, epoch: int, loss: float) -> dict[str, Any]:
        figures = self._evaluate(self._split.validation)
        weights = self._config.head_weights
        score = sum(weights[head] * figures[head]["accuracy"] for head in weights) / sum(weights.values())
        return {
            "epoch": epoch + 1,
            "loss": loss,
            **{head: figures[head]["accuracy"] for head in weights},
            "score": score,
        }

    def _evaluate(self, rows: list[Row]) -> dict[str, Any]:
        return evaluate_rows(self._predict(rows), rows)

    def _measure(self, rows: list[Row]) -> dict[str, Any]:
        probabilities = self._predict(rows)
        return {head: measure_head(probabilities[head], rows, head) for head in HEADS}

    def _predict(self, rows: list[Row]) -> Probabilities:
        logits = score_texts(torch_forward(self._model), self._encoder, [row.text for row in rows])
        return {head: softmax(values) for head, values in logits.items()}

    def _rate(self, step: int) -> float:
        steps = self._epoch_batches * self._config.epochs
        warmup = max(1, math.ceil(steps * self._config.warmup_share))
        return min((step + 1) / warmup, max(0.0, (steps - step) / max(1, steps - warmup)))

    def _record(self, entry: dict[str, Any]) -> None:
        self._progress.history.append(entry)
        if self._progress.best_epoch == len(self._progress.history):
            self._progress.best_weights = {name: value.clone() for name, value in self._model.state_dict().items()}
        partial = self._state_file.with_suffix(".partial")
        torch.save(
            {
                "progress": vars(self._progress),
                "model": self._model.state_dict(),
                "optimiser": self._optimiser.state_dict(),
                "schedule": self._schedule.state_dict(),
            },
            partial,
        )
        partial.replace(self._state_file)

    def _resume(self, fingerprint: str) -> _Progress:
        if not self._state_file.exists():
            return _Progress(fingerprint)
        state = torch.load(self._state_file, weights_only=True)
        progress = _Progress(**state["progress"])
        if progress.fingerprint != fingerprint:
            raise FitError(
                f"{self._state_file}: an unfinished run with another configuration or other data; "
                "remove the folder or give another --out"
            )
        self._model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        return progress


def _parameter_groups(model: DistilBertForFeedback, config: TrainingConfig) -> list[dict[str, Any]]:
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault((name.startswith("classifiers."), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": config.head_learning_rate if in_head else config.learning_rate,
            # Biases and layer norms are not decayed.
            "weight_decay": config.weight_decay if is_matrix else 0.0,
        }
        for (in_head, is_matrix), parameters in groups.items()
    ]


def _write_checkpoint(
    out: Path, model: DistilBertForFeedback, tokenizer_file: Path, split: Split, report: dict[str, Any]
) -> None:
    model.save_pretrained(out)
    save_tokenizer(tokenizer_file, out / TOKENIZER_FILE)
    tokenizer = DistilBertTokenizerFast(
        tokenizer_file=str(out / TOKENIZER_FILE), model_max_length=report["config"]["max_length_tokens"]
    )
    tokenizer.save_pretrained(out)
    keys = sorted({row.key for row in split.validation})
    (out / VALIDATION_FILE).write_text("\n".join(keys) + "\n", encoding="ascii")
    # Last, because its presence says that the checkpoint is whole.
    partial = out / f"{REPORT_FILE}.partial"
    partial.write_text(json.dumps(report, indent=2) + os.linesep, encoding="utf-8")
    partial.replace(out / REPORT_FILE)
