"""What a person sees of an import: a bar on the terminal, bad lines by their number. Everything goes to stderr."""

from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from producer.files.progress import ImportProgress

_MAX_LISTED_PROBLEMS: Final = 100


class ImportDisplay:
    """A progress bar over the file's bytes: first hashed, then acknowledged. No bar where stderr is no terminal.

    Attributes:
        problems: the first hundred bad lines, for the JSON summary.
    """

    def __init__(self, console: Console, size_bytes: int) -> None:
        self.problems: list[dict[str, str | int]] = []
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[sent]:,} sent, {task.fields[bad]:,} bad"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("reading", total=size_bytes, sent=0, bad=0)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def hashed(self, chunk_bytes: int) -> None:
        """Show that another chunk was hashed."""
        self._bar.advance(self._task, chunk_bytes)

    def show(self, progress: ImportProgress) -> None:
        """Show how far the import has come."""
        self._bar.update(
            self._task,
            description="sending",
            completed=progress.acknowledged_bytes,
            sent=progress.state.sent_events,
            bad=progress.state.bad_lines,
        )

    def problem(self, line_number: int, problem: str) -> None:
        """Print what is wrong with a line."""
        self._bar.console.print(f"line {line_number}: {problem}", markup=False, highlight=False, soft_wrap=True)
        if len(self.problems) < _MAX_LISTED_PROBLEMS:
            self.problems.append({"line": line_number, "problem": problem})
