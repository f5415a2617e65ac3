"""One bad text never fails the others: a failing list is halved until the culprit stands alone."""

from collections.abc import Sequence
from typing import Protocol

from consumer.errors import ConsumerError, FatalError, PoisonEvent, TransientError
from consumer.inference.classifier import Verdict


class TextClassifier(Protocol):
    """What isolation needs of a classifier."""

    def classify(self, texts: Sequence[str]) -> list[Verdict]:
        """Classify all texts, or raise."""
        ...

    def probe(self) -> bool:
        """Whether a known-good text is classified as it should be, now."""
        ...


def classify_isolating(classifier: TextClassifier, texts: Sequence[str]) -> list[Verdict | PoisonEvent]:
    """Classify texts; one that can never be classified becomes a `PoisonEvent` in its place.

    A text is poison only if it fails alone and a known-good text passes right after; else the session, the memory or
    the disk is at fault and no text is blamed. Exhausted memory is never a text's fault: its length is bounded.

    Returns:
        One entry for each text, in their order.

    Raises:
        TransientError: memory or another resource of the machine is exhausted for now.
        FatalError: the classifier fails on a known-good text too, or a call never returned.
    """
    if not texts:
        return []
    try:
        return list(classifier.classify(texts))
    except ConsumerError:
        raise
    except Exception as error:  # noqa: BLE001 - onnxruntime's errors share no base class
        if len(texts) == 1:
            return [_judge(classifier, error)]
    middle = len(texts) // 2
    return classify_isolating(classifier, texts[:middle]) + classify_isolating(classifier, texts[middle:])


def _judge(classifier: TextClassifier, error: Exception) -> PoisonEvent:
    error_class = type(error).__name__
    if _is_exhaustion(error):
        raise TransientError(f"inference lacks a resource of this machine ({error_class})") from error
    if not classifier.probe():
        raise FatalError(f"inference fails on a known-good text too ({error_class}); restart the process") from error
    return PoisonEvent(
        "classify", error_class, "the model fails on this text alone while a known-good text passes; see the model card"
    )


def _is_exhaustion(error: Exception) -> bool:
    """Exhausted memory reaches us as the general error of onnxruntime, told apart only by its words."""
    return isinstance(error, (MemoryError, OSError)) or "alloc" in str(error).lower()
