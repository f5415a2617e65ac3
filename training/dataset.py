"""A training file out of several sources: cleaned, each text once, and nothing of `dev` in what is trained on."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_export.rows import Row, RowError
from schemas.labels import HEADS
from training.near_duplicates import group_near_duplicates


@dataclass(frozen=True, slots=True)
class Dataset:
    """The rows that stay, and what became of the others.

    Attributes:
        read: rows by input.
        dropped: rows by reason.
    """

    rows: list[Row]
    read: dict[str, int]
    dropped: dict[str, int]

    def report(self) -> dict[str, Any]:
        """Everything that a person asks about a training file, for JSON."""
        return {
            "read": self.read,
            "dropped": self.dropped,
            "rows": {split: sum(row.split == split for row in self.rows) for split in ("train", "validation", "dev")},
            "unlabelled": sum(not row.is_labelled for row in self.rows if row.split != "dev"),
            "labels": {
                head: dict(Counter(getattr(row, head) or "none" for row in self.rows if row.split != "dev"))
                for head in HEADS
            },
            "sources": dict(Counter(row.source for row in self.rows if row.split != "dev").most_common()),
        }


def build_dataset(inputs: Mapping[str, Iterable[Row]], min_samples: int, *, keep_unlabelled: bool = False) -> Dataset:
    """Join rows of several inputs into one training set.

    Dropped are rows without any label unless asked for, rows that must not ship, rows that equal or nearly equal (see
    `training.near_duplicates`) a row of `dev`, and repetitions of a text: of equal texts the last input's row stays,
    because later inputs correct earlier ones; equal texts of one input with different labels all go.

    Args:
        inputs: rows by the name of where they come from, texts prepared; their order is the order of trust, rising.
        min_samples: fewest labelled rows to train on that are worth a training.
        keep_unlabelled: keep texts without any label, for teachers to speak of; a label found anywhere replaces them.

    Raises:
        RowError: too few rows stay.
    """
    read: dict[str, int] = {}
    dropped: Counter[str] = Counter()
    dev: dict[str, Row] = {}
    kept: dict[str, Row] = {}
    for name, rows in inputs.items():
        usable: list[Row] = []
        read[name] = 0
        for row in rows:
            read[name] += 1
            if row.split == "dev":
                dev[row.key] = row
            elif not row.shippable:
                dropped["not shippable"] += 1
            elif not row.is_labelled and not keep_unlabelled:
                dropped["no label"] += 1
            else:
                usable.append(row)
        _add(_without_disputes(usable, dropped), kept, dropped)
    train = _without_dev(list(kept.values()), list(dev.values()), dropped)
    labelled = sum(row.is_labelled for row in train)
    if labelled < min_samples:
        raise RowError(f"{labelled} rows to train on are fewer than the {min_samples} asked for (--min-samples)")
    return Dataset([*train, *dev.values()], read, {reason: count for reason, count in dropped.items() if count})


def overlaps(train: list[Row], dev: list[Row]) -> list[Row]:
    """The rows of `train` that equal or nearly equal a row of `dev`."""
    groups = group_near_duplicates([row.text for row in [*dev, *train]])
    of_dev = set(groups[: len(dev)])
    return [row for row, group in zip(train, groups[len(dev) :], strict=True) if group in of_dev]


def write_dataset(dataset: Dataset, out: Path) -> None:
    """Write the rows as JSON Lines, whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f"{out.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        for row in dataset.rows:
            file.write(json.dumps(row.model_dump(exclude_none=True), ensure_ascii=False) + os.linesep)
    partial.replace(out)


def _without_disputes(rows: list[Row], dropped: Counter[str]) -> list[Row]:
    """Each text of one input once; none that it labels in two ways."""
    seen: dict[str, Row] = {}
    disputed: set[str] = set()
    for row in rows:
        earlier = seen.setdefault(row.key, row)
        if earlier is not row:
            dropped["repeated text"] += 1
            if _labels(earlier) != _labels(row):
                disputed.add(row.key)
    dropped["same text, other labels"] += len(disputed)
    return [row for key, row in seen.items() if key not in disputed]


def _add(rows: list[Row], kept: dict[str, Row], dropped: Counter[str]) -> None:
    """Let an input's rows take the place of earlier ones; a text without label takes nobody's."""
    for row in rows:
        earlier = kept.get(row.key)
        if earlier is not None and not row.is_labelled:
            continue
        if earlier is not None and earlier.is_labelled:
            dropped["corrected by a later input"] += 1
        kept[row.key] = row


def _labels(row: Row) -> tuple[str | None, ...]:
    return tuple(getattr(row, head) for head in HEADS)


def _without_dev(train: list[Row], dev: list[Row], dropped: Counter[str]) -> list[Row]:
    dev_keys = {row.key for row in dev}
    others = [row for row in train if row.key not in dev_keys]
    dropped["text stands in dev"] += len(train) - len(others)
    near = {row.key for row in overlaps(others, dev)}
    dropped["near-duplicate of dev"] += len(near)
    return [row for row in others if row.key not in near]
