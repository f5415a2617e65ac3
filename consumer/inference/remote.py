"""Files of a remote bundle, copied within limits: whoever keeps them may send more than a bundle has, or for ever."""

import time
from pathlib import Path
from typing import Any, Final

from fsspec.asyn import AsyncFileSystem
from fsspec.callbacks import Callback
from fsspec.core import url_to_fs

from consumer.inference import limits
from consumer.inference.bundle_files import max_file_bytes
from consumer.inference.manifest import BundleError
from consumer.inference.places import require_plain, shown

# A redirection could lead to any host, past the allow-list. With one allowed, aiohttp gives up at the first.
_OF_HTTP: Final = {"max_redirects": 1}


class FetchError(Exception):
    """The remote place did not give a file; the message says why."""


class _TooMuchError(Exception):
    pass


class _TooSlowError(Exception):
    pass


class Remote:
    """A remote folder, read file by file. All files together must come within `limits.DOWNLOAD_S`.

    Attributes:
        shown: its URL, without secrets.

    Raises:
        BundleError: nothing here can read such a URL.
    """

    def __init__(self, url: str) -> None:
        self.shown = shown(url).rstrip("/")
        require_plain(url)
        scheme = url.partition("://")[0].lower()
        try:
            self._files, self._root = url_to_fs(url, **(_OF_HTTP if scheme in {"http", "https"} else {}))
        except ImportError as error:
            raise BundleError(
                f"{self.shown}: no library for this kind of URL is installed ({error}); for s3:// install the extra s3"
            ) from error
        except ValueError:
            # Its words may hold the URL.
            raise BundleError(f"{self.shown}: no kind of URL that is known; use a path, file:// or s3://") from None
        self._until_s = time.monotonic() + limits.DOWNLOAD_S

    def copy(self, name: str, folder: Path) -> None:
        """Copy a file into a folder.

        Raises:
            FetchError: it cannot be fetched now.
            BundleError: it is larger than a bundle needs; it is not fetched further.
        """
        left_s = self._until_s - time.monotonic()
        options: dict[str, Any] = {"callback": _Watch(max_file_bytes(name), self._until_s)}
        if isinstance(self._files, AsyncFileSystem):
            options["timeout"] = max(left_s, 1.0)  # a place that says nothing at all is not waited for either
        place = f"{self.shown}/{name}"
        try:
            if left_s <= 0:
                raise _TooSlowError  # noqa: TRY301
            self._files.get_file(f"{self._root.rstrip('/')}/{name}", str(folder / name), **options)
        except _TooMuchError:
            raise BundleError(
                f"{place}: more than the {max_file_bytes(name):,} bytes that it may have; nothing of it was kept"
            ) from None
        except _TooSlowError:
            raise FetchError(f"{place}: the bundle does not come within {limits.DOWNLOAD_S:g} s") from None
        except Exception as error:
            # Storage libraries raise errors of their own, whose words may hold signed URLs.
            kind = type(error).__name__
            if kind == "TooManyRedirects":
                raise BundleError(f"{place}: it leads elsewhere; name the place where the bundle itself is") from None
            reason = "no such file" if isinstance(error, FileNotFoundError) else kind
            raise FetchError(f"{place}: cannot be fetched ({reason})") from error


class _Watch(Callback):  # type: ignore[misc] # fsspec ships no types
    """Told by every file system of fsspec after each piece; what it raises ends the copy."""

    def __init__(self, max_bytes: int, until_s: float) -> None:
        super().__init__()
        self._max_bytes = max_bytes
        self._until_s = until_s
        self._bytes = 0

    def set_size(self, size: int | None) -> None:
        """What the place says of the size, before anything comes."""
        if size is not None and size > self._max_bytes:
            raise _TooMuchError

    def relative_update(self, inc: int = 1) -> None:
        """A piece has come."""
        self._bytes += inc
        if self._bytes > self._max_bytes:
            raise _TooMuchError
        if time.monotonic() > self._until_s:
            raise _TooSlowError
