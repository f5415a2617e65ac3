"""Labelled messages in a JSONL file, and which of them may decide anything."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from consumer.inference.text import prepare
from schemas.labels import HEADS, Category, Constructive, Head, Sentiment

VALIDATION_FILE: Final = "validation.txt"
UNLABELLED: Final = -1
ONE_HEAD: Final = "label"
"""Names the head of a checkpoint that has only one, and that head's labels in a file of rows."""


class RowError(Exception):
    """A file of labelled rows cannot be used; the message names the file, the line and the reason."""


class Row(BaseModel):
    """One labelled message. A head without a label here is neither trained nor counted on this row.

    `one_head_label` stands in the file as `label`: the right label by a checkpoint whose labels are its own.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    text: str
    category: Category | None = None
    sentiment: Sentiment | None = None
    constructive: Constructive | None = None
    one_head_label: str | None = Field(default=None, validation_alias=ONE_HEAD, exclude=True)
    confidence: Literal["high", "low"] = "high"
    split: Literal["train", "validation", "dev"]
    source: str = "unknown"
    licence: str = "none stated"
    licence_class: str = "unstated"
    shippable: bool = True

    @field_validator("text")
    @classmethod
    def _prepare(cls, text: str) -> str:
        prepared = prepare(text)
        if not prepared:
            raise ValueError("the text is empty")
        return prepared

    @property
    def key(self) -> str:
        """sha256 of the prepared text without regard to case: names the row without repeating it."""
        return hashlib.sha256(self.text.casefold().encode()).hexdigest()

    @property
    def is_labelled(self) -> bool:
        """Whether any head has a label."""
        return any(getattr(self, head) is not None for head in HEADS)

    def label(self, head: Head) -> int:
        """The column of the row's label in a head's output, `UNLABELLED` if it has none."""
        label = self.label_name(head)
        return UNLABELLED if label is None else HEADS[head].index(label)

    def label_name(self, head: str) -> str | None:
        """The row's label for one of the three heads, or for `ONE_HEAD`."""
        label: str | None = self.one_head_label if head == ONE_HEAD else getattr(self, head)
        return label


def read_rows(path: Path) -> list[Row]:
    """Read labelled rows, one JSON object a line, texts prepared as the consumer prepares them.

    Raises:
        RowError: the file cannot be read, holds no row, or a line does not fit; the line number is in the message.
    """
    try:
        rows = list(_parse(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RowError(f"{path}: cannot be read ({error})") from error
    if not rows:
        raise RowError(f"{path}: holds no row; expected one JSON object a line")
    return rows


def _parse(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield Row.model_validate_json(line)
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                where = ".".join(str(part) for part in first["loc"])
                raise RowError(f"{path}, line {number}: {where + ': ' if where else ''}{first['msg']}") from error


def label_columns(rows: list[Row], head: str, labels: tuple[str, ...] | None = None) -> NDArray[np.int64]:
    """The label columns of rows for one head: int64 [rows], `UNLABELLED` where a row has none.

    Args:
        rows: labelled messages; `require_known_labels` says whether they fit.
        head: one of the three heads, or `ONE_HEAD`.
        labels: the head's labels in the order of its columns; those of `schemas.labels` when None.
    """
    if labels is None:
        labels = HEADS[head]  # type: ignore[index]
    names = [row.label_name(head) for row in rows]
    return np.array([UNLABELLED if name is None else labels.index(name) for name in names], dtype=np.int64)


def require_known_labels(rows: list[Row], heads: Mapping[str, tuple[str, ...]], data: Path) -> None:
    """Check that a model can give every label that the rows call right.

    Raises:
        RowError: naming the label and the file.
    """
    for head, labels in heads.items():
        found = {name for row in rows if (name := row.label_name(head)) is not None}
        if unknown := sorted(found - set(labels)):
            raise RowError(
                f"{data}: the label {unknown[0]!r} of head {head} is none of the model's ({', '.join(labels)}); "
                "relabel those rows, or take the model that was trained on them"
            )


def require_labels(rows: list[Row], heads: Iterable[str], data: Path) -> None:
    """Check that each head has a label on some row.

    Raises:
        RowError: naming the head and the file.
    """
    for head in heads:
        if all(row.label_name(head) is None for row in rows):
            raise RowError(
                f"{data}: no row that was kept aside from training has a label of head {head}; give them one as "
                f'"{head}": "..."'
            )


def validation_rows(rows: list[Row], checkpoint: Path, shown_as: str | None = None) -> list[Row]:
    """The rows that may calibrate and gate a checkpoint's bundle: never trained on, never `dev`.

    `training fit` lists the keys of the rows it kept aside in the checkpoint's `validation.txt`; for a checkpoint
    without that list, the rows whose split is `validation` count.

    Args:
        rows: all rows of the file.
        checkpoint: its folder.
        shown_as: what an error calls the checkpoint; its folder when None.

    Raises:
        RowError: there is no such row.
    """
    listing = checkpoint / VALIDATION_FILE
    if listing.is_file():
        keys = set(listing.read_text(encoding="ascii").split())
        chosen = [row for row in rows if row.split != "dev" and row.key in keys]
    else:
        chosen = [row for row in rows if row.split == "validation"]
    if not chosen:
        raise RowError(
            f"no row was kept aside from the training of {shown_as or checkpoint}: give the --data file it was trained "
            'on, or rows with "split": "validation"'
        )
    return chosen
