"""What changes when one bundle takes the place of another."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from consumer.inference.bundle import Bundle
from consumer.inference.classifier import Classifier
from consumer.inference.encoding import TextEncoder
from consumer.inference.manifest import MODEL_FILE, TOKENIZER_FILE
from model_export.rows import UNLABELLED, Row, label_columns
from model_export.speed import classifying, compare_speed
from model_export.texts import HOSTILE, PROBES

BUILT_IN_TEXTS: Final = (*PROBES, *HOSTILE)
_SPEED_TEXTS: Final = 128
_FIGURES: Final = ("rows", "accuracy", "macro_f1", "ece")


def diff_bundles(before: Bundle, after: Bundle, rows: list[Row] | None) -> dict[str, Any]:
    """Compare two bundles by what they say of themselves, by their speed, and by their answers.

    Args:
        before: the old one.
        after: the new one.
        rows: evaluation rows to answer; built-in texts when None.

    Returns:
        `labels` that differ, by head; `bytes` and manifest `metrics` of both; `speed_ratio` (over 1: the new one is
        faster); `texts` and by head of both: `changed`, `changes` by old and new label, and with rows the `accuracy`
        of both on those labelled; `changed_texts`: indexes into the texts, for whoever may read them.
    """
    texts = BUILT_IN_TEXTS if rows is None else tuple(row.text for row in rows)
    heads = [
        head for head, labels in before.labels.heads.items() if set(after.labels.heads.get(head, ())) == set(labels)
    ]
    answers = [_answers(bundle, texts) for bundle in (before, after)]
    changed = {
        head: [
            index for index, (old, new) in enumerate(zip(*(each[head] for each in answers), strict=True)) if old != new
        ]
        for head in heads
    }
    timed = texts[:_SPEED_TEXTS]
    return {
        "before": _facts(before),
        "after": _facts(after),
        "labels": {
            head: {"before": before.labels.heads.get(head), "after": after.labels.heads.get(head)}
            for head in {**before.labels.heads, **after.labels.heads}
            if before.labels.heads.get(head) != after.labels.heads.get(head)
        },
        "speed_ratio": _speed_ratio(before, after, timed),
        "texts": len(texts),
        "heads": {
            head: {
                "changed": len(changed[head]),
                "changes": _changes(answers[0][head], answers[1][head]),
            }
            | _accuracies(head, before, rows, answers)
            for head in heads
        },
        "changed_texts": changed,
    }


def _answers(bundle: Bundle, texts: Sequence[str]) -> dict[str, list[str]]:
    classifier = Classifier(bundle)
    try:
        verdicts = classifier.classify(texts)
    finally:
        classifier.close()
    return {head: [verdict.heads[head].label for verdict in verdicts] for head in bundle.labels.heads}


def _facts(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "manifest_sha256": bundle.manifest_sha256,
        "quantisation": manifest.quantisation,
        "max_length_tokens": manifest.max_length,
        "bytes": sum((bundle.folder / name).stat().st_size for name in manifest.files),
        "metrics": {
            head: {name: figures[name] for name in _FIGURES if name in figures}
            for head, figures in manifest.metrics.get("dev", manifest.metrics.get("validation", {})).items()
        },
        "review_thresholds": {head: spec.review_threshold for head, spec in manifest.heads.items()},
    }


def _speed_ratio(before: Bundle, after: Bundle, texts: Sequence[str]) -> dict[str, float]:
    first, second = (
        classifying(
            bundle.folder / MODEL_FILE,
            TextEncoder(bundle.folder / TOKENIZER_FILE, max_length_tokens=bundle.manifest.max_length),
            texts,
        )
        for bundle in (before, after)
    )
    ratio = compare_speed(first, second, len(texts))
    return {"median": ratio.median, "low": ratio.low, "high": ratio.high}


def _changes(before: list[str], after: list[str]) -> list[dict[str, Any]]:
    counts = Counter((old, new) for old, new in zip(before, after, strict=True) if old != new)
    return [{"from": old, "to": new, "texts": count} for (old, new), count in counts.most_common()]


def _accuracies(
    head: str, bundle: Bundle, rows: list[Row] | None, answers: Sequence[dict[str, list[str]]]
) -> dict[str, Any]:
    if rows is None:
        return {}
    labels = bundle.labels.heads[head]
    right = label_columns(rows, head, labels)
    known = right != UNLABELLED
    if not known.any():
        return {}
    columns = [np.array([labels.index(label) for label in each[head]]) for each in answers]
    old, new = (round(float((each[known] == right[known]).mean()), 4) for each in columns)
    return {"labelled": int(known.sum()), "accuracy_before": old, "accuracy_after": new}
