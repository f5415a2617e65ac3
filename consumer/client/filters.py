"""Which results a reader wants."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from schemas.labels import HEADS, Category, Constructive, Head, Sentiment
from schemas.result import ClassifiedFeedback


@dataclass(frozen=True, kw_only=True)
class ResultFilter:
    """Tells whether a result meets every condition that is given. Any function of a result does as well.

        ResultFilter(category=["bug", "complaint"], sentiment="negative", min_scores={"category": 0.8})

    Args:
        category: one label, or several of which one must match.
        sentiment: likewise.
        constructive: likewise.
        source: likewise, of the event's channel.
        needs_review: whether the model was unsure.
        min_scores: for each head the least probability of the label that was chosen, from 0 to 1.

    Raises:
        ValueError: a label or head that does not exist, or a score that is no probability.
    """

    category: Category | Collection[Category] | None = None
    sentiment: Sentiment | Collection[Sentiment] | None = None
    constructive: Constructive | Collection[Constructive] | None = None
    source: str | Collection[str] | None = None
    needs_review: bool | None = None
    min_scores: Mapping[Head, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for head, labels in HEADS.items():
            unknown = sorted(set(_several(getattr(self, head))) - set(labels))
            if unknown:
                raise ValueError(f"{head}: no label {unknown[0]!r}; there are {', '.join(labels)}")
        for name, score in self.min_scores.items():
            if name not in HEADS or not 0 <= score <= 1:
                raise ValueError(f"min_scores: each of {', '.join(HEADS)} takes a probability from 0 to 1")

    def __call__(self, result: ClassifiedFeedback) -> bool:
        """Whether the result is wanted."""
        verdicts = {head: getattr(result, head) for head in HEADS}
        return (
            all(_allows(getattr(self, head), verdict.label) for head, verdict in verdicts.items())
            and _allows(self.source, result.event.source)
            and self.needs_review in {None, result.needs_review}
            and all(verdicts[head].score >= score for head, score in self.min_scores.items())
        )


def _several(wanted: str | Collection[str] | None) -> Collection[str]:
    if wanted is None:
        return ()
    return (wanted,) if isinstance(wanted, str) else wanted


def _allows(wanted: str | Collection[str] | None, found: str) -> bool:
    return wanted is None or found in _several(wanted)
