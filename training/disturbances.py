"""Ways to disturb a message that leave its meaning alone."""

import random
import re
import string
from collections.abc import Callable
from typing import Final

Disturb = Callable[[str, random.Random], str]

_TYPO_SHARE: Final = 0.15
_SHORTEST_TYPED_WORD: Final = 4
_EMOJI: Final = ("🙂", "😡", "🚀", "👍", "🤔", "🔥", "😭", "🎉")
# Longer than a model sees, and about nothing that the guide has a category for.
_FILLER: Final = "The text above and below belongs together and was sent on a weekday in the afternoon. " * 20
_HALF_WORDS: Final = 90


def typos(text: str, pick: random.Random) -> str:
    """Swap, drop, double or replace a letter inside about every seventh longer word."""
    return " ".join(_mistyped(word, pick) if pick.random() < _TYPO_SHARE else word for word in text.split(" "))


def long_message_first(text: str, _: random.Random) -> str:
    """Add more words than a model sees, after the message."""
    return f"{text} {_FILLER}"


def long_message_last(text: str, _: random.Random) -> str:
    """Add more words than a model sees, before the message."""
    return f"{_FILLER} {text}"


def head_and_tail(text: str, _: random.Random) -> str:
    """Keep the first and the last words, as many as a model sees, instead of the first alone."""
    words = text.split()
    if len(words) <= 2 * _HALF_WORDS:
        return text
    return " ".join([*words[:_HALF_WORDS], *words[-_HALF_WORDS:]])


DISTURBANCES: Final[dict[str, Disturb]] = {
    "typos": typos,
    "lower case": lambda text, _: text.lower(),
    "upper case": lambda text, _: text.upper(),
    "an emoji after it": lambda text, pick: f"{text} {pick.choice(_EMOJI)}",
    "a web address after it": lambda text, _: f"{text} https://example.com/a/b?c=1",
    "a user named before it": lambda text, _: f"@support {text}",
    "repeated punctuation": lambda text, _: re.sub(r"([.!?]+)", r"\1\1\1", text) + "!!!",
    "no punctuation": lambda text, _: text.translate(str.maketrans("", "", string.punctuation)),
    "broken lines": lambda text, _: text.replace(" ", "\n "),
    "first eight words": lambda text, _: " ".join(text.split()[:8]),
    "long, the message first": long_message_first,
    "long, the message last": long_message_last,
    "long, the message last, head and tail kept": lambda text, pick: head_and_tail(long_message_last(text, pick), pick),
}


def _mistyped(word: str, pick: random.Random) -> str:
    if len(word) < _SHORTEST_TYPED_WORD or not word.isalpha():
        return word
    place = pick.randrange(1, len(word) - 1)
    before, letter, after = word[:place], word[place], word[place + 1 :]
    return pick.choice(
        (
            before + after,
            before + letter * 2 + after,
            before + pick.choice(string.ascii_lowercase) + after,
            before + after[0] + letter + after[1:],
        )
    )
