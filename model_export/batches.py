"""The padded batches that the consumer makes of texts: int8 scores depend on a text's company."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from consumer.inference.batching import DEFAULT_MAX_BATCH_TOKENS, plan_batches
from consumer.inference.encoding import TextEncoder


def padded_batches(
    encoder: TextEncoder, texts: Sequence[str], max_batch_tokens: int = DEFAULT_MAX_BATCH_TOKENS
) -> Iterator[tuple[list[int], NDArray[np.int64], NDArray[np.int64]]]:
    """Each batch's indices into `texts`, and its ids and mask, int64 [batch, length]."""
    ids = [encoded.ids for encoded in encoder.encode(texts)]
    for batch in plan_batches([len(one) for one in ids], max_batch_tokens=max_batch_tokens, workers=1):
        input_ids = np.full((len(batch), max(len(ids[index]) for index in batch)), encoder.pad_id, dtype=np.int64)
        attention_mask = np.zeros_like(input_ids)
        for row, index in enumerate(batch):
            input_ids[row, : len(ids[index])] = ids[index]
            attention_mask[row, : len(ids[index])] = 1
        yield batch, input_ids, attention_mask
