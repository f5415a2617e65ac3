"""The one text clean-up that training, export and serving share, so that a model meets the texts it learnt from."""

import re
from typing import Final

_URL: Final = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_MENTION: Final = re.compile(r"@\w+")


def prepare(text: str) -> str:
    """Bring a message into the form of the training data.

    Web addresses become `<url>`, whatever follows an `@` becomes `@user` (the public data sets publish both that way,
    e-mail hosts included), runs of whitespace become one space. Preparing a prepared text changes nothing. The time is
    linear in the length of the text.

    Returns:
        The prepared text; empty for a text of whitespace alone.
    """
    return " ".join(_MENTION.sub("@user", _URL.sub("<url>", text)).split())
