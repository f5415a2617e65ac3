"""Where bundles may lie: folders and URLs, compared so that no other way of writing one leads past the allow-list."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote

from consumer.inference.manifest import BundleError

_MAX_URL_CHARACTERS: Final = 2_000
_SHOWN_CHARACTERS: Final = 300
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_BEHIND_THE_PATH: Final = re.compile(r"[?#]")


def local_path(url: str) -> Path | None:
    """The folder that a plain path or a `file://` URL names, links followed; None for every other URL.

    Raises:
        BundleError: it is neither, or no path that a system has.
    """
    scheme, separator, rest = url.partition("://")
    if len(url) > _MAX_URL_CHARACTERS or not url.isprintable():
        raise BundleError(f"{shown(url)}: too long, or with characters that no place has")
    if separator and scheme.lower() != "file":
        return None
    if separator and not rest.startswith("/"):
        raise BundleError(f"{shown(url)}: a file:// URL names a folder of this machine: write file:///FOLDER")
    if not separator and _SCHEME.match(url) and not Path(url).exists():
        raise BundleError(f"{shown(url)}: write a URL with //, as in s3://BUCKET/FOLDER, or the path of a folder")
    try:
        return Path(rest if separator else Path(url).expanduser()).resolve()
    except (OSError, RuntimeError):  # a loop of links, or the home of nobody
        raise BundleError(f"{shown(url)}: no folder can be there") from None


def is_local(url: str) -> bool:
    """Whether it is a path or a `file://` URL."""
    scheme, separator, _ = url.partition("://")
    return not separator or scheme.lower() == "file"


def require_allowed(url: str, prefixes: Sequence[str]) -> None:
    """Check that a URL lies inside one of the prefixes.

    Raises:
        BundleError: it does not.
    """
    place = f"{_canonical(url)}/"
    if not any(place.startswith(f"{_canonical(prefix).rstrip('/')}/") for prefix in prefixes):
        places = ", ".join(shown(prefix) for prefix in prefixes)
        raise BundleError(
            f"{shown(url)}: outside the allowed places for bundles ({places}); move the bundle there or add its folder "
            "to CONSUMER_BUNDLE_ALLOWED_PREFIXES"
        )


def require_plain(url: str) -> None:
    """Check that a remote URL means the same to everybody who reads it.

    Raises:
        BundleError: it is several URLs, climbs, or holds what is no part of a place.
    """
    _, _, rest = url.partition("://")
    if "::" in rest:
        raise BundleError(f"{shown(url)}: chained URLs are not supported; name the folder of the bundle itself")
    if _BEHIND_THE_PATH.search(rest):
        raise BundleError(
            f"{shown(url)}: the URL of a bundle holds no query and no fragment, for names of files follow it; give "
            "credentials in the environment"
        )
    while (decoded := unquote(rest)) != rest:
        rest = decoded
    if ".." in PurePosixPath(rest).parts:
        raise BundleError(f"{shown(url)}: '..' is not allowed in the URL of a bundle")
    if "\\" in rest or not rest.isprintable() or " " in rest:
        raise BundleError(f"{shown(url)}: a character in it is not allowed in the URL of a bundle")


def shown(url: str) -> str:
    """A URL without what may be secret in it: user, password and query. Safe on a terminal."""
    printable = "".join(character if character.isprintable() else "?" for character in url)
    scheme, separator, rest = printable.partition("://")
    if not separator:
        if not _SCHEME.match(printable):
            return printable[:_SHOWN_CHARACTERS]
        scheme, _, rest = printable.partition(":")
    before, at, after = rest.rpartition("@")
    if _BEHIND_THE_PATH.search(before):
        return f"{scheme}://..."  # a login with such characters, or a query with an @: who can tell
    if at and ":" not in before and "/" in before:
        after = rest  # no login: an @ in the name of a folder
    return f"{scheme}://{_BEHIND_THE_PATH.split(after)[0]}"[:_SHOWN_CHARACTERS]


def _canonical(url: str) -> str:
    folder = local_path(url)
    if folder is not None:
        return f"file://{folder}"
    require_plain(url)
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    login, at, host = host.rpartition("@")
    return f"{scheme.lower()}://{login}{at}{host.lower() if scheme.lower() in {'http', 'https'} else host}{slash}{path}"
