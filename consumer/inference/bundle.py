"""Model bundles: found by path or URL, checked file by file before anything trusts them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Final

from consumer.inference.bundle_files import check_hashes, parse, read_file, read_labels, require_manifest_hash
from consumer.inference.fetch import fetch
from consumer.inference.manifest import LABELS_FILE, MANIFEST_FILE, MODEL_FILE, BundleError, Labels, Manifest
from consumer.inference.places import local_path, require_allowed
from consumer.inference.quarantine import try_in_quarantine
from schemas.labels import HEADS

# By the hash of its manifest, what stood its trial in this process: the same bytes would stand it again.
_tried: Final[set[str]] = set()


@dataclass(frozen=True)
class Bundle:
    """A checked bundle: its local folder and what it says of itself.

    `manifest_sha256` names all of it: the manifest holds the hashes of the other files.
    """

    folder: Path
    manifest: Manifest
    labels: Labels
    manifest_sha256: str

    def read(self, name: str) -> bytes:
        """A file that the manifest lists, as it was when it was checked.

        Raises:
            BundleError: it is another one now.
        """
        return read_file(self.folder, name, self.manifest.files[name])


def default_bundle() -> Path:
    """The folder of the bundle that ships with this package."""
    return Path(str(files("models"))) / "default"


def load_bundle(
    url: str | Path,
    *,
    allowed_prefixes: Sequence[str] | None = None,
    cache_dir: Path | None = None,
    manifest_sha256: str | None = None,
) -> Bundle:
    """Find a bundle and check all of it; a remote one is copied into the cache first.

    When a remote place does not answer, the newest good copy of the same URL in the cache serves instead.

    Args:
        url: a folder, or a URL that fsspec knows (`file://`, `s3://` with the extra `s3`, ...).
        allowed_prefixes: folders or URLs of which one must contain `url`; None allows all. The default bundle is
            always allowed.
        cache_dir: where copies of remote bundles are kept; `feedback-stream/bundles` in the user's cache when None.
        manifest_sha256: what `manifest.json` must hash to, checked before anything is read out of the bundle. A copy of
            it in the cache then serves without asking the remote place, and no other copy does.

    Raises:
        BundleUnavailableError: a remote place does not answer, and no copy is in the cache.
        BundleError: the URL is not allowed, cannot be read, or a file of the bundle is missing, damaged or does not
            fit the others. The message names the file and says what to do.
    """
    if allowed_prefixes is not None:
        require_allowed(str(url), [*allowed_prefixes, str(default_bundle())])
    folder = local_path(str(url))
    check = partial(check_bundle, manifest_sha256=manifest_sha256)
    if folder is not None:
        return check(folder)
    return fetch(str(url), cache_dir, check, manifest_sha256=manifest_sha256)


def check_bundle(folder: Path, *, manifest_sha256: str | None = None) -> Bundle:
    """Check every file of a bundle folder: hashes, labels, tokenizer, and the graph by running it.

    What stands in the files is looked at first in a process of its own, with little memory and time.

    Args:
        folder: where the bundle lies.
        manifest_sha256: what `manifest.json` must hash to; anything when None.

    Raises:
        BundleError: the message names the file and says what to do.
    """
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such folder; give the folder or URL of a bundle, which holds {MANIFEST_FILE}")
    content = read_file(folder, MANIFEST_FILE)
    found_sha256 = require_manifest_hash(content, manifest_sha256, str(folder / MANIFEST_FILE))
    manifest = parse(content, Manifest, str(folder / MANIFEST_FILE))
    check_hashes(folder, manifest)
    if found_sha256 not in _tried:
        try_in_quarantine(folder, found_sha256, (folder / MODEL_FILE).stat().st_size)
        _tried.add(found_sha256)
    return Bundle(folder, manifest, read_labels(folder, manifest), found_sha256)


def require_feedback_heads(bundle: Bundle) -> None:
    """Check that a bundle decides exactly what a result holds: the three heads and their labels, in order.

    Raises:
        BundleError: a head is missing or unknown, or its labels differ.
    """
    path = bundle.folder / LABELS_FILE
    found, wanted = bundle.labels.heads, {str(head): labels for head, labels in HEADS.items()}
    if found.keys() != wanted.keys():
        raise BundleError(
            f"{path}: the heads are {_listed(found)}, results need {_listed(wanted)}; "
            "use a bundle that was trained on all three"
        )
    for head, labels in wanted.items():
        if found[head] != labels:
            raise BundleError(
                f"{path}: head {head} has the labels {_listed(found[head])}, results need {_listed(labels)} in this "
                "order; train and export it with the label sets of schemas.labels"
            )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
