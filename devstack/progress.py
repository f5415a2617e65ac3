"""Shows on standard error what the start is doing."""

from types import TracebackType
from typing import Self

from rich.console import Console


class Steps:
    """The step at work: a spinner on a terminal, a line for each step elsewhere, nothing when not enabled."""

    def __init__(self, *, enabled: bool) -> None:
        self._console = Console(stderr=True, quiet=not enabled, highlight=False)
        self._status = self._console.status("Looking at the stack")
        self._announced_download = False

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._status.stop()

    def begin(self, step: str) -> None:
        """Say that ``step`` begins."""
        if self._console.is_terminal:
            self._status.update(step)
        else:
            self._console.print(step)

    def downloaded(self, jars: int, jars_in_all: int) -> None:
        """Say how many jars are at hand."""
        if self._console.is_terminal:
            self._status.update(f"Downloading Kafka: {jars} of {jars_in_all} jars")
        elif not self._announced_download:
            self._announced_download = True
            self._console.print(f"Downloading Kafka ({jars_in_all} jars)")
