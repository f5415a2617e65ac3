"""How much a bundle minds typos, case, emoji, length and other languages."""

import random
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from consumer.inference.bundle import load_bundle
from consumer.inference.text import mostly_other_script
from model_export.metrics import head_metrics
from model_export.predictions import Probabilities, predict_texts
from model_export.rows import Row, label_columns, read_rows
from schemas.labels import HEADS
from training.disturbances import DISTURBANCES
from training.evaluate import rows_of_split

OTHER_LANGUAGES_FILE: Final = Path(__file__).with_name("rows") / "other_languages.jsonl"


def measure_robustness(bundle: Path, data: Path, split: str, seed: int) -> dict[str, Any]:
    """Measure a bundle on disturbed texts, through the consumer's own classifier.

    Args:
        bundle: its folder.
        data: labelled rows.
        split: which of them.
        seed: of the disturbances; the same seed disturbs alike.

    Returns:
        `undisturbed`: accuracy per head. `disturbed`: per disturbance and head `accuracy`, `drop` against the
        undisturbed texts, and `changed`, the share of texts with another label than before. `other_languages`: the same
        accuracies on a few messages in other languages that belong to this package, what goes to review of them, and
        how many are in another script than Latin.

    Raises:
        BundleError: the bundle cannot be loaded or has other heads.
        EvaluationError: no row of the file has that split.
        RowError: the file cannot be read.
    """
    rows = rows_of_split(data, split)
    loaded = load_bundle(bundle)
    texts = [row.text for row in rows]
    plain = predict_texts(loaded, texts)
    disturbed = {}
    for name, disturb in DISTURBANCES.items():
        pick = random.Random(f"{seed} {name}")
        found = predict_texts(loaded, [disturb(text, pick) for text in texts])
        disturbed[name] = {head: _against(plain[head], found[head], rows, head) for head in HEADS}
    foreign = read_rows(OTHER_LANGUAGES_FILE)
    found = predict_texts(loaded, [row.text for row in foreign])
    return {
        "rows": len(rows),
        "undisturbed": _accuracies(plain, rows),
        "disturbed": disturbed,
        "other_languages": {
            "rows": len(foreign),
            "accuracy": _accuracies(found, foreign),
            "below_review_threshold": _unsure(found, loaded.manifest.heads),
            "other_script": sum(mostly_other_script(row.text) for row in foreign),
        },
    }


def _accuracies(found: Probabilities, rows: list[Row]) -> dict[str, float]:
    return {
        head: head_metrics(found[head], label_columns(rows, head), labels)["accuracy"] for head, labels in HEADS.items()
    }


def _against(plain: NDArray[np.float64], found: NDArray[np.float64], rows: list[Row], head: Any) -> dict[str, float]:  # noqa: ANN401 (a Head)
    columns = label_columns(rows, head)
    before = head_metrics(plain, columns, HEADS[head])["accuracy"]
    after = head_metrics(found, columns, HEADS[head])["accuracy"]
    changed = float((plain.argmax(axis=1) != found.argmax(axis=1)).mean())
    return {"accuracy": after, "drop": round(before - after, 4), "changed": round(changed, 4)}


def _unsure(found: Probabilities, heads: Any) -> float:  # noqa: ANN401 (of a manifest)
    unsure = [found[head].max(axis=1) < spec.review_threshold for head, spec in heads.items() if spec.decides_review]
    return round(float(np.any(unsure, axis=0).mean()), 4) if unsure else 0.0
