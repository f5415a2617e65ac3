"""The real messages that ship with the demonstration."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import cycle

from schemas.event import FeedbackEvent, utc_now
from schemas.ids import uuid7


@dataclass(frozen=True, slots=True)
class Message:
    """One line of `demo/data/messages.jsonl`; `source` is the channel that an event names."""

    text: str
    source: str


def load_messages() -> list[Message]:
    """All shipped messages, in the order of the file."""
    lines = (files("demo.data") / "messages.jsonl").read_text("utf-8").splitlines()
    return [Message(text=row["text"], source=row["source"]) for row in map(json.loads, lines)]


def endless_events() -> Iterator[FeedbackEvent]:
    """Events made from the messages, each with an id of its own; after the last message the first comes again."""
    for message in cycle(load_messages()):
        yield FeedbackEvent(event_id=uuid7(), occurred_at=utc_now(), source=message.source, text=message.text)
