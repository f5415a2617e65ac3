"""How a command line of the project ends on bad arguments: one line that says what to do, and exit code 2."""

import sys
from collections.abc import Callable
from typing import Final, NoReturn

import typer
from typer.main import get_command

# typer carries a click of its own, whose module is private; this is its UsageError.
_UsageError: Final[type[Exception]] = typer.BadParameter.__mro__[1]
_USAGE_EXIT_CODE: Final = 2
_ABORTED_EXIT_CODE: Final = 1


def run(app: typer.Typer, prog_name: str) -> NoReturn:
    """Run a typer application as the whole program."""
    try:
        code = get_command(app).main(prog_name=prog_name, standalone_mode=False)
    except _UsageError as error:
        _show(error)
        sys.exit(_USAGE_EXIT_CODE)
    except typer.Abort:
        sys.exit(_ABORTED_EXIT_CODE)
    sys.exit(code if isinstance(code, int) else 0)


def run_of_extra(load: Callable[[], typer.Typer], prog_name: str, extra: str) -> NoReturn:
    """Run an application that needs an extra, or say in one line that it is missing."""
    try:
        app = load()
    except ModuleNotFoundError as missing:
        sys.stderr.write(f"{missing.name} is not installed: pip install 'feedback-stream[{extra}]'\n")
        sys.exit(_USAGE_EXIT_CODE)
    run(app, prog_name)


def _show(error: Exception) -> None:
    context = getattr(error, "ctx", None)
    message: str = error.format_message()  # type: ignore[attr-defined]
    if context is None or "\n" in message:
        # No arguments at all: the message is the help text.
        error.show()  # type: ignore[attr-defined]
        return
    sys.stderr.write(f"{message.rstrip('.')}: see `{context.command_path} --help`\n")
