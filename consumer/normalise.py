"""Makes any parsed JSON value safe for PostgreSQL, JSON output and the tokenizer. Every value passes here once.

What would break them: NUL (psycopg2 and JSONB refuse it), lone surrogates (no UTF-8 form; tokenizers raise), NaN and
infinities (not JSON), numbers beyond a double's integers (JSONB rewrites 1e300 as 301 digits), and deep nesting.
"""

import math
import re
from typing import Any, Final

from schemas.event import Flag

MAX_DEPTH: Final = 16
_MAX_EXACT_INTEGER: Final = 2**53
_MIN_MAGNITUDE: Final = 1e-15
_UNSAFE: Final = re.compile("[\x00\ud800-\udfff]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_JSON_STRUCTURE: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


def clean_text(text: str) -> str:
    """Drop NUL characters and replace lone surrogates by U+FFFD."""
    if _UNSAFE.search(text) is None:
        return text
    return _SURROGATE.sub("\ufffd", text.replace("\x00", ""))


def clean_value(value: Any, flags: set[Flag], depth: int = 0) -> Any:  # noqa: ANN401, PLR0911 (one return for each JSON type)
    """A safe copy of a parsed JSON value; what had to change is added to `flags`.

    Numbers that neither JSONB nor a double holds unchanged become strings; non-finite ones become null, and so does
    what nests deeper than `MAX_DEPTH`.
    """
    if isinstance(value, str):
        cleaned = clean_text(value)
        if cleaned is not value:
            flags.add("value_cleaned")
        return cleaned
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if -_MAX_EXACT_INTEGER <= value <= _MAX_EXACT_INTEGER:
            return value
        flags.add("value_bounded")
        return str(value)
    if isinstance(value, float):
        return _clean_float(value, flags)
    if depth == MAX_DEPTH:
        flags.add("nesting_bounded")
        return None
    if isinstance(value, list):
        return [clean_value(item, flags, depth + 1) for item in value]
    return {clean_value(key, flags, depth + 1): clean_value(item, flags, depth + 1) for key, item in value.items()}


def _clean_float(value: float, flags: set[Flag]) -> float | str | None:
    if not math.isfinite(value):
        flags.add("value_cleaned")
        return None
    if abs(value) > _MAX_EXACT_INTEGER or 0 < abs(value) < _MIN_MAGNITUDE:
        flags.add("value_bounded")
        return repr(value)
    return value + 0.0  # JSONB has no negative zero


def prune_nesting(json_text: str) -> str:
    """Replace by null whatever nests deeper than `MAX_DEPTH` in a JSON text, in linear time and without recursion.

    For texts on which a recursive parser gives up. A text that is not JSON stays not JSON.
    """
    kept: list[str] = []
    start = depth = 0
    for token in _JSON_STRUCTURE.finditer(json_text):
        mark = json_text[token.start()]
        if mark in "[{":
            depth += 1
            if depth == MAX_DEPTH + 1:
                kept += (json_text[start : token.start()], "null")
        elif mark in "]}":
            if depth == MAX_DEPTH + 1:
                start = token.end()
            depth -= 1
    return "".join((*kept, json_text[start:])) if depth <= MAX_DEPTH else json_text[:start]
