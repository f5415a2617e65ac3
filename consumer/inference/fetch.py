"""Copies of remote bundles: how they reach the cache, and which copy serves in need."""

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from consumer.inference.bundle_files import read_file, read_manifest, require_manifest_hash
from consumer.inference.manifest import MANIFEST_FILE, BundleError
from consumer.inference.remote import FetchError, Remote

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
        with _incoming(home) as incoming:
            remote = Remote(url)
            manifest = _read_manifest(remote, incoming)
            folder = home / hashlib.sha256(manifest).hexdigest()[:16]
            checked = _check_copy(folder, check)
            if checked is not None:
                return checked
            _download(remote, incoming, folder, check)
    except FetchError as error:
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
        with _incoming(home) as incoming:
            remote = Remote(url)
            manifest = _read_manifest(remote, incoming)
            require_manifest_hash(manifest, manifest_sha256, f"{remote.shown}/{MANIFEST_FILE}")
            _download(remote, incoming, folder, check)
    except FetchError as error:
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


@contextmanager
def _incoming(home: Path) -> Iterator[Path]:
    """A folder for what is copied, which nobody else can read and which goes away unless it is moved."""
    incoming = Path(tempfile.mkdtemp(prefix=_INCOMING, dir=home))
    try:
        yield incoming
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _read_manifest(remote: Remote, incoming: Path) -> bytes:
    remote.copy(MANIFEST_FILE, incoming)
    return read_file(incoming, MANIFEST_FILE)


def _download(remote: Remote, incoming: Path, folder: Path, check: Callable[[Path], object]) -> None:
    try:
        for name in read_manifest(incoming).files:
            remote.copy(name, incoming)
        check(incoming)
        if not folder.exists():  # another process may have brought the same bundle meanwhile
            incoming.rename(folder)
    except BundleError as error:
        raise BundleError(str(error).replace(str(incoming), remote.shown)) from error


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


def _newest_copy(home: Path, error: FetchError) -> Path:
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


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "feedback-stream" / "bundles"
