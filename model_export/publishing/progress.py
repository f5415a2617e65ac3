"""Who is told how far a publication is."""

from typing import Protocol


class Progress(Protocol):
    """Is told each step as it begins, and the bytes that pass in it."""

    def begin(self, step: str, total_bytes: int | None = None) -> None:
        """A step begins; with its size where it moves bytes."""

    def advance(self, count_bytes: int) -> None:
        """So many more bytes of the current step are done."""
