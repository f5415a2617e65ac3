"""`python -m training`: see `training.commands`."""

import sys

from schemas import command_line


def main() -> None:
    """Run the command line, or say which extra is missing: exit code 2."""
    try:
        from training.commands import app  # noqa: PLC0415 (it needs the extra)
    except ModuleNotFoundError as missing:
        sys.stderr.write(f"{missing.name} is not installed: pip install 'feedback-stream[training]'\n")
        sys.exit(2)
    command_line.run(app, "python -m training")


if __name__ == "__main__":
    main()
