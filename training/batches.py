"""From rows to the padded tensors of a run."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor

from consumer.inference.encoding import TextEncoder
from model_export.rows import Row
from schemas.labels import HEADS, Head
from training.soft_targets import SoftTargets

_POOL_BATCHES: Final = 50


@dataclass(frozen=True)
class Batch:
    """A padded batch.

    Attributes:
        input_ids: int64 [batch, length].
        attention_mask: int64 [batch, length], 0 where padded.
        targets: per head int64 [batch], `UNLABELLED` where a row has no label.
        low_confidence: bool [batch].
        soft: per head a teacher's probabilities, float32 [batch, labels]; empty when no teacher spoke of any row.
        has_soft: bool [batch], which rows it spoke of.
    """

    input_ids: Tensor
    attention_mask: Tensor
    targets: dict[Head, Tensor]
    low_confidence: Tensor
    soft: dict[Head, Tensor]
    has_soft: Tensor


@dataclass(frozen=True)
class EncodedRows:
    """Rows beside their token ids."""

    rows: list[Row]
    ids: list[list[int]]
    pad_id: int
    soft: SoftTargets | None

    @classmethod
    def of(cls, rows: list[Row], encoder: TextEncoder, soft: SoftTargets | None = None) -> Self:
        """Tokenise rows with the consumer's encoder."""
        ids = [encoded.ids for encoded in encoder.encode([row.text for row in rows])]
        return cls(rows, ids, encoder.pad_id, soft)

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
        soft, has_soft = self._soft(rows)
        return Batch(
            input_ids,
            attention_mask,
            targets={head: torch.tensor([row.label(head) for row in rows]) for head in HEADS},
            low_confidence=torch.tensor([row.confidence == "low" for row in rows]),
            soft=soft,
            has_soft=has_soft,
        )

    def _soft(self, rows: list[Row]) -> tuple[dict[Head, Tensor], Tensor]:
        if self.soft is None:
            return {}, torch.zeros(len(rows), dtype=torch.bool)
        probabilities, known = self.soft.of([row.key for row in rows])
        return {head: torch.from_numpy(values) for head, values in probabilities.items()}, torch.from_numpy(known)
