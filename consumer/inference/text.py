"""The one text clean-up that training, export and serving share, so that a model meets the texts it learnt from."""

import re
import unicodedata
from typing import Final

_URL: Final = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_MENTION: Final = re.compile(r"@\w+")
_URL_MARK: Final = "<url>"
_USER_MARK: Final = "@user"
_LATIN: Final = "LATIN"
# Enough of any text to know its script; the time is bounded whatever its length.
_JUDGED_CHARS: Final = 2_000


def prepare(text: str) -> str:
    """Bring a message into the form of the training data.

    Web addresses become `<url>`, whatever follows an `@` becomes `@user` (the public data sets publish both that way,
    e-mail hosts included), runs of whitespace become one space. Preparing a prepared text changes nothing. The time is
    linear in the length of the text.

    Returns:
        The prepared text; empty for a text of whitespace alone.
    """
    return " ".join(_MENTION.sub(_USER_MARK, _URL.sub(_URL_MARK, text)).split())


def mostly_other_script(text: str) -> bool:
    """Whether more of a prepared text's letters are of other scripts than of the Latin one.

    Such a text is in a language that no model here has learnt, whatever its score. Digits, punctuation, emoji and marks
    count for nothing; a text without letters is not in another script. The script of a letter is what its Unicode name
    begins with ("LATIN SMALL LETTER A", "CYRILLIC SMALL LETTER A"); fullwidth Latin letters are Latin too. The first
    2,000 characters decide.
    """
    latin = other = 0
    for character in text[:_JUDGED_CHARS].replace(_URL_MARK, "").replace(_USER_MARK, ""):
        if character.isascii():
            latin += character.isalpha()
        elif unicodedata.category(character).startswith("L"):
            if _LATIN in unicodedata.name(character, ""):
                latin += 1
            else:
                other += 1
    return other > latin
