"""The messages that every contestant gets: real ones, of the lengths that people write."""

import json
import random
from pathlib import Path
from typing import Final

_ROWS: Final = Path("training/rows/open.jsonl")
_SEED: Final = 1


def real_texts(count: int) -> list[str]:
    """Texts of the openly licensed training rows in a fixed random order, repeated if `count` asks for more.

    They were trained on: fit for speed, unfit for accuracy.
    """
    texts = [json.loads(line)["text"] for line in _ROWS.read_text(encoding="utf-8").splitlines()]
    random.Random(_SEED).shuffle(texts)
    return [texts[number % len(texts)] for number in range(count)]
