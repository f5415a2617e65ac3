"""Messages out of JSONL files whatever their labels are called: texts to find labels for, or to ask a teacher about."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from model_export.rows import Row, RowError

_KEPT_FIELDS = ("text", "source", "licence", "licence_class", "shippable")


def read_texts(paths: Iterable[Path]) -> Iterator[Row]:
    """Read the texts of JSONL files, one object a line, without their labels.

    `dev` rows and rows that must not ship are passed over; the others become rows of the split `train` that no head
    has a label for.

    Raises:
        RowError: a file cannot be read, holds nothing, or a line does not fit; the line number is in the message.
    """
    for path in paths:
        yield from _read(path)


def _read(path: Path) -> Iterator[Row]:
    is_empty = True
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    is_empty = False
                    row = _row(line, f"{path}, line {number}")
                    if row is not None:
                        yield row
    except (OSError, UnicodeDecodeError) as error:
        raise RowError(f"{path}: cannot be read ({error})") from error
    if is_empty:
        raise RowError(f"{path}: holds no row; expected one JSON object a line")


def _row(line: str, where: str) -> Row | None:
    try:
        values: Any = json.loads(line)
    except ValueError as error:
        raise RowError(f"{where}: is no JSON ({error})") from error
    if not isinstance(values, dict):
        raise RowError(f'{where}: is no JSON object with a "text"')
    if values.get("split") == "dev":
        return None
    kept = {field: values[field] for field in _KEPT_FIELDS if values.get(field) is not None}
    try:
        row = Row.model_validate(kept | {"split": "train"})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise RowError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return row if row.shippable else None
