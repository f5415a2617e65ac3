"""What a load consists of: made-up feedback, or the messages of a file, each with an id and a text of its own."""

import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from producer.encoding import EncodedEvent, encode
from producer.errors import EventTooLargeError, InvalidEventError
from producer.files.reading import FileFormat, UnusableFileError, read_lines
from producer.load.schedule import MAX_EVENTS, RunIds, Schedule
from schemas.event import utc_now

_SOURCE: Final = "load"
_CUSTOMERS: Final = 1_000
_SOURCES: Final = ("app_store", "web", "email", "survey")
_PRODUCTS: Final = ("shop", "billing", "mobile", "api")
_FEATURES: Final = (
    "the export",
    "the search",
    "dark mode",
    "the invoice page",
    "the calendar view",
    "single sign-on",
    "the weekly report",
    "file upload",
    "the mobile app",
    "the import of contacts",
)
_SENTENCES: Final = (
    "{feature} crashes as soon as I open it.",
    "I love what you did with {feature}, it saves me an hour a day.",
    "Where do I find {feature}?",
    "Please add a shortcut for {feature}; I need it {number} times a day.",
    "Since the last update {feature} takes {number} seconds to load.",
    "The documentation of {feature} does not say what happens after {number} days.",
    "Thanks!",
    "It works.",
    "I was charged {number} euros twice, and nobody has answered my mail so far.",
    "If {feature} remembered my last choice, I would not have to click through {number} pages each morning.",
    "Tip: open {feature} in a second window, then both stay in step.",
    "Not what I expected for the price, and I have been a customer for {number} years.",
    "My colleagues in the other office see the same error, with the same message, on {number} machines.",
    "We tried {feature} with a large account, waited for {number} minutes, went for lunch, and found an empty page.",
)
# Most feedback is a sentence or two, and some of it is a letter.
_SENTENCE_COUNTS: Final = (1, 1, 1, 2, 2, 2, 3, 3, 4, 6, 9)


class EventSource(Protocol):
    """Gives the fields of one event, without id and time."""

    def fields(self, index: int) -> Mapping[str, Any]:
        """The fields of event `index`; `text` among them."""


class MadeUpFeedback:
    """Feedback put together from templates: a thousand customers, several channels, from one sentence to nine."""

    def __init__(self) -> None:
        self._random = random.Random()

    def fields(self, index: int) -> Mapping[str, Any]:  # noqa: ARG002 (the same for all)
        """Another message at each call."""
        choose = self._random.choice
        templates = self._random.sample(_SENTENCES, choose(_SENTENCE_COUNTS))
        sentences = [
            template.format(feature=choose(_FEATURES), number=self._random.randint(2, 99)) for template in templates
        ]
        return {
            "source": choose(_SOURCES),
            "text": " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences),
            "rating": choose((None, 1, 2, 3, 4, 5)),
            "customer_id": f"load-{self._random.randrange(_CUSTOMERS)}",
            "product": choose(_PRODUCTS),
            "language": "en",
        }


class FileFeedback:
    """The messages of a file (JSON Lines, CSV or text, as `python -m producer file` reads them), over and over."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    @classmethod
    def read(cls, path: Path, file_format: FileFormat, events: int) -> "FileFeedback":
        """Read as many rows as a run of `events` needs.

        Raises:
            UnusableFileError: nothing in it, or a line that is no event.
            OSError: it cannot be read.
        """
        rows: list[dict[str, Any]] = []
        with path.open("rb") as file:
            for line in read_lines(file, file_format):
                if line.row is None:
                    raise UnusableFileError(f"line {line.number}: {line.problem}")
                rows.append(_usable(line.number, line.row))
                if len(rows) == events:
                    break
        if not rows:
            raise UnusableFileError("there is no message in it")
        return cls(rows)

    def fields(self, index: int) -> Mapping[str, Any]:
        """The row whose turn it is."""
        return self._rows[index % len(self._rows)]


class LoadEvents:
    """Makes the record of each event of a run.

    Args:
        source: the messages.
        ids: the run's ids.
        schedule: when each event is due.
        started_at: the start of the run; `occurred_at` of an event is its due time.
    """

    def __init__(self, source: EventSource, ids: RunIds, schedule: Schedule, started_at: datetime) -> None:
        self._source = source
        self._ids = ids
        self._schedule = schedule
        self._started_at = started_at

    def make(self, index: int) -> EncodedEvent:
        """The record of event `index`."""
        due_at = self._started_at + timedelta(seconds=self._schedule.due_s(index))
        return encode(_event(self._source.fields(index), self._ids, index, due_at))


def _event(fields: Mapping[str, Any], ids: RunIds, index: int, occurred_at: datetime) -> dict[str, Any]:
    event = {name: value for name, value in fields.items() if value is not None}
    text, metadata = event.get("text"), event.get("metadata", {})
    if isinstance(text, str) and text.strip():
        # No two texts are the same, so that nothing on the way can answer from memory.
        event["text"] = f"{text} #{index}"
    if isinstance(metadata, dict):
        event["metadata"] = {**metadata, "load_run": ids.run_id}
    return {**event, "event_id": ids.make(index), "occurred_at": occurred_at}


def _usable(line_number: int, row: dict[str, Any]) -> dict[str, Any]:
    row = {**row, "source": row.get("source") or _SOURCE}
    try:
        # With the longest text that it will ever have.
        encode(_event(row, RunIds.fresh(), MAX_EVENTS, utc_now()))
    except (InvalidEventError, EventTooLargeError) as error:
        raise UnusableFileError(f"line {line_number}: {error}") from None
    return row
