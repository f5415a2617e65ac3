"""The label sets of the three heads. Their order is the order of a model's output columns."""

from typing import Final, Literal, get_args

Sentiment = Literal["negative", "neutral", "positive"]
Category = Literal["bug", "feature_request", "praise", "complaint", "question", "usage_tip", "documentation", "other"]
Constructive = Literal["no", "yes"]
Head = Literal["sentiment", "category", "constructive"]

SENTIMENTS: Final[tuple[str, ...]] = get_args(Sentiment)
CATEGORIES: Final[tuple[str, ...]] = get_args(Category)
CONSTRUCTIVE: Final[tuple[str, ...]] = get_args(Constructive)
HEADS: Final[dict[Head, tuple[str, ...]]] = {
    "sentiment": SENTIMENTS,
    "category": CATEGORIES,
    "constructive": CONSTRUCTIVE,
}
