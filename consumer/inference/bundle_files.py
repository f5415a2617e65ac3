"""A bundle's files, read as if an enemy had made them: inside the folder, regular, bounded, as the manifest says."""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from consumer.inference import limits
from consumer.inference.manifest import (
    LABELS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    BundleError,
    Labels,
    Manifest,
)

_MAX_BYTES: Final = {
    MANIFEST_FILE: limits.MAX_MANIFEST_BYTES,
    LABELS_FILE: limits.MAX_LABELS_BYTES,
    TOKENIZER_FILE: limits.MAX_TOKENIZER_BYTES,
    MODEL_FILE: limits.MAX_MODEL_BYTES,
}
_COPY_AGAIN: Final = "copy the whole bundle again"
ModelT = TypeVar("ModelT", bound=BaseModel)


def max_file_bytes(name: str) -> int:
    """The most bytes that a file of a bundle may have."""
    return _MAX_BYTES.get(name, limits.MAX_OTHER_FILE_BYTES)


@contextmanager
def opened(folder: Path, name: str) -> Iterator[BufferedReader]:
    """Open a file of a bundle.

    A symbolic link may lead to another place inside the folder, as Kubernetes mounts files, and nowhere else. A hard
    link is a file like any other: package managers make them, and its content is what its hash says.

    Raises:
        BundleError: it is missing, lies elsewhere, is no regular file, or is larger than any bundle needs.
    """
    path = folder / name
    try:
        place = path.resolve(strict=True)
        if not place.is_relative_to(folder.resolve()):
            raise BundleError(f"{path}: it is a link that leads out of the bundle's folder; {_COPY_AGAIN}")
        # Asked before it is opened: opening a device or a pipe may do something, or wait for ever.
        if not stat.S_ISREG(place.stat().st_mode):
            raise BundleError(f"{path}: it is no regular file; {_COPY_AGAIN}")
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except RuntimeError:  # before Python 3.13: links that lead in a circle
        raise BundleError(f"{path}: cannot be read ({os.strerror(errno.ELOOP)}); {_COPY_AGAIN}") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); {_COPY_AGAIN}") from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise BundleError(f"{path}: it is no regular file; {_COPY_AGAIN}")
        if found.st_size > max_file_bytes(name):
            raise BundleError(
                f"{path}: {found.st_size:,} bytes, more than the {max_file_bytes(name):,} that it may have"
            )
        yield file


def read_file(folder: Path, name: str, sha256: str | None = None) -> bytes:
    """A file's bytes.

    Args:
        folder: the bundle.
        name: which file.
        sha256: what the bytes must hash to, in hex; anything when None.

    Raises:
        BundleError: as `opened`; or the hash is another one.
    """
    with opened(folder, name) as file:
        size = os.fstat(file.fileno()).st_size  # as large a buffer as that is made at once
        content = file.read(size + 1)
    if len(content) != size:
        raise BundleError(f"{folder / name}: it changes while it is read; {_COPY_AGAIN}")
    if sha256 is not None:
        _require_hash(folder / name, hashlib.sha256(content).hexdigest(), sha256)
    return content


def check_hashes(folder: Path, manifest: Manifest) -> None:
    """Check every file that the manifest lists.

    Raises:
        BundleError: as `opened`; or a hash is another one.
    """
    for name, expected in manifest.files.items():
        with opened(folder, name) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        _require_hash(folder / name, found, expected)


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


def read_manifest(folder: Path) -> Manifest:
    """Read `manifest.json` of a bundle folder.

    Raises:
        BundleError: the file is missing, is no JSON, or does not fit the type.
    """
    return parse(read_file(folder, MANIFEST_FILE), Manifest, str(folder / MANIFEST_FILE))


def read_labels(folder: Path, manifest: Manifest) -> Labels:
    """Read `labels.json` of a bundle folder.

    Raises:
        BundleError: the file is missing or another one than the manifest's, is no JSON, or does not fit the type.
    """
    content = read_file(folder, LABELS_FILE, manifest.files[LABELS_FILE])
    return parse(content, Labels, str(folder / LABELS_FILE))


def parse(content: bytes, model: type[ModelT], place: str) -> ModelT:
    """Read a JSON document of a bundle.

    Raises:
        BundleError: it is no plain JSON, or does not fit the type; the message says where, and quotes nothing.
    """
    parse_json(content, place)
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(ascii(part)[:60].strip("'") for part in first["loc"]) or "the document"
        raise BundleError(f"{place}: {where}: {first['msg']}") from None


def parse_json(content: bytes, place: str) -> Any:  # noqa: ANN401 - a JSON document may be anything
    """Parse JSON that says one thing to every parser: no key twice, no NaN or Infinity, bounded depth.

    Raises:
        BundleError: it is not that.
    """
    try:
        return json.loads(content.decode(), object_pairs_hook=_object, parse_constant=_refuse_constant)
    except RecursionError:
        raise BundleError(f"{place}: its lists and objects lie too deep in each other") from None
    except _RepeatedKeyError:
        raise BundleError(f"{place}: a key stands in it twice; each parser would believe another one") from None
    except ValueError as error:  # json's own errors, UTF-8's, and numbers of thousands of digits
        where = f" at byte {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise BundleError(f"{place}: Invalid JSON{where}; {_COPY_AGAIN}") from None


class _RepeatedKeyError(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _RepeatedKeyError
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _require_hash(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise BundleError(
            f"{path}: its sha256 is {found[:12]}..., {MANIFEST_FILE} says {expected[:12]}...; the file is damaged "
            "or from another export: copy the whole bundle again"
        )
