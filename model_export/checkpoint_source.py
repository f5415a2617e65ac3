"""Where a checkpoint comes from: a folder, or a URL of fsspec whose files are copied into a folder for a while."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

from fsspec.core import url_to_fs

from consumer.inference.manifest import TOKENIZER_FILE, BundleError
from consumer.inference.places import local_path, shown
from model_export.checkpoint import CONFIG_FILE, VOCABULARY_FILE, WEIGHT_FILES, CheckpointError
from model_export.rows import VALIDATION_FILE

REPORT_FILE: Final = "report.json"
_FILES: Final = (
    CONFIG_FILE,
    *WEIGHT_FILES,
    TOKENIZER_FILE,
    VOCABULARY_FILE,
    "tokenizer_config.json",
    "special_tokens_map.json",
    VALIDATION_FILE,
    REPORT_FILE,
)


@contextmanager
def local_checkpoint(source: str) -> Iterator[Path]:
    """A checkpoint's folder on this machine; a copy that is gone afterwards where `source` is remote.

    Args:
        source: a folder, or a URL that fsspec knows (`file://`, `s3://` with the extra `s3`, ...).

    Raises:
        CheckpointError: there is no such folder, or its files cannot be copied.
    """
    try:
        folder = local_path(source)
    except BundleError as error:
        raise CheckpointError(str(error)) from None
    if folder is not None:
        if not folder.is_dir():
            raise CheckpointError(f"{source}: no such folder; give the folder or the URL of a checkpoint")
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="checkpoint-") as scratch:
        copy = Path(scratch) / (PurePosixPath(shown(source).partition("://")[2]).name or "checkpoint")
        copy.mkdir()
        _download(source, copy)
        yield copy


def _download(url: str, folder: Path) -> None:
    try:
        files, root = url_to_fs(url)
    except ImportError as error:
        raise CheckpointError(
            f"{shown(url)}: no library for this kind of URL is installed ({error}); for s3:// install the extra s3"
        ) from error
    except ValueError:
        # Its words may hold the URL.
        raise CheckpointError(f"{shown(url)}: no kind of URL that is known; use a path, file:// or s3://") from None
    name = ""
    try:
        found = {PurePosixPath(entry).name: entry for entry in files.ls(root, detail=False)}
        for name in _FILES:
            if name in found:
                files.get_file(found[name], str(folder / name))
    except Exception as error:
        # Storage libraries raise errors of their own, whose words may hold signed URLs.
        reason = "no such folder" if isinstance(error, FileNotFoundError) else type(error).__name__
        raise CheckpointError(
            f"{shown(url).rstrip('/')}/{name}: cannot be fetched ({reason}); check the URL and the access to it"
        ) from error
