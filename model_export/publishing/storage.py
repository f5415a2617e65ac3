"""Bundles in shared storage: one folder for each content, written once, the manifest last, every byte read back.

A folder's name ends with the sha256 of its manifest, which holds those of the other files: other content is another
folder. While the manifest is missing the folder is nobody's bundle, and whatever an interrupted upload left in it may
be written again.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from fsspec.core import url_to_fs
from pydantic import ValidationError

from consumer.inference.bundle import Bundle
from consumer.inference.manifest import MANIFEST_FILE, MODEL_CARD_FILE, BundleError, Manifest, file_sha256
from consumer.inference.places import is_local, local_path, shown
from model_export.publishing.errors import BadRequestError, PublishingError
from model_export.publishing.progress import Progress
from model_export.publishing.storage_errors import explain, is_bucket_missing

_HASH_DIGITS_SHOWN: Final = 12
_BLOCK_BYTES: Final = 4 * 2**20
_MEND: Final = "something else wrote there, or the storage damaged it: remove that folder, or give another --to"
_ANNOUNCE_ANOTHER: Final = "bring it back, or announce another one with `python -m model_export publish`"


def checked_place(url: str) -> str:
    """A place for bundles as others can use it: absolute, and without anything secret.

    Raises:
        BadRequestError: it holds a user, a password, a query or several places.
    """
    try:
        folder = local_path(url)
    except BundleError as error:
        raise BadRequestError(str(error)) from None
    if folder is not None:
        return f"file://{folder}"
    if "::" in url:
        raise BadRequestError(
            f"{shown(url)}: chained URLs are not supported; name one folder, as in s3://bucket/models"
        )
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise BadRequestError(
            f"{shown(url)}: a URL that is announced must hold no user, password or query; give the credentials in the "
            "environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for S3)"
        )
    if parts.scheme == "s3" and not parts.netloc:
        raise BadRequestError(f"{url}: it names no bucket; write s3://BUCKET/FOLDER")
    if ".." in parts.path.split("/"):
        raise BadRequestError(f"{shown(url)}: '..' is not allowed in the URL of a bundle")
    return url.rstrip("/")


def bundle_url(place: str, bundle: Bundle) -> str:
    """The folder that a bundle has at a place."""
    manifest = bundle.manifest
    return f"{place}/{manifest.name}-{manifest.version}-{bundle.manifest_sha256[:_HASH_DIGITS_SHOWN]}"


def upload(bundle: Bundle, url: str, progress: Progress) -> int:
    """Bring a bundle to its folder, reading back every byte; what stands there already is only read.

    Args:
        bundle: a checked one.
        url: from `bundle_url`.
        progress: is told of the bytes that are compared.

    Returns:
        The bytes that were sent: 0 where all of it stood there.

    Raises:
        PublishingError: the storage is away or refuses, or something else stands there.
    """
    folder = _Folder(url)
    wanted = dict(bundle.manifest.files)
    finished = folder.sha256(MANIFEST_FILE)
    if finished is None and (bundle.folder / MODEL_CARD_FILE).is_file():
        # Its words may be mended later: only consumers' files are pinned by the manifest.
        wanted.setdefault(MODEL_CARD_FILE, file_sha256(bundle.folder / MODEL_CARD_FILE))
    if finished not in {None, bundle.manifest_sha256}:
        raise PublishingError(f"{folder.shown}/{MANIFEST_FILE}: another manifest stands there; {_MEND}")
    wanted[MANIFEST_FILE] = bundle.manifest_sha256
    progress.begin("uploading and reading back", sum((bundle.folder / name).stat().st_size for name in wanted))
    sent_bytes = 0
    for name, expected in wanted.items():
        source = bundle.folder / name
        found = folder.sha256(name)
        if found != expected:
            if found is not None and finished is not None:
                raise PublishingError(f"{folder.shown}/{name}: it is not what {MANIFEST_FILE} says; {_MEND}")
            folder.write(source, name)
            sent_bytes += source.stat().st_size
            if folder.sha256(name) != expected:
                raise PublishingError(
                    f"{folder.shown}/{name}: what was read back is not what was sent; nothing is announced: look after "
                    "the storage, or whether somebody changes the bundle meanwhile, and publish again"
                )
        progress.advance(source.stat().st_size)
    return sent_bytes


def verify(url: str, manifest_sha256: str, progress: Progress) -> None:
    """Read every byte of a bundle where it stands.

    Raises:
        PublishingError: it is not there, not whole, or not the one that is meant; the message names the file.
    """
    folder = _Folder(url)
    content = folder.read(MANIFEST_FILE)
    if content is None:
        raise PublishingError(f"{folder.shown}/{MANIFEST_FILE}: no such file, the bundle is gone; {_ANNOUNCE_ANOTHER}")
    if hashlib.sha256(content).hexdigest() != manifest_sha256:
        raise PublishingError(
            f"{folder.shown}/{MANIFEST_FILE}: it is not the one that was announced; {_ANNOUNCE_ANOTHER}"
        )
    try:
        files = Manifest.model_validate_json(content).files
    except ValidationError:
        raise PublishingError(
            f"{folder.shown}/{MANIFEST_FILE}: this version cannot read it; {_ANNOUNCE_ANOTHER}"
        ) from None
    progress.begin("reading every byte of it")
    for name, expected in files.items():
        found = folder.sha256(name)
        if found != expected:
            reason = "no such file" if found is None else f"it is not what {MANIFEST_FILE} says"
            raise PublishingError(f"{folder.shown}/{name}: {reason}; {_ANNOUNCE_ANOTHER}")


class _Folder:
    """One folder of shared storage, file by file."""

    def __init__(self, url: str) -> None:
        self.shown = shown(url)
        try:
            # What others write must be seen at once; a local folder is made when it is written to.
            options = {"auto_mkdir": True} if is_local(url) else {}
            self._files, root = url_to_fs(url, use_listings_cache=False, **options)
        except (ImportError, ValueError) as error:
            raise PublishingError(explain(error, self.shown)) from None
        self._root: str = root.rstrip("/")

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None where there is no such file."""
        with self._explained(name):
            try:
                content: bytes = self._files.cat_file(f"{self._root}/{name}")
            except FileNotFoundError as error:
                if is_bucket_missing(error):
                    raise
                return None
            return content

    def sha256(self, name: str) -> str | None:
        """The sha256 of a file in hex, read piece by piece; None where there is no such file."""
        with self._explained(name):
            try:
                file = self._files.open(f"{self._root}/{name}", "rb", block_size=_BLOCK_BYTES)
            except FileNotFoundError as error:
                if is_bucket_missing(error):
                    raise
                return None
            with file:
                return hashlib.file_digest(file, "sha256").hexdigest()

    def write(self, source: Path, name: str) -> None:
        """Copy a local file here."""
        with self._explained(name):
            self._files.put_file(str(source), f"{self._root}/{name}")

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - storage libraries raise errors of their own
            # Their words may hold signed URLs, and so may those of the errors behind them.
            raise PublishingError(explain(error, f"{self.shown}/{name}")) from None
