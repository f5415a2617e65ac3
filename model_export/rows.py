"""Labelled messages in a JSONL file, and which of them may decide anything."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from consumer.inference.text import prepare
from schemas.labels import HEADS, Category, Constructive, Head, Sentiment

VALIDATION_FILE: Final = "validation.txt"
UNLABELLED: Final = -1


class RowError(Exception):
    """A file of labelled rows cannot be used; the message names the file, the line and the reason."""


class Row(BaseModel):
    """One labelled message. A head without a label here is neither trained nor counted on this row."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    text: str
    category: Category | None = None
    sentiment: Sentiment | None = None
    constructive: Constructive | None = None
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

    def label(self, head: Head) -> int:
        """The column of the row's label in a head's output, `UNLABELLED` if it has none."""
        label: str | None = getattr(self, head)
        return UNLABELLED if label is None else HEADS[head].index(label)


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


def label_columns(rows: list[Row], head: Head) -> NDArray[np.int64]:
    """The label columns of rows for one head: int64 [rows], `UNLABELLED` where a row has none."""
    return np.array([row.label(head) for row in rows], dtype=np.int64)


def validation_rows(rows: list[Row], checkpoint: Path) -> list[Row]:
    """The rows that may calibrate and gate a checkpoint's bundle: never trained on, never `dev`.

    `training fit` lists the keys of the rows it kept aside in the checkpoint's `validation.txt`; for a checkpoint
    without that list, the rows whose split is `validation` count.

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
            f"no row was kept aside from the training of {checkpoint}: give the --data file it was trained on, "
            'or rows with "split": "validation"'
        )
    return chosen
