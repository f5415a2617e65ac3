"""A student's run: from labelled rows, and what teachers said of texts, to a checkpoint that can be exported."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console
from torch import nn
from transformers import DistilBertTokenizerFast

from consumer.inference.encoding import TextEncoder
from consumer.inference.manifest import TOKENIZER_FILE
from model_export.checkpoint import DistilBertForFeedback, FeedbackConfig, save_tokenizer
from model_export.checkpoint_source import REPORT_FILE
from model_export.rows import VALIDATION_FILE, read_rows
from schemas.labels import HEADS
from training.base import keep_layers, load_base
from training.config import TrainingConfig
from training.data import Split, split_rows
from training.run_state import STATE_FILE, FitError
from training.soft_targets import SoftTargets
from training.tracking import Tracker
from training.trainer import Trainer

_TOOLS: Final = ("torch", "transformers", "tokenizers", "feedback-stream")


@dataclass(frozen=True)
class Run:
    """What a run works on, and where it writes.

    Attributes:
        fingerprint: equal for two runs that must end alike.
    """

    out: Path
    config: TrainingConfig
    split: Split
    soft: SoftTargets | None
    fingerprint: str


def fit(
    data: Path, out: Path, config: TrainingConfig, console: Console, soft_files: Sequence[Path] = ()
) -> dict[str, Any]:
    """Train on the `train` rows of a file and write a Hugging Face checkpoint with its report.

    A run that was interrupted, even killed, goes on when called again in the same way, and ends as if it never was.

    Args:
        data: labelled rows; rows without label are used where `soft_files` speak of them.
        out: folder of the checkpoint.
        config: hyper-parameters.
        console: for progress.
        soft_files: what teachers said, files of `python -m training soft-labels`; averaged where they are several.

    Returns:
        The report, as `report.json` holds it.

    Raises:
        FitError: `out` holds a finished checkpoint or an unfinished run of something else, or a teacher was trained on
            a row that this run validates on.
        RowError: the data cannot be used.
        SoftTargetError: a file of probabilities cannot be used.
        BaseError: the base cannot be loaded.
    """
    run = prepare_run(data, out, config, soft_files)
    model, tokenizer_file = _build_model(config)
    encoder = TextEncoder(tokenizer_file, max_length_tokens=config.max_length_tokens)
    report = train(run, model, encoder, console)
    write_checkpoint(out, model, tokenizer_file, run.split, report)
    (out / STATE_FILE).unlink()
    return report


def prepare_run(data: Path, out: Path, config: TrainingConfig, soft_files: Sequence[Path] = ()) -> Run:
    """Read and split what a run learns from; nothing is written.

    Raises:
        FitError, RowError, SoftTargetError: see `fit`.
    """
    if (out / REPORT_FILE).exists():
        raise FitError(f"{out}: holds a finished checkpoint; give another --out or remove it")
    soft = SoftTargets.mean([SoftTargets.read(path) for path in soft_files], soft_files) if soft_files else None
    split = split_rows(read_rows(data), config.validation_share)
    if soft is None:
        split = split.labelled()
    elif soft.held_out != split.held_out():
        raise FitError(
            f"{soft_files[0]}: its teachers kept other rows aside than this run would validate on: train them on the "
            "same --data with the same validation_share"
        )
    else:
        split = _with_something_said(split, soft)
    if not any(row.is_labelled for row in split.train):
        raise FitError(f"{data}: no row to train on has a label")
    content = hashlib.sha256(config.model_dump_json().encode())
    for path in (data, *soft_files):
        content.update(path.read_bytes())
    return Run(out, config, split, soft, content.hexdigest())


def train(run: Run, model: nn.Module, encoder: TextEncoder, console: Console) -> dict[str, Any]:
    """Train a model to the end, from where an interrupted run stood; it holds the kept weights afterwards.

    Returns:
        The report, not yet written.

    Raises:
        FitError: the folder holds another unfinished run.
    """
    torch.use_deterministic_algorithms(mode=True)
    run.out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(
        run.config,
        run.split,
        model=model,
        encoder=encoder,
        soft=run.soft,
        state_file=run.out / STATE_FILE,
        fingerprint=run.fingerprint,
        tracker=Tracker(run.out, run.config.model_dump(mode="json")),
    )
    trainer.run(console)
    return trainer.report() | {"tools": {name: version(name) for name in _TOOLS}}


def write_checkpoint(
    out: Path, model: DistilBertForFeedback, tokenizer_file: Path, split: Split, report: dict[str, Any]
) -> None:
    """Write a checkpoint folder that `transformers` and `model_export` load; the report comes last."""
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    save_tokenizer(tokenizer_file, out / TOKENIZER_FILE)
    tokenizer = DistilBertTokenizerFast(
        tokenizer_file=str(out / TOKENIZER_FILE), model_max_length=report["config"]["max_length_tokens"]
    )
    tokenizer.save_pretrained(out)
    write_report(out, split, report)


def write_report(out: Path, split: Split, report: dict[str, Any]) -> None:
    """Write which rows were kept aside, and the report: its presence says that the folder is whole."""
    keys = sorted({row.key for row in split.validation})
    (out / VALIDATION_FILE).write_text("\n".join(keys) + "\n", encoding="ascii")
    partial = out / f"{REPORT_FILE}.partial"
    partial.write_text(json.dumps(report, indent=2) + os.linesep, encoding="utf-8")
    partial.replace(out / REPORT_FILE)


def _build_model(config: TrainingConfig) -> tuple[DistilBertForFeedback, Path]:
    encoder, tokenizer_file = load_base(config.base)
    keep_layers(encoder, config.keep_layers)
    architecture = {key: value for key, value in encoder.config.to_dict().items() if key != "model_type"}
    torch.manual_seed(config.seed if config.head_seed is None else config.head_seed)
    model = DistilBertForFeedback(
        FeedbackConfig(
            **architecture
            | {
                "heads": {head: list(labels) for head, labels in HEADS.items()},
                "max_length_tokens": config.max_length_tokens,
                "pooling": config.pooling,
                "architectures": [DistilBertForFeedback.__name__],
            }
        )
    )
    model.distilbert.load_state_dict(encoder.state_dict())
    return model, tokenizer_file


def _with_something_said(split: Split, soft: SoftTargets) -> Split:
    """Leave out the texts that neither a person nor a teacher said anything of."""
    _, known = soft.of([row.key for row in split.train])
    train = [row for row, is_known in zip(split.train, known, strict=True) if is_known or row.is_labelled]
    dropped = len(split.train) - len(train)
    counted = split.dropped | ({"neither label nor teacher": dropped} if dropped else {})
    return Split(train, split.validation, split.dev, counted)
