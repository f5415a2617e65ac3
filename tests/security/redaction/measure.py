"""`python -m tests.security.redaction.measure`: precision and recall of the redaction on the labelled messages.

Strict on both sides: something is found only if no letter or digit of it is left, and a placeholder is right only if it
stands for something of its kind.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Final, cast, get_args

import typer
from rich.console import Console
from rich.table import Table

from consumer.redaction.redactor import KINDS, Kind, Redactor
from tests.security.redaction.sample import Half, Message, load

# 95 %, two sides.
_Z: Final = 1.959964


@dataclass(frozen=True)
class Rate:
    """A share with Wilson's 95 % interval (Wilson 1927)."""

    hits: int
    total: int

    @property
    def value(self) -> float:
        return self.hits / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        if not self.total:
            return (0.0, 1.0)
        centre = (self.value + _Z**2 / (2 * self.total)) / (1 + _Z**2 / self.total)
        spread = self.value * (1 - self.value) / self.total + _Z**2 / (4 * self.total**2)
        half = _Z / (1 + _Z**2 / self.total) * math.sqrt(spread)
        return (centre - half, centre + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.3f} ({low:.3f} to {high:.3f}), {self.hits} of {self.total}"


@dataclass(frozen=True)
class Figures:
    """How one kind fared."""

    precision: Rate
    recall: Rate
    missed: tuple[str, ...]
    mistaken: tuple[str, ...]


def measure(messages: list[Message], kind: Kind) -> Figures:
    """Precision and recall of one kind, with all kinds looked for."""
    redactor = Redactor(KINDS, b"measure")
    found = hits = wanted = right = 0
    missed: list[str] = []
    mistaken: list[str] = []
    for message in messages:
        spans = redactor.spans(message.text)
        hidden = {at for start, end, _ in spans for at in range(start, end)}
        for span in message.spans:
            if span.kind == kind:
                wanted += 1
                is_hidden = all(at in hidden or not message.text[at].isalnum() for at in range(span.start, span.end))
                hits += is_hidden
                missed += [] if is_hidden else [message.text]
        for start, end, of_kind in spans:
            if of_kind == kind:
                found += 1
                is_right = any(span.kind == kind and span.start < end and start < span.end for span in message.spans)
                right += is_right
                mistaken += [] if is_right else [message.text]
    return Figures(Rate(right, found), Rate(hits, wanted), tuple(missed), tuple(mistaken))


def main(
    show: Annotated[bool, typer.Option(help="Show the messages of the tuning half that went wrong.")] = False,
) -> None:
    """Measure both halves; the held-out one says what to expect of messages that nobody has tuned for."""
    table = Table("half", "kind", "precision (95 %)", "recall (95 %)")
    wrong: list[str] = []
    for half in get_args(Half):
        messages = load(cast("Half", half))
        for kind in KINDS:
            figures = measure(messages, kind)
            table.add_row(half, kind, str(figures.precision), str(figures.recall))
            if half == "tune":
                wrong += [f"missed {kind}: {text}" for text in figures.missed]
                wrong += [f"no {kind}: {text}" for text in figures.mistaken]
    console = Console(width=120)
    console.print(table)
    if show:
        for line in wrong:
            console.print(line, markup=False, highlight=False)


if __name__ == "__main__":
    typer.run(main)
