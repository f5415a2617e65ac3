"""`python -m training`: see `training.commands`."""

import typer

from schemas import command_line


def _load() -> typer.Typer:
    from training.commands import app  # noqa: PLC0415 (it needs the extra)

    return app


if __name__ == "__main__":
    command_line.run_of_extra(_load, "python -m training", "training")
