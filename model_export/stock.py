"""Hugging Face's own DistilBERT sequence classifiers: what their `config.json` says of labels, and what it hides."""

import re
from typing import Any, Final

from model_export.rows import ONE_HEAD
from schemas.labels import HEADS

_ARCHITECTURE: Final = "DistilBertForSequenceClassification"
_PLACEHOLDER: Final = re.compile(r"LABEL_\d+")


class ConfigError(Exception):
    """A `config.json` names no usable labels; the message says what to write there."""


def stock_head(config: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The one head of a sequence classifier: its name and its labels in the order of its columns.

    Labels that are those of a head of `schemas.labels`, in its order, make it that head; any others make it `ONE_HEAD`.

    Args:
        config: the content of `config.json`.

    Raises:
        ConfigError: it is no single-label DistilBERT classifier, or does not say what its columns mean.
    """
    architectures = config.get("architectures") or []
    if config.get("model_type") != "distilbert" or _ARCHITECTURE not in architectures:
        found = ", ".join(architectures) or config.get("model_type") or "nothing"
        raise ConfigError(f"it describes {found}; give a checkpoint of `training fit`, or one of {_ARCHITECTURE}")
    problem = config.get("problem_type") or "single_label_classification"
    if problem != "single_label_classification":
        raise ConfigError(f"problem_type is {problem}; scores that sum to one fit single_label_classification only")
    labels = _labels(config)
    return next((head for head, known in HEADS.items() if known == labels), ONE_HEAD), labels


def _labels(config: dict[str, Any]) -> tuple[str, ...]:
    by_id = config.get("id2label")
    if not isinstance(by_id, dict) or not by_id:
        raise ConfigError('id2label is missing; write it as {"0": "first label", "1": "second label", ...}')
    columns = {str(column): str(label) for column, label in by_id.items()}
    expected = [str(column) for column in range(len(columns))]
    if sorted(columns) != sorted(expected):
        raise ConfigError(f"id2label has the ids {', '.join(columns)}; it needs 0 to {len(columns) - 1}, each once")
    labels = tuple(columns[column] for column in expected)
    if placeholder := next((label for label in labels if _PLACEHOLDER.fullmatch(label)), None):
        raise ConfigError(f"id2label has the placeholder {placeholder}; write there what each column means")
    if len(labels) < 2 or len(set(labels)) != len(labels) or not all(labels):  # noqa: PLR2004
        raise ConfigError("id2label needs at least two labels, each once and none empty")
    by_label = config.get("label2id")
    if by_label and {label: str(column) for label, column in by_label.items()} != dict(
        zip(labels, expected, strict=True)
    ):
        raise ConfigError("label2id contradicts id2label; find out which one the training used, and mend the other")
    return labels
