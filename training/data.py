"""From labelled rows to the tensors of a run: the split, the weights, the batches."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from consumer.inference.encoding import TextEncoder
from model_export.rows import Row, RowError
from schemas.labels import HEADS, Head
from training.near_duplicates import group_near_duplicates

_POOL_BATCHES = 50


@dataclass(frozen=True)
class Split:
    """Rows by use. `dev` only reports: nothing is trained, chosen, calibrated or stopped on it."""

    train: list[Row]
    validation: list[Row]
    dev: list[Row]
    dropped: dict[str, int]


def split_rows(rows: list[Row], validation_share: float) -> Split:
    """Divide rows by use, the same way each time for the same file.

    Rows that must not ship stay out of train and validation. Equal and nearly equal texts go to one side. Validation is
    drawn per category and source, by the hash of the text.

    Raises:
        RowError: a row to train on repeats one of `dev`, or nothing is left to train or to validate on.
    """
    dev = [row for row in rows if row.split == "dev"]
    usable = [row for row in rows if row.split != "dev" and row.shippable]
    dropped = len(rows) - len(dev) - len(usable)
    of_all = group_near_duplicates([row.text for row in [*dev, *usable]])
    of_dev, of_usable = set(of_all[: len(dev)]), of_all[len(dev) :]
    leaked = [row for row, group in zip(usable, of_usable, strict=True) if group in of_dev]
    if leaked:
        raise RowError(
            f"{len(leaked)} rows to train on repeat rows of dev, or nearly, first the text of sha256 "
            f"{leaked[0].key[:12]}...: `python -m training data` leaves them out"
        )
    groups: dict[int, list[Row]] = defaultdict(list)
    for row, group in zip(usable, of_usable, strict=True):
        groups[group].append(row)
    strata: dict[tuple[str | None, str], dict[str, list[Row]]] = defaultdict(dict)
    for members in groups.values():
        first = min(members, key=lambda row: row.key)
        strata[first.category, first.source][first.key] = members
    train: list[Row] = []
    validation: list[Row] = []
    for stratum in sorted(strata, key=str):
        of_stratum = strata[stratum]
        kept = round(len(of_stratum) * validation_share)
        for position, key in enumerate(sorted(of_stratum)):
            (validation if position < kept else train).extend(of_stratum[key])
    if not train or not validation:
        raise RowError(f"{len(train)} rows to train on and {len(validation)} to validate on: the file is too small")
    return Split(train, validation, dev, {"not shippable": dropped} if dropped else {})


def provenance(rows: list[Row]) -> list[dict[str, Any]]:
    """The rows' sources with their licences and counts, largest first."""
    counts = Counter((row.source, row.licence, row.licence_class) for row in rows)
    return [
        {"source": source, "licence": licence, "licence_class": licence_class, "rows": number}
        for (source, licence, licence_class), number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


@dataclass(frozen=True)
class Batch:
    """A padded batch.

    Attributes:
        input_ids: int64 [batch, length].
        attention_mask: int64 [batch, length], 0 where padded.
        targets: per head int64 [batch], `UNLABELLED` where a row has no label.
        low_confidence: bool [batch].
    """

    input_ids: Tensor
    attention_mask: Tensor
    targets: dict[Head, Tensor]
    low_confidence: Tensor


@dataclass(frozen=True)
class EncodedRows:
    """Rows beside their token ids."""

    rows: list[Row]
    ids: list[list[int]]
    pad_id: int

    @classmethod
    def of(cls, rows: list[Row], encoder: TextEncoder) -> Self:
        """Tokenise rows with the consumer's encoder."""
        return cls(rows, [encoded.ids for encoded in encoder.encode([row.text for row in rows])], encoder.pad_id)

    def batches_per_epoch(self, batch_records: int) -> int:
        """How many batches `shuffled_batches` yields."""
        return -(-len(self.rows) // batch_records)

    def shuffled_batches(self, batch_records: int, shuffle: random.Random) -> Iterator[Batch]:
        """One epoch in random order, texts of like length together so that little is padding."""
        order = list(range(len(self.rows)))
        shuffle.shuffle(order)
        pool = batch_records * _POOL_BATCHES
        pools = [sorted(order[start : start + pool], key=self._length) for start in range(0, len(order), pool)]
        lists = [one[start : start + batch_records] for one in pools for start in range(0, len(one), batch_records)]
        shuffle.shuffle(lists)
        return (self._batch(indices) for indices in lists)

    def _length(self, index: int) -> int:
        return len(self.ids[index])

    def _batch(self, indices: list[int]) -> Batch:
        length = max(self._length(index) for index in indices)
        input_ids = torch.full((len(indices), length), self.pad_id, dtype=torch.long)
        attention_mask = torch.zeros((len(indices), length), dtype=torch.long)
        for place, index in enumerate(indices):
            ids = torch.tensor(self.ids[index])
            input_ids[place, : len(ids)] = ids
            attention_mask[place, : len(ids)] = 1
        rows = [self.rows[index] for index in indices]
        return Batch(
            input_ids,
            attention_mask,
            targets={head: torch.tensor([row.label(head) for row in rows]) for head in HEADS},
            low_confidence=torch.tensor([row.confidence == "low" for row in rows]),
        )
