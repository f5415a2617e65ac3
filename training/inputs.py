"""A training file out of rows, of labels beside their texts, and of texts that only teachers speak of."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_export.rows import Row, read_rows
from training.dataset import build_dataset, write_dataset
from training.label_file import join_labels
from training.texts import read_texts


@dataclass(frozen=True)
class TrainingInputs:
    """What goes into a training file, least trusted first: texts, files, labels, the database's rows.

    Attributes:
        files: labelled rows.
        labels: files of `training.label_file`.
        texts: where their texts are found.
        keep_unlabelled: keep the texts without label too.
        database_rows: what people labelled in the database; no database if None.
        min_samples: fewest labelled rows to train on.
    """

    files: list[Path] = field(default_factory=list)
    labels: list[Path] = field(default_factory=list)
    texts: list[Path] = field(default_factory=list)
    keep_unlabelled: bool = False
    database_rows: Iterable[Row] | None = None
    min_samples: int = 1


def make_dataset(inputs: TrainingInputs, out: Path) -> dict[str, Any]:
    """Build a training file and write it, whole or not at all.

    Returns:
        `training.dataset.Dataset.report`, and per file of labels how many found no text, by source.

    Raises:
        RowError: an input cannot be read, or too few rows stay.
    """
    named: dict[str, Iterable[Row]] = {}
    texts = {row.key: row for row in read_texts(inputs.texts)}
    if inputs.keep_unlabelled:
        named["texts"] = texts.values()
    for path in inputs.files:
        named[str(path)] = read_rows(path)
    without_text: dict[str, dict[str, int]] = {}
    for path in inputs.labels:
        joined = join_labels(path, texts.values())
        named[str(path)] = joined.rows
        without_text[str(path)] = joined.without_text
    if inputs.database_rows is not None:
        named["database"] = inputs.database_rows
    dataset = build_dataset(named, inputs.min_samples, keep_unlabelled=inputs.keep_unlabelled)
    write_dataset(dataset, out)
    return dataset.report() | {"labels_without_text": without_text}
