"""What the commands share on a terminal: errors in one line, JSON on stdout, and extras that may be missing."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

console = Console(stderr=True)
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def fail(message: str, code: int = 1) -> NoReturn:
    """Say why on standard error, and end with this exit code."""
    console.print(f"error: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def print_json(document: dict[str, Any]) -> None:
    """Write one document to standard output."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def require_extra(extra: str) -> Iterator[None]:
    """Import something inside the block; exit 2 with the extra's name where it is not installed."""
    try:
        yield
    except ModuleNotFoundError as missing:
        fail(f"{missing.name} is not installed: pip install 'feedback-stream[{extra}]'", 2)
