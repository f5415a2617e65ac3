"""Model bundles: found by path or URL, checked file by file before anything trusts them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
from onnxruntime import InferenceSession
from tokenizers import Tokenizer

from consumer.inference.fetch import fetch, local_path, require_allowed, require_manifest_hash
from consumer.inference.manifest import (
    LABELS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    BundleError,
    Labels,
    Manifest,
    file_sha256,
    read_labels,
    read_manifest,
)
from consumer.inference.session import ATTENTION_MASK, INPUT_IDS, open_session
from schemas.labels import HEADS

_INPUTS: Final = (INPUT_IDS, ATTENTION_MASK)
# Two different sizes each way: an export that fixed a dimension by mistake fits at most one of them.
_TRIAL_SHAPES: Final = ((1, 2), (2, 3))


@dataclass(frozen=True)
class Bundle:
    """A checked bundle: its local folder and what it says of itself.

    `manifest_sha256` names all of it: the manifest holds the hashes of the other files.
    """

    folder: Path
    manifest: Manifest
    labels: Labels
    manifest_sha256: str


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

    Args:
        folder: where the bundle lies.
        manifest_sha256: what `manifest.json` must hash to; anything when None.

    Raises:
        BundleError: the message names the file and says what to do.
    """
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such folder; give the folder or URL of a bundle, which holds {MANIFEST_FILE}")
    found_sha256 = _check_manifest_hash(folder / MANIFEST_FILE, manifest_sha256)
    manifest = read_manifest(folder)
    _check_hashes(folder, manifest)
    labels = read_labels(folder)
    _check_labels(folder, manifest, labels)
    _check_tokenizer(folder / TOKENIZER_FILE)
    _check_graph(folder, manifest, labels)
    return Bundle(folder, manifest, labels, found_sha256)


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


def _check_manifest_hash(path: Path, expected: str | None) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from error
    return require_manifest_hash(content, expected, str(path))


def _check_hashes(folder: Path, manifest: Manifest) -> None:
    for name, expected in manifest.files.items():
        path = folder / name
        try:
            found = file_sha256(path)
        except OSError as error:
            raise BundleError(f"{path}: cannot be read ({error.strerror}); copy the whole bundle again") from error
        if found != expected:
            raise BundleError(
                f"{path}: its sha256 is {found[:12]}..., {MANIFEST_FILE} says {expected[:12]}...; the file is damaged "
                "or from another export: copy the whole bundle again"
            )


def _check_labels(folder: Path, manifest: Manifest, labels: Labels) -> None:
    path = folder / LABELS_FILE
    if labels.heads.keys() != manifest.heads.keys():
        raise BundleError(
            f"{path}: the heads are {_listed(labels.heads)}, {MANIFEST_FILE} says {_listed(manifest.heads)}; "
            "export the bundle again"
        )
    for head, names in labels.heads.items():
        if not names or len(set(names)) != len(names):
            raise BundleError(f"{path}: head {head} has no labels or one of them twice; export the bundle again")
    sizes = {head: len(names) for head, names in labels.heads.items()}
    for probe in manifest.probes:
        if {head: len(probabilities) for head, probabilities in probe.probabilities.items()} != sizes:
            raise BundleError(
                f"{folder / MANIFEST_FILE}: a probe does not have one probability for each label of each head of "
                f"{LABELS_FILE}; export the bundle again"
            )


def _check_tokenizer(path: Path) -> None:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing more specific
        raise BundleError(f"{path}: tokenizers cannot load it ({error}); export the bundle again") from error
    if tokenizer.num_special_tokens_to_add(is_pair=False) == 0:
        raise BundleError(
            f"{path}: it adds no special tokens, so an empty text would have no token at all; export it with its "
            "post-processor"
        )


def _check_graph(folder: Path, manifest: Manifest, labels: Labels) -> None:
    path = folder / MODEL_FILE
    session = open_session(path)
    inputs = {entry.name: entry for entry in session.get_inputs()}
    if inputs.keys() != set(manifest.inputs):
        raise BundleError(
            f"{path}: the graph's inputs are {_listed(inputs)}, {MANIFEST_FILE} says {_listed(manifest.inputs)}; "
            "export the bundle again"
        )
    if inputs.keys() != set(_INPUTS):
        raise BundleError(f"{path}: the graph's inputs are {_listed(inputs)}, this version feeds {_listed(_INPUTS)}")
    for entry in inputs.values():
        if entry.type != "tensor(int64)" or len(entry.shape) != 2 or any(isinstance(size, int) for size in entry.shape):  # noqa: PLR2004 - batch and length
            raise BundleError(
                f"{path}: input {entry.name} is {entry.type} {entry.shape}, it must be int64 [batch, length] with both "
                "sizes free; export it with dynamic axes"
            )
    outputs = {entry.name for entry in session.get_outputs()}
    for head, spec in manifest.heads.items():
        if spec.output not in outputs:
            raise BundleError(
                f"{path}: the graph has no output {spec.output}, which {MANIFEST_FILE} names for head {head}; its "
                f"outputs are {_listed(outputs)}"
            )
        for shape in _TRIAL_SHAPES:
            _check_output(path, session, spec.output, shape, len(labels.heads[head]))


def _check_output(path: Path, session: InferenceSession, output: str, shape: tuple[int, int], labels: int) -> None:
    feed: dict[str, Any] = {INPUT_IDS: np.zeros(shape, np.int64), ATTENTION_MASK: np.ones(shape, np.int64)}
    try:
        found = session.run([output], feed)[0].shape
    except Exception as error:  # onnxruntime's errors share no base class
        raise BundleError(
            f"{path}: the graph does not run on {shape[0]} x {shape[1]} tokens ({type(error).__name__}: {error}); "
            "export it again"
        ) from error
    if found != (shape[0], labels):
        raise BundleError(
            f"{path}: output {output} has the shape {list(found)} for {shape[0]} texts, {LABELS_FILE} names {labels} "
            "labels; export the bundle again"
        )


def _listed(names: Any) -> str:  # noqa: ANN401 - any iterable of names
    return ", ".join(names)
