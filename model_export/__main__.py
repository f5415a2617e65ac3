"""`python -m model_export`: see `model_export.commands`."""

import sys

from schemas import command_line


def main() -> None:
    """Run the command line, or say which extra is missing: exit code 2."""
    try:
        from model_export.commands import app  # noqa: PLC0415 (it needs the extra)
    except ModuleNotFoundError as missing:
        sys.stderr.write(f"{missing.name} is not installed: pip install 'feedback-stream[export]'\n")
        sys.exit(2)
    command_line.run(app, "python -m model_export")


if __name__ == "__main__":
    main()
