"""`python -m tests.security.redaction.verdicts`: what redaction changes in the model's verdicts, and what it costs.

Messages of `training/rows/dev.jsonl`, each with something personal appended: classified as they are, redacted, and
without the addition, by the bundle that ships.
"""

import json
import random
import time
from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from consumer.inference.bundle import default_bundle, load_bundle
from consumer.inference.classifier import Classifier
from consumer.redaction.redactor import KINDS, Redactor
from schemas.labels import HEADS
from tests.deploy.deployed_settings import ROOT

_ADDITIONS: Final = (
    " Write to jane.doe@example.com.",
    " Call me on +44 20 7946 0018.",
    " My card is 4111 1111 1111 1111.",
    " (415) 555-0132",
)
_MAX_MESSAGES: Final = 300
_BATCH: Final = 64


def _labels(classifier: Classifier, texts: Sequence[str]) -> list[tuple[str | bool, ...]]:
    verdicts = [
        verdict
        for start in range(0, len(texts), _BATCH)
        for verdict in classifier.classify(texts[start : start + _BATCH])
    ]
    return [(*(verdict.heads[head].label for head in HEADS), verdict.needs_review) for verdict in verdicts]


def main() -> None:
    """Print which share of the messages gets another verdict, by head."""
    chance = random.Random(1)
    lines = (ROOT / "training/rows/dev.jsonl").read_text("utf-8").splitlines()
    plain = chance.sample([json.loads(line)["text"] for line in lines], min(_MAX_MESSAGES, len(lines)))
    personal = [text + chance.choice(_ADDITIONS) for text in plain]
    redactor = Redactor(KINDS, b"measure")
    redactor.text("\u0660")  # the table of digits is made once
    began_s = time.perf_counter()
    redacted = [redactor.text(text) for text in personal]
    redacting_s = time.perf_counter() - began_s
    classifier = Classifier(load_bundle(default_bundle()), threads=1)
    classifier.warm_up()
    began_s = time.perf_counter()
    of_personal = _labels(classifier, personal)
    classifying_s = time.perf_counter() - began_s
    of_redacted, of_plain = _labels(classifier, redacted), _labels(classifier, plain)
    classifier.close()
    table = Table("verdicts that differ", *HEADS, "needs review", title=f"{len(plain)} messages")
    for name, first, second in (
        ("redacted, from as written", of_personal, of_redacted),
        ("as written, from without the addition", of_plain, of_personal),
        ("redacted, from without the addition", of_plain, of_redacted),
    ):
        shares = [sum(a[at] != b[at] for a, b in zip(first, second, strict=True)) / len(plain) for at in range(4)]
        table.add_row(name, *(f"{share:.3f}" for share in shares))
    console = Console(width=120)
    console.print(table)
    console.print(
        f"redacting took {redacting_s / len(plain) * 1e6:.0f} us a message, "
        f"{redacting_s / classifying_s:.2%} of the {classifying_s / len(plain) * 1e3:.1f} ms of classifying it"
    )


if __name__ == "__main__":
    main()
