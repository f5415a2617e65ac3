"""Text as the finders read it: one form for each digit and separator, nothing invisible, every place traced back."""

import re
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

# What may stand between two digits and is not seen: format characters, joiners, variation selectors, keycaps.
_INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u20e3\ufe00-\ufe0f\ufeff\U000e0000-\U000e01ef]+"
)
_FORMS: Final = {
    "@": "\uff20\ufe6b",
    ".": "\uff0e\u3002\uff61",
    "+": "\uff0b\ufe62",
    "-": "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d",
    "(": "\uff08",
    ")": "\uff09",
    "/": "\uff0f",
    "_": "\uff3f",
}


@dataclass(frozen=True, slots=True, repr=False)
class Folded:
    """A text in one form. `origins[i]` is where its character `i` stood, or `origins` is None where nothing moved."""

    text: str
    origins: Sequence[int] | None

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original text that a span of the folded one (`end` is beyond it, not empty) comes from."""
        if self.origins is None:
            return start, end
        return self.origins[start], self.origins[end - 1] + 1


def fold(text: str) -> Folded:
    """Write every decimal digit as 0 to 9 and every separator in ASCII, and leave invisible characters out."""
    if text.isascii():
        return Folded(text, None)
    folded = text.translate(_table())
    if _INVISIBLE.search(folded) is None:
        return Folded(folded, None)
    kept: list[str] = []
    origins: list[int] = []
    start = 0
    for hidden in _INVISIBLE.finditer(folded):
        kept.append(folded[start : hidden.start()])
        origins.extend(range(start, hidden.start()))
        start = hidden.end()
    kept.append(folded[start:])
    origins.extend(range(start, len(folded)))
    return Folded("".join(kept), origins)


@cache
def _table() -> dict[int, str]:
    # One character for one: places stay where they were.
    table = {ord(other): form for form, others in _FORMS.items() for other in others}
    for code in range(0x80, sys.maxunicode + 1):
        category = unicodedata.category(character := chr(code))
        if category == "Nd":
            table[code] = str(unicodedata.decimal(character))
        elif category == "Zs":
            table[code] = " "
    return table
