"""Labels without their texts: what may be passed on of rows whose texts may not.

A line is `SOURCE<TAB>SHA256<TAB>CODE`. The sha256 is `Row.key`: of the prepared text without regard to case. The code
has four letters, for category, sentiment, constructive and confidence; `-` where a head has no label.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from model_export.rows import Row, RowError
from schemas.labels import CATEGORIES

LETTERS: Final[dict[str, dict[str, str]]] = {
    "category": {category[0]: category for category in CATEGORIES},
    "sentiment": {"n": "negative", "u": "neutral", "p": "positive"},
    "constructive": {"y": "yes", "n": "no"},
    "confidence": {"h": "high", "l": "low"},
}
_NO_LABEL: Final = "-"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_COLUMNS: Final = 3


@dataclass(frozen=True)
class JoinedLabels:
    """Labels that found their texts.

    Attributes:
        rows: with text and label.
        without_text: by source, how many labels found none.
    """

    rows: list[Row]
    without_text: dict[str, int]


def join_labels(labels: Path, texts: Iterable[Row]) -> JoinedLabels:
    """Give the labels of a file to the texts that they were made for.

    Args:
        labels: the file.
        texts: as `training.texts.read_texts` gives them; each keeps its own source and licence.

    Raises:
        RowError: a line does not fit, or names a text twice; the line number is in the message.
    """
    by_key = {row.key: row for row in texts}
    found: dict[str, Row] = {}
    without: Counter[str] = Counter()
    for number, line in enumerate(_lines(labels), start=1):
        where = f"{labels}, line {number}"
        columns = line.split("\t")
        if len(columns) != _COLUMNS or not _SHA256.fullmatch(columns[1]):
            raise RowError(f"{where}: expected SOURCE, the sha256 of the text and four letters, with tabs between")
        source, key, code = columns
        label = decode(code, where)
        if key in found:
            raise RowError(f"{where}: this text has a label already; keep one line for each text")
        if key in by_key:
            found[key] = by_key[key].model_copy(update=label)
        else:
            without[source] += 1
    return JoinedLabels(list(found.values()), dict(without.most_common()))


def decode(code: str, where: str) -> dict[str, Any]:
    """The fields of a `Row` that a code of four letters stands for.

    Args:
        code: such as `bnyh`.
        where: named in the error.

    Raises:
        RowError: a letter is unknown, or there are not four.
    """
    if len(code) != len(LETTERS):
        raise RowError(f"{where}: a code has {len(LETTERS)} letters ({', '.join(LETTERS)}), this one {len(code)}")
    fields: dict[str, Any] = {}
    for letter, (field, values) in zip(code, LETTERS.items(), strict=True):
        if letter == _NO_LABEL and field != "confidence":
            continue
        if letter not in values:
            known = ", ".join(f"{each} {value}" for each, value in values.items())
            raise RowError(f"{where}: no {field} has the letter {letter!r}; known: {known}")
        fields[field] = values[letter]
    return fields


def encode(row: Row) -> str:
    """The code of four letters of a row's labels."""
    return "".join(
        next((letter for letter, value in values.items() if value == getattr(row, field)), _NO_LABEL)
        for field, values in LETTERS.items()
    )


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RowError(f"{path}: cannot be read ({error})") from error
    if not lines:
        raise RowError(f"{path}: holds no label")
    return lines
