"""Results for a terminal: a line each, with nothing in it that a terminal would obey."""

import json
from typing import Final

from rich.console import Console
from rich.text import Text

from consumer.client.records import ResultRecord
from schemas.result import ClassifiedFeedback

_COLUMNS: Final = (("UTC", 8), ("source", 10), ("category", 15), ("tone", 8))
_SENTIMENT_STYLES: Final = {"negative": "red", "positive": "green", "neutral": "default"}


def printable(text: str) -> str:
    """The text in one line: control characters, terminal escapes and marks that turn the direction are taken out."""
    words = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(words.split())


class ResultTable:
    """Rows on standard output as results arrive, under a heading; cut to the terminal's width."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._has_heading = False

    def show(self, record: ResultRecord) -> None:
        """Print one result."""
        if not self._has_heading:
            self._has_heading = True
            self._print([(name, "bold") for name, _ in _COLUMNS], Text("text", "bold"))
        result = record.feedback
        marks = [
            mark
            for mark, applies in (
                (result.routing.priority, result.routing.priority in {"high", "urgent"}),
                ("constructive", result.constructive.label == "yes"),
                ("needs review", result.needs_review),
            )
            if applies
        ]
        text = Text(f"[{', '.join(marks)}] " if marks else "", "yellow")
        text.append(printable(result.event.text), "default")
        self._print(_cells(result), text)

    def _print(self, cells: list[tuple[str, str]], text: Text) -> None:
        line = Text()
        for (content, style), (_, width) in zip(cells, _COLUMNS, strict=True):
            cell = Text(content, style)
            cell.truncate(width, overflow="ellipsis", pad=True)
            line.append_text(cell).append("  ")
        line.append_text(text)
        if self._console.is_terminal:
            self._console.print(line, no_wrap=True, overflow="ellipsis", highlight=False)
        else:
            # Into a file or a pipe, lines go whole.
            self._console.print(line, soft_wrap=True, highlight=False)


def _cells(result: ClassifiedFeedback) -> list[tuple[str, str]]:
    return [
        (f"{result.classified_at:%H:%M:%S}", "dim"),
        (printable(result.event.source), "default"),
        (result.category.label, "cyan"),
        (result.sentiment.label, _SENTIMENT_STYLES[result.sentiment.label]),
    ]


def as_json_line(record: ResultRecord) -> str:
    """One JSON object in one line: the coordinates in the results topic, and the result. ASCII, so safe to print."""
    document = {
        "partition": record.partition,
        "offset": record.offset,
        "result": record.feedback.model_dump(mode="json"),
    }
    return json.dumps(document)
