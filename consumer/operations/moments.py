"""Time options of the operators' commands."""

from datetime import datetime

from consumer.operations.session import USAGE_EXIT_CODE, fail
from schemas.moments import EXPECTED, parse_moment


def parse_time(option: str, text: str | None) -> datetime | None:
    """A point in time, or how long ago it was; None if the option was not given.

    Raises:
        typer.Exit: it is neither.
    """
    if text is None:
        return None
    try:
        return parse_moment(text)
    except (ValueError, OverflowError):
        fail(f"{option} takes {EXPECTED}", USAGE_EXIT_CODE)
