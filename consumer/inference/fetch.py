"""Copies of remote bundles: which URLs are allowed, how they reach the cache, and which copy serves in need."""

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

from fsspec.core import url_to_fs

from consumer.inference.manifest import MANIFEST_FILE, BundleError, read_manifest

_log = logging.getLogger(__name__)

# The one in use and the one before it, so that going back needs no network.
_COPIES_KEPT: Final = 2
# Copies that are named by their manifest's hash share one folder: the bundles of three roles, and those before them.
_PINNED: Final = "pinned"
_PINNED_COPIES_KEPT: Final = 6
_INCOMING: Final = "incoming-"

CheckedT = TypeVar("CheckedT")


class BundleUnavailableError(BundleError):
    """A bundle cannot be reached for now: a later attempt may succeed."""


class _FetchError(Exception):
    """The remote place did not give a file; the message says why."""


def local_path(url: str) -> Path | None:
    """The folder that a plain path or a `file://` URL names; None for every other URL."""
    if "://" not in url:
        return Path(url).expanduser().resolve()
    if url.startswith("file://"):
        return Path(url.removeprefix("file://")).resolve()
    return None


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


def shown(url: str) -> str:
    """A URL without what may be secret in it: user, password and query."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def require_manifest_hash(manifest: bytes, expected: str | None, place: str) -> str:
    """The sha256 of a manifest, in hex.

    Raises:
        BundleError: it is not the expected one.
    """
    found = hashlib.sha256(manifest).hexdigest()
    if expected is not None and found != expected:
        raise BundleError(
            f"{place}: its sha256 is {found[:12]}..., {expected[:12]}... was announced: the bundle was changed after "
            "it was published; publish it again"
        )
    return found


def fetch(
    url: str, cache_dir: Path | None, check: Callable[[Path], CheckedT], *, manifest_sha256: str | None = None
) -> CheckedT:
    """Copy a remote bundle into the cache, unless the same bundle is there, and check it.

    A copy enters the cache only after `check` passed. When the remote place gives no answer, the newest copy of the
    same URL serves instead and a warning says so; a bundle that is there but broken is refused.

    Args:
        url: any URL of fsspec.
        cache_dir: where copies are kept; the user's cache when None.
        check: gets a local folder; raises `BundleError` when the bundle in it is broken.
        manifest_sha256: the bundle that is wanted; whichever is at the URL now when None.

    Returns:
        What `check` returned for the folder in the cache.

    Raises:
        BundleUnavailableError: the bundle cannot be fetched, and no copy is in the cache.
        BundleError: the bundle is broken.
    """
    if manifest_sha256 is not None:
        return _fetch_pinned(url, cache_dir, check, manifest_sha256)
    home = _home(cache_dir, hashlib.sha256(url.encode()).hexdigest()[:16])
    try:
        remote = _Remote(url)
        manifest = remote.read(MANIFEST_FILE)
        folder = home / hashlib.sha256(manifest).hexdigest()[:16]
        checked = _check_copy(folder, check)
        if checked is not None:
            return checked
        _download(remote, manifest, folder, check)
    except _FetchError as error:
        folder = _newest_copy(home, error)
        _log.warning("%s; the copy in %s serves instead", error, folder)
    checked = check(folder)
    _prune(home, _COPIES_KEPT)
    return checked


def _fetch_pinned(
    url: str, cache_dir: Path | None, check: Callable[[Path], CheckedT], manifest_sha256: str
) -> CheckedT:
    home = _home(cache_dir, _PINNED)
    folder = home / manifest_sha256[:16]
    checked = _check_copy(folder, check)
    if checked is not None:
        return checked
    try:
        remote = _Remote(url)
        manifest = remote.read(MANIFEST_FILE)
        require_manifest_hash(manifest, manifest_sha256, f"{remote.shown}/{MANIFEST_FILE}")
        _download(remote, manifest, folder, check)
    except _FetchError as error:
        raise BundleUnavailableError(f"{error}; check the URL and the access to it") from error
    checked = check(folder)
    _prune(home, _PINNED_COPIES_KEPT)
    return checked


def _home(cache_dir: Path | None, name: str) -> Path:
    home = (cache_dir or _user_cache()) / name
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BundleError(f"{home}: cannot be made ({error.strerror}); name a cache folder that is writable") from error
    return home


class _Remote:
    """A remote folder, read file by file."""

    def __init__(self, url: str) -> None:
        self.shown = shown(url)
        if "::" in url:
            raise BundleError(f"{self.shown}: chained URLs are not supported; name the folder of the bundle itself")
        try:
            self._files, self._root = url_to_fs(url)
        except ImportError as error:
            raise BundleError(
                f"{self.shown}: no library for this kind of URL is installed ({error}); for s3:// install the extra s3"
            ) from error
        except ValueError as error:
            raise BundleError(f"{self.shown}: {error}; use a path, file:// or s3://") from error

    def read(self, name: str) -> bytes:
        content: bytes = self._try(name, self._files.cat_file, self._path(name))
        return content

    def copy(self, name: str, to: Path) -> None:
        self._try(name, self._files.get_file, self._path(name), str(to))

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _try(self, name: str, call: Callable[..., Any], *arguments: str) -> Any:  # noqa: ANN401 - what the call gives
        try:
            return call(*arguments)
        except Exception as error:
            # Storage libraries raise errors of their own, whose words may hold signed URLs.
            reason = "no such file" if isinstance(error, FileNotFoundError) else type(error).__name__
            raise _FetchError(f"{self.shown}/{name}: cannot be fetched ({reason})") from error


def _download(remote: _Remote, manifest: bytes, folder: Path, check: Callable[[Path], object]) -> None:
    incoming = Path(tempfile.mkdtemp(prefix=_INCOMING, dir=folder.parent))
    try:
        (incoming / MANIFEST_FILE).write_bytes(manifest)
        for name in read_manifest(incoming).files:
            remote.copy(name, incoming / name)
        check(incoming)
        if not folder.exists():  # another process may have brought the same bundle meanwhile
            incoming.rename(folder)
    except BundleError as error:
        raise BundleError(str(error).replace(str(incoming), remote.shown)) from error
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _check_copy(folder: Path, check: Callable[[Path], CheckedT]) -> CheckedT | None:
    """Check a copy that may be in the cache; a damaged one is removed, so that it is fetched again."""
    if not folder.is_dir():
        return None
    try:
        checked = check(folder)
    except BundleError:
        shutil.rmtree(folder)
        return None
    os.utime(folder)
    return checked


def _newest_copy(home: Path, error: _FetchError) -> Path:
    copies = _copies(home)
    if not copies:
        raise BundleUnavailableError(
            f"{error} and no copy of it is in the cache; check the URL and the access to it"
        ) from error
    return copies[0]


def _prune(home: Path, kept: int) -> None:
    for folder in _copies(home)[kept:]:
        shutil.rmtree(folder, ignore_errors=True)


def _copies(home: Path) -> list[Path]:
    """The copies in the cache, the one used last first."""
    copies = [folder for folder in home.iterdir() if not folder.name.startswith(_INCOMING)]
    return sorted(copies, key=lambda folder: folder.stat().st_mtime_ns, reverse=True)


def _canonical(url: str) -> str:
    folder = local_path(url)
    if folder is not None:
        return f"file://{folder}"
    scheme, _, path = url.partition("://")
    if ".." in PurePosixPath(unquote(path)).parts:
        raise BundleError(f"{shown(url)}: '..' is not allowed in the URL of a bundle")
    return f"{scheme.lower()}://{path}"


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "feedback-stream" / "bundles"
