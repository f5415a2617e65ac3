"""`python -m model_export`: see `model_export.commands`."""

import typer

from schemas import command_line


def _load() -> typer.Typer:
    from model_export.commands import app  # noqa: PLC0415 (it needs the extra)

    return app


if __name__ == "__main__":
    command_line.run_of_extra(_load, "python -m model_export", "export")
