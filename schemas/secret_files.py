"""Secrets that a file holds: what container platforms mount, and what a `..._FILE` variable names."""

import os
import stat
from pathlib import Path
from typing import Final

from pydantic import SecretStr

_MAX_SECRET_BYTES: Final = 65_536


def is_readable(file: Path | None) -> Path | None:
    """Let a file pass that can be opened. It is not read: what it names may be a pipe, which can be read once.

    Raises:
        ValueError: it cannot. The message does not repeat the path: that is as easily a password in the wrong variable.
    """
    if file is not None:
        try:
            mode = file.stat().st_mode
        except OSError as error:
            raise ValueError(f"the file that it names cannot be read: {error.strerror}") from None
        if stat.S_ISDIR(mode) or not os.access(file, os.R_OK):
            raise ValueError("it names a folder, or a file that this account must not read")
    return file


def read_secret(file: Path, variable: str) -> SecretStr:
    """The content of a file that an environment variable names, without the line ends after it.

    Who else may read the file is not judged: the platforms that mount secrets make them readable to all inside of a
    container.

    Raises:
        ValueError: it cannot be read, is empty, no text or too large.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise ValueError(f"the file that {variable} names cannot be read: {error.strerror}") from None
    if len(content) > _MAX_SECRET_BYTES:
        raise ValueError(f"the file that {variable} names is larger than {_MAX_SECRET_BYTES} bytes: that is no secret")
    try:
        secret = content.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError(f"the file that {variable} names is not UTF-8 text") from None
    if not secret:
        raise ValueError(f"the file that {variable} names is empty")
    return SecretStr(secret)


def secret_from(value: SecretStr | None, file: Path | None, variable: str) -> SecretStr | None:
    """The secret that a setting has, or that a file holds. An empty value counts as none.

    Args:
        value: what was set itself.
        file: what the variable of the file names.
        variable: the name of that variable.

    Raises:
        ValueError: both are there, or the file holds none.
    """
    if file is None:
        return value
    if value is not None and value.get_secret_value():
        raise ValueError(f"is set, and {variable} too: keep one of them")
    return read_secret(file, variable)
