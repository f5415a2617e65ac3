"""Exact percentiles, and a histogram with logarithmic buckets."""

import math
from array import array
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Self

# Preferred numbers, series E6 (IEC 60063): six buckets a decade, each about 1.47 times as wide as the one before.
_E6: Final = (1.0, 1.5, 2.2, 3.3, 4.7, 6.8)
BUCKET_LIMITS_MS: Final = tuple(round(step * 10.0**decade, 6) for decade in range(-1, 6) for step in _E6)
"""Upper limits of the buckets, from 0.1 ms to 680 s; a last bucket holds what lies beyond."""

PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True)
class Latency:
    """How long events took, in milliseconds.

    Attributes:
        events: how many are judged, those without an end included.
        unfinished: how many of them had no end when the measurement ended. They count as slower than all others:
            leaving them out would flatter the figures.
        percentiles_ms: by percentile, nearest rank; None where it falls among the unfinished.
        max_ms: None where anything is unfinished, or nothing was judged.
        bucket_counts: one more than `BUCKET_LIMITS_MS`; the unfinished are in none.
    """

    events: int
    unfinished: int
    percentiles_ms: dict[float, float | None]
    max_ms: float | None
    bucket_counts: tuple[int, ...]

    @classmethod
    def of(cls, latencies_s: "array[float]", unfinished: int) -> Self:
        """Judge the numbers of `latencies_s` (not those that are NaN) and `unfinished` more events."""
        ordered = sorted(latency_s for latency_s in latencies_s if not math.isnan(latency_s))
        events = len(ordered) + unfinished

        def at(percentile: float) -> float | None:
            rank = math.ceil(round(percentile / 100 * events, 6))
            return ordered[rank - 1] * 1000 if 0 < rank <= len(ordered) else None

        below = [bisect_right(ordered, limit_ms / 1000) for limit_ms in BUCKET_LIMITS_MS]
        counts = [high - low for low, high in zip([0, *below], [*below, len(ordered)], strict=True)]
        return cls(
            events=events,
            unfinished=unfinished,
            percentiles_ms={percentile: at(percentile) for percentile in PERCENTILES},
            max_ms=at(100),
            bucket_counts=tuple(counts),
        )

    def as_json(self) -> dict[str, object]:
        """`p999_ms` is the 99.9th percentile; all buckets between the first and the last that hold anything."""
        return {
            "events": self.events,
            "unfinished": self.unfinished,
            **{
                f"p{percentile:g}_ms".replace(".", ""): _rounded(value)
                for percentile, value in self.percentiles_ms.items()
            },
            "max_ms": _rounded(self.max_ms),
            "histogram": [
                {"up_to_ms": limit_ms, "events": count, "cumulative": cumulative}
                for limit_ms, count, cumulative in self.buckets()
            ],
        }

    def buckets(self) -> list[tuple[float | None, int, int]]:
        """Upper limit in ms (None: no limit), events, events up to there; without the empty ends."""
        filled = [place for place, count in enumerate(self.bucket_counts) if count]
        if not filled:
            return []
        limits: list[float | None] = [*BUCKET_LIMITS_MS, None]
        rows = list(zip(limits, self.bucket_counts, accumulate(self.bucket_counts), strict=True))
        return rows[filled[0] : filled[-1] + 1]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
