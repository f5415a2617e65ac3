"""Progress on stderr: live on a terminal, one line for each finished step elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as RichProgress


class Progress:
    """Tells what is going on and how long each step took."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """A step whose length nobody knows."""
        started_s = time.monotonic()
        with self._console.status(title):
            yield
        self._end("[green]✓[/green]", title, started_s)

    @contextmanager
    def count(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """A step that counts up to `total`; the function that it gives takes the count so far."""
        started_s = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        live = self._console.is_terminal
        with RichProgress(*columns, console=self._console, transient=True, disable=not live) as bar:
            task = bar.add_task(title, total=total)
            yield lambda count: bar.update(task, completed=count)
            count = int(bar.tasks[0].completed)
        if count >= total:
            self._end("[green]✓[/green]", f"{title}: {count:,}", started_s)
        else:
            self._end("[red]✗[/red]", f"{title}: {count:,} of {total:,}", started_s)

    def _end(self, mark: str, title: str, started_s: float) -> None:
        seconds = time.monotonic() - started_s
        self._console.print(f"{mark} {title} [dim]({seconds:.1f} s)[/dim]", highlight=False)
