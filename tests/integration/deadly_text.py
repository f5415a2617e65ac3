"""The real consumer with a classifier that takes the process down on one text, as a native library may.

Usage: `python -m tests.integration.deadly_text TEXT`.
"""

import os
import signal
import sys
from collections.abc import Sequence

from consumer import app
from consumer.errors import PoisonEvent
from consumer.inference.classifier import Verdict
from consumer.inference.isolation import TextClassifier, classify_isolating
from consumer.logs import configure_logs
from consumer.settings import ConsumerSettings


def main(deadly: str) -> None:
    def classify(classifier: TextClassifier, texts: Sequence[str]) -> list[Verdict | PoisonEvent]:
        if deadly in texts:
            os.kill(os.getpid(), signal.SIGKILL)
        return classify_isolating(classifier, texts)

    app.classify_isolating = classify  # type: ignore[attr-defined]
    settings = ConsumerSettings()
    configure_logs("json", "info")
    consumer = app.build(settings)
    consumer.engine.start()
    while True:
        consumer.engine.turn()


if __name__ == "__main__":
    main(sys.argv[1])
