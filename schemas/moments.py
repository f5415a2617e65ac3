"""Points in time as people type them on a command line."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_AGO: Final = re.compile(r"([0-9]{1,5})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
EXPECTED: Final = "a time with an offset, such as 2026-01-31T09:30:00Z, or how long ago: 90s, 15m, 2h, 3d"


def parse_moment(text: str) -> datetime:
    """A time in RFC 3339 with an offset, or how long ago it was, in UTC.

    Raises:
        ValueError: it is neither; `EXPECTED` says what it must be.
    """
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no offset")
    return moment.astimezone(UTC)
