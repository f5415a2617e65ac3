"""What a bundle says of texts, through the consumer's own classifier."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from consumer.inference.bundle import Bundle, require_feedback_heads
from consumer.inference.classifier import Classifier

Probabilities: TypeAlias = dict[str, NDArray[np.float64]]
"""Per head [texts, labels]."""


def predict_texts(bundle: Bundle, texts: Sequence[str]) -> Probabilities:
    """The probabilities that a bundle gives to texts, in their order.

    Raises:
        BundleError: it does not have the three heads of a result.
    """
    require_feedback_heads(bundle)
    classifier = Classifier(bundle)
    try:
        verdicts = classifier.classify(texts)
    finally:
        classifier.close()
    return {
        head: np.array([list(verdict.heads[head].scores.values()) for verdict in verdicts])
        for head in bundle.labels.heads
    }
