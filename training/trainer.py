"""The loop of a training run: epochs over length-bucketed batches, the best weights by validation, resumable."""

import math
import random
import time
from itertools import islice
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
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from consumer.inference.encoding import TextEncoder
from training.adversarial import AdversarialStep
from training.batches import Batch, EncodedRows
from training.config import TrainingConfig
from training.data import Split, provenance
from training.losses import batch_loss
from training.run_state import load_state, mean_weights, save_state
from training.soft_targets import SoftTargets
from training.tracking import Tracker
from training.validation import measure_rows, score_rows

HEAD_PREFIX: Final = "classifiers."
# Where the CPU multiplies bf16 itself an epoch takes 0.6 of the time.
_CPU_COMPUTES_BF16: Final = any(torch.cpu.get_capabilities().get(unit) for unit in ("avx512_bf16", "amx_bf16"))


class Trainer:
    """One run on one model: anything that gives `<head>_logits` for ids and mask, heads below `classifiers.`."""

    def __init__(
        self,
        config: TrainingConfig,
        split: Split,
        *,
        model: nn.Module,
        encoder: TextEncoder,
        soft: SoftTargets | None,
        state_file: Path,
        fingerprint: str,
        tracker: Tracker,
    ) -> None:
        """Tokenise the rows and go to where an interrupted run stood.

        Raises:
            FitError: the state file belongs to another run.
        """
        self._config = config
        self._split = split
        self._model = model
        self._encoder = encoder
        self._soft = soft
        self._state_file = state_file
        self._tracker = tracker
        self._rows = EncodedRows.of(split.train, encoder, soft)
        self._epoch_batches = self._rows.batches_per_epoch(config.batch_records)
        self._optimiser = AdamW(_parameter_groups(model, config), fused=True)
        self._schedule = LambdaLR(self._optimiser, self._rate)
        self._adversary = AdversarialStep(model, config.adversarial_epsilon) if config.adversarial_epsilon else None
        self._parts = {"model": model, "optimiser": self._optimiser, "schedule": self._schedule}
        self._progress = load_state(state_file, fingerprint, self._parts)
        self._kept = ""
        self._clock = 0.0

    def run(self, console: Console) -> None:
        """Train to the last epoch, or until validation has not improved for `patience_epochs`, and keep the best."""
        progress = self._progress
        progress.tracking_id = self._tracker.start(progress.tracking_id)
        done = len(progress.history) * self._epoch_batches + progress.step
        if done:
            console.print(f"going on after epoch {len(progress.history)}, step {progress.step}")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
            total = self._epoch_batches * self._config.epochs
            task = bar.add_task("training", total=total, completed=done)
            while len(progress.history) < self._config.epochs:
                if len(progress.history) - progress.best_epoch >= self._config.patience_epochs:
                    bar.console.print("no better epoch in sight: stopping early")
                    break
                entry = self._epoch(bar, task)
                bar.console.print("  ".join(f"{key} {value:.4g}" for key, value in entry.items()))
        self._keep_best(console)

    def report(self) -> dict[str, Any]:
        """Everything that people ask of a run, figures on `dev` included."""
        split = self._split
        report = {
            "config": self._config.model_dump(mode="json"),
            "data": {
                "train_rows": sum(row.is_labelled for row in split.train),
                "unlabelled_texts": sum(not row.is_labelled for row in split.train),
                "validation_rows": len(split.validation),
                "held_out": split.held_out(),
                "dropped": split.dropped,
                "sources": provenance(split.train + split.validation),
            },
            "teachers": list(self._soft.teachers) if self._soft else [],
            "history": self._progress.history,
            "best_epoch": self._progress.best_epoch,
            "kept": self._kept,
            "training_s": round(self._progress.seconds, 1),
            "threads": torch.get_num_threads(),
            "precision": "bf16 products, fp32 weights" if _CPU_COMPUTES_BF16 else "fp32",
            "validation": measure_rows(self._model, self._encoder, split.validation),
            "dev": measure_rows(self._model, self._encoder, split.dev),
        }
        self._tracker.finish(report)
        return report

    def _epoch(self, bar: Progress, task: TaskID) -> dict[str, Any]:
        progress, epoch = self._progress, len(self._progress.history)
        # Seeded per epoch: a resumed run shuffles and drops out as the uninterrupted one.
        if not progress.step:
            torch.manual_seed(self._config.seed + epoch)
        order = random.Random(self._config.seed + epoch)
        batches = self._rows.shuffled_batches(self._config.batch_records, order)
        self._clock = time.monotonic()
        self._model.train()
        for batch in islice(batches, progress.step, None):
            progress.loss_sum += self._step(batch)
            progress.step += 1
            bar.advance(task)
            if progress.step % self._config.save_steps == 0 and progress.step < self._epoch_batches:
                self._save()
        entry = self._validate(epoch, progress.loss_sum / self._epoch_batches)
        progress.record(entry, self._model.state_dict(), self._config.average_epochs)
        self._save()
        self._tracker.epoch(entry)
        return entry

    def _step(self, batch: Batch) -> float:
        self._optimiser.zero_grad()
        if self._adversary is None:
            loss = self._loss(batch)
            loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
        else:
            with self._adversary.watched():
                loss = self._loss(batch)
                loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
            with self._adversary.perturbed():
                self._loss(batch).backward()  # type: ignore[no-untyped-call, unused-ignore]
        nn.utils.clip_grad_norm_(self._model.parameters(), self._config.max_gradient_norm)
        self._optimiser.step()
        self._schedule.step()
        return float(loss.item())

    def _loss(self, batch: Batch) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=_CPU_COMPUTES_BF16):
            outputs = self._model(batch.input_ids, batch.attention_mask)
        return batch_loss(outputs, batch, self._config)

    def _validate(self, epoch: int, loss: float) -> dict[str, Any]:
        figures, score = self._score_validation()
        return {"epoch": epoch + 1, "loss": loss, **figures, "score": score}

    def _score_validation(self) -> tuple[dict[str, float], float]:
        return score_rows(self._model, self._encoder, self._split.validation, self._config.head_weights)

    def _keep_best(self, console: Console) -> None:
        progress = self._progress
        self._kept = f"epoch {progress.best_epoch}"
        if len(progress.recent_weights) > 1:
            last = len(progress.history)
            self._model.load_state_dict(mean_weights(progress.recent_weights))
            _, score = self._score_validation()
            best = progress.history[progress.best_epoch - 1]["score"]
            name = f"average of the epochs {last - len(progress.recent_weights) + 1} to {last}"
            console.print(f"{name}: score {score:.4g}, the best single epoch {best:.4g}")
            if score > best:
                self._kept = name
                return
        self._model.load_state_dict(progress.best_weights)

    def _rate(self, step: int) -> float:
        steps = self._epoch_batches * self._config.epochs
        warmup = max(1, math.ceil(steps * self._config.warmup_share))
        return min((step + 1) / warmup, max(0.0, (steps - step) / max(1, steps - warmup)))

    def _save(self) -> None:
        now = time.monotonic()
        self._progress.seconds += now - self._clock
        self._clock = now
        save_state(self._state_file, self._progress, self._parts)


def _parameter_groups(model: nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault((name.startswith(HEAD_PREFIX), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": config.head_learning_rate if in_head else config.learning_rate,
            # Biases and layer norms are not decayed.
            "weight_decay": config.weight_decay if is_matrix else 0.0,
        }
        for (in_head, is_matrix), parameters in groups.items()
    ]
