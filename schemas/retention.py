"""How long rows stay in the tables: `retention.toml`."""

import re
import tomllib
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict

FOREVER: Final = "forever"
_DAYS: Final = re.compile(r"([1-9][0-9]{0,4})d")


def _parse_keep(text: object) -> timedelta | None:
    if text == FOREVER:
        return None
    days = _DAYS.fullmatch(text) if isinstance(text, str) else None
    if days is None:
        raise ValueError('keep must be "forever", or a number of days such as "365d"')
    return timedelta(days=int(days[1]))


class TableRetention(BaseModel):
    """How long one table keeps its rows; None is for ever."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str
    keep: Annotated[timedelta | None, BeforeValidator(_parse_keep)]


class KeptTables(BaseModel):
    """The tables that retention may delete from; every one of them is named, so that none is forgotten."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    feedback: TableRetention
    labels: TableRetention
    shadow_comparisons: TableRetention
    record_outcomes: TableRetention
    erased_events: TableRetention


class _RetentionFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    tables: KeptTables


def load_retention(path: Path | None = None) -> KeptTables:
    """Read a retention file; the one that ships, which keeps everything, if no path is given.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such file; pydantic's ValidationError and tomllib's TOMLDecodeError are ValueErrors.
    """
    text = (files("schemas") / "retention.toml").read_text("utf-8") if path is None else path.read_text("utf-8")
    return _RetentionFile.model_validate(tomllib.loads(text)).tables
