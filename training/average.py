"""One model out of several: the mean of their weights, where validation finds it better than the best of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from consumer.inference.manifest import TOKENIZER_FILE
from model_export.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from model_export.checkpoint_source import REPORT_FILE
from model_export.rows import read_rows
from training.config import TrainingConfig
from training.data import Split, split_rows
from training.fit import write_checkpoint
from training.run_state import FitError, mean_weights
from training.validation import measure_rows, score_rows

_MUST_AGREE = ("base", "head_seed", "keep_layers", "pooling", "max_length_tokens", "validation_share", "head_weights")


def average_checkpoints(folders: Sequence[Path], data: Path, out: Path, console: Console) -> dict[str, Any]:
    """Write the uniform average of checkpoints, or the best single one where validation prefers it.

    Weights can be averaged where runs began alike and differ by what they saw on the way: see Wortsman et al. 2022,
    "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing inference time".

    Args:
        folders: finished folders of `python -m training fit`, of one base and one `head_seed`.
        data: the file that they were trained on: its validation rows decide.
        out: folder of the checkpoint to write.
        console: for what was measured.

    Returns:
        The report, as `report.json` holds it; `average` says what was measured and kept.

    Raises:
        FitError: fewer than two checkpoints, they do not belong together, other data, or `out` is taken.
        CheckpointError: a checkpoint cannot be loaded.
        RowError: the data cannot be used.
    """
    if len(folders) < 2:  # noqa: PLR2004
        raise FitError("an average needs at least two checkpoints")
    if (out / REPORT_FILE).exists():
        raise FitError(f"{out}: holds a finished checkpoint; give another --out or remove it")
    reports = [_read_report(folder) for folder in folders]
    checkpoints = [load_checkpoint(folder) for folder in folders]
    _require_alike(folders, reports, checkpoints)
    config = TrainingConfig.model_validate(reports[0]["config"])
    split = split_rows(read_rows(data), config.validation_share)
    for folder, report in zip(folders, reports, strict=True):
        if report["data"]["held_out"] != split.held_out():
            raise FitError(f"{data}: is not what {folder} was trained on; its validation rows were others")
    scores = {}
    for folder, checkpoint in zip(folders, checkpoints, strict=True):
        scores[folder] = _score(checkpoint, split, config)
        console.print(f"{folder.name}: validation score {scores[folder]:.4f}", markup=False, highlight=False)
    best = max(folders, key=lambda folder: scores[folder])
    weights = [checkpoint.model.state_dict() for checkpoint in checkpoints]
    own = {name: value.clone() for name, value in weights[folders.index(best)].items()}
    chosen = checkpoints[0]
    chosen.model.load_state_dict(mean_weights(weights))
    averaged = _score(chosen, split, config)
    console.print(f"average of {len(folders)}: validation score {averaged:.4f}", highlight=False)
    is_better = averaged > scores[best]
    if not is_better:
        chosen.model.load_state_dict(own)
    report = reports[folders.index(best)] | {
        "kept": f"average of {len(folders)} checkpoints" if is_better else best.name,
        "average": {
            "scores": {folder.name: round(score, 4) for folder, score in scores.items()},
            "average_score": round(averaged, 4),
        },
        "training_s": round(sum(each["training_s"] for each in reports), 1),
        "validation": measure_rows(chosen.model, chosen.encoder, split.validation),
        "dev": measure_rows(chosen.model, chosen.encoder, split.dev),
    }
    write_checkpoint(out, chosen.model, chosen.path / TOKENIZER_FILE, split, report)
    return report


def _read_report(folder: Path) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
        TrainingConfig.model_validate(report["config"])
    except (OSError, ValueError, KeyError) as error:
        raise FitError(f"{folder}: is no finished folder of `python -m training fit`") from error
    return report


def _require_alike(folders: Sequence[Path], reports: list[dict[str, Any]], checkpoints: list[Checkpoint]) -> None:
    first = checkpoints[0].model.state_dict()
    shapes = {name: value.shape for name, value in first.items()}
    configs = [TrainingConfig.model_validate(report["config"]).model_dump() for report in reports]
    for folder, config, checkpoint in zip(folders, configs, checkpoints, strict=True):
        if {name: value.shape for name, value in checkpoint.model.state_dict().items()} != shapes:
            raise FitError(f"{folder}: its weights have other shapes than those of {folders[0]}: no average exists")
        for key in _MUST_AGREE:
            if config[key] != configs[0][key]:
                raise FitError(
                    f"{folder}: {key} is {config[key]}, that of {folders[0]} {configs[0][key]}: "
                    "only runs that began alike can be averaged"
                )
        if config["head_seed"] is None and config["seed"] != configs[0]["seed"]:
            raise FitError(f"{folder}: its heads began elsewhere: give all runs the same head_seed")
        if (folder / TOKENIZER_FILE).read_bytes() != (folders[0] / TOKENIZER_FILE).read_bytes():
            raise CheckpointError(f"{folder / TOKENIZER_FILE}: is another tokenizer than that of {folders[0]}")


def _score(checkpoint: Checkpoint, split: Split, config: TrainingConfig) -> float:
    return score_rows(checkpoint.model, checkpoint.encoder, split.validation, config.head_weights)[1]
