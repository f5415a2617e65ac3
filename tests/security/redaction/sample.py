"""The labelled messages: written for this purpose, with reserved domains, numbers for fiction and test card numbers."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from consumer.redaction.redactor import Kind

Half = Literal["tune", "held_out"]

_FOLDER = Path(__file__).parent
_MARKED = re.compile("⟦(email|phone|card):(.*?)⟧")


@dataclass(frozen=True)
class Span:
    """Where something personal stands in a text; `end` is beyond it."""

    kind: Kind
    start: int
    end: int


@dataclass(frozen=True)
class Message:
    """A text and what a person would hide in it."""

    text: str
    spans: tuple[Span, ...]


def load(half: Half) -> list[Message]:
    """The messages of one half. `held_out` is for measuring: whoever tunes the finders looks at `tune` only."""
    lines = (_FOLDER / f"{half}.txt").read_text("utf-8").splitlines()
    # Characters that cannot be seen are written as escapes.
    return [_message(line.replace(r"\u200b", "\u200b")) for line in lines]


def _message(line: str) -> Message:
    text = ""
    spans: list[Span] = []
    done = 0
    for marked in _MARKED.finditer(line):
        text += line[done : marked.start()]
        spans.append(Span(marked[1], len(text), len(text) + len(marked[2])))  # type: ignore[arg-type]
        text += marked[2]
        done = marked.end()
    return Message(text + line[done:], tuple(spans))
