"""Token-budget batches: a padded batch costs its longest text times its count, so texts of like length go together."""

from collections.abc import Sequence


def plan_batches(lengths: Sequence[int], *, max_batch_tokens: int, workers: int) -> list[list[int]]:
    """Divide texts into batches, the most expensive first.

    The texts are taken from the longest to the shortest, and a batch closes before its padded size would pass the
    budget. The budget is the smaller of `max_batch_tokens` and one worker's even share of the tokens, so that a small
    window still keeps every worker busy. The first text of a batch is always admitted, however long it is.

    Args:
        lengths: the tokens of each text, at least 1 each.
        max_batch_tokens: the largest padded size (longest x count) of a batch.
        workers: how many batches run at the same time.

    Returns:
        Indices into `lengths`; each index is in exactly one batch.
    """
    budget_tokens = min(max_batch_tokens, -(-sum(lengths) // workers))
    batches: list[list[int]] = []
    capacity_records = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if not batches or len(batches[-1]) >= capacity_records:
            batches.append([])
            capacity_records = max(1, budget_tokens // lengths[index])
        batches[-1].append(index)
    return batches
