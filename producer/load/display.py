"""What a person sees of a running load, on stderr."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from producer.load.tally import Tally


class LoadDisplay:
    """One line that says what is sent, at which rate, and how many are still on their way. None without a terminal."""

    def __init__(self, console: Console, planned: int) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,}/{task.total:,} sent, {task.fields[figures]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("sending", total=planned, figures="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, tally: Tally, doing: str, sent_per_s: float, reading: bool) -> None:
        """Show how far the run has come."""
        figures = f"{sent_per_s:,.1f}/s, {tally.acknowledged:,} acknowledged"
        if reading:
            figures += f", {tally.results:,} results, {tally.missing:,} on their way"
        self._bar.update(self._task, description=doing, completed=tally.sent, figures=figures)
