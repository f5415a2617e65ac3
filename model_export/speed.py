"""Times that other work on the machine does not bend: two things are timed in turn, and the middle of many is told."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from consumer.inference.encoding import TextEncoder
from consumer.inference.session import ATTENTION_MASK, INPUT_IDS, open_session
from model_export.batches import padded_batches

REPEATS: Final = 15


@dataclass(frozen=True)
class SpeedRatio:
    """How often the second does its work while the first does it once; `low` and `high` are quartiles."""

    median: float
    low: float
    high: float
    first_texts_per_s: float
    second_texts_per_s: float


def compare_speed(
    first: Callable[[], object], second: Callable[[], object], texts: int, repeats: int = REPEATS
) -> SpeedRatio:
    """Time two ways of classifying the same texts, one after the other, `repeats` times.

    What slows the machine for a while slows both of a pair, so that the ratios are steadier than the times.
    """
    first()
    second()
    pairs = []
    for repeat in range(repeats):
        # Whoever comes second finds warmer or fuller caches: both take that place equally often.
        if repeat % 2:
            second_s, first_s = _seconds(second), _seconds(first)
        else:
            first_s, second_s = _seconds(first), _seconds(second)
        pairs.append((first_s, second_s))
    low, median, high = statistics.quantiles([first_s / second_s for first_s, second_s in pairs], n=4)
    first_s, second_s = (statistics.median(times) for times in zip(*pairs, strict=True))
    return SpeedRatio(
        round(median, 3), round(low, 3), round(high, 3), round(texts / first_s, 1), round(texts / second_s, 1)
    )


def classifying(model: Path, encoder: TextEncoder, texts: Sequence[str]) -> Callable[[], object]:
    """A call that runs a graph over texts once, in the consumer's batches and session, with one thread."""
    session = open_session(model)
    feeds = [{INPUT_IDS: ids, ATTENTION_MASK: mask} for _, ids, mask in padded_batches(encoder, texts)]
    outputs = [output.name for output in session.get_outputs()]
    return lambda: [session.run(outputs, feed) for feed in feeds]


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
