"""Asking teachers about texts, in chunks that an interrupted run need not ask again."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from consumer.inference.manifest import TOKENIZER_FILE
from model_export.checkpoint import CheckpointError
from model_export.checkpoint_source import REPORT_FILE
from model_export.metrics import softmax
from model_export.rows import VALIDATION_FILE, Row
from model_export.scoring import score_texts, torch_forward
from schemas.labels import HEADS
from training.run_state import FitError
from training.soft_targets import SoftTargets, keys_of
from training.teacher import LoadedTeacher, load_teacher

_CHUNK_TEXTS: Final = 1_000


def make_soft_labels(
    teachers: Sequence[Path], texts: Iterable[Row], out: Path, console: Console, chunk_texts: int = _CHUNK_TEXTS
) -> SoftTargets:
    """Write the mean probabilities that teachers give to texts, each text once.

    A run that was interrupted goes on after its last finished chunk.

    Args:
        teachers: folders that `python -m training teacher` or `fit` wrote.
        texts: as `training.texts.read_texts` gives them.
        out: the file to write.
        console: for progress.
        chunk_texts: how many texts are asked about between two marks.

    Raises:
        CheckpointError: a teacher cannot be loaded, or was not trained by this package.
        FitError: `out` stands already, or the teachers kept different rows aside.
        RowError: the texts cannot be read.
    """
    if out.exists():
        raise FitError(f"{out}: stands already; give another --out or remove it")
    held_out = _held_out(teachers)
    rows = {row.key: row.text for row in texts}
    keys = sorted(rows)
    if not keys:
        raise FitError("there is no text to ask about: all rows are `dev` or must not ship")
    parts = _parts_folder(out, teachers, keys, chunk_texts)
    starts = range(0, len(keys), chunk_texts)
    missing = [start for start in starts if not (parts / f"{start}.npz").exists()]
    with Progress(*Progress.get_default_columns(), console=console) as bar:
        task = bar.add_task("asking", total=len(starts), completed=len(starts) - len(missing))
        loaded = [load_teacher(folder) for folder in teachers] if missing else []
        for start in missing:
            chunk = keys[start : start + chunk_texts]
            _save_part(parts / f"{start}.npz", _ask(loaded, [rows[key] for key in chunk]))
            bar.advance(task)
    found: dict[Any, NDArray[np.float16]] = {
        head: np.concatenate([np.load(parts / f"{start}.npz")[head] for start in starts]) for head in HEADS
    }
    targets = SoftTargets(keys_of(keys), found, held_out, tuple(folder.resolve().name for folder in teachers))
    targets.write(out)
    shutil.rmtree(parts)
    return targets


def _held_out(teachers: Sequence[Path]) -> str:
    found = {}
    for folder in teachers:
        try:
            report = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
            found[folder] = str(report["data"]["held_out"])
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{folder / REPORT_FILE}: does not say which rows were kept aside; a teacher is the finished folder "
                f"of `python -m training teacher` or `fit`, with its {VALIDATION_FILE} and {TOKENIZER_FILE}"
            ) from error
    first = teachers[0]
    for folder, held_out in found.items():
        if held_out != found[first]:
            raise FitError(f"{folder}: kept other rows aside than {first}; train both on the same --data")
    return found[first]


def _parts_folder(out: Path, teachers: Sequence[Path], keys: list[str], chunk_texts: int) -> Path:
    """A folder for the chunks whose name changes with whatever would change them."""
    content = hashlib.sha256("\n".join([str(chunk_texts), *keys]).encode())
    for folder in teachers:
        content.update((folder / REPORT_FILE).read_bytes())
    parts = out.with_name(f".{out.name}.{content.hexdigest()[:16]}")
    parts.mkdir(parents=True, exist_ok=True)
    return parts


def _ask(teachers: list[LoadedTeacher], texts: list[str]) -> dict[str, NDArray[np.float16]]:
    sums: dict[str, Any] = dict.fromkeys(HEADS, 0.0)
    for teacher in teachers:
        logits = score_texts(torch_forward(teacher.model), teacher.encoder, texts)
        for head in HEADS:
            sums[head] = sums[head] + softmax(logits[head])
    return {head: (values / len(teachers)).astype(np.float16) for head, values in sums.items()}


def _save_part(path: Path, arrays: dict[str, NDArray[np.float16]]) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type, unused-ignore]
    partial.replace(path)
